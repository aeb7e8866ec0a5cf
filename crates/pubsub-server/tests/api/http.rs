//! What is the same for all methods: the key, the two shapes, batches, errors and limits.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use pubsub_server::config::{Config, ErrorMode, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::rig::{Rig, config, get, post, refusal};

/// The longest body.
const BODY_BYTES_MAX: usize = 4 << 20;

fn with_key(key: &str) -> Config {
    let mut config = config();
    config.http_api.insecure = false;
    config.http_api.key = Some(Secret::new(key));
    config
}

const PUBLISH: &str = r#"{"channel":"news","data":1}"#;

#[tokio::test(start_paused = true)]
async fn the_key_may_be_shown_in_three_places() {
    let rig = Rig::new(with_key("s3cret/+&"));
    for (path, header) in [
        ("/api/publish", Some(("x-api-key", "s3cret/+&"))),
        ("/api/publish", Some(("authorization", "apikey s3cret/+&"))),
        ("/api/publish", Some(("authorization", "ApiKey s3cret/+&"))),
        ("/api/publish?api_key=s3cret%2F%2B%26", None),
        ("/api/publish?other=1&api_key=s3cret%2F%2B%26", None),
    ] {
        let mut request = post(path, PUBLISH);
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let answer = rig.request(request).await;
        assert_eq!(answer.status, StatusCode::OK, "{path} {header:?}: {}", answer.text);
        assert!(answer.json().get("result").is_some());
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_key_nothing_is_done_and_nothing_is_told() {
    let rig = Rig::new(with_key("secret"));
    let mut client = rig.subscribed("", "news").await;
    for (path, header) in [
        ("/api/publish", None),
        ("/api", None),
        ("/api/batch", None),
        ("/api/no_such_method", None),
        ("/api/publish", Some(("x-api-key", "wrong"))),
        ("/api/publish", Some(("x-api-key", ""))),
        ("/api/publish", Some(("x-api-key", "secre"))),
        ("/api/publish", Some(("x-api-key", "secret2"))),
        ("/api/publish", Some(("authorization", "secret"))),
        ("/api/publish", Some(("authorization", "bearer secret"))),
        ("/api/publish?api_key=", None),
        ("/api/publish?apikey=secret", None),
        // The first place counts: a wrong key is not made good by another.
        ("/api/publish?api_key=secret", Some(("x-api-key", "wrong"))),
    ] {
        let mut request = post(path, PUBLISH);
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let answer = rig.request(request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path} {header:?}");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
    assert_eq!(rig.request(get("/api/publish")).await.status, StatusCode::UNAUTHORIZED);
    client.is_at_rest().await;
    rig.end().await;
}

/// SDKs walk from one transport to the next by what is not found.
#[tokio::test(start_paused = true)]
async fn the_key_is_asked_for_by_the_api_and_not_by_what_is_nowhere() {
    let rig = Rig::new(with_key("secret"));
    for path in ["/", "/connection/sse", "/connection/http_stream", "/emulation", "/echo", "/swagger", "/apis"] {
        assert_eq!(rig.request(get(path)).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(rig.post(path, PUBLISH).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_key_nobody_can_show_it() {
    for key in [None, Some(Secret::new(""))] {
        let mut config = config();
        config.http_api.insecure = false;
        config.http_api.key = key;
        let rig = Rig::new(config);
        for path in ["/api/info", "/api/info?api_key="] {
            assert_eq!(rig.post(path, "{}").await.status, StatusCode::UNAUTHORIZED);
        }
        rig.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_post_calls_and_only_what_exists() {
    let rig = Rig::open();
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD] {
        for path in ["/api", "/api/publish", "/api/batch"] {
            let mut request = post(path, PUBLISH);
            *request.method_mut() = method.clone();
            let answer = rig.request(request).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.headers["allow"], "POST");
        }
    }
    for path in ["/api/no_such_method", "/api/Publish", "/api/unknown", "/api/publish/x", "/api/", "/apis"] {
        assert_eq!(rig.post(path, PUBLISH).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(rig.server.service().metrics().snapshot().publications_by_api, 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_json_is_refused_with_the_place_where_it_ends_to_be() {
    let rig = Rig::open();
    for body in ["{", "nonsense", r#"{"channel":"news","data":}"#, r#"{"channel":"news","data":1} x"#, "\u{feff}{}"] {
        let answer = rig.post("/api/publish", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text);
        assert!(answer.text.contains("line 1 column"), "{}", answer.text);
    }
    let not_utf8 = b"{\"channel\":\"news\",\"data\":\"\xff\"}".as_slice();
    assert_eq!(rig.post("/api/publish", not_utf8).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(rig.server.service().metrics().snapshot().publications_by_api, 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_the_wrong_type_is_error_107_and_says_where() {
    let rig = Rig::open();
    for (method, params, place) in [
        ("publish", r#"{"channel":1}"#, "column 12"),
        ("publish", r#"{"channel":"a","data":1,"tags":{"a":1}}"#, "column 37"),
        ("publish", r#"{"channel":"a","data":1,"version":-1}"#, "`-1`"),
        ("publish", "[]", "expected an object"),
        ("publish", "null", "expected an object"),
        ("broadcast", r#"{"channels":{}}"#, "expected a sequence"),
        ("history", r#"{"channel":"a","limit":"all"}"#, "expected i32"),
        ("history", r#"{"channel":"a","limit":3000000000}"#, "expected i32"),
        ("disconnect", r#"{"user":7}"#, "expected a string"),
        ("subscribe", r#"{"user":"a","channel":"a","override":{"presence":true}}"#, "presence"),
    ] {
        let answer = rig.post(&format!("/api/{method}"), params).await;
        assert_eq!(answer.status, StatusCode::OK, "{params}: {}", answer.text);
        let (code, detail) = refusal(&answer.json());
        assert_eq!(code, 107, "{params}");
        assert!(detail.contains(place) || place == "presence", "{params}: {detail}");
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn null_is_nothing_and_what_is_unknown_is_ignored() {
    let rig = Rig::open();
    let params = r#"{"channel":"news","data":1,"tags":null,"delta":true,"b64data":null,"skip_history":null,
        "idempotency_key":null,"version":null,"no_such_field":{"a":[1]}}"#;
    let answer = rig.post("/api/publish", params).await;
    assert_eq!(answer.json()["result"]["offset"], 1);
    for empty in ["", " \n", "{}"] {
        assert!(rig.post("/api/info", empty).await.json()["result"]["nodes"].is_array());
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn errors_become_statuses_where_that_is_asked_for() {
    let cases = [
        ("history", json!({ "channel": "unknown:a" }), 102, 404),
        ("publish", json!({ "channel": "a" }), 107, 400),
        ("presence", json!({ "channel": "plain:a" }), 108, 400),
        ("rpc", json!({ "method": "x" }), 108, 400),
        ("history", json!({ "channel": "a", "since": { "offset": 1, "epoch": "x" } }), 112, 416),
    ];
    let rig = Rig::open();
    let mut always = config();
    always.http_api.error_mode = ErrorMode::Transport;
    let always = Rig::new(always);
    for (method, params, code, status) in cases {
        let path = format!("/api/{method}");
        assert_eq!(rig.refused(method, params.clone()).await.0, code);
        let mut request = post(&path, params.to_string());
        request.headers_mut().insert("x-centrifugo-error-mode", "transport".parse().unwrap());
        for answer in [rig.request(request).await, always.post(&path, params.to_string()).await] {
            assert_eq!(answer.status.as_u16(), status, "{method}");
            assert_eq!(answer.headers["content-type"], "application/json");
            assert_eq!(answer.json()["code"], code);
            assert!(answer.json()["message"].is_string());
        }
    }
    let ok = always.call("publish", json!({ "channel": "a", "data": 1 })).await;
    assert_eq!(ok["offset"], 1);
    // Many calls have many outcomes: these stay in the body.
    let commands = json!({ "commands": [{ "publish": {} }] });
    let answer = always.post("/api/batch", commands.to_string()).await;
    assert_eq!((answer.status, refusal(&answer.json()["replies"][0]).0), (StatusCode::OK, 107));
    rig.end().await;
    always.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_older_shape_takes_several_calls_and_answers_each_on_a_line() {
    let rig = Rig::open();
    let body = r#"{"method":"publish","params":{"channel":"news","data":1}}
        {"id":7,"method":"HISTORY","params":{"channel":"news","limit":-1}}{"method":"info"}
        {"id":8,"method":"no_such_method","params":{}}
        {"method":"publish","params":{"channel":1}}
        {"params":{}}"#;
    let answer = rig.post("/api", body).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    let lines: Vec<Value> = answer.text.split('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!((lines[0].get("id"), &lines[0]["result"]["offset"]), (None, &json!(1)));
    assert_eq!((&lines[1]["id"], &lines[1]["result"]["publications"][0]["data"]), (&json!(7), &json!(1)));
    assert!(lines[2]["result"]["nodes"].is_array());
    assert_eq!((&lines[3]["id"], refusal(&lines[3]).0), (&json!(8), 104));
    assert_eq!(refusal(&lines[4]).0, 107);
    assert_eq!(refusal(&lines[5]).0, 104);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_older_shape_does_nothing_unless_all_of_it_can_be_read() {
    let rig = Rig::open();
    let good = r#"{"method":"publish","params":{"channel":"news","data":1}}"#;
    for bad in ["{", "[]", "7", r#"{"method":7}"#, ""] {
        let body = if bad.is_empty() { String::new() } else { format!("{good}\n{bad}") };
        assert_eq!(rig.post("/api", body).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(rig.server.service().metrics().snapshot().publications_by_api, 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_answers_each_of_its_commands_in_order() {
    for parallel in [false, true] {
        let rig = Rig::open();
        let mut commands: Vec<Value> =
            (0..200).map(|data| json!({ "publish": { "channel": "news", "data": data } })).collect();
        commands.extend([
            json!({ "history": { "channel": "news", "limit": 1, "reverse": true } }),
            json!({ "publish": { "channel": "unknown:a", "data": 1 } }),
            json!({ "publish": { "channel": 1 } }),
            json!({ "batch": { "commands": [] } }),
            json!({ "publish": null, "info": {}, "id": 3 }),
            json!({ "publish": {}, "presence": {} }),
            json!({}),
            json!(7),
        ]);
        let answer = rig.post("/api/batch", json!({ "commands": commands, "parallel": parallel }).to_string()).await;
        assert_eq!(answer.status, StatusCode::OK);
        let mut answer = answer.json();
        let replies = answer["replies"].take();
        let replies = replies.as_array().unwrap();
        let mut offsets: Vec<_> =
            replies[..200].iter().map(|reply| reply["publish"]["offset"].as_u64().unwrap()).collect();
        if parallel {
            offsets.sort_unstable();
        } else {
            assert_eq!(replies[200]["history"]["publications"][0]["data"], 199);
        }
        assert_eq!(offsets, (1..=200).collect::<Vec<_>>(), "parallel {parallel}");
        let codes = [None, Some(102), Some(107), Some(104), None, Some(107), Some(104), Some(107)];
        assert_eq!(replies.len(), 200 + codes.len());
        for (reply, code) in replies[200..].iter().zip(codes) {
            assert_eq!(reply.get("error").map(|_| refusal(reply).0), code, "{reply}");
        }
        assert!(replies[204]["info"]["nodes"].is_array());

        assert_eq!(rig.post("/api/batch", "{}").await.json(), json!({ "replies": [] }));
        assert_eq!(refusal(&rig.post("/api/batch", r#"{"commands":7}"#).await.json()).0, 107);
        assert_eq!(rig.post("/api/batch", r#"{"commands":["#).await.status, StatusCode::BAD_REQUEST);
        rig.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
    let rig = Rig::open();
    let mut body = PUBLISH.as_bytes().to_vec();
    body.resize(BODY_BYTES_MAX, b' ');
    assert_eq!(rig.post("/api/publish", body.clone()).await.json()["result"]["offset"], 1);

    // By its own account too long: not even read.
    let head = format!("POST /api/publish HTTP/1.1\r\nhost: server\r\ncontent-length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
    assert_eq!(status_of(&rig, head.into_bytes()).await, 413);
    // Without such an account it is read as far as it may be.
    let mut chunked = b"POST /api/publish HTTP/1.1\r\nhost: server\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    chunked.extend(format!("{:x}\r\n", body.len() + 1).into_bytes());
    chunked.extend(body);
    chunked.extend(b" \r\n0\r\n\r\n");
    assert_eq!(status_of(&rig, chunked).await, 413);
    assert_eq!(rig.server.service().metrics().snapshot().api_requests[&("publish", 413)], 2);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let rig = Rig::open();
    let before = tokio::time::Instant::now();
    let half = b"POST /api/publish HTTP/1.1\r\nhost: server\r\ncontent-length: 30\r\n\r\n{\"channel\":".to_vec();
    assert_eq!(status_of(&rig, half).await, 408);
    assert_eq!(before.elapsed().as_secs(), 30);
    rig.end().await;
}

/// The status that these bytes are answered with.
async fn status_of(rig: &Rig, bytes: Vec<u8>) -> u16 {
    let (mut from, mut to) = tokio::io::split(rig.pipe());
    // The server may answer, and go, before it has read all.
    let writing = tokio::spawn(async move {
        let _ = to.write_all(&bytes).await;
        to
    });
    let mut line = [0; "HTTP/1.1 200".len()];
    tokio::time::timeout(Duration::from_secs(60), from.read_exact(&mut line)).await.unwrap().unwrap();
    writing.abort();
    std::str::from_utf8(&line).unwrap()["HTTP/1.1 ".len()..].parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_method_and_status() {
    let rig = Rig::new(with_key("k"));
    let request = async |path: &str, body: &'static str| {
        let mut request: Request<_> = post(path, body);
        request.headers_mut().insert("x-api-key", "k".parse().unwrap());
        rig.request(request).await
    };
    request("/api/publish", PUBLISH).await;
    request("/api/publish", "{}").await;
    request("/api/publish", "{").await;
    request("/api/no_such_method", "{}").await;
    request("/api/batch", r#"{"commands":[{"publish":{}}]}"#).await;
    request("/api", r#"{"method":"info"}{"method":"info"}{"method":"presence"}{"method":"zap"}"#).await;
    request("/api", "{").await;
    rig.post("/api/info", "{}").await;
    let counted = rig.server.service().metrics().snapshot().api_requests;
    let expected = [
        (("publish", 200), 2),
        (("publish", 400), 1),
        (("unknown", 404), 1),
        (("batch", 200), 1),
        (("info", 200), 2),
        (("presence", 200), 1),
        (("unknown", 200), 1),
        (("unknown", 400), 1),
        (("info", 401), 1),
    ];
    assert_eq!(counted, expected.into());
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_key_no_web_page_gets_through() {
    let from_page = |key: Option<&str>| {
        let mut request = post("/api/publish", PUBLISH);
        request.headers_mut().insert("origin", "http://localhost:3000".parse().unwrap());
        if let Some(key) = key {
            request.headers_mut().insert("x-api-key", key.parse().unwrap());
        }
        request
    };
    let open = Rig::open();
    let answer = open.request(from_page(None)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
    assert!(answer.text.contains("http_api.key"), "{}", answer.text);
    assert_eq!(open.request(post("/api/publish", PUBLISH)).await.status, StatusCode::OK);
    let keyed = Rig::new(with_key("s3cret"));
    assert_eq!(keyed.request(from_page(Some("s3cret"))).await.status, StatusCode::OK);
}

/// A request, as it stands on the wire.
const ASK: &[u8] = b"POST /api/info HTTP/1.1\r\nHost: server\r\nContent-Length: 2\r\n\r\n{}";

/// A connection of a pool: it is kept for longer than the pool itself keeps it.
#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_the_next_request() {
    let rig = Rig::open();
    let mut stream = rig.pipe();
    for _ in 0..3 {
        assert!(exchange(&mut stream, ASK).await.contains("200 OK"));
        tokio::time::sleep(Duration::from_secs(90)).await;
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "and not for ever");
    rig.end().await;
}

/// What was asked for when the server stops is answered; whoever asks for nothing does not hold it up.
#[tokio::test(start_paused = true)]
async fn a_request_under_way_is_answered_though_the_server_stops() {
    for internal in [false, true] {
        let rig = Rig::open();
        let internal = internal.then(|| rig.internal());
        let pipe = || internal.as_ref().map_or_else(|| rig.pipe(), |internal| internal.connect(1 << 16).unwrap());
        let (mut asking, mut idle, fresh) = (pipe(), pipe(), pipe());
        exchange(&mut idle, ASK).await;
        let (head, body) = ASK.split_at(ASK.len() - 2);
        asking.write_all(head).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = tokio::time::Instant::now();
        let answer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            exchange(&mut asking, body).await
        });
        rig.end().await;
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("num_clients"), "{answer}");
        drop((idle, fresh));
    }
}

/// Says something and returns what comes back at once.
async fn exchange(stream: &mut DuplexStream, said: &[u8]) -> String {
    stream.write_all(said).await.unwrap();
    let mut heard = vec![0; 1 << 14];
    let n = stream.read(&mut heard).await.unwrap();
    String::from_utf8_lossy(&heard[..n]).into_owned()
}
