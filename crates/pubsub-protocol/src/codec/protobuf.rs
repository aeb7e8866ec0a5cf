//! The protobuf format: messages of the Centrifuge client protocol, each behind its length as a varint.
//!
//! Reading goes through prost and the shapes in [`wire`]. Writing does not ([`Fields`]): an answer is written around
//! publications that stand elsewhere and are shared, and a publication without being put together a second time. A field that
//! has its zero value is left out, as everywhere in protobuf; a result with nothing in it is still there.

use std::collections::BTreeMap;

use prost::Message as _;

use super::{Batch, DecodeError, Lay};
use crate::command::{Command, ConnectRequest, HistoryRequest, PublishRequest, Request, SubscribeRequest};
use crate::payload::Payload;
use crate::push::{ClientInfo, Publication, Push, PushBody};
use crate::reply::{Answer, ConnectResult, Reply, SubscribeResult};
use write::Fields;

#[cfg(test)]
mod tests;
mod wire;
mod write;

/// `publications` of a subscribe result.
const RECOVERED: u32 = 7;

/// `publications` of a history result.
const HISTORY: u32 = 1;

/// The first message, and where the next one begins. A length of 0 is a message: the empty one.
pub(super) fn split(rest: &[u8]) -> Result<(&[u8], usize), DecodeError> {
    let mut behind = rest;
    let length = prost::encoding::decode_varint(&mut behind)?;
    let length = usize::try_from(length).map_err(|_| DecodeError::Cut)?;
    let message = behind.get(..length).ok_or(DecodeError::Cut)?;
    Ok((message, rest.len() - behind.len() + length))
}

pub(super) fn decode_command(message: &[u8]) -> Result<Command, DecodeError> {
    let command = wire::Command::decode(message)?;
    let id = command.id;
    let request = command.request().unwrap_or(if id == 0 { Request::Pong } else { Request::Unknown });
    Ok(Command { id, request })
}

pub(super) fn decode_reply(message: &[u8]) -> Result<Reply, DecodeError> {
    let reply = wire::Reply::decode(message)?;
    let id = reply.id;
    reply.said().or((id == 0).then_some(Reply::Ping)).ok_or(DecodeError::NoOutcome)
}

pub(super) fn encode_command(command: &Command, message: &mut Vec<u8>) {
    let nothing_shared = &mut |_: &mut Vec<u8>, _: Batch<'_>| {};
    Fields::write(message, nothing_shared, |fields| {
        fields.number(1, u64::from(command.id));
        match &command.request {
            Request::Connect(body) => fields.message(4, |fields| connect_request(body, fields)),
            Request::Subscribe(body) => fields.message(5, |fields| subscribe_request(body, fields)),
            Request::Unsubscribe(body) => fields.message(6, |fields| fields.string(1, &body.channel)),
            Request::Publish(body) => fields.message(7, |fields| publish_request(body, fields)),
            Request::Presence(body) => fields.message(8, |fields| fields.string(1, &body.channel)),
            Request::PresenceStats(body) => fields.message(9, |fields| fields.string(1, &body.channel)),
            Request::History(body) => fields.message(10, |fields| history_request(body, fields)),
            Request::Ping => fields.message(11, |_| {}),
            Request::Send(body) => fields.message(12, |fields| fields.payload(1, body.data.as_ref())),
            Request::Rpc(body) => fields.message(13, |fields| {
                fields.payload(1, body.data.as_ref());
                fields.string(2, &body.method);
            }),
            Request::Refresh(body) => fields.message(14, |fields| fields.string(1, &body.token)),
            Request::SubRefresh(body) => fields.message(15, |fields| {
                fields.string(1, &body.channel);
                fields.string(2, &body.token);
            }),
            Request::Pong | Request::Unknown => {}
        }
    });
}

fn connect_request(body: &ConnectRequest, fields: &mut Fields<'_>) {
    fields.string(1, &body.token);
    fields.payload(2, body.data.as_ref());
    fields.map(3, &body.subs, subscribe_request);
    fields.string(4, &body.name);
    fields.string(5, &body.version);
    fields.strings(6, &body.headers);
}

fn subscribe_request(body: &SubscribeRequest, fields: &mut Fields<'_>) {
    fields.string(1, &body.channel);
    fields.string(2, &body.token);
    fields.flag(3, body.recover);
    fields.string(6, &body.epoch);
    fields.number(7, body.offset);
    fields.payload(8, body.data.as_ref());
    fields.flag(9, body.positioned);
    fields.flag(10, body.recoverable);
    fields.flag(11, body.join_leave);
    fields.string(12, &body.delta);
    fields.payload(13, body.tf.as_ref());
    fields.signed(14, body.flag);
    fields.signed(15, i64::from(body.kind));
}

fn publish_request(body: &PublishRequest, fields: &mut Fields<'_>) {
    fields.string(1, &body.channel);
    fields.payload(2, body.data.as_ref());
    fields.string(wire::IDEMPOTENCY_KEY, &body.idempotency_key);
}

fn history_request(body: &HistoryRequest, fields: &mut Fields<'_>) {
    fields.string(1, &body.channel);
    fields.signed(7, i64::from(body.limit));
    if let Some(since) = &body.since {
        fields.message(8, |fields| {
            fields.number(1, since.offset);
            fields.string(2, &since.epoch);
        });
    }
    fields.flag(9, body.reverse);
}

pub(super) fn encode_reply_around(reply: &Reply, out: &mut Vec<u8>, lay: Lay<'_>) {
    Fields::write(out, lay, |fields| match reply {
        Reply::Ping => {}
        Reply::Push(push) => fields.message(4, |fields| encode_push(push, fields)),
        Reply::Answer { id, outcome } => {
            fields.number(1, u64::from(*id));
            match outcome {
                Err(error) => fields.message(2, |fields| {
                    fields.number(1, u64::from(error.code));
                    fields.string(2, &error.message);
                    fields.flag(3, error.temporary);
                }),
                Ok(answer) => encode_answer(answer, fields),
            }
        }
    });
}

