//! Who somebody is: connect and refresh.

use std::collections::BTreeMap;
use std::sync::Arc;

use pubsub_protocol::command::{ConnectRequest, SubscribeRequest};
use pubsub_protocol::limits::{CLIENT_NAME_BYTES_MAX, CLIENT_VERSION_BYTES_MAX};
use pubsub_protocol::reply::{Answer, ConnectResult, RefreshResult};
use pubsub_protocol::{DisconnectCode, ErrorCode};
use rand::RngExt;

use super::effect::{Effect, Refusal};
use super::operation::{Begun, Operation, Subscribe};
use super::rules::{is_over, seconds_until};
use super::subscribe::Grant;
use super::{Context, Identity, Phase, Session};
use crate::channel::ResolvedChannel;
use crate::clock::millis;
use crate::token::{ConnectClaims, Overrides, SubClaims, TokenError};

impl Session {
    pub(super) fn connect(&mut self, id: u32, request: &ConnectRequest, cx: &mut Context<'_>) -> Result<(), Refusal> {
        if request.name.len() > CLIENT_NAME_BYTES_MAX || request.version.len() > CLIENT_VERSION_BYTES_MAX {
            return Err(DisconnectCode::BadRequest.into());
        }
        let claims = match self.authenticate(&request.token, cx) {
            Ok(claims) => claims,
            Err(refusal) => {
                self.phase = Phase::Refused;
                return Err(refusal);
            }
        };
        let wanted = self.server_side(claims, cx).inspect_err(|_| self.phase = Phase::Refused)?;
        if wanted.len() > cx.rules.client.channel_limit {
            return Err(DisconnectCode::ChannelLimit.into());
        }
        let mut named = Vec::with_capacity(wanted.len());
        for (channel, claims) in &wanted {
            let name = cx.rules.channels.resolve_trusted(channel).inspect_err(|_| self.phase = Phase::Refused)?;
            named.push((name, claims));
        }
        // From here on nothing is refused: what is begun is handed to the node.
        let anew = SubscribeRequest::default();
        let begin = |(name, claims): (ResolvedChannel<'_>, &SubClaims)| {
            let position = request.subs.get(name.name).unwrap_or(&anew);
            self.begin_server_side(&name, claims, None, position, cx)
        };
        let subscriptions = named.into_iter().map(begin).collect();
        self.phase = Phase::Connecting;
        let user = self.identity.as_ref().map_or_else(|| "".into(), |identity| identity.user.clone());
        let user_connections_max = cx.rules.client.user_connection_limit;
        cx.effects.push_back(Effect::Run(Operation::Connect { id, user, user_connections_max, subscriptions }));
        Ok(())
    }

    /// Finds out who it is, or that it may not be anybody.
    fn authenticate(&mut self, token: &str, cx: &Context<'_>) -> Result<ConnectClaims, Refusal> {
        let client = &cx.rules.client;
        if token.is_empty() {
            let known = self.identity.is_some();
            return if known || client.insecure || client.allow_anonymous_connect_without_token {
                Ok(ConnectClaims { user: self.user().to_owned(), ..ConnectClaims::default() })
            } else {
                Err(DisconnectCode::BadRequest.into())
            };
        }
        let claims = cx.rules.connect_tokens.verify_connect(token, cx.now.unix()).map_err(|error| {
            tracing::info!(connection_id = %self.id, %error, "connection token refused");
            match error {
                TokenError::Expired { .. } => Refusal::Error(ErrorCode::TokenExpired),
                _ => Refusal::Close(DisconnectCode::InvalidToken),
            }
        })?;
        if claims.user.is_empty() && client.disallow_anonymous_connection_tokens {
            return Err(DisconnectCode::InvalidToken.into());
        }
        if is_over(claims.expire_at, cx.now) {
            return Err(ErrorCode::Expired.into());
        }
        Ok(claims)
    }

    /// Takes on the identity of `claims`. Returns the channels that the connection is subscribed to at once.
    fn server_side(
        &mut self,
        claims: ConnectClaims,
        cx: &Context<'_>,
    ) -> Result<BTreeMap<String, SubClaims>, ErrorCode> {
        let mut wanted = claims.subs;
        for channel in claims.channels {
            wanted.entry(channel).or_default();
        }
        let channels = wanted.keys().map(|channel| channel.as_str().into()).collect();
        if let Some(channel) = cx.rules.personal_channel(&claims.user)? {
            wanted.entry(channel).or_default();
        }
        let expires_ms = claims.expire_at.map_or(0, |at| cx.rules.closes_at(at, cx.now));
        let identity = Identity { user: claims.user.into(), info: claims.info, expires_ms, channels };
        let is_somebody = !identity.user.is_empty() || identity.info.is_some() || expires_ms > 0;
        self.identity = (is_somebody || !identity.channels.is_empty()).then(|| Box::new(identity));
        Ok(wanted)
    }

