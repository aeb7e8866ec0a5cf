//! Whatever is written is read back as it was.

use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::{JSON, encoded_command, encoded_reply};
use crate::codec::made_up::{commands, payloads, replies};
use crate::command::{Command, Request};
use crate::payload::Payload;
use crate::push::PushBody;
use crate::reply::{Answer, Reply};

proptest! {
    #[test]
    fn commands_come_back_in_order(commands in vec(commands(), 1..6), trailing in any::<bool>()) {
        let mut message = Vec::new();
        for command in &commands {
            JSON.encode_command(command, &mut message).unwrap();
        }
        if trailing {
            message.push(b'\n');
        }
        prop_assert_eq!(message.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count(), commands.len());
        let read: Vec<Command> = JSON.commands(&message).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, commands);
    }

    #[test]
    fn replies_come_back_in_order(replies in vec(replies(), 1..6)) {
        let lines: Vec<String> = replies.iter().map(encoded_reply).collect();
        prop_assert!(lines.iter().all(|line| !line.contains(['\n', '\r'])));
        let message = lines.join("\n");
        let read: Vec<Reply> = JSON.replies(message.as_bytes()).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, replies);
    }

    /// Two writers, made in different ways: ours by hand, and the one that the types derive.
    #[test]
    fn replies_are_written_as_the_types_say(reply in replies()) {
        let written: Value = serde_json::from_str(&encoded_reply(&reply)).unwrap();
        prop_assert_eq!(written, as_derived(&reply));
    }

    #[test]
    fn payloads_are_passed_on_unread(payload in payloads(), before in "[ \t]{0,3}", after in "[ \t]{0,3}") {
        let text = std::str::from_utf8(payload.as_bytes()).unwrap();
        let line = format!(r#"{{"id":1,"rpc":{{"data":{before}{text}{after}}}}}"#);
        let Request::Rpc(rpc) = super::command(&line).request else { panic!("an rpc") };
        prop_assert_eq!(rpc.data, Some(payload));
    }

    #[test]
    fn a_line_that_was_accepted_means_the_same_when_it_is_written_again(command in commands()) {
        let once = encoded_command(&command);
        let twice = encoded_command(&super::command(&once));
        prop_assert_eq!(once, twice);
    }
}

fn as_derived(reply: &Reply) -> Value {
    let body = |name: &str, value: Value| json!({ name: value });
    match reply {
        Reply::Ping => json!({}),
        Reply::Push(push) => {
            let mut value = match &push.body {
                PushBody::Publication(publication) => body("pub", derived(publication)),
                PushBody::Join(info) => body("join", json!({ "info": derived(info) })),
                PushBody::Leave(info) => body("leave", json!({ "info": derived(info) })),
                PushBody::Unsubscribe(unsubscribe) => body("unsubscribe", derived(unsubscribe)),
                PushBody::Message(message) => body("message", derived(message)),
                PushBody::Subscribe(subscribed) => body("subscribe", derived(subscribed)),
                PushBody::Disconnect(disconnect) => body("disconnect", derived(disconnect)),
                PushBody::Refresh(refreshed) => body("refresh", derived(refreshed)),
                PushBody::Unknown => json!({}),
            };
            if !push.channel.is_empty() {
                value["channel"] = json!(push.channel);
            }
            json!({ "push": value })
        }
        Reply::Answer { id, outcome } => {
            let mut value = match outcome {
                Err(error) => body("error", derived(error)),
                Ok(Answer::Connect(result)) => body("connect", derived(result)),
                Ok(Answer::Subscribe(result)) => body("subscribe", derived(result)),
                Ok(Answer::Unsubscribe) => body("unsubscribe", json!({})),
                Ok(Answer::Publish) => body("publish", json!({})),
                Ok(Answer::Presence(result)) => body("presence", derived(result)),
                Ok(Answer::PresenceStats(result)) => body("presence_stats", derived(result)),
                Ok(Answer::History(result)) => body("history", derived(result)),
                Ok(Answer::Rpc(result)) => body("rpc", derived(result)),
                Ok(Answer::Refresh(result)) => body("refresh", derived(result)),
                Ok(Answer::SubRefresh(result)) => body("sub_refresh", derived(result)),
            };
            value["id"] = json!(id);
            value
        }
    }
}

/// By way of text: a value made from a payload directly would hide it in serde_json's private wrapper.
fn derived<T: Serialize>(value: &T) -> Value {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn commands_are_set_apart_and_replies_are_not() {
    let pong = Command { id: 0, request: Request::Pong };
    let mut message = vec![0; 10]; // head room for a frame's header
    JSON.encode_command(&pong, &mut message).unwrap();
    JSON.encode_command(&pong, &mut message).unwrap();
    assert_eq!(&message[10..], b"{}\n{}");

    let mut message = vec![0; 10];
    JSON.encode_reply(&Reply::Ping, &mut message);
    JSON.encode_reply(&Reply::Ping, &mut message);
    assert_eq!(&message[10..], b"{}{}");
}

#[test]
fn a_command_that_can_not_be_written_leaves_no_trace() {
    let not_json = [&b"not json"[..], b"", b"\xff", b"1 2", b"{"];
    for bytes in not_json {
        let publish = crate::command::PublishRequest {
            channel: "news".to_owned(),
            data: Some(Payload::from_bytes(bytes)),
            ..Default::default()
        };
        let mut message = b"{}".to_vec();
        let error = JSON.encode_command(&Command { id: 1, request: Request::Publish(publish) }, &mut message);
        let error = error.expect_err("the payload is not JSON").to_string();
        assert!(error.starts_with("the payload is not JSON: "), "{error}");
        assert_eq!(message, b"{}");
    }
}
