//! What a connection gets: subscribe, unsubscribe, refresh of a subscription.

use std::sync::Arc;

use pubsub_protocol::command::{SubRefreshRequest, SubscribeRequest};
use pubsub_protocol::reply::{Answer, SubRefreshResult, SubscribeResult};
use pubsub_protocol::{DisconnectCode, ErrorCode, Payload, StreamPosition, UnsubscribeCode};

use super::connect::NO_OVERRIDES;
use super::effect::{Close, Effect, Refusal};
use super::operation::{Operation, Subscribe, Subscribed, SubscribedBy};
use super::rules::{is_over, seconds_until};
use super::subscriptions::{Extra, Stage, Subscription, Traits};
use super::{Context, Session};
use crate::channel::ResolvedChannel;
use crate::clock::millis;
use crate::config::RecoveryMode;
use crate::hub::epoch_tag;
use crate::planted::{self, Bug};
use crate::recovery::Mode;
use crate::shard::members::NO_PLACE;
use crate::token::{Overrides, SubscribeClaims, TokenError};

/// What a subscription is granted beside what its channel grants.
pub(super) struct Grant {
    pub(super) overrides: Overrides,
    pub(super) chan_info: Option<Payload>,
    pub(super) data: Option<Payload>,
    pub(super) expire_at: Option<i64>,
    pub(super) server_side: bool,
}

impl Session {
    pub(super) fn subscribe(
        &mut self,
        id: u32,
        request: &SubscribeRequest,
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        if request.channel.is_empty() || !matches!(request.delta.as_str(), "" | "fossil") {
            return Err(DisconnectCode::BadRequest.into());
        }
        if self.subscriptions.get(&request.channel).is_some() {
            return Err(ErrorCode::AlreadySubscribed.into());
        }
        if self.subscriptions.len() >= cx.rules.client.channel_limit {
            return Err(ErrorCode::LimitExceeded.into());
        }
        // Filters need `allow_tags_filter`, and other kinds of subscription are experimental: not spoken here.
        if request.tf.is_some() || request.kind != 0 {
            return Err(ErrorCode::BadRequest.into());
        }
        let rules = cx.rules;
        let name = rules.channels.resolve(&request.channel)?;
        let claims = self.subscription_claims(request, cx)?;
        name.may_subscribe(&self.caller(cx), claims.is_some())?;
        let grant = match claims {
            Some(claims) => Grant {
                overrides: claims.overrides,
                chan_info: claims.info,
                data: claims.data,
                expire_at: claims.expire_at,
                server_side: false,
            },
            None => Grant { overrides: NO_OVERRIDES, chan_info: None, data: None, expire_at: None, server_side: false },
        };
        let subscribe = self.begin(&name, request, grant, cx);
        cx.effects.push_back(Effect::Run(Operation::Subscribe(SubscribedBy::Client { id }, subscribe)));
        Ok(())
    }

    fn subscription_claims(
        &self,
        request: &SubscribeRequest,
        cx: &Context<'_>,
    ) -> Result<Option<SubscribeClaims>, Refusal> {
        if request.token.is_empty() {
            return Ok(None);
        }
        let claims = self.verify_subscription(&request.token, cx).map_err(|error| match error {
            TokenError::Expired { .. } => ErrorCode::TokenExpired,
            _ => ErrorCode::PermissionDenied,
        })?;
        if claims.user != self.user() || claims.channel != request.channel {
            return Err(DisconnectCode::InvalidToken.into());
        }
        if claims.client.as_ref().is_some_and(|client| *client != self.id.to_string()) {
            return Err(DisconnectCode::InvalidToken.into());
        }
        if is_over(claims.expire_at, cx.now) {
            return Err(ErrorCode::Expired.into());
        }
        Ok(Some(claims))
    }

    fn verify_subscription(&self, token: &str, cx: &Context<'_>) -> Result<SubscribeClaims, TokenError> {
        let verified = cx.rules.subscription_tokens().verify_subscribe(token, cx.now.unix());
        verified.inspect_err(|error| tracing::debug!(connection_id = %self.id, %error, "subscription token refused"))
    }

