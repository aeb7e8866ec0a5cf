//! The JSON format: one object a line.
//!
//! Reading goes through serde, but for the lines that nearly all traffic consists of ([`familiar`]). Writing does not: a
//! payload is already JSON text and is copied, where serde would parse it once more to be sure; and zero values are
//! left out by rules that the wire fixes field by field (`docs/protocol.md`).

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Batch, DecodeError, EncodeError, Lay};
use crate::command::{
    ChannelRequest, Command, ConnectRequest, HistoryRequest, PublishRequest, RefreshRequest, Request, RpcRequest,
    SendRequest, SubRefreshRequest, SubscribeRequest,
};
use crate::payload::Payload;
use crate::push::{ClientInfo, Disconnect, Message, Publication, Push, PushBody, Refreshed, Subscribed, Unsubscribe};
use crate::reply::{
    Answer, ConnectResult, ErrorReply, HistoryResult, PresenceResult, PresenceStatsResult, RefreshResult, Reply,
    RpcResult, SubRefreshResult, SubscribeResult,
};

mod familiar;
pub(super) mod reader;
mod scan;
#[cfg(test)]
mod tests;

/// The first line, and where the next one begins. A trailing newline is no line of its own.
pub(super) fn split(rest: &[u8]) -> (&[u8], usize) {
    let end = memchr::memchr(b'\n', rest);
    (&rest[..end.unwrap_or(rest.len())], end.map_or(rest.len(), |newline| newline + 1))
}

/// A command as it stands on the wire. If several bodies are set, the first in this order counts. What comes rarely is boxed:
/// what is read is moved a few times before it is done, and a publish would drag along room for all.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCommand {
    id: u32,
    connect: Option<Box<ConnectRequest>>,
    subscribe: Option<Box<SubscribeRequest>>,
    unsubscribe: Option<ChannelRequest>,
    publish: Option<PublishRequest>,
    presence: Option<ChannelRequest>,
    presence_stats: Option<ChannelRequest>,
    history: Option<Box<HistoryRequest>>,
    ping: Option<IgnoredAny>,
    send: Option<SendRequest>,
    rpc: Option<Box<RpcRequest>>,
    refresh: Option<Box<RefreshRequest>>,
    sub_refresh: Option<Box<SubRefreshRequest>>,
}

impl WireCommand {
    fn request(self) -> Option<Request> {
        None.or(self.connect.map(|body| Request::Connect(*body)))
            .or(self.subscribe.map(|body| Request::Subscribe(*body)))
            .or(self.unsubscribe.map(Request::Unsubscribe))
            .or(self.publish.map(Request::Publish))
            .or(self.presence.map(Request::Presence))
            .or(self.presence_stats.map(Request::PresenceStats))
            .or(self.history.map(|body| Request::History(*body)))
            .or(self.ping.map(|_| Request::Ping))
            .or(self.send.map(Request::Send))
            .or(self.rpc.map(|body| Request::Rpc(*body)))
            .or(self.refresh.map(|body| Request::Refresh(*body)))
            .or(self.sub_refresh.map(|body| Request::SubRefresh(*body)))
    }
}

pub(super) fn decode_command(line: &[u8]) -> Result<Command, DecodeError> {
    // The one message that every idle client sends: not worth a parser.
    if line == b"{}" {
        return Ok(Command { id: 0, request: Request::Pong });
    }
    familiar::command(line).map_or_else(|| decode_any_command(line), Ok)
}

fn decode_any_command(line: &[u8]) -> Result<Command, DecodeError> {
    let wire: WireCommand = read(line)?;
    let id = wire.id;
    let request = wire.request().unwrap_or(if id == 0 { Request::Pong } else { Request::Unknown });
    Ok(Command { id, request })
}

/// A line that stands between two newlines, or alone, without anything in it is no command and no reply.
fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, DecodeError> {
    if line.is_empty() { Err(DecodeError::Empty) } else { Ok(reader::from_slice(line)?) }
}

pub(super) fn encode_command(command: &Command, message: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = message.len();
    separate(message);
    let mut object = Object::begin(message);
    object.number_unless_zero("id", u64::from(command.id));
    let encoded = match &command.request {
        Request::Connect(body) => object.serialized("connect", body),
        Request::Subscribe(body) => object.serialized("subscribe", body),
        Request::Unsubscribe(body) => object.serialized("unsubscribe", body),
        Request::Publish(body) => encode_publish(body, &mut object),
        Request::Presence(body) => object.serialized("presence", body),
        Request::PresenceStats(body) => object.serialized("presence_stats", body),
        Request::History(body) => object.serialized("history", body),
        Request::Ping => {
            object.raw("ping", b"{}");
            Ok(())
        }
        Request::Send(body) => object.serialized("send", body),
        Request::Rpc(body) => object.serialized("rpc", body),
        Request::Refresh(body) => object.serialized("refresh", body),
        Request::SubRefresh(body) => object.serialized("sub_refresh", body),
        Request::Pong | Request::Unknown => Ok(()),
    };
    object.end();
    encoded.map_err(|error| {
        message.truncate(start);
        error.into()
    })
}

