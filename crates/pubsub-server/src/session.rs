//! One connection's conversation: a command and the time go in, effects come out. Pure: no socket, no clock
//! and no waiting, so that a test or a fuzzer can drive it.
//!
//! The laws of the conversation are those of `docs/protocol.md`. What the session wants of the node it says
//! as an [`Operation`](operation::Operation); while one that a command asked for is under way no further
//! command is given to it.
//!
//! - [`connect`]: who it is; [`subscribe`]: what it gets; [`requests`]: what it asks
//! - [`liveness`]: pings, pongs and everything that runs out
//! - [`control`]: what the server API wants of it
//! - [`operation`], [`effect`]: the values that go out; [`subscriptions`], [`id`]: what it remembers

pub mod connect;
pub mod control;
pub mod effect;
pub mod id;
pub mod liveness;
pub mod operation;
pub mod requests;
pub mod rules;
pub mod subscribe;
pub mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use pubsub_protocol::command::Request;
use pubsub_protocol::{ClientInfo, Command, DisconnectCode, ErrorCode, Payload};
use rand_chacha::ChaCha12Rng;

use crate::clock::Now;
use crate::rate::Bucket;
use effect::{Close, Effect, Refusal};
use id::ClientId;
use operation::Completion;
use rules::Rules;
use subscriptions::Subscriptions;

/// The state of one conversation.
#[derive(Debug)]
pub struct Session {
    id: ClientId,
    phase: Phase,
    native_ping: bool,
    /// Pings that are not answered yet. More than one where answers wait to be read: then each of them is welcome.
    pongs_due: u8,
    /// How long after it was due the latest ping has left. [`liveness::NOT_LEFT`]: it waits behind what the peer has yet to read.
    ping_left_after_ms: u32,
    /// When the phase wants attention: the latest moment to connect, or the next ping.
    due_ms: u64,
    /// `None` for the many who are nobody in particular.
    identity: Option<Box<Identity>>,
    subscriptions: Subscriptions,
    /// How many commands it has had, where that is limited.
    rate: Option<Box<Bucket>>,
}

/// How far the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was said yet.
    New,
    /// The connect command is being worked on.
    Connecting,
    /// The connect command was refused: the peer is expected to go away.
    Refused,
    /// Commands are welcome.
    Connected,
    /// It is over.
    Closed,
}

/// What is known of somebody.
#[derive(Debug, Default)]
struct Identity {
    user: Arc<str>,
    info: Option<Payload>,
    /// When the connection is closed unless refreshed; 0: never.
    expires_ms: u64,
    /// Channels that the token subscribes to; a refresh may not change them.
    channels: Vec<Arc<str>>,
}

/// What the transport knows of a connection before its first command.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Pings go by WebSocket's own frames.
    pub native_ping: bool,
    /// The user, as a trusted proxy names it in a header.
    pub user: Option<String>,
}

/// What a session needs to act: the rules, the time, chance, and a place for effects.
pub struct Context<'a> {
    /// The configuration, made ready.
    pub rules: &'a Rules,
    /// The time.
    pub now: Now,
    /// Chance.
    pub chance: &'a mut ChaCha12Rng,
    /// The number of the shard's next subscription.
    pub next_join: &'a mut u64,
    /// What is to be done, in order.
    pub effects: &'a mut VecDeque<Effect>,
}

impl Session {
    /// A conversation in which nothing was said yet.
    pub fn new(id: ClientId, opening: Opening, rules: &Rules, now: Now) -> Self {
        let identity = opening.user.map(|user| Box::new(Identity { user: user.into(), ..Identity::default() }));
        Self {
            id,
            phase: Phase::New,
            native_ping: opening.native_ping,
            pongs_due: 0,
            ping_left_after_ms: 0,
            due_ms: liveness::stale_ms(rules, now),
            identity,
            subscriptions: Subscriptions::default(),
            rate: (rules.client.command_rate_limit > 0).then(Box::default),
        }
    }

    /// The connection's id.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The user's id; empty: anonymous.
    pub fn user(&self) -> &str {
        self.identity.as_ref().map_or("", |identity| &identity.user)
    }

    /// Whether the connect command was granted and the connection is not over.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// What it is subscribed to.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// What it is subscribed to, for the shard to keep its places in.
    pub fn subscriptions_mut(&mut self) -> &mut Subscriptions {
        &mut self.subscriptions
    }