    /// Enters the subscription and says what the node has to do for it. Everything is allowed by now.
    pub(super) fn begin(
        &mut self,
        name: &ResolvedChannel<'_>,
        request: &SubscribeRequest,
        grant: Grant,
        cx: &mut Context<'_>,
    ) -> Subscribe {
        let options = name.options;
        let force = &grant.overrides;
        let retention = cx.rules.retention(options);
        let caller = self.caller(cx);
        let recoverable = retention.is_some()
            && (force.force_recovery.unwrap_or(options.force_recovery)
                || (request.recoverable || request.recover) && name.grants_recovery(&caller));
        let positioned = retention.is_some()
            && (recoverable
                || force.force_positioning.unwrap_or(options.force_positioning)
                || request.positioned && name.grants_positioning(&caller));
        let present = force.presence.unwrap_or(options.presence);
        let announced = force.join_leave.unwrap_or(options.join_leave);
        let traits = Traits {
            server_side: grant.server_side,
            positioned,
            recoverable,
            join_leave: announced
                && (force.force_push_join_leave.unwrap_or(options.force_push_join_leave)
                    || request.join_leave && name.grants_join_leave(&caller)),
            present,
            announced,
        };
        let mode = match options.force_recovery_mode {
            RecoveryMode::Stream => Mode::Stream { publications_max: cx.rules.client.recovery_max_publication_limit },
            RecoveryMode::Cache => Mode::Cache,
        };
        let recovers = request.recover || options.auto_cache_recover && mode == Mode::Cache;
        let recover = (recoverable && recovers).then(|| (mode, request.position()));
        let asked = recover.as_ref().filter(|_| request.recover).map(|(_, position)| position.clone());
        // One server-side subscription that can not be recovered is no reason to refuse the whole connection.
        let rejects = request.flag & SubscribeRequest::FLAG_REJECT_UNRECOVERED != 0;
        let reject_unrecovered = rejects && request.recover && !grant.server_side;
        let expires_ms = grant.expire_at.map_or(0, |at| cx.rules.subscription_closes_at(at, cx.now));

        let channel: Arc<str> = name.name.into();
        let info = (present || announced).then(|| Arc::new(self.info(grant.chan_info.clone())));
        let extra = Extra { chan_info: grant.chan_info, expires_ms, data: grant.data, asked };
        let join = *cx.next_join;
        *cx.next_join += 1;
        self.subscriptions.insert(Subscription {
            channel: channel.clone(),
            join,
            member: NO_PLACE,
            stage: Stage::Subscribing,
            traits,
            extra: extra.if_any(),
        });
        Subscribe {
            channel,
            join,
            position: retention.filter(|_| positioned),
            recover,
            reject_unrecovered,
            presence: info.clone().filter(|_| present),
            announce: info.filter(|_| announced),
        }
    }

    pub(super) fn subscribed(
        &mut self,
        by: SubscribedBy,
        channel: &Arc<str>,
        join: u64,
        result: Result<Subscribed, ErrorCode>,
        cx: &mut Context<'_>,
    ) {
        if self.subscriptions.get(channel).is_none_or(|subscription| subscription.join != join) {
            // It has ended meanwhile; what has its name now is another.
            if let SubscribedBy::Client { id } = by {
                cx.effects.push_back(Effect::error(id, "subscribe", ErrorCode::Internal));
            }
            return;
        }
        let begun = result.and_then(|subscribed| self.begun(channel, subscribed, cx).ok_or(ErrorCode::Internal));
        match (by, begun) {
            (SubscribedBy::Client { id }, Ok((result, activate))) => {
                cx.effects.push_back(Effect::answer_about(channel.clone(), id, "subscribe", Answer::Subscribe(result)));
                cx.effects.push_back(activate);
                if planted::is(Bug::AnswerOvertaken) {
                    let last = cx.effects.len() - 1;
                    cx.effects.swap(last - 1, last);
                }
            }
            (SubscribedBy::Client { id }, Err(code)) => {
                self.forget(channel, cx);
                cx.effects.push_back(Effect::error(id, "subscribe", code));
            }
            (SubscribedBy::Server, Ok((result, activate))) => {
                cx.effects.push_back(Effect::Begun { channel: channel.clone(), result });
                cx.effects.push_back(activate);
            }
            (SubscribedBy::Server, Err(code)) => {
                self.forget(channel, cx);
                tracing::warn!(connection_id = %self.id, %channel, %code, "server-side subscription failed");
            }
        }
    }

    /// A subscription that was begun is there: what to answer, and the effect that makes it live, which has to come
    /// behind the answer. `None`: it was not begun.
    pub(super) fn begun(
        &mut self,
        channel: &str,
        subscribed: Subscribed,
        cx: &Context<'_>,
    ) -> Option<(SubscribeResult, Effect)> {
        let close_delay = millis(cx.rules.client.expired_sub_close_delay);
        let subscription = self.subscriptions.get_mut(channel)?;
        subscription.stage = Stage::Subscribed;
        let late = u64::from(planted::is(Bug::LiveBeginsLate));
        let after = subscribed.top.as_ref().map(|top| (top.offset + late, epoch_tag(&top.epoch)));
        let activate = Effect::Activate { channel: subscription.channel.clone(), join: subscription.join, after };

        let (data, asked) = subscription.take_answered();
        let expires_ms = subscription.expires_ms();
        let top = subscribed.top.unwrap_or_default();
        let was_recovering = asked.is_some();
        let recovery = subscribed.recovery.unwrap_or_default();
        // After a recovery the client moves its own position as it handles what it missed.
        let StreamPosition { offset, .. } = match asked {
            Some(asked) if recovery.recovered => asked,
            _ => StreamPosition::new(top.offset, ""),
        };
        let result = SubscribeResult {
            expires: expires_ms.is_some(),
            ttl: expires_ms.map_or(0, |ms| seconds_until(ms.saturating_sub(close_delay), cx.now)),
            recoverable: subscription.traits.recoverable,
            positioned: subscription.traits.positioned,
            epoch: top.epoch,
            offset,
            publications: recovery.publications,
            recovered: recovery.recovered,
            was_recovering,
            data,
        };
        Some((result, activate))
    }

