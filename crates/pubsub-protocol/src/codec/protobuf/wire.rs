//! The shapes of what is read, with the numbers that the fields have on the wire. Unknown fields are skipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use crate::command::{self, Request};
use crate::payload::Payload;
use crate::position;
use crate::push::{self, PushBody};
use crate::reply::{self, Answer};

/// The number of `idempotency_key`, which is ours: far from those that the protocol may yet give out.
pub(super) const IDEMPOTENCY_KEY: u32 = 1000;

/// Empty means absent: protobuf does not tell one from the other.
fn payload(bytes: &[u8]) -> Option<Payload> {
    (!bytes.is_empty()).then(|| Payload::opaque(bytes))
}

/// What comes rarely is boxed, as in the JSON codec.
#[derive(PartialEq, Message)]
pub(super) struct Command {
    #[prost(uint32, tag = "1")]
    pub(super) id: u32,
    #[prost(message, optional, boxed, tag = "4")]
    connect: Option<Box<ConnectRequest>>,
    #[prost(message, optional, boxed, tag = "5")]
    subscribe: Option<Box<SubscribeRequest>>,
    #[prost(message, optional, boxed, tag = "6")]
    unsubscribe: Option<Box<ChannelRequest>>,
    #[prost(message, optional, tag = "7")]
    publish: Option<PublishRequest>,
    #[prost(message, optional, boxed, tag = "8")]
    presence: Option<Box<ChannelRequest>>,
    #[prost(message, optional, boxed, tag = "9")]
    presence_stats: Option<Box<ChannelRequest>>,
    #[prost(message, optional, boxed, tag = "10")]
    history: Option<Box<HistoryRequest>>,
    #[prost(message, optional, boxed, tag = "11")]
    ping: Option<Box<Empty>>,
    #[prost(message, optional, boxed, tag = "12")]
    send: Option<Box<Data>>,
    #[prost(message, optional, boxed, tag = "13")]
    rpc: Option<Box<RpcRequest>>,
    #[prost(message, optional, boxed, tag = "14")]
    refresh: Option<Box<RefreshRequest>>,
    #[prost(message, optional, boxed, tag = "15")]
    sub_refresh: Option<Box<SubRefreshRequest>>,
}

impl Command {
    /// If several bodies are set, the first in this order counts.
    pub(super) fn request(self) -> Option<Request> {
        let channel = |body: Box<ChannelRequest>| command::ChannelRequest { channel: body.channel };
        None.or(self.connect.map(|body| Request::Connect((*body).into())))
            .or(self.subscribe.map(|body| Request::Subscribe((*body).into())))
            .or(self.unsubscribe.map(|body| Request::Unsubscribe(channel(body))))
            .or(self.publish.map(|body| Request::Publish(body.into())))
            .or(self.presence.map(|body| Request::Presence(channel(body))))
            .or(self.presence_stats.map(|body| Request::PresenceStats(channel(body))))
            .or(self.history.map(|body| Request::History((*body).into())))
            .or(self.ping.map(|_| Request::Ping))
            .or(self.send.map(|body| Request::Send(command::SendRequest { data: payload(&body.data) })))
            .or(self
                .rpc
                .map(|body| Request::Rpc(command::RpcRequest { data: payload(&body.data), method: body.method })))
            .or(self.refresh.map(|body| Request::Refresh(command::RefreshRequest { token: body.token })))
            .or(self.sub_refresh.map(|body| {
                Request::SubRefresh(command::SubRefreshRequest { channel: body.channel, token: body.token })
            }))
    }
}

#[derive(PartialEq, Message)]
struct Empty {}

#[derive(PartialEq, Message)]
struct Data {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

#[derive(PartialEq, Message)]
struct ConnectRequest {
    #[prost(string, tag = "1")]
    token: String,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
    #[prost(btree_map = "string, message", tag = "3")]
    subs: BTreeMap<String, SubscribeRequest>,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "5")]
    version: String,
    #[prost(btree_map = "string, string", tag = "6")]
    headers: BTreeMap<String, String>,
}