fn encode_publish(body: &PublishRequest, command: &mut Object<'_>) -> Result<(), serde_json::Error> {
    let mut checked = Ok(());
    command.object("publish", |object| {
        object.string_unless_empty("channel", &body.channel);
        checked = body.data.as_ref().map_or(Ok(()), |data| object.checked_payload("data", data));
        object.string_unless_empty("idempotency_key", &body.idempotency_key);
    });
    checked
}

/// A reply as it stands on the wire. Most are publications, and what is read is moved a few times before it is done: what
/// is rarer is boxed, or each would drag along room for all.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireReply {
    id: u32,
    error: Option<Box<ErrorReply>>,
    push: Option<WirePush>,
    connect: Option<Box<ConnectResult>>,
    subscribe: Option<Box<SubscribeResult>>,
    unsubscribe: Option<IgnoredAny>,
    publish: Option<IgnoredAny>,
    presence: Option<Box<PresenceResult>>,
    presence_stats: Option<PresenceStatsResult>,
    history: Option<Box<HistoryResult>>,
    rpc: Option<RpcResult>,
    refresh: Option<Box<RefreshResult>>,
    sub_refresh: Option<SubRefreshResult>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WirePush {
    channel: String,
    r#pub: Option<Publication>,
    join: Option<Box<WireInfo>>,
    leave: Option<Box<WireInfo>>,
    unsubscribe: Option<Box<Unsubscribe>>,
    message: Option<Message>,
    subscribe: Option<Box<Subscribed>>,
    disconnect: Option<Box<Disconnect>>,
    refresh: Option<Refreshed>,
}

#[derive(Deserialize)]
struct WireInfo {
    info: ClientInfo,
}

impl WirePush {
    fn body(self) -> PushBody {
        if let Some(publication) = self.r#pub {
            return PushBody::Publication(publication);
        }
        None.or(self.join.map(|join| PushBody::Join(join.info)))
            .or(self.leave.map(|leave| PushBody::Leave(leave.info)))
            .or(self.unsubscribe.map(|end| PushBody::Unsubscribe(*end)))
            .or(self.message.map(PushBody::Message))
            .or(self.subscribe.map(|start| PushBody::Subscribe(*start)))
            .or(self.disconnect.map(|end| PushBody::Disconnect(*end)))
            .or(self.refresh.map(PushBody::Refresh))
            .unwrap_or(PushBody::Unknown)
    }
}

pub(super) fn decode_reply(line: &[u8]) -> Result<Reply, DecodeError> {
    if line == b"{}" {
        return Ok(Reply::Ping);
    }
    familiar::reply(line).map_or_else(|| decode_any_reply(line), Ok)
}

fn decode_any_reply(line: &[u8]) -> Result<Reply, DecodeError> {
    let wire: WireReply = read(line)?;
    if let Some(mut push) = wire.push {
        let channel = std::mem::take(&mut push.channel);
        return Ok(Reply::Push(Push { channel, body: push.body() }));
    }
    let id = wire.id;
    if let Some(error) = wire.error {
        return Ok(Reply::Answer { id, outcome: Err(*error) });
    }
    let answer = None
        .or(wire.connect.map(|result| Answer::Connect(*result)))
        .or(wire.subscribe.map(|result| Answer::Subscribe(*result)))
        .or(wire.unsubscribe.map(|_| Answer::Unsubscribe))
        .or(wire.publish.map(|_| Answer::Publish))
        .or(wire.presence.map(|result| Answer::Presence(*result)))
        .or(wire.presence_stats.map(Answer::PresenceStats))
        .or(wire.history.map(|result| Answer::History(*result)))
        .or(wire.rpc.map(Answer::Rpc))
        .or(wire.refresh.map(|result| Answer::Refresh(*result)))
        .or(wire.sub_refresh.map(Answer::SubRefresh));
    match answer {
        Some(answer) => Ok(Reply::Answer { id, outcome: Ok(answer) }),
        None if id == 0 => Ok(Reply::Ping),
        None => Err(DecodeError::NoOutcome),
    }
}

