//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`: what is done to connections.
//!
//! A call names a user, one of its connections, or both. It is over when it is done: what the connection is told of
//! it lies in its outbox by then.

use std::time::Duration;

use pubsub_protocol::limits::CLOSE_REASON_BYTES_MAX;
use pubsub_protocol::{DisconnectCode, ErrorCode, Payload, StreamPosition, UnsubscribeCode};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::channels::Done;
use super::publish::json_of;
use super::{ApiError, Service};
use crate::session::control::Action;
use crate::session::effect::Close;
use crate::session::id::{ClientId, Place};
use crate::shard::control::{Control, Target};
use crate::shard::inbox::ShardMessage;
use crate::token::{Overrides, SubClaims};

/// How long a shard may take to act. It answers within a turn of its loop: one that does not has ended, or hangs.
const ACT_TIMEOUT: Duration = Duration::from_secs(10);

/// Parameters of [`Service::subscribe`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Subscribe {
    /// Whose connections; an empty user id means the anonymous ones.
    pub user: Option<String>,
    /// To which channel.
    pub channel: String,
    /// Only the connection with this id. Empty: all of the user's.
    pub client: String,
    /// Only the connection with this session. Empty: any.
    pub session: String,
    /// When the subscription expires, in seconds since 1970. 0: never.
    pub expire_at: i64,
    /// What others in the channel see beside the user.
    pub info: Option<Payload>,
    /// The same in base64; counts instead of `info`.
    pub b64info: String,
    /// What the client is given with the subscription.
    pub data: Option<Payload>,
    /// The same in base64; counts instead of `data`.
    pub b64data: String,
    /// Give the client what was published since.
    pub recover_since: Option<StreamPosition>,
    /// Options of the channel that are otherwise for this subscription.
    pub r#override: Option<Overrides>,
}

/// Parameters of [`Service::unsubscribe`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Unsubscribe {
    /// Whose connections; an empty user id means the anonymous ones.
    pub user: Option<String>,
    /// From which channel. Empty: from all.
    pub channel: String,
    /// Only the connection with this id. Empty: all of the user's.
    pub client: String,
    /// Only the connection with this session. Empty: any.
    pub session: String,
}

/// Parameters of [`Service::disconnect`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Disconnect {
    /// Whose connections; an empty user id means the anonymous ones.
    pub user: Option<String>,
    /// Only the connection with this id. Empty: all of the user's.
    pub client: String,
    /// Only the connection with this session. Empty: any.
    pub session: String,
    /// Ids of connections that are left alone.
    pub whitelist: Vec<String>,
    /// What the client is told. `None`: 3503 "force disconnect", after which it stays away.
    pub disconnect: Option<Reason>,
}

/// A close code and its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// 3000 to 4999; it decides whether the client comes back.
    pub code: u32,
    /// For people; at most 123 bytes.
    pub reason: String,
}

/// Parameters of [`Service::refresh`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Refresh {
    /// Whose connections; an empty user id means the anonymous ones.
    pub user: Option<String>,
    /// Only the connection with this id. Empty: all of the user's.
    pub client: String,
    /// Only the connection with this session. Empty: any.
    pub session: String,
    /// They have expired: close them with 3005, and they come back with a new token.
    pub expired: bool,
    /// When they expire, in seconds since 1970. 0: never.
    pub expire_at: i64,
    /// What others see beside the user from now on. `None`: as before.
    pub info: Option<Payload>,
}

impl Service {
    /// Subscribes connections to a channel, as a server-side subscription. One that is subscribed already stays as
    /// it is; one that has `client.channel_limit` subscriptions is closed with 3505.
    ///
    /// # Errors
    /// 102 for an unknown namespace, 107 for parameters that can not be, 100 when a shard does not answer.
    pub async fn subscribe(&self, request: Subscribe) -> Result<Done, ApiError> {
        let Subscribe { user, channel, client, session, expire_at, info, b64info, data, b64data, .. } = request;
        self.resolve(&channel)?;
        let targets = self.targets(user.as_deref(), &client, &session, &[])?;
        let claims = SubClaims {
            info: json_of("b64info", &b64info, info)?,
            data: json_of("b64data", &b64data, data)?,
            overrides: request.r#override.unwrap_or_default(),
        };
        if expire_at != 0 && expire_at <= self.node.clock.now().unix() {
            return Err(ApiError::bad_request(format!("expire_at: {expire_at} has passed already")));
        }
        let expire_at = (expire_at != 0).then_some(expire_at);
        let recover_since = request.recover_since;
        self.act(targets, &Action::Subscribe { channel, claims, expire_at, recover_since }).await
    }

    /// Ends subscriptions, client-side and server-side ones alike, with code 2000: clients do not subscribe again.
    ///
    /// # Errors
    /// 102 for an unknown namespace, 107 for parameters that can not be, 100 when a shard does not answer.
    pub async fn unsubscribe(&self, request: Unsubscribe) -> Result<Done, ApiError> {
        let Unsubscribe { user, channel, client, session } = request;
        if !channel.is_empty() {
            self.resolve(&channel)?;
        }
        let targets = self.targets(user.as_deref(), &client, &session, &[])?;
        let (code, reason) = (UnsubscribeCode::Server.code(), UnsubscribeCode::Server.message().to_owned());
        self.act(targets, &Action::Unsubscribe { channel, code, reason }).await
    }