impl From<ConnectRequest> for command::ConnectRequest {
    fn from(wire: ConnectRequest) -> Self {
        let ConnectRequest { token, data, subs, name, version, headers } = wire;
        let subs = subs.into_iter().map(|(channel, position)| (channel, position.into())).collect();
        Self { token, data: payload(&data), subs, name, version, headers }
    }
}

#[derive(PartialEq, Message)]
struct SubscribeRequest {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(string, tag = "2")]
    token: String,
    #[prost(bool, tag = "3")]
    recover: bool,
    #[prost(string, tag = "6")]
    epoch: String,
    #[prost(uint64, tag = "7")]
    offset: u64,
    #[prost(bytes = "vec", tag = "8")]
    data: Vec<u8>,
    #[prost(bool, tag = "9")]
    positioned: bool,
    #[prost(bool, tag = "10")]
    recoverable: bool,
    #[prost(bool, tag = "11")]
    join_leave: bool,
    #[prost(string, tag = "12")]
    delta: String,
    /// A message; it is kept unread.
    #[prost(bytes = "vec", tag = "13")]
    tf: Vec<u8>,
    #[prost(int64, tag = "14")]
    flag: i64,
    #[prost(int32, tag = "15")]
    kind: i32,
}

impl From<SubscribeRequest> for command::SubscribeRequest {
    fn from(wire: SubscribeRequest) -> Self {
        let SubscribeRequest { channel, token, recover, epoch, offset, data, positioned, recoverable, .. } = wire;
        let SubscribeRequest { join_leave, delta, tf, flag, kind, .. } = wire;
        let (data, tf) = (payload(&data), payload(&tf));
        Self {
            channel,
            token,
            recover,
            epoch,
            offset,
            data,
            positioned,
            recoverable,
            join_leave,
            delta,
            tf,
            flag,
            kind,
        }
    }
}

#[derive(PartialEq, Message)]
struct ChannelRequest {
    #[prost(string, tag = "1")]
    channel: String,
}

#[derive(PartialEq, Message)]
struct PublishRequest {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
    #[prost(string, tag = "1000")]
    idempotency_key: String,
}

impl From<PublishRequest> for command::PublishRequest {
    fn from(wire: PublishRequest) -> Self {
        // A publish has data, if only nothing: whether a channel takes that is its own affair.
        let data = Some(Payload::opaque(&wire.data));
        Self { channel: wire.channel, data, idempotency_key: wire.idempotency_key }
    }
}

#[derive(PartialEq, Message)]
struct HistoryRequest {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(int32, tag = "7")]
    limit: i32,
    #[prost(message, optional, tag = "8")]
    since: Option<StreamPosition>,
    #[prost(bool, tag = "9")]
    reverse: bool,
}

impl From<HistoryRequest> for command::HistoryRequest {
    fn from(wire: HistoryRequest) -> Self {
        let HistoryRequest { channel, limit, since, reverse } = wire;
        let since = since.map(|since| position::StreamPosition { offset: since.offset, epoch: since.epoch });
        Self { channel, limit, since, reverse }
    }
}

#[derive(PartialEq, Message)]
struct StreamPosition {
    #[prost(uint64, tag = "1")]
    offset: u64,
    #[prost(string, tag = "2")]
    epoch: String,
}

#[derive(PartialEq, Message)]
struct RpcRequest {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
    #[prost(string, tag = "2")]
    method: String,
}

#[derive(PartialEq, Message)]
struct RefreshRequest {
    #[prost(string, tag = "1")]
    token: String,
}

#[derive(PartialEq, Message)]
struct SubRefreshRequest {
    #[prost(string, tag = "1")]
    channel: String,
    #[prost(string, tag = "2")]
    token: String,
}

