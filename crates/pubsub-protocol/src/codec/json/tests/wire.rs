//! The very texts, field by field, and which zero values stay. What the SDKs were seen to send and to rely on.

use std::collections::BTreeMap;

use super::{command, commands, encoded_command, encoded_reply, refused, reply};
use crate::codes::ErrorCode;
use crate::command::*;
use crate::payload::Payload;
use crate::position::StreamPosition;
use crate::push::*;
use crate::reply::*;

fn json(text: &str) -> Payload {
    Payload::from_json(text).unwrap()
}

fn one<T>(key: &str, value: T) -> BTreeMap<String, T> {
    BTreeMap::from([(key.to_owned(), value)])
}

/// Each body twice: with nothing in it, and with everything.
fn all_commands() -> Vec<(Request, &'static str)> {
    let channel = || ChannelRequest { channel: "news".to_owned() };
    let subscribe = SubscribeRequest {
        channel: "news".to_owned(),
        token: "t".to_owned(),
        recover: true,
        epoch: "e".to_owned(),
        offset: u64::MAX,
        data: Some(json("[1]")),
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".to_owned(),
        tf: Some(json(r#"{"op":"and"}"#)),
        flag: -1,
        kind: 1,
    };
    let connect = ConnectRequest {
        token: "t".to_owned(),
        data: Some(json("{}")),
        subs: one("a", SubscribeRequest { recover: true, offset: 7, epoch: "e".to_owned(), ..Default::default() }),
        name: "js".to_owned(),
        version: "1".to_owned(),
        headers: one("X-A", "b".to_owned()),
    };
    vec![
        (Request::Connect(ConnectRequest::default()), r#""connect":{}"#),
        (
            Request::Connect(connect),
            r#""connect":{"token":"t","data":{},"subs":{"a":{"recover":true,"epoch":"e","offset":7}},"name":"js","version":"1","headers":{"X-A":"b"}}"#,
        ),
        (Request::Subscribe(SubscribeRequest::default()), r#""subscribe":{}"#),
        (
            Request::Subscribe(subscribe),
            r#""subscribe":{"channel":"news","token":"t","recover":true,"epoch":"e","offset":18446744073709551615,"data":[1],"positioned":true,"recoverable":true,"join_leave":true,"delta":"fossil","tf":{"op":"and"},"flag":-1,"type":1}"#,
        ),
        (Request::Unsubscribe(ChannelRequest::default()), r#""unsubscribe":{}"#),
        (Request::Unsubscribe(channel()), r#""unsubscribe":{"channel":"news"}"#),
        (Request::Publish(PublishRequest::default()), r#""publish":{}"#),
        (
            Request::Publish(PublishRequest {
                channel: "news".to_owned(),
                data: Some(json("\"x\"")),
                ..PublishRequest::default()
            }),
            r#""publish":{"channel":"news","data":"x"}"#,
        ),
        (Request::Presence(channel()), r#""presence":{"channel":"news"}"#),
        (Request::PresenceStats(channel()), r#""presence_stats":{"channel":"news"}"#),
        (Request::History(HistoryRequest::default()), r#""history":{}"#),
        (
            Request::History(HistoryRequest {
                channel: "news".to_owned(),
                limit: -1,
                since: Some(StreamPosition::new(5, "e")),
                reverse: true,
            }),
            r#""history":{"channel":"news","limit":-1,"since":{"offset":5,"epoch":"e"},"reverse":true}"#,
        ),
        (Request::Ping, r#""ping":{}"#),
        (Request::Send(SendRequest::default()), r#""send":{}"#),
        (Request::Send(SendRequest { data: Some(json("1")) }), r#""send":{"data":1}"#),
        (Request::Rpc(RpcRequest::default()), r#""rpc":{}"#),
        (
            Request::Rpc(RpcRequest { data: Some(json("1e400")), method: "add".to_owned() }),
            r#""rpc":{"data":1e400,"method":"add"}"#,
        ),
        (Request::Refresh(RefreshRequest { token: "t".to_owned() }), r#""refresh":{"token":"t"}"#),
        (
            Request::SubRefresh(SubRefreshRequest { channel: "news".to_owned(), token: "t".to_owned() }),
            r#""sub_refresh":{"channel":"news","token":"t"}"#,
        ),
    ]
}

#[test]
fn commands_are_written_and_read_to_the_letter() {
    for (request, body) in all_commands() {
        let line = format!("{{\"id\":7,{body}}}");
        let expected = Command { id: 7, request };
        assert_eq!(encoded_command(&expected), line);
        assert_eq!(command(&line), expected);
    }
}

#[test]
fn an_empty_command_is_a_pong_with_any_white_space_and_any_unknown_field() {
    let pong = Command { id: 0, request: Request::Pong };
    assert_eq!(encoded_command(&pong), "{}");
    for line in ["{}", " { } ", "{}\r", r#"{"id":0}"#, r#"{"later":{"deep":[]}}"#, r#"{"connect":null}"#] {
        assert_eq!(command(line), pong, "{line}");
    }
}

#[test]
fn an_id_without_a_body_that_we_know_is_an_unknown_command() {
    for line in [r#"{"id":3}"#, r#"{"id":3,"teleport":{}}"#, r#"{"id":3,"rpc":null}"#, r#"{"method":5,"id":3}"#] {
        assert_eq!(command(line), Command { id: 3, request: Request::Unknown }, "{line}");
    }
}

#[test]
fn of_several_bodies_the_first_in_the_order_of_the_schema_counts() {
    let order = [
        "connect",
        "subscribe",
        "unsubscribe",
        "publish",
        "presence",
        "presence_stats",
        "history",
        "ping",
        "send",
        "rpc",
        "refresh",
        "sub_refresh",
    ];
    for (i, first) in order.iter().enumerate() {
        for second in &order[i + 1..] {
            for (left, right) in [(first, second), (second, first)] {
                let line = format!(r#"{{"{left}":{{}},"id":1,"{right}":{{}}}}"#);
                assert_eq!(command(&line).request.name(), *first, "{line}");
            }
        }
    }
}

#[test]
fn null_is_as_good_as_nothing_at_every_depth() {
    let nothing = r#"{"id":1,"connect":{"subs":{"a":{}}}}"#;
    let null = r#"{"id":1,"connect":{"token":null,"data":null,"name":null,"headers":null,"version":null,
        "subs":{"a":{"channel":null,"recover":null,"offset":null,"epoch":null,"data":null,"tf":null,"flag":null,"type":null}}}}"#
        .replace('\n', " ");
    assert_eq!(command(&null), command(nothing));
    assert_eq!(command(r#"{"id":null}"#), command("{}"));
    assert_eq!(command(r#"{"id":1,"connect":{"subs":{"a":null}}}"#), command(nothing));
    assert_eq!(
        command(r#"{"id":1,"history":{"limit":null,"since":null,"reverse":null}}"#),
        command(r#"{"id":1,"history":{}}"#)
    );
    let nothing = r#"{"id":1,"subscribe":{"recoverable":true}}"#;
    let null =
        r#"{"id":1,"error":null,"subscribe":{"recoverable":true,"publications":null,"offset":null,"epoch":null}}"#;
    assert_eq!(reply(null), reply(nothing));
}

#[test]
fn unknown_fields_are_passed_over_in_commands_and_replies() {
    let line = r#"{"id":1,"new":[{}],"subscribe":{"channel":"a","new":{"b":1}}}"#;
    assert_eq!(command(line), command(r#"{"id":1,"subscribe":{"channel":"a"}}"#));
    let line = r#"{"push":{"new":1,"channel":"a","pub":{"data":1,"delta":true,"new":[]}}}"#;
    assert_eq!(reply(line), reply(r#"{"push":{"channel":"a","pub":{"data":1}}}"#));
    assert_eq!(
        reply(r#"{"push":{"channel":"a","later":{}}}"#),
        Reply::Push(Push { channel: "a".to_owned(), body: PushBody::Unknown })
    );
}

#[test]
fn what_the_js_sdk_pipelines_is_two_commands() {
    let message = concat!(
        r#"{"id":1,"connect":{"token":"t","name":"js"}}"#,
        "\n",
        r#"{"id":2,"subscribe":{"channel":"news","recover":true,"epoch":"kXwQmZab","offset":8}}"#,
    );
    let commands = commands(message);
    assert_eq!(
        commands.iter().map(|command| (command.id, command.request.name())).collect::<Vec<_>>(),
        [(1, "connect"), (2, "subscribe")]
    );
    let Request::Subscribe(subscribe) = &commands[1].request else { panic!("subscribe") };
    assert_eq!((subscribe.recover, subscribe.position()), (true, StreamPosition::new(8, "kXwQmZab")));
}

/// Each body twice: with nothing in it, where the fields that must stay show, and with everything.
fn all_answers() -> Vec<(Answer, &'static str)> {
    let info = || ClientInfo {
        user: "u".to_owned(),
        client: "c".to_owned(),
        conn_info: Some(json("1")),
        chan_info: Some(json("2")),
    };
    let publication = || Publication {
        data: json(r#"{"t":"hi"}"#),
        info: Some(info().into()),
        offset: 1,
        tags: one("k", "v".to_owned()),
        epoch: "e".to_owned(),
    };
    let bare =
        || Publication { data: json("null"), info: None, offset: 0, tags: BTreeMap::new(), epoch: String::new() };
    let subscribe = || SubscribeResult {
        expires: true,
        ttl: 60,
        recoverable: true,
        epoch: "e".to_owned(),
        publications: vec![publication(), bare()],
        recovered: true,
        offset: 8,
        positioned: true,
        data: Some(json("{}")),
        was_recovering: true,
    };
    let connect = ConnectResult {
        client: "c".to_owned(),
        version: "0.1.0".to_owned(),
        expires: true,
        ttl: 60,
        data: Some(json("{}")),
        subs: one("a", SubscribeResult::default()),
        ping: 25,
        pong: true,
        session: "s".to_owned(),
        node: "n".to_owned(),
        time: 1,
    };
    vec![
        (Answer::Connect(ConnectResult::default()), r#""connect":{"client":"","version":""}"#),
        (
            Answer::Connect(connect),
            r#""connect":{"client":"c","version":"0.1.0","expires":true,"ttl":60,"data":{},"subs":{"a":{}},"ping":25,"pong":true,"session":"s","node":"n","time":1}"#,
        ),
        (Answer::Subscribe(SubscribeResult::default()), r#""subscribe":{}"#),
        (
            Answer::Subscribe(subscribe()),
            r#""subscribe":{"expires":true,"ttl":60,"recoverable":true,"epoch":"e","publications":[{"data":{"t":"hi"},"info":{"user":"u","client":"c","conn_info":1,"chan_info":2},"offset":1,"tags":{"k":"v"},"epoch":"e"},{"data":null}],"recovered":true,"offset":8,"positioned":true,"data":{},"was_recovering":true}"#,
        ),
        (Answer::Unsubscribe, r#""unsubscribe":{}"#),
        (Answer::Publish, r#""publish":{}"#),
        (Answer::Presence(PresenceResult::default()), r#""presence":{"presence":{}}"#),
        (
            Answer::Presence(PresenceResult { presence: one("c", ClientInfo::default()) }),
            r#""presence":{"presence":{"c":{"user":"","client":""}}}"#,
        ),
        (Answer::PresenceStats(PresenceStatsResult::default()), r#""presence_stats":{"num_clients":0,"num_users":0}"#),
        (Answer::History(HistoryResult::default()), r#""history":{"publications":[],"epoch":"","offset":0}"#),
        (
            Answer::History(HistoryResult { publications: vec![bare()], epoch: "e".to_owned(), offset: 1 }),
            r#""history":{"publications":[{"data":null}],"epoch":"e","offset":1}"#,
        ),
        (Answer::Rpc(RpcResult::default()), r#""rpc":{}"#),
        (Answer::Rpc(RpcResult { data: Some(json("[]")) }), r#""rpc":{"data":[]}"#),
        (Answer::Refresh(RefreshResult::default()), r#""refresh":{}"#),
        (
            Answer::Refresh(RefreshResult { client: "c".to_owned(), version: "v".to_owned(), expires: true, ttl: 9 }),
            r#""refresh":{"client":"c","version":"v","expires":true,"ttl":9}"#,
        ),
        (Answer::SubRefresh(SubRefreshResult::default()), r#""sub_refresh":{}"#),
        (Answer::SubRefresh(SubRefreshResult { expires: true, ttl: 9 }), r#""sub_refresh":{"expires":true,"ttl":9}"#),
    ]
}

#[test]
fn answers_are_written_and_read_to_the_letter() {
    for (answer, body) in all_answers() {
        let line = format!("{{\"id\":7,{body}}}");
        let expected = Reply::Answer { id: 7, outcome: Ok(answer) };
        assert_eq!(encoded_reply(&expected), line);
        assert_eq!(reply(&line), expected);
    }
}

#[test]
fn errors_carry_code_and_message_and_say_when_trying_again_helps() {
    for (error, body) in [
        (ErrorReply::from(ErrorCode::PermissionDenied), r#"{"code":103,"message":"permission denied"}"#),
        (ErrorReply::from(ErrorCode::Internal), r#"{"code":100,"message":"internal server error","temporary":true}"#),
        (ErrorReply { code: 0, message: String::new(), temporary: false }, r#"{"code":0,"message":""}"#),
    ] {
        let line = format!(r#"{{"id":7,"error":{body}}}"#);
        let expected = Reply::Answer { id: 7, outcome: Err(error) };
        assert_eq!(encoded_reply(&expected), line);
        assert_eq!(reply(&line), expected);
    }
}

#[test]
fn pushes_are_written_and_read_to_the_letter() {
    let publication =
        Publication { data: json("1"), info: None, offset: 8, tags: BTreeMap::new(), epoch: String::new() };
    let subscribed =
        Subscribed { recoverable: true, epoch: "e".to_owned(), offset: 7, positioned: true, data: Some(json("1")) };
    for (channel, body, line) in [
        ("a", PushBody::Publication(publication), r#""channel":"a","pub":{"data":1,"offset":8}"#),
        ("a", PushBody::Join(ClientInfo::default()), r#""channel":"a","join":{"info":{"user":"","client":""}}"#),
        ("a", PushBody::Leave(ClientInfo::default()), r#""channel":"a","leave":{"info":{"user":"","client":""}}"#),
        ("a", PushBody::Unsubscribe(Unsubscribe::default()), r#""channel":"a","unsubscribe":{"code":0,"reason":""}"#),
        ("", PushBody::Message(Message { data: json("[]") }), r#""message":{"data":[]}"#),
        ("a", PushBody::Subscribe(Subscribed::default()), r#""channel":"a","subscribe":{}"#),
        (
            "a",
            PushBody::Subscribe(subscribed),
            r#""channel":"a","subscribe":{"recoverable":true,"epoch":"e","offset":7,"positioned":true,"data":1}"#,
        ),
        (
            "",
            PushBody::Disconnect(Disconnect { code: 3001, reason: "shutdown".to_owned(), reconnect: true }),
            r#""disconnect":{"code":3001,"reason":"shutdown","reconnect":true}"#,
        ),
        ("", PushBody::Refresh(Refreshed::default()), r#""refresh":{}"#),
        ("", PushBody::Refresh(Refreshed { expires: true, ttl: 9 }), r#""refresh":{"expires":true,"ttl":9}"#),
    ] {
        let line = format!(r#"{{"push":{{{line}}}}}"#);
        let expected = Reply::Push(Push { channel: channel.to_owned(), body });
        assert_eq!(encoded_reply(&expected), line);
        assert_eq!(reply(&line), expected);
    }
}

#[test]
fn an_empty_reply_is_a_ping() {
    assert_eq!(encoded_reply(&Reply::Ping), "{}");
    for line in ["{}", " { } ", r#"{"id":0}"#, r#"{"later":1}"#] {
        assert_eq!(reply(line), Reply::Ping, "{line}");
    }
}

#[test]
fn an_empty_payload_of_a_protobuf_peer_is_null_in_json() {
    let message = PushBody::Message(Message { data: Payload::from_bytes(b"") });
    let push = Reply::Push(Push { channel: String::new(), body: message });
    assert_eq!(encoded_reply(&push), r#"{"push":{"message":{"data":null}}}"#);
}

#[test]
fn a_newline_in_a_payload_does_not_reach_the_wire() {
    let text = b"{\n\"a\":\r\n[\"x\\ny\"]}";
    let blank = r#"{ "a":  ["x\ny"]}"#;
    let data = Payload::from_bytes(text);
    let publish = PublishRequest { channel: "a".to_owned(), data: Some(data.clone()), ..PublishRequest::default() };
    assert_eq!(
        encoded_command(&Command { id: 1, request: Request::Publish(publish) }),
        format!(r#"{{"id":1,"publish":{{"channel":"a","data":{blank}}}}}"#)
    );
    let push = Reply::Push(Push { channel: String::new(), body: PushBody::Message(Message { data }) });
    assert_eq!(encoded_reply(&push), format!(r#"{{"push":{{"message":{{"data":{blank}}}}}}}"#));
}

#[test]
fn names_that_need_escaping_are_escaped_as_keys_and_as_values() {
    let name = "a\"b\\c\nd\u{2028}\u{0}";
    let text = r#""a\"b\\c\nd"#.to_owned() + "\u{2028}" + r#"\u0000""#;
    let presence = PresenceResult { presence: one(name, ClientInfo { user: name.to_owned(), ..Default::default() }) };
    assert_eq!(
        encoded_reply(&Reply::Answer { id: 1, outcome: Ok(Answer::Presence(presence)) }),
        format!(r#"{{"id":1,"presence":{{"presence":{{{text}:{{"user":{text},"client":""}}}}}}}}"#)
    );
}

#[test]
fn a_reply_needs_an_error_or_a_result() {
    let error = super::JSON.replies(br#"{"id":3}"#).next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "a reply with an id but neither error nor result");
    assert!(refused(r#"{"id":3,"rpc":5}"#).to_string().contains("invalid type: integer `5`"));
}
