//! What the server API wants of a connection.

use pubsub_protocol::command::SubscribeRequest;
use pubsub_protocol::push::{Push, PushBody, Refreshed};
use pubsub_protocol::{DisconnectCode, Payload, Reply, StreamPosition};

use super::effect::{Close, Effect};
use super::operation::{Operation, SubscribedBy};
use super::{Context, Session};
use crate::token::SubClaims;

/// Something to do to a connection.
#[derive(Clone, Debug)]
pub enum Action {
    /// End a subscription.
    Unsubscribe {
        /// Of which channel; empty: all.
        channel: String,
        /// Code of the unsubscribe push.
        code: u32,
        /// Its reason.
        reason: String,
    },
    /// Close the connection.
    Disconnect(Close),
    /// Begin a subscription.
    Subscribe {
        /// To which channel.
        channel: String,
        /// What is special about it.
        claims: SubClaims,
        /// When it expires, in seconds since 1970; `None`: never.
        expire_at: Option<i64>,
        /// Recover since this position.
        recover_since: Option<StreamPosition>,
    },
    /// Change when the connection expires.
    Refresh {
        /// It has expired already.
        expired: bool,
        /// When it will, in seconds since 1970; `None`: never.
        expire_at: Option<i64>,
        /// What others see beside the user from now on; `None`: as before.
        info: Option<Payload>,
    },
}

impl Session {
    /// Does it. A connection that is not connected (any more) has nothing to be done to.
    pub fn control(&mut self, action: Action, cx: &mut Context<'_>) {
        if !self.is_connected() {
            return;
        }
        match action {
            Action::Unsubscribe { channel, code, reason } => self.unsubscribed_by_server(&channel, code, &reason, cx),
            Action::Disconnect(close) => self.close(close, cx),
            Action::Subscribe { channel, claims, expire_at, recover_since } => {
                self.subscribed_by_server(&channel, &claims, expire_at, recover_since, cx);
            }
            Action::Refresh { expired: true, .. } => self.close(DisconnectCode::Expired.into(), cx),
            Action::Refresh { expire_at, info, .. } => self.refreshed_by_server(expire_at, info, cx),
        }
    }

    fn unsubscribed_by_server(&mut self, channel: &str, code: u32, reason: &str, cx: &mut Context<'_>) {
        let channels: Vec<_> = if channel.is_empty() {
            self.subscriptions.iter().map(|subscription| subscription.channel.clone()).collect()
        } else {
            vec![channel.into()]
        };
        for channel in channels {
            if let Some(subscription) = self.subscriptions.remove(&channel) {
                cx.effects.push_back(Effect::unsubscribe_with(&channel, code, reason));
                cx.effects.push_back(Effect::End(subscription));
            }
        }
    }

    fn subscribed_by_server(
        &mut self,
        channel: &str,
        claims: &SubClaims,
        expire_at: Option<i64>,
        recover_since: Option<StreamPosition>,
        cx: &mut Context<'_>,
    ) {
        if self.subscriptions.get(channel).is_some() {
            return;
        }
        if self.subscriptions.len() >= cx.rules.client.channel_limit {
            return self.close(DisconnectCode::ChannelLimit.into(), cx);
        }
        let rules = cx.rules;
        let Ok(name) = rules.channels.resolve_trusted(channel) else { return };
        let position = recover_since.map(|since| SubscribeRequest {
            recover: true,
            offset: since.offset,
            epoch: since.epoch,
            ..SubscribeRequest::default()
        });
        let subscribe = self.begin_server_side(&name, claims, expire_at, &position.unwrap_or_default(), cx);
        cx.effects.push_back(Effect::Run(Operation::Subscribe(SubscribedBy::Server, subscribe)));
    }

    fn refreshed_by_server(&mut self, expire_at: Option<i64>, info: Option<Payload>, cx: &mut Context<'_>) {
        let identity = self.identity.get_or_insert_default();
        identity.expires_ms = expire_at.map_or(0, |at| cx.rules.closes_at(at, cx.now));
        if info.is_some() {
            self.set_info(info, cx);
        }
        let ttl = self.ttl(cx);
        let body = PushBody::Refresh(Refreshed { expires: ttl.is_some(), ttl: ttl.unwrap_or(0) });
        cx.effects.push_back(Effect::Push(Reply::Push(Push { channel: String::new(), body })));
    }
}
