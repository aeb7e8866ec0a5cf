//! Commands and replies, made up by chance.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::command::*;
use crate::payload::Payload;
use crate::position::StreamPosition;
use crate::push::*;
use crate::reply::*;

/// Any JSON value but `null`, which means the same as no payload at all wherever a payload is optional.
pub(in crate::codec) fn payloads() -> impl Strategy<Value = Payload> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)).prop_filter("NaN is null", |value| !value.is_null()),
        texts().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(texts(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    value.prop_map(|value| Payload::to_json(&value).expect("a value is JSON"))
}

/// Mostly plain, now and then all that Unicode has: quotes, controls, newlines.
pub(in crate::codec) fn texts() -> BoxedStrategy<String> {
    prop_oneof![4 => "[a-z:#$]{0,12}", 1 => any::<String>()].boxed()
}

fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(texts(), texts(), 0..3)
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..1000_u64, any::<u64>(), Just(u64::MAX)]
}

fn seconds() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), any::<u32>(), Just(u32::MAX)]
}

fn positions() -> impl Strategy<Value = StreamPosition> {
    (numbers(), texts()).prop_map(|(offset, epoch)| StreamPosition { offset, epoch })
}

pub(in crate::codec) fn commands() -> impl Strategy<Value = Command> {
    let numbered = (1..=u32::MAX, requests()).prop_map(|(id, request)| Command { id, request });
    let send = option::of(payloads()).prop_map(|data| Command { id: 0, request: Request::Send(SendRequest { data }) });
    prop_oneof![8 => numbered, 1 => send, 1 => Just(Command { id: 0, request: Request::Pong })]
}

fn requests() -> impl Strategy<Value = Request> {
    let channel = || texts().prop_map(|channel| ChannelRequest { channel });
    prop_oneof![
        connects().prop_map(Request::Connect),
        subscribes().prop_map(Request::Subscribe),
        channel().prop_map(Request::Unsubscribe),
        (texts(), option::of(payloads())).prop_map(|(channel, data)| {
            Request::Publish(PublishRequest { idempotency_key: channel.clone(), channel, data })
        }),
        channel().prop_map(Request::Presence),
        channel().prop_map(Request::PresenceStats),
        (texts(), any::<i32>(), option::of(positions()), any::<bool>()).prop_map(|(channel, limit, since, reverse)| {
            Request::History(HistoryRequest { channel, limit, since, reverse })
        }),
        Just(Request::Ping),
        option::of(payloads()).prop_map(|data| Request::Send(SendRequest { data })),
        (option::of(payloads()), texts()).prop_map(|(data, method)| Request::Rpc(RpcRequest { data, method })),
        texts().prop_map(|token| Request::Refresh(RefreshRequest { token })),
        (texts(), texts()).prop_map(|(channel, token)| Request::SubRefresh(SubRefreshRequest { channel, token })),
        Just(Request::Unknown),
    ]
}

fn connects() -> impl Strategy<Value = ConnectRequest> {
    (texts(), option::of(payloads()), btree_map(texts(), subscribes(), 0..3), texts(), texts(), tags()).prop_map(
        |(token, data, subs, name, version, headers)| ConnectRequest { token, data, subs, name, version, headers },
    )
}

fn subscribes() -> impl Strategy<Value = SubscribeRequest> {
    let wishes = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        (texts(), texts(), texts()),
        positions(),
        wishes,
        option::of(payloads()),
        option::of(payloads()),
        any::<i64>(),
        any::<i32>(),
    )
        .prop_map(|((channel, token, delta), position, wishes, data, tf, flag, kind)| SubscribeRequest {
            channel,
            token,
            recover: wishes.0,
            epoch: position.epoch,
            offset: position.offset,
            data,
            positioned: wishes.1,
            recoverable: wishes.2,
            join_leave: wishes.3,
            delta,
            tf,
            flag,
            kind,
        })
}