#[derive(PartialEq, Message)]
pub(super) struct Reply {
    #[prost(uint32, tag = "1")]
    pub(super) id: u32,
    #[prost(message, optional, boxed, tag = "2")]
    error: Option<Box<Error>>,
    #[prost(message, optional, tag = "4")]
    push: Option<Push>,
    #[prost(message, optional, boxed, tag = "5")]
    connect: Option<Box<ConnectResult>>,
    #[prost(message, optional, boxed, tag = "6")]
    subscribe: Option<Box<SubscribeResult>>,
    #[prost(message, optional, boxed, tag = "7")]
    unsubscribe: Option<Box<Empty>>,
    #[prost(message, optional, tag = "8")]
    publish: Option<Empty>,
    #[prost(message, optional, boxed, tag = "9")]
    presence: Option<Box<PresenceResult>>,
    #[prost(message, optional, boxed, tag = "10")]
    presence_stats: Option<Box<PresenceStatsResult>>,
    #[prost(message, optional, boxed, tag = "11")]
    history: Option<Box<HistoryResult>>,
    #[prost(message, optional, boxed, tag = "13")]
    rpc: Option<Box<Data>>,
    #[prost(message, optional, boxed, tag = "14")]
    refresh: Option<Box<RefreshResult>>,
    #[prost(message, optional, boxed, tag = "15")]
    sub_refresh: Option<Box<Expiry>>,
}

impl Reply {
    /// What it says, if anything.
    pub(super) fn said(self) -> Option<reply::Reply> {
        if let Some(push) = self.push {
            return Some(reply::Reply::Push(push.into()));
        }
        let id = self.id;
        if let Some(error) = self.error {
            let Error { code, message, temporary } = *error;
            let outcome = Err(reply::ErrorReply { code, message, temporary });
            return Some(reply::Reply::Answer { id, outcome });
        }
        let answer = None
            .or(self.connect.map(|result| Answer::Connect((*result).into())))
            .or(self.subscribe.map(|result| Answer::Subscribe((*result).into())))
            .or(self.unsubscribe.map(|_| Answer::Unsubscribe))
            .or(self.publish.map(|_| Answer::Publish))
            .or(self.presence.map(|result| {
                let presence = result.presence.into_iter().map(|(client, info)| (client, info.into())).collect();
                Answer::Presence(reply::PresenceResult { presence })
            }))
            .or(self.presence_stats.map(|result| {
                let PresenceStatsResult { num_clients, num_users } = *result;
                Answer::PresenceStats(reply::PresenceStatsResult { num_clients, num_users })
            }))
            .or(self.history.map(|result| {
                let HistoryResult { publications, epoch, offset } = *result;
                let publications = publications.into_iter().map(Into::into).collect();
                Answer::History(reply::HistoryResult { publications, epoch, offset })
            }))
            .or(self.rpc.map(|result| Answer::Rpc(reply::RpcResult { data: payload(&result.data) })))
            .or(self.refresh.map(|result| {
                let RefreshResult { client, version, expires, ttl } = *result;
                Answer::Refresh(reply::RefreshResult { client, version, expires, ttl })
            }))
            .or(self.sub_refresh.map(|result| {
                let Expiry { expires, ttl } = *result;
                Answer::SubRefresh(reply::SubRefreshResult { expires, ttl })
            }));
        answer.map(|answer| reply::Reply::Answer { id, outcome: Ok(answer) })
    }
}

#[derive(PartialEq, Message)]
struct Error {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bool, tag = "3")]
    temporary: bool,
}