pub(super) fn encode_reply_around(reply: &Reply, message: &mut Vec<u8>, lay: Lay<'_>) {
    match reply {
        Reply::Ping => message.extend_from_slice(b"{}"),
        Reply::Push(push) => encode_push(push, message),
        Reply::Answer { id, outcome } => {
            let mut object = Object::begin(message);
            object.number_unless_zero("id", u64::from(*id));
            match outcome {
                Err(error) => object.object("error", |object| {
                    object.number("code", u64::from(error.code));
                    object.string("message", &error.message);
                    object.flag("temporary", error.temporary);
                }),
                Ok(answer) => encode_answer(answer, &mut object, lay),
            }
            object.end();
        }
    }
}

pub(super) fn encode_publications(publications: &[Publication], follows: bool, out: &mut Vec<u8>) {
    for (i, publication) in publications.iter().enumerate() {
        if follows || i > 0 {
            out.push(b',');
        }
        let mut object = Object::begin(out);
        encode_publication(publication, &mut object);
        object.end();
    }
}

fn encode_answer(answer: &Answer, reply: &mut Object<'_>, lay: Lay<'_>) {
    match answer {
        Answer::Connect(result) => reply.object("connect", |object| encode_connect(result, object, lay)),
        Answer::Subscribe(result) => reply.object("subscribe", |object| encode_subscribe(result, None, object, lay)),
        Answer::Unsubscribe => reply.raw("unsubscribe", b"{}"),
        Answer::Publish => reply.raw("publish", b"{}"),
        Answer::Presence(result) => reply.object("presence", |object| {
            object.object("presence", |clients| {
                for (client, info) in &result.presence {
                    clients.named_object(client, |object| encode_info(info, object));
                }
            });
        }),
        Answer::PresenceStats(result) => reply.object("presence_stats", |object| {
            object.number("num_clients", u64::from(result.num_clients));
            object.number("num_users", u64::from(result.num_users));
        }),
        Answer::History(result) => reply.object("history", |object| {
            let (epoch, publications) = (&*result.epoch, &*result.publications);
            object.batch(Batch { channel: None, epoch, field: 0, publications }, lay);
            object.string("epoch", epoch);
            object.number("offset", result.offset);
        }),
        Answer::Rpc(result) => reply.object("rpc", |object| object.payload("data", result.data.as_ref())),
        Answer::Refresh(result) => reply.object("refresh", |object| {
            object.string_unless_empty("client", &result.client);
            object.string_unless_empty("version", &result.version);
            object.flag("expires", result.expires);
            object.number_unless_zero("ttl", u64::from(result.ttl));
        }),
        Answer::SubRefresh(result) => reply.object("sub_refresh", |object| {
            object.flag("expires", result.expires);
            object.number_unless_zero("ttl", u64::from(result.ttl));
        }),
    }
}

fn encode_connect(result: &ConnectResult, object: &mut Object<'_>, lay: Lay<'_>) {
    object.string("client", &result.client);
    object.string("version", &result.version);
    object.flag("expires", result.expires);
    object.number_unless_zero("ttl", u64::from(result.ttl));
    object.payload("data", result.data.as_ref());
    if !result.subs.is_empty() {
        object.object("subs", |subs| {
            for (channel, subscribe) in &result.subs {
                subs.named_object(channel, |object| encode_subscribe(subscribe, Some(channel), object, lay));
            }
        });
    }
    object.number_unless_zero("ping", u64::from(result.ping));
    object.flag("pong", result.pong);
    object.string_unless_empty("session", &result.session);
    object.string_unless_empty("node", &result.node);
    object.number_unless_zero("time", u64::try_from(result.time).unwrap_or(0));
}

fn encode_subscribe(result: &SubscribeResult, channel: Option<&str>, object: &mut Object<'_>, lay: Lay<'_>) {
    object.flag("expires", result.expires);
    object.number_unless_zero("ttl", u64::from(result.ttl));
    object.flag("recoverable", result.recoverable);
    let (epoch, publications) = (&*result.epoch, &*result.publications);
    object.string_unless_empty("epoch", epoch);
    if !publications.is_empty() {
        object.batch(Batch { channel, epoch, field: 0, publications }, lay);
    }
    object.flag("recovered", result.recovered);
    object.number_unless_zero("offset", result.offset);
    object.flag("positioned", result.positioned);
    object.payload("data", result.data.as_ref());
    object.flag("was_recovering", result.was_recovering);
}