pub(super) fn encode_publications(batch: Batch<'_>, out: &mut Vec<u8>) {
    let nothing_shared = &mut |_: &mut Vec<u8>, _: Batch<'_>| {};
    let mut fields = Fields::to(out, nothing_shared);
    for publication in batch.publications {
        fields.message(batch.field, |fields| encode_publication(publication, fields));
    }
}

fn encode_answer(answer: &Answer, reply: &mut Fields<'_>) {
    match answer {
        Answer::Connect(result) => reply.message(5, |fields| encode_connect(result, fields)),
        Answer::Subscribe(result) => reply.message(6, |fields| encode_subscribe(result, None, fields)),
        Answer::Unsubscribe => reply.message(7, |_| {}),
        Answer::Publish => reply.message(8, |_| {}),
        Answer::Presence(result) => {
            reply.message(9, |fields| fields.map(1, &result.presence, encode_info));
        }
        Answer::PresenceStats(result) => reply.message(10, |fields| {
            fields.number(1, u64::from(result.num_clients));
            fields.number(2, u64::from(result.num_users));
        }),
        Answer::History(result) => reply.message(11, |fields| {
            let (epoch, publications) = (&*result.epoch, &*result.publications);
            fields.batch(Batch { channel: None, epoch, field: HISTORY, publications });
            fields.string(2, epoch);
            fields.number(3, result.offset);
        }),
        Answer::Rpc(result) => reply.message(13, |fields| fields.payload(1, result.data.as_ref())),
        Answer::Refresh(result) => reply.message(14, |fields| {
            fields.string(1, &result.client);
            fields.string(2, &result.version);
            fields.flag(3, result.expires);
            fields.number(4, u64::from(result.ttl));
        }),
        Answer::SubRefresh(result) => reply.message(15, |fields| {
            fields.flag(1, result.expires);
            fields.number(2, u64::from(result.ttl));
        }),
    }
}

fn encode_connect(result: &ConnectResult, fields: &mut Fields<'_>) {
    fields.string(1, &result.client);
    fields.string(2, &result.version);
    fields.flag(3, result.expires);
    fields.number(4, u64::from(result.ttl));
    fields.payload(5, result.data.as_ref());
    for (channel, subscribed) in &result.subs {
        fields.entry(6, channel, |fields| encode_subscribe(subscribed, Some(channel), fields));
    }
    fields.number(7, u64::from(result.ping));
    fields.flag(8, result.pong);
    fields.string(9, &result.session);
    fields.string(10, &result.node);
    fields.signed(11, result.time);
}

fn encode_subscribe(result: &SubscribeResult, channel: Option<&str>, fields: &mut Fields<'_>) {
    fields.flag(1, result.expires);
    fields.number(2, u64::from(result.ttl));
    fields.flag(3, result.recoverable);
    let (epoch, publications) = (&*result.epoch, &*result.publications);
    fields.string(6, epoch);
    fields.batch(Batch { channel, epoch, field: RECOVERED, publications });
    fields.flag(8, result.recovered);
    fields.number(9, result.offset);
    fields.flag(10, result.positioned);
    fields.payload(11, result.data.as_ref());
    fields.flag(12, result.was_recovering);
}

fn encode_push(push: &Push, fields: &mut Fields<'_>) {
    fields.string(2, &push.channel);
    match &push.body {
        PushBody::Publication(publication) => fields.message(4, |fields| encode_publication(publication, fields)),
        PushBody::Join(info) => fields.message(5, |join| join.message(1, |fields| encode_info(info, fields))),
        PushBody::Leave(info) => fields.message(6, |leave| leave.message(1, |fields| encode_info(info, fields))),
        PushBody::Unsubscribe(unsubscribe) => fields.message(7, |fields| {
            fields.number(2, u64::from(unsubscribe.code));
            fields.string(3, &unsubscribe.reason);
        }),
        PushBody::Message(body) => fields.message(8, |fields| fields.payload(1, Some(&body.data))),
        PushBody::Subscribe(subscribed) => fields.message(9, |fields| {
            fields.flag(1, subscribed.recoverable);
            fields.string(4, &subscribed.epoch);
            fields.number(5, subscribed.offset);
            fields.flag(6, subscribed.positioned);
            fields.payload(7, subscribed.data.as_ref());
        }),
        PushBody::Disconnect(disconnect) => fields.message(11, |fields| {
            fields.number(1, u64::from(disconnect.code));
            fields.string(2, &disconnect.reason);
            fields.flag(3, disconnect.reconnect);
        }),
        PushBody::Refresh(refreshed) => fields.message(12, |fields| {
            fields.flag(1, refreshed.expires);
            fields.number(2, u64::from(refreshed.ttl));
        }),
        PushBody::Unknown => {}
    }
}

fn encode_publication(publication: &Publication, fields: &mut Fields<'_>) {
    fields.payload(4, Some(&publication.data));
    if let Some(info) = &publication.info {
        fields.message(5, |fields| encode_info(info, fields));
    }
    fields.number(6, publication.offset);
    fields.strings(7, &publication.tags);
    fields.string(14, &publication.epoch);
}

fn encode_info(info: &ClientInfo, fields: &mut Fields<'_>) {
    fields.string(1, &info.user);
    fields.string(2, &info.client);
    fields.payload(3, info.conn_info.as_ref());
    fields.payload(4, info.chan_info.as_ref());
}