#[derive(PartialEq, Message)]
struct Push {
    #[prost(string, tag = "2")]
    channel: String,
    #[prost(message, optional, tag = "4")]
    publication: Option<Publication>,
    #[prost(message, optional, boxed, tag = "5")]
    join: Option<Box<Presence>>,
    #[prost(message, optional, boxed, tag = "6")]
    leave: Option<Box<Presence>>,
    #[prost(message, optional, boxed, tag = "7")]
    unsubscribe: Option<Box<Unsubscribe>>,
    #[prost(message, optional, boxed, tag = "8")]
    message: Option<Box<Data>>,
    #[prost(message, optional, boxed, tag = "9")]
    subscribe: Option<Box<Subscribed>>,
    #[prost(message, optional, boxed, tag = "11")]
    disconnect: Option<Box<Disconnect>>,
    #[prost(message, optional, boxed, tag = "12")]
    refresh: Option<Box<Expiry>>,
}

impl From<Push> for push::Push {
    fn from(wire: Push) -> Self {
        let info = |presence: Box<Presence>| presence.info.map(Into::into).unwrap_or_default();
        let body = None
            .or(wire.publication.map(|publication| PushBody::Publication(publication.into())))
            .or(wire.join.map(|join| PushBody::Join(info(join))))
            .or(wire.leave.map(|leave| PushBody::Leave(info(leave))))
            .or(wire.unsubscribe.map(|end| {
                let Unsubscribe { code, reason } = *end;
                PushBody::Unsubscribe(push::Unsubscribe { code, reason })
            }))
            .or(wire.message.map(|message| PushBody::Message(push::Message { data: Payload::opaque(&message.data) })))
            .or(wire.subscribe.map(|start| {
                let Subscribed { recoverable, epoch, offset, positioned, data } = *start;
                let data = payload(&data);
                PushBody::Subscribe(push::Subscribed { recoverable, epoch, offset, positioned, data })
            }))
            .or(wire.disconnect.map(|end| {
                let Disconnect { code, reason, reconnect } = *end;
                PushBody::Disconnect(push::Disconnect { code, reason, reconnect })
            }))
            .or(wire.refresh.map(|refreshed| {
                let Expiry { expires, ttl } = *refreshed;
                PushBody::Refresh(push::Refreshed { expires, ttl })
            }));
        Self { channel: wire.channel, body: body.unwrap_or(PushBody::Unknown) }
    }
}

#[derive(PartialEq, Message)]
struct Publication {
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
    #[prost(message, optional, boxed, tag = "5")]
    info: Option<Box<ClientInfo>>,
    #[prost(uint64, tag = "6")]
    offset: u64,
    #[prost(btree_map = "string, string", tag = "7")]
    tags: BTreeMap<String, String>,
    #[prost(string, tag = "14")]
    epoch: String,
}

impl From<Publication> for push::Publication {
    fn from(wire: Publication) -> Self {
        let Publication { data, info, offset, tags, epoch } = wire;
        Self { data: Payload::opaque(&data), info: info.map(|info| Arc::new((*info).into())), offset, tags, epoch }
    }
}

#[derive(PartialEq, Message)]
struct ClientInfo {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    client: String,
    #[prost(bytes = "vec", tag = "3")]
    conn_info: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    chan_info: Vec<u8>,
}

impl From<ClientInfo> for push::ClientInfo {
    fn from(wire: ClientInfo) -> Self {
        let ClientInfo { user, client, conn_info, chan_info } = wire;
        Self { user, client, conn_info: payload(&conn_info), chan_info: payload(&chan_info) }
    }
}

/// `join` and `leave`.
#[derive(PartialEq, Message)]
struct Presence {
    #[prost(message, optional, tag = "1")]
    info: Option<ClientInfo>,
}

#[derive(PartialEq, Message)]
struct Unsubscribe {
    #[prost(uint32, tag = "2")]
    code: u32,
    #[prost(string, tag = "3")]
    reason: String,
}

#[derive(PartialEq, Message)]
struct Subscribed {
    #[prost(bool, tag = "1")]
    recoverable: bool,
    #[prost(string, tag = "4")]
    epoch: String,
    #[prost(uint64, tag = "5")]
    offset: u64,
    #[prost(bool, tag = "6")]
    positioned: bool,
    #[prost(bytes = "vec", tag = "7")]
    data: Vec<u8>,
}