    /// The next command of the peer.
    pub fn command(&mut self, command: Command, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Closed | Phase::Refused) {
            return;
        }
        let Command { id, request } = command;
        let method = request.name();
        match self.handle(id, request, cx) {
            Ok(()) => {}
            Err(Refusal::Error(code)) => cx.effects.push_back(Effect::error(id, method, code)),
            Err(Refusal::Close(code)) => self.close(code.into(), cx),
        }
    }

    fn handle(&mut self, id: u32, request: Request, cx: &mut Context<'_>) -> Result<(), Refusal> {
        let answerless = matches!(request, Request::Pong | Request::Send(_));
        if id == 0 && !answerless {
            return Err(DisconnectCode::BadRequest.into());
        }
        if self.phase == Phase::Connected && !answerless && !self.within_rate(cx) {
            return Err(ErrorCode::TooManyRequests.into());
        }
        match (self.phase, request) {
            (Phase::New, Request::Connect(request)) => self.connect(id, &request, cx),
            (Phase::Connected, Request::Subscribe(request)) => self.subscribe(id, &request, cx),
            (Phase::Connected, Request::Unsubscribe(request)) => self.unsubscribe(id, &request.channel, cx),
            (Phase::Connected, Request::Publish(request)) => self.publish(id, request, cx),
            (Phase::Connected, Request::Presence(request)) => self.presence(id, request.channel, cx),
            (Phase::Connected, Request::PresenceStats(request)) => self.presence_stats(id, request.channel, cx),
            (Phase::Connected, Request::History(request)) => self.history(id, request, cx),
            (Phase::Connected, Request::Refresh(request)) => self.refresh(id, &request.token, cx),
            (Phase::Connected, Request::SubRefresh(request)) => self.sub_refresh(id, request, cx),
            (Phase::Connected, Request::Pong) => self.pong(),
            // No handler for calls exists yet; "not available" is the protocol's word for that.
            (Phase::Connected, Request::Rpc(_)) => Err(ErrorCode::NotAvailable.into()),
            (Phase::Connected, Request::Send(_)) => Err(DisconnectCode::NotAvailable.into()),
            // A second connect, a command before it, a command that does not exist.
            _ => Err(DisconnectCode::BadRequest.into()),
        }
    }

    /// Whether another command may come, which is counted by that. Pongs are free: the server asks for them.
    fn within_rate(&mut self, cx: &Context<'_>) -> bool {
        let Some(bucket) = &mut self.rate else { return true };
        let rate = cx.rules.client.command_rate_limit;
        let burst = match cx.rules.client.command_rate_burst {
            0 => rate,
            burst => burst,
        };
        bucket.take(rate, burst, cx.now.ms)
    }

    /// What an operation brought.
    pub fn complete(&mut self, completion: Completion, cx: &mut Context<'_>) {
        if self.is_closed() {
            return;
        }
        match completion {
            Completion::Connect { id, result } => self.connected(id, result, cx),
            Completion::Subscribe { by, channel, join, result } => self.subscribed(by, &channel, join, result, cx),
            Completion::Introduce => {}
            Completion::Publish { id, result } => Self::published(id, result, cx),
            Completion::History { id, channel, result } => Self::history_read(id, channel, result, cx),
            Completion::Presence { id, result } => Self::presence_read(id, result, cx),
            Completion::PresenceStats { id, result } => Self::presence_counted(id, result, cx),
        }
    }

    /// Ends the conversation and all its subscriptions. Whoever closes says how: the transport when the peer
    /// is gone, the server when it goes down.
    pub fn close(&mut self, close: Close, cx: &mut Context<'_>) {
        self.vanish(cx);
        cx.effects.push_back(Effect::Close(close));
    }

    /// The peer is gone: ends all subscriptions, with nobody left to tell.
    pub fn vanish(&mut self, cx: &mut Context<'_>) {
        self.phase = Phase::Closed;
        cx.effects.extend(self.subscriptions.drain().map(Effect::End));
    }

    fn info(&self, chan_info: Option<Payload>) -> ClientInfo {
        ClientInfo {
            user: self.user().to_owned(),
            client: self.id.to_string(),
            conn_info: self.identity.as_ref().and_then(|identity| identity.info.clone()),
            chan_info,
        }
    }

    /// Who it is in a channel, as others see it.
    pub fn info_in(&self, subscription: &subscriptions::Subscription) -> ClientInfo {
        self.info(subscription.chan_info().cloned())
    }
}