fn encode_push(push: &Push, message: &mut Vec<u8>) {
    let mut reply = Object::begin(message);
    reply.object("push", |object| {
        object.string_unless_empty("channel", &push.channel);
        match &push.body {
            PushBody::Publication(publication) => {
                object.object("pub", |object| encode_publication(publication, object));
            }
            PushBody::Join(info) => {
                object.object("join", |join| join.object("info", |object| encode_info(info, object)));
            }
            PushBody::Leave(info) => {
                object.object("leave", |leave| leave.object("info", |object| encode_info(info, object)));
            }
            PushBody::Unsubscribe(unsubscribe) => object.object("unsubscribe", |object| {
                object.number("code", u64::from(unsubscribe.code));
                object.string("reason", &unsubscribe.reason);
            }),
            PushBody::Message(body) => object.object("message", |object| object.payload("data", Some(&body.data))),
            PushBody::Subscribe(subscribed) => object.object("subscribe", |object| {
                object.flag("recoverable", subscribed.recoverable);
                object.string_unless_empty("epoch", &subscribed.epoch);
                object.number_unless_zero("offset", subscribed.offset);
                object.flag("positioned", subscribed.positioned);
                object.payload("data", subscribed.data.as_ref());
            }),
            PushBody::Disconnect(disconnect) => object.object("disconnect", |object| {
                object.number("code", u64::from(disconnect.code));
                object.string("reason", &disconnect.reason);
                object.flag("reconnect", disconnect.reconnect);
            }),
            PushBody::Refresh(refreshed) => object.object("refresh", |object| {
                object.flag("expires", refreshed.expires);
                object.number_unless_zero("ttl", u64::from(refreshed.ttl));
            }),
            PushBody::Unknown => {}
        }
    });
    reply.end();
}

fn encode_publication(publication: &Publication, object: &mut Object<'_>) {
    object.payload("data", Some(&publication.data));
    if let Some(info) = &publication.info {
        object.object("info", |object| encode_info(info, object));
    }
    object.number_unless_zero("offset", publication.offset);
    if !publication.tags.is_empty() {
        object.map("tags", &publication.tags);
    }
    object.string_unless_empty("epoch", &publication.epoch);
}

fn encode_info(info: &ClientInfo, object: &mut Object<'_>) {
    object.string("user", &info.user);
    object.string("client", &info.client);
    object.payload("conn_info", info.conn_info.as_ref());
    object.payload("chan_info", info.chan_info.as_ref());
}

/// Puts a newline between two commands of one message. What stands in front of the first one, as the head room of a
/// frame, is none of its business.
fn separate(message: &mut Vec<u8>) {
    if message.last() == Some(&b'}') {
        message.push(b'\n');
    }
}

/// Writes one JSON object, key by key.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    /// A key of the protocol's own: there is nothing in it to escape.
    fn key(&mut self, key: &'static str) {
        self.next();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Begins the next entry.
    fn next(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    fn raw(&mut self, key: &'static str, json: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(json);
    }

    fn payload(&mut self, key: &'static str, payload: Option<&Payload>) {
        if let Some(payload) = payload {
            self.raw(key, &payload.json());
        }
    }

    /// A payload of somebody who may have put together anything.
    fn checked_payload(&mut self, key: &'static str, payload: &Payload) -> Result<(), serde_json::Error> {
        let bytes = payload.as_bytes();
        let is_plain = simdutf8::basic::from_utf8(bytes).is_ok() && scan::value(bytes) == Some(bytes.len());
        if is_plain {
            self.raw(key, bytes);
            return Ok(());
        }
        self.serialized(key, payload)
    }

    fn string(&mut self, key: &'static str, value: &str) {
        self.key(key);
        write_string(self.out, value);
    }

    fn string_unless_empty(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.string(key, value);
        }
    }

    fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        write_json(self.out, &value);
    }

    fn number_unless_zero(&mut self, key: &'static str, value: u64) {
        if value != 0 {
            self.number(key, value);
        }
    }

    /// Written only when it is set.
    fn flag(&mut self, key: &'static str, value: bool) {
        if value {
            self.raw(key, b"true");
        }
    }

    fn map(&mut self, key: &'static str, map: &BTreeMap<String, String>) {
        self.key(key);
        write_json(self.out, map);
    }

    fn serialized<T: Serialize>(&mut self, key: &'static str, value: &T) -> Result<(), serde_json::Error> {
        self.key(key);
        serde_json::to_writer(&mut *self.out, value)
    }

    fn object(&mut self, key: &'static str, body: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        self.value(body);
    }

    /// An object under a name that somebody chose, as a channel's.
    fn named_object(&mut self, name: &str, body: impl FnOnce(&mut Object<'_>)) {
        self.next();
        write_string(self.out, name);
        self.out.push(b':');
        self.value(body);
    }

    fn value(&mut self, body: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::begin(self.out);
        body(&mut object);
        object.end();
    }

    fn batch(&mut self, batch: Batch<'_>, lay: Lay<'_>) {
        self.key("publications");
        self.out.push(b'[');
        if !batch.publications.is_empty() {
            lay(self.out, batch);
        }
        self.out.push(b']');
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    if scan::special(text.as_bytes()).is_some() {
        return write_json(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("strings, numbers and maps of strings can always be written as JSON");
}
