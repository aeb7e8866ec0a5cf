//! `docs/api.md`: every `curl` line in it is sent to a server without a configuration, in the order of the page, and the
//! answer compared with the one that is shown.

use std::sync::LazyLock;

use http::header::HeaderName;
use pubsub_server::config::Config;
use regex::Regex;
use serde_json::Value;

use crate::rig::{Rig, post};

const MANUAL: &str = include_str!("../../../../docs/api.md");

static CURL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^curl(?: -H '([^:']+): ([^']+)')? -d '([^']*)' '?http://localhost:8000(/[^' ]*)'?$").unwrap()
});

/// The contents of fenced blocks, with their language.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = MANUAL.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_manual_shows_what_happens() {
    let rig = Rig::new(Config::open_default());
    let _client = rig.subscribed("", "news").await;
    let mut called = Vec::new();
    let mut answer = Value::Null;
    for (language, block) in blocks() {
        match language {
            "sh" => {
                for line in block.lines() {
                    let curl = CURL.captures(line).unwrap_or_else(|| panic!("not a line to copy: {line}"));
                    let mut request = post(&curl[4], curl[3].to_owned());
                    if let (Some(name), Some(value)) = (curl.get(1), curl.get(2)) {
                        let name: HeaderName = name.as_str().to_ascii_lowercase().parse().unwrap();
                        request.headers_mut().insert(name, value.as_str().parse().unwrap());
                    }
                    answer = rig.request(request).await.json();
                    called.push(curl[4].split('?').next().unwrap().to_owned());
                }
            }
            "json" => {
                let shown: Value = serde_json::from_str(block).unwrap();
                assert!(is_alike(&shown, &answer), "shown is\n{shown}\nand the answer to {called:?} was\n{answer}");
            }
            other => panic!("a block in {other:?}"),
        }
    }
    for method in pubsub_server::api::call::Method::ALL {
        assert!(called.contains(&format!("/api/{}", method.name())), "no curl line for {}", method.name());
    }
    assert!(called.contains(&"/api/batch".to_owned()) && called.contains(&"/api".to_owned()));
    rig.end().await;
}

/// Whether both are the same but for what is another one on each run: ids, epochs, names and measures.
fn is_alike(shown: &Value, answer: &Value) -> bool {
    match (shown, answer) {
        (Value::Object(shown), Value::Object(answer)) => {
            shown.len() == answer.len()
                && shown.iter().zip(answer).all(|((shown_key, shown), (key, answer))| {
                    let varies = ["epoch", "uid", "name", "uptime", "rss", "open_fds", "max_fds", "client"];
                    let is_id = |key: &str| key.len() == 36;
                    let same_key = shown_key == key || is_id(shown_key) && is_id(key);
                    let same_kind = std::mem::discriminant(shown) == std::mem::discriminant(answer);
                    same_key && (is_alike(shown, answer) || varies.contains(&key.as_str()) && same_kind)
                })
        }
        (Value::Array(shown), Value::Array(answer)) => {
            shown.len() == answer.len() && shown.iter().zip(answer).all(|(shown, answer)| is_alike(shown, answer))
        }
        _ => shown == answer,
    }
}
