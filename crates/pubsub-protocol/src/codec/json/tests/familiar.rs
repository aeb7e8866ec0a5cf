//! The short way of reading takes the lines it is for, and whatever it takes it reads as the long way does.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{decode_any_command, decode_any_reply, familiar};
use super::{encoded_command, encoded_reply};
use crate::codec::made_up::{payloads, publications, replies, texts};
use crate::command::{Command, PublishRequest, Request};
use crate::push::{Push, PushBody};
use crate::reply::{Answer, Reply};

/// What stands for something in a line, and so may give it another meaning.
const EDITS: &[u8] = b"{}[]\":,\\ \t\r\x00\x1f0019.-+eEunltrfasd\xc3\xa9\xff";

/// One change to a line: where, by what, and whether that replaces, is put in, or only takes away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit(prop::sample::Index, u8, u8);

pub(super) fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (any::<prop::sample::Index>(), prop::sample::select(EDITS), 0..3_u8);
    vec(edit.prop_map(|(at, byte, kind)| Edit(at, byte, kind)), 0..3)
}

pub(super) fn edited(line: String, edits: &[Edit]) -> Vec<u8> {
    let mut line = line.into_bytes();
    for Edit(at, byte, kind) in edits {
        let at = at.index(line.len());
        match kind {
            0 => line[at] = *byte,
            1 => line.insert(at, *byte),
            _ => drop(line.remove(at)),
        }
    }
    line
}

/// Publishes, a third of them with the id behind.
fn publish_lines() -> impl Strategy<Value = String> {
    (any::<u32>(), texts(), payloads(), 0..3).prop_map(|(id, channel, data, form)| {
        let publish = PublishRequest { channel, data: Some(data), ..PublishRequest::default() };
        let line = encoded_command(&Command { id, request: Request::Publish(publish) });
        match (form, line.strip_prefix(&format!("{{\"id\":{id},"))) {
            (0, Some(rest)) => format!("{{{},\"id\":{id}}}", &rest[..rest.len() - 1]),
            _ => line,
        }
    })
}

/// Publications, most of them with neither tags nor epoch, and other replies.
fn reply_lines() -> impl Strategy<Value = String> {
    let push = (texts(), publications(), 0..4).prop_map(|(channel, mut publication, form)| {
        if form > 0 {
            publication.tags.clear();
            publication.epoch.clear();
        }
        Reply::Push(Push { channel, body: PushBody::Publication(publication) })
    });
    let answer = any::<u32>().prop_map(|id| Reply::Answer { id, outcome: Ok(Answer::Publish) });
    prop_oneof![6 => push, 2 => answer, 1 => replies()].prop_map(|reply| encoded_reply(&reply))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_048, ..ProptestConfig::default() })]

    #[test]
    fn a_command_means_the_same_by_the_short_way(line in publish_lines(), edits in edits()) {
        let line = edited(line, &edits);
        if let Some(command) = familiar::command(&line) {
            prop_assert_eq!(decode_any_command(&line).ok(), Some(command));
        }
    }

    #[test]
    fn a_reply_means_the_same_by_the_short_way(line in reply_lines(), edits in edits()) {
        let line = edited(line, &edits);
        if let Some(reply) = familiar::reply(&line) {
            prop_assert_eq!(decode_any_reply(&line).ok(), Some(reply));
        }
    }
}

#[test]
fn what_is_usual_goes_the_short_way() {
    for line in [
        r#"{"id":7,"publish":{"channel":"news","data":{"a":[1,"}"]}}}"#,
        r#"{"publish":{"channel":"news","data":"text"},"id":7}"#,
        r#"{"id":4294967295,"publish":{"channel":"Ä","data":-1.5e3}}"#,
    ] {
        let command = familiar::command(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(decode_any_command(line.as_bytes()).unwrap(), command);
    }
    for line in [
        r#"{"id":7,"publish":{}}"#,
        r#"{"push":{"channel":"news","pub":{"data":{"a":1}}}}"#,
        r#"{"push":{"channel":"news","pub":{"data":0,"offset":18446744073709551615}}}"#,
        r#"{"push":{"channel":"news","pub":{"data":"x","info":{"user":"ann","client":"c"},"offset":5}}}"#,
        r#"{"push":{"channel":"n","pub":{"data":[],"info":{"user":"","client":"c","conn_info":{"a":1},"chan_info":2}}}}"#,
    ] {
        let reply = familiar::reply(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(decode_any_reply(line.as_bytes()).unwrap(), reply);
    }
}

#[test]
fn what_is_not_goes_the_long_way() {
    for line in [
        r#"{"id":07,"publish":{"channel":"news","data":1}}"#,
        r#"{"id":4294967296,"publish":{"channel":"news","data":1}}"#,
        r#"{"id":7,"publish":{"channel":"new\u0073","data":1}}"#,
        r#"{"id":7,"publish":{"channel":"news","data":null}}"#,
        r#"{"id":7,"publish":{"channel":"news","data": null}}"#,
        "{\"id\":7,\"publish\":{\"channel\":\"news\",\"data\":\tnull}}",
        r#"{"id":7,"publish":{"channel":"news","data":1,"idempotency_key":"k"}}"#,
        r#"{"id":7,"publish":{"channel":"news","data":1}} "#,
        r#"{"publish":{"channel":"news","data":1}}"#,
        "{\"id\":7,\"publish\":{\"channel\":\"ne\tws\",\"data\":1}}",
    ] {
        assert_eq!(familiar::command(line.as_bytes()), None, "{line}");
    }
    for line in [
        r#"{"push":{"channel":"news","pub":{"data":1,"offset":5,"tags":{"a":"b"}}}}"#,
        r#"{"push":{"channel":"news","pub":{"data":1,"offset":1,"epoch":"e"}}}"#,
        r#"{"push":{"channel":"news","pub":{"data":1,"offset":18446744073709551616}}}"#,
        r#"{"push":{"channel":"n","pub":{"data":1,"info":{"user":"","client":"c","conn_info": null}}}}"#,
        r#"{"push":{"channel":"n","pub":{"data":1,"info":{"user":"","client":"c","chan_info": null}}}}"#,
        r#"{"push":{"channel":"news","join":{"info":{"user":"","client":"c"}}}}"#,
    ] {
        assert_eq!(familiar::reply(line.as_bytes()), None::<Reply>, "{line}");
    }
}