    /// Ends a subscription that never began. Nobody was told that it had; but the engine may have failed after it
    /// had entered the subscriber into presence.
    fn forget(&mut self, channel: &str, cx: &mut Context<'_>) {
        if let Some(mut subscription) = self.subscriptions.remove(channel) {
            subscription.traits.announced = false;
            cx.effects.push_back(Effect::End(subscription));
        }
    }

    pub(super) fn unsubscribe(&mut self, id: u32, channel: &str, cx: &mut Context<'_>) -> Result<(), Refusal> {
        if channel.is_empty() {
            return Err(DisconnectCode::BadRequest.into());
        }
        let ended = self.subscriptions.remove(channel);
        if let Some(subscription) = ended.filter(|_| !planted::is(Bug::PushAfterUnsubscribe)) {
            cx.effects.push_back(Effect::End(subscription));
        }
        cx.effects.push_back(Effect::answer(id, "unsubscribe", Answer::Unsubscribe));
        Ok(())
    }

    pub(super) fn sub_refresh(
        &mut self,
        id: u32,
        request: SubRefreshRequest,
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        if request.token.is_empty() {
            return Err(ErrorCode::BadRequest.into());
        }
        let claims = self.verify_subscription(&request.token, cx);
        // Some SDKs leave the channel out; the token names it.
        let channel = match &claims {
            Ok(claims) if request.channel.is_empty() => claims.channel.clone(),
            _ => request.channel,
        };
        let user = self.user().to_owned();
        let subscription = self.subscriptions.get_mut(&channel).ok_or(ErrorCode::PermissionDenied)?;
        if subscription.expires_ms().is_none() {
            return Err(DisconnectCode::BadRequest.into());
        }
        let claims = claims.map_err(|error| match error {
            TokenError::Expired { .. } => ErrorCode::Expired,
            _ => ErrorCode::PermissionDenied,
        })?;
        if claims.channel != channel || claims.user != user {
            return Err(ErrorCode::PermissionDenied.into());
        }
        if is_over(claims.expire_at, cx.now) {
            return Err(ErrorCode::Expired.into());
        }
        let extra = subscription.extra.get_or_insert_default();
        let is_other = extra.chan_info != claims.info;
        extra.chan_info = claims.info;
        extra.expires_ms = claims.expire_at.map_or(0, |at| cx.rules.subscription_closes_at(at, cx.now));
        let result = SubRefreshResult {
            expires: claims.expire_at.is_some(),
            ttl: claims.expire_at.map_or(0, |at| seconds_until(cx.now.ms_at(at), cx.now)),
        };
        cx.effects.push_back(Effect::answer(id, "sub_refresh", Answer::SubRefresh(result)));
        if is_other {
            self.introduce_anew(|subscription| *subscription.channel == *channel, cx);
        }
        Ok(())
    }

    /// From now on this is what others see of the connection.
    pub(super) fn set_info(&mut self, info: Option<Payload>, cx: &mut Context<'_>) {
        let identity = self.identity.get_or_insert_default();
        if identity.info != info {
            identity.info = info;
            self.introduce_anew(|_| true, cx);
        }
    }

    /// Has presence tell what is known now, in those of its channels.
    fn introduce_anew(&self, those: impl Fn(&Subscription) -> bool, cx: &mut Context<'_>) {
        let present =
            |subscription: &&Subscription| subscription.traits.present && subscription.stage == Stage::Subscribed;
        for subscription in self.subscriptions.iter().filter(present).filter(|subscription| those(subscription)) {
            let (channel, info) = (subscription.channel.clone(), Arc::new(self.info_in(subscription)));
            cx.effects.push_back(Effect::Run(Operation::Introduce { channel, info }));
        }
    }

    /// The server ends a subscription, for a reason that a code names. The client is told and may come back.
    pub fn lose(&mut self, channel: &str, join: u64, code: UnsubscribeCode, cx: &mut Context<'_>) {
        let Some(subscription) = self.subscriptions.get(channel).filter(|subscription| subscription.join == join)
        else {
            return;
        };
        if subscription.traits.server_side {
            // A client does not subscribe to it again by itself: it has to come back as a whole.
            let code = match code {
                UnsubscribeCode::Expired => DisconnectCode::SubExpired,
                _ => DisconnectCode::InsufficientState,
            };
            return self.close(Close::from(code), cx);
        }
        cx.effects.push_back(Effect::unsubscribe(channel, code));
        if let Some(subscription) = self.subscriptions.remove(channel) {
            cx.effects.push_back(Effect::End(subscription));
        }
    }
}