    /// Begins a subscription that the server decides on.
    pub(super) fn begin_server_side(
        &mut self,
        name: &ResolvedChannel<'_>,
        claims: &SubClaims,
        expire_at: Option<i64>,
        position: &SubscribeRequest,
        cx: &mut Context<'_>,
    ) -> Subscribe {
        let grant = Grant {
            overrides: claims.overrides,
            chan_info: claims.info.clone(),
            data: claims.data.clone(),
            expire_at,
            server_side: true,
        };
        self.begin(name, position, grant, cx)
    }

    pub(super) fn connected(&mut self, id: u32, result: Result<Begun, DisconnectCode>, cx: &mut Context<'_>) {
        let begun = match result {
            Ok(begun) => begun,
            Err(code) => {
                // The node began none of them, so there is none to end.
                self.subscriptions.drain().for_each(drop);
                return self.close(code.into(), cx);
            }
        };
        if let Some(code) = begun.iter().find_map(|(_, result)| result.as_ref().err().copied()) {
            self.phase = Phase::Refused;
            cx.effects.push_back(Effect::error(id, "connect", code));
            for mut subscription in self.subscriptions.drain() {
                let failed =
                    |(channel, result): &(Arc<str>, _)| *channel == subscription.channel && Result::is_err(result);
                subscription.traits.announced &= !begun.iter().any(failed);
                cx.effects.push_back(Effect::End(subscription));
            }
            return;
        }
        self.phase = Phase::Connected;
        let mut subs = BTreeMap::new();
        let mut activations = Vec::with_capacity(begun.len());
        for (channel, result) in begun {
            let Some((result, activate)) = result.ok().and_then(|subscribed| self.begun(&channel, subscribed, cx))
            else {
                continue;
            };
            subs.insert(channel.to_string(), result);
            activations.push(activate);
        }
        let client = &cx.rules.client;
        let pings = !client.ping_interval.is_zero();
        if pings {
            // Spread the first pings: a herd that came at once is not pinged at once.
            let period = millis(client.ping_interval);
            self.due_ms = cx.now.ms + cx.chance.random_range(period / 2..=period);
        } else {
            self.due_ms = u64::MAX;
        }
        let told = pings && !self.native_ping;
        let ttl = self.ttl(cx);
        let result = ConnectResult {
            client: self.id.to_string(),
            version: cx.rules.version.to_owned(),
            expires: ttl.is_some(),
            ttl: ttl.unwrap_or(0),
            subs,
            ping: if told { u32::try_from(client.ping_interval.as_secs().max(1)).unwrap_or(u32::MAX) } else { 0 },
            pong: told && !client.pong_timeout.is_zero(),
            time: if client.connect_include_server_time { cx.now.unix_ms } else { 0 },
            ..ConnectResult::default()
        };
        cx.effects.push_back(Effect::answer(id, "connect", Answer::Connect(result)));
        cx.effects.extend(activations);
    }

    /// Seconds until the token runs out, if it does.
    pub(super) fn ttl(&self, cx: &Context<'_>) -> Option<u32> {
        let expires_ms = self.identity.as_ref().map(|identity| identity.expires_ms).filter(|&ms| ms > 0)?;
        Some(seconds_until(expires_ms.saturating_sub(millis(cx.rules.client.expired_close_delay)), cx.now))
    }

    pub(super) fn refresh(&mut self, id: u32, token: &str, cx: &mut Context<'_>) -> Result<(), Refusal> {
        if token.is_empty() {
            return Err(DisconnectCode::BadRequest.into());
        }
        let claims = cx.rules.connect_tokens.verify_connect(token, cx.now.unix()).map_err(|error| {
            tracing::info!(connection_id = %self.id, %error, "refresh token refused");
            match error {
                TokenError::Expired { .. } => DisconnectCode::Expired,
                _ => DisconnectCode::InvalidToken,
            }
        })?;
        if claims.user != self.user() {
            return Err(DisconnectCode::InvalidToken.into());
        }
        if is_over(claims.expire_at, cx.now) {
            return Err(DisconnectCode::Expired.into());
        }
        let channels = claims.subs.keys().chain(&claims.channels);
        let mut channels: Vec<Arc<str>> = channels.map(|channel| channel.as_str().into()).collect();
        channels.sort_unstable();
        if channels != self.identity.as_ref().map_or(&[][..], |identity| &identity.channels) {
            return Err(DisconnectCode::InsufficientState.into());
        }
        let expires_ms = claims.expire_at.map_or(0, |at| cx.rules.closes_at(at, cx.now));
        let identity = self.identity.get_or_insert_default();
        identity.expires_ms = expires_ms;
        self.set_info(claims.info, cx);
        let ttl = self.ttl(cx);
        let result = RefreshResult {
            client: self.id.to_string(),
            version: cx.rules.version.to_owned(),
            expires: ttl.is_some(),
            ttl: ttl.unwrap_or(0),
        };
        cx.effects.push_back(Effect::answer(id, "refresh", Answer::Refresh(result)));
        Ok(())
    }
}

/// Overrides that change nothing.
pub(super) const NO_OVERRIDES: Overrides = Overrides {
    presence: None,
    join_leave: None,
    force_push_join_leave: None,
    force_recovery: None,
    force_positioning: None,
};