pub(in crate::codec) fn replies() -> impl Strategy<Value = Reply> {
    let answer = (1..=u32::MAX, answers()).prop_map(|(id, answer)| Reply::Answer { id, outcome: Ok(answer) });
    let error = (1..=u32::MAX, seconds(), texts(), any::<bool>()).prop_map(|(id, code, message, temporary)| {
        Reply::Answer { id, outcome: Err(ErrorReply { code, message, temporary }) }
    });
    let push = (texts(), bodies()).prop_map(|(channel, body)| Reply::Push(Push { channel, body }));
    prop_oneof![4 => answer, 1 => error, 4 => push, 1 => Just(Reply::Ping)]
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        connected().prop_map(Answer::Connect),
        subscribed().prop_map(Answer::Subscribe),
        Just(Answer::Unsubscribe),
        Just(Answer::Publish),
        btree_map(texts(), infos(), 0..3).prop_map(|presence| Answer::Presence(PresenceResult { presence })),
        (seconds(), seconds()).prop_map(|(num_clients, num_users)| {
            Answer::PresenceStats(PresenceStatsResult { num_clients, num_users })
        }),
        (vec(publications(), 0..3), positions()).prop_map(|(publications, position)| {
            Answer::History(HistoryResult { publications, epoch: position.epoch, offset: position.offset })
        }),
        option::of(payloads()).prop_map(|data| Answer::Rpc(RpcResult { data })),
        (texts(), texts(), any::<bool>(), seconds()).prop_map(|(client, version, expires, ttl)| {
            Answer::Refresh(RefreshResult { client, version, expires, ttl })
        }),
        (any::<bool>(), seconds()).prop_map(|(expires, ttl)| Answer::SubRefresh(SubRefreshResult { expires, ttl })),
    ]
}

fn connected() -> impl Strategy<Value = ConnectResult> {
    (
        (texts(), texts(), texts(), texts()),
        (any::<bool>(), seconds()),
        option::of(payloads()),
        btree_map(texts(), subscribed(), 0..3),
        (seconds(), any::<bool>()),
        0..i64::MAX,
    )
        .prop_map(|((client, version, session, node), (expires, ttl), data, subs, (ping, pong), time)| {
            ConnectResult { client, version, expires, ttl, data, subs, ping, pong, session, node, time }
        })
}

fn subscribed() -> impl Strategy<Value = SubscribeResult> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (flags, seconds(), positions(), vec(publications(), 0..3), option::of(payloads())).prop_map(
        |(flags, ttl, position, publications, data)| SubscribeResult {
            expires: flags.0,
            ttl,
            recoverable: flags.1,
            epoch: position.epoch,
            publications,
            recovered: flags.2,
            offset: position.offset,
            positioned: flags.3,
            data,
            was_recovering: flags.4,
        },
    )
}

fn bodies() -> impl Strategy<Value = PushBody> {
    prop_oneof![
        4 => publications().prop_map(PushBody::Publication),
        1 => infos().prop_map(PushBody::Join),
        1 => infos().prop_map(PushBody::Leave),
        1 => (seconds(), texts()).prop_map(|(code, reason)| PushBody::Unsubscribe(Unsubscribe { code, reason })),
        1 => payloads().prop_map(|data| PushBody::Message(Message { data })),
        1 => (any::<bool>(), any::<bool>(), positions(), option::of(payloads())).prop_map(
            |(recoverable, positioned, position, data)| PushBody::Subscribe(Subscribed {
                recoverable,
                epoch: position.epoch,
                offset: position.offset,
                positioned,
                data,
            })
        ),
        1 => (seconds(), texts(), any::<bool>()).prop_map(|(code, reason, reconnect)| {
            PushBody::Disconnect(Disconnect { code, reason, reconnect })
        }),
        1 => (any::<bool>(), seconds()).prop_map(|(expires, ttl)| PushBody::Refresh(Refreshed { expires, ttl })),
        1 => Just(PushBody::Unknown),
    ]
}

pub(in crate::codec) fn publications() -> impl Strategy<Value = Publication> {
    (payloads(), option::of(infos()), positions(), tags()).prop_map(|(data, info, position, tags)| Publication {
        data,
        info: info.map(Into::into),
        offset: position.offset,
        tags,
        epoch: position.epoch,
    })
}

fn infos() -> impl Strategy<Value = ClientInfo> {
    (texts(), texts(), option::of(payloads()), option::of(payloads()))
        .prop_map(|(user, client, conn_info, chan_info)| ClientInfo { user, client, conn_info, chan_info })
}