    /// Closes connections.
    ///
    /// # Errors
    /// 107 for parameters that can not be, 100 when a shard does not answer.
    pub async fn disconnect(&self, request: Disconnect) -> Result<Done, ApiError> {
        let Disconnect { user, client, session, whitelist, disconnect } = request;
        let close = disconnect.map_or_else(|| Ok(DisconnectCode::ForceDisconnect.into()), Reason::close)?;
        // What is not an id is nobody's.
        let except: Vec<_> = whitelist.iter().filter_map(|id| ClientId::parse(id)).collect();
        let targets = self.targets(user.as_deref(), &client, &session, &except)?;
        self.act(targets, &Action::Disconnect(close)).await
    }

    /// Changes when connections expire. Each is told, and its client acts accordingly.
    ///
    /// # Errors
    /// 107 for parameters that can not be, 100 when a shard does not answer.
    pub async fn refresh(&self, request: Refresh) -> Result<Done, ApiError> {
        let Refresh { user, client, session, expired, expire_at, info } = request;
        let targets = self.targets(user.as_deref(), &client, &session, &[])?;
        let expire_at = (expire_at != 0).then_some(expire_at);
        let expired = expired || expire_at.is_some_and(|at| at <= self.node.clock.now().unix());
        self.act(targets, &Action::Refresh { expired, expire_at, info }).await
    }

    /// Which connections, by shard.
    fn targets(
        &self,
        user: Option<&str>,
        client: &str,
        session: &str,
        except: &[ClientId],
    ) -> Result<Vec<(usize, Target)>, ApiError> {
        if !session.is_empty() {
            // Sessions have names only where requests reach them by another connection; there is no such transport.
            return Ok(Vec::new());
        }
        if !client.is_empty() {
            return Ok(self.client(user.unwrap_or(""), client, except).into_iter().collect());
        }
        match user {
            None => Err(ApiError::bad_request("user or client is missing; an empty user means the anonymous one")),
            Some("") => {
                let shards = 0..self.metrics.shards();
                Ok(shards.map(|shard| (shard, Target::Anonymous { except: except.to_vec() })).collect())
            }
            Some(user) => Ok(self.user(user, except)),
        }
    }

    /// One connection, if its id can be one of ours, and if it belongs to the user when one is named.
    fn client(&self, user: &str, client: &str, except: &[ClientId]) -> Option<(usize, Target)> {
        let id = ClientId::parse(client).filter(|id| !except.contains(id))?;
        let place = id.place(&self.node.id_secret);
        let shard = usize::from(place.shard);
        let known = shard < self.metrics.shards();
        let theirs = user.is_empty() || self.node.users.places(user).contains(&place);
        (known && theirs).then_some((shard, Target::Client(place.slot, id)))
    }

    fn user(&self, user: &str, except: &[ClientId]) -> Vec<(usize, Target)> {
        let mut places = self.node.users.places(user);
        places.sort_unstable_by_key(|place| place.shard);
        let by_shard = places.chunk_by(|one, other| one.shard == other.shard);
        let target = |places: &[Place]| Target::User {
            user: user.into(),
            slots: places.iter().map(|place| place.slot).collect(),
            except: except.to_vec(),
        };
        by_shard.map(|places| (usize::from(places[0].shard), target(places))).collect()
    }

    /// Has the shards act, and waits until all of them have.
    async fn act(&self, targets: Vec<(usize, Target)>, action: &Action) -> Result<Done, ApiError> {
        let mut acting = Vec::with_capacity(targets.len());
        for (shard, target) in targets {
            let (done, acted) = oneshot::channel();
            let control = Control::Act { target, action: action.clone(), done };
            self.node.hub.inbox(shard).push(ShardMessage::Control(control));
            acting.push(acted);
        }
        let all = async {
            for acted in acting {
                acted.await.ok()?;
            }
            Some(Done {})
        };
        let done = tokio::time::timeout(ACT_TIMEOUT, all).await.ok().flatten();
        done.ok_or_else(|| ApiError::new(ErrorCode::Internal, "a shard did not answer; the server may be ending"))
    }
}

impl Reason {
    fn close(self) -> Result<Close, ApiError> {
        let Self { code, reason } = self;
        let good = u16::try_from(code).ok().filter(|code| (3000..=4999).contains(code));
        let code = good.ok_or_else(|| {
            ApiError::bad_request(format!("disconnect.code: expected a number from 3000 to 4999, got {code}"))
        })?;
        if reason.len() > CLOSE_REASON_BYTES_MAX {
            let detail = format!(
                "disconnect.reason: {} bytes, and a close frame holds at most {CLOSE_REASON_BYTES_MAX}",
                reason.len()
            );
            return Err(ApiError::bad_request(detail));
        }
        Ok(Close::new(code, reason))
    }
}