#[derive(PartialEq, Message)]
struct Disconnect {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(bool, tag = "3")]
    reconnect: bool,
}

/// `refresh`, as a push, and the result of `sub_refresh`.
#[derive(PartialEq, Message)]
struct Expiry {
    #[prost(bool, tag = "1")]
    expires: bool,
    #[prost(uint32, tag = "2")]
    ttl: u32,
}

#[derive(PartialEq, Message)]
struct ConnectResult {
    #[prost(string, tag = "1")]
    client: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(bool, tag = "3")]
    expires: bool,
    #[prost(uint32, tag = "4")]
    ttl: u32,
    #[prost(bytes = "vec", tag = "5")]
    data: Vec<u8>,
    #[prost(btree_map = "string, message", tag = "6")]
    subs: BTreeMap<String, SubscribeResult>,
    #[prost(uint32, tag = "7")]
    ping: u32,
    #[prost(bool, tag = "8")]
    pong: bool,
    #[prost(string, tag = "9")]
    session: String,
    #[prost(string, tag = "10")]
    node: String,
    #[prost(int64, tag = "11")]
    time: i64,
}

impl From<ConnectResult> for reply::ConnectResult {
    fn from(wire: ConnectResult) -> Self {
        let ConnectResult { client, version, expires, ttl, data, subs, ping, pong, session, node, time } = wire;
        let subs = subs.into_iter().map(|(channel, result)| (channel, result.into())).collect();
        Self { client, version, expires, ttl, data: payload(&data), subs, ping, pong, session, node, time }
    }
}

#[derive(PartialEq, Message)]
struct SubscribeResult {
    #[prost(bool, tag = "1")]
    expires: bool,
    #[prost(uint32, tag = "2")]
    ttl: u32,
    #[prost(bool, tag = "3")]
    recoverable: bool,
    #[prost(string, tag = "6")]
    epoch: String,
    #[prost(message, repeated, tag = "7")]
    publications: Vec<Publication>,
    #[prost(bool, tag = "8")]
    recovered: bool,
    #[prost(uint64, tag = "9")]
    offset: u64,
    #[prost(bool, tag = "10")]
    positioned: bool,
    #[prost(bytes = "vec", tag = "11")]
    data: Vec<u8>,
    #[prost(bool, tag = "12")]
    was_recovering: bool,
}

impl From<SubscribeResult> for reply::SubscribeResult {
    fn from(wire: SubscribeResult) -> Self {
        let SubscribeResult { expires, ttl, recoverable, epoch, publications, recovered, offset, .. } = wire;
        let (positioned, data, was_recovering) = (wire.positioned, payload(&wire.data), wire.was_recovering);
        let publications = publications.into_iter().map(Into::into).collect();
        Self { expires, ttl, recoverable, epoch, publications, recovered, offset, positioned, data, was_recovering }
    }
}

#[derive(PartialEq, Message)]
struct PresenceResult {
    #[prost(btree_map = "string, message", tag = "1")]
    presence: BTreeMap<String, ClientInfo>,
}

#[derive(PartialEq, Message)]
struct PresenceStatsResult {
    #[prost(uint32, tag = "1")]
    num_clients: u32,
    #[prost(uint32, tag = "2")]
    num_users: u32,
}

#[derive(PartialEq, Message)]
struct HistoryResult {
    #[prost(message, repeated, tag = "1")]
    publications: Vec<Publication>,
    #[prost(string, tag = "2")]
    epoch: String,
    #[prost(uint64, tag = "3")]
    offset: u64,
}

#[derive(PartialEq, Message)]
struct RefreshResult {
    #[prost(string, tag = "1")]
    client: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(bool, tag = "3")]
    expires: bool,
    #[prost(uint32, tag = "4")]
    ttl: u32,
}
