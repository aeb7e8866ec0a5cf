//! The three lines that nearly all traffic consists of, read in the very form in which servers and SDKs write them: a
//! publication, a publish, and its answer.
//!
//! A line that differs in one byte is none of them and is left to the reader that takes any JSON, which also has the words for
//! what is wrong. What is read here, that one would read just so (`tests/familiar.rs`), for more than twice the instructions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::scan;
use crate::command::{Command, PublishRequest, Request};
use crate::payload::Payload;
use crate::push::{ClientInfo, Publication, Push, PushBody};
use crate::reply::{Answer, Reply};

/// A publish: the id first, as most write it, or last, as the SDK for JavaScript does.
pub(super) fn command(line: &[u8]) -> Option<Command> {
    if let Some(rest) = line.strip_prefix(br#"{"id":"#) {
        let (id, rest) = digits(rest)?;
        let (publish, rest) = publish(rest.strip_prefix(br#","publish":{"#)?)?;
        return (rest == "}").then_some(Command { id: u32::try_from(id).ok()?, request: Request::Publish(publish) });
    }
    let (publish, rest) = publish(line.strip_prefix(br#"{"publish":{"#)?)?;
    let (id, rest) = digits(rest.strip_prefix(r#","id":"#)?.as_bytes())?;
    (rest == b"}").then_some(Command { id: u32::try_from(id).ok()?, request: Request::Publish(publish) })
}

/// The inside of a publish, and what follows it.
fn publish(object: &[u8]) -> Option<(PublishRequest, &str)> {
    let mut text = Text(simdutf8::basic::from_utf8(object).ok()?);
    let channel = text.field(r#""channel":"#, Text::string)?;
    let data = text.field(r#","data":"#, Text::payload)?;
    text.skip("}")?;
    Some((PublishRequest { channel, data: Some(data), idempotency_key: String::new() }, text.0))
}

/// A publication, or the answer to a publish.
pub(super) fn reply(line: &[u8]) -> Option<Reply> {
    if let Some(rest) = line.strip_prefix(br#"{"id":"#) {
        let (id, rest) = digits(rest)?;
        let is_published = rest == br#","publish":{}}"#;
        return is_published.then_some(Reply::Answer { id: u32::try_from(id).ok()?, outcome: Ok(Answer::Publish) });
    }
    let push = line.strip_prefix(br#"{"push":{"#)?;
    let mut text = Text(simdutf8::basic::from_utf8(push).ok()?);
    let channel = text.field(r#""channel":"#, Text::string)?;
    let data = text.field(r#","pub":{"data":"#, Text::payload)?;
    let info = text.field_if_there(r#","info":{"user":"#, Text::info)?;
    let offset = text.field_if_there(r#","offset":"#, Text::number)?;
    let (info, offset, tags, epoch) = (info.map(Arc::new), offset.unwrap_or(0), BTreeMap::new(), String::new());
    let body = PushBody::Publication(Publication { data, info, offset, tags, epoch });
    (text.0 == "}}}").then_some(Reply::Push(Push { channel, body }))
}

/// The number that this begins with, as JSON writes it, and what follows it.
fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    let mut count = 0;
    while let Some(digit) = text.get(count).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
        count += 1;
    }
    (count > 0 && (count == 1 || text[0] != b'0')).then(|| (number, &text[count..]))
}

/// What is left of a line.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn skip(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn field<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.skip(key)?;
        read(self)
    }

    fn field_if_there<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.0.starts_with(key) { self.field(key, read).map(Some) } else { Some(None) }
    }

    /// A string with nothing in it that is escaped, or would have to be.
    fn string(&mut self) -> Option<String> {
        self.skip("\"")?;
        let (string, rest) = self.0.split_at(scan::string(self.0.as_bytes())?);
        self.0 = &rest[1..];
        Some(string.to_owned())
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = digits(self.0.as_bytes())?;
        self.0 = &self.0[self.0.len() - rest.len()..];
        Some(number)
    }

    /// Any value but `null`, which is as good as none.
    fn payload(&mut self) -> Option<Payload> {
        // White space may be in front of one.
        if self.0.starts_with(['n', ' ', '\t', '\r', '\n']) {
            return None;
        }
        if let Some(end) = scan::value(self.0.as_bytes()) {
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(Payload::from_bytes(value.as_bytes()));
        }
        let mut values = serde_json::Deserializer::from_str(self.0).into_iter::<&RawValue>();
        let payload = Payload::from_raw(values.next()?.ok()?);
        self.0 = &self.0[values.byte_offset()..];
        Some(payload)
    }

    /// Who published, from the value of the first field on.
    fn info(&mut self) -> Option<ClientInfo> {
        let user = self.string()?;
        let client = self.field(r#","client":"#, Self::string)?;
        let conn_info = self.field_if_there(r#","conn_info":"#, Self::payload)?;
        let chan_info = self.field_if_there(r#","chan_info":"#, Self::payload)?;
        self.skip("}")?;
        Some(ClientInfo { user, client, conn_info, chan_info })
    }
}
