//! What is done about messages and requests while there is a session, and to get one.

use std::time::Duration;

use pubsub_protocol::codes;
use pubsub_protocol::websocket::Opcode;
use tokio::time::Instant;

use super::{Asking, Connection, Failure, Fetch, Fetching, Flow, GO_ON, Own, Received, refresh_after};
use crate::chance::Purpose;
use crate::config::PingKind;
use crate::connector::Connector;
use crate::error::{CloseReason, DialError, ProtocolError, RequestError, ServerError};
use crate::event::{Event, Publication};
use crate::handler::{Advice, Credentials, ProtocolHandler, Session, Update};
use crate::ids::{MessageKind, RequestId, Topic};
use crate::inbox::Command;
use crate::registry::Verdict;
use crate::shared::count;
use crate::state::{ConnectionState, Input};
use crate::timers::{Timer, TopicTimer};
use crate::token::{Asked, TokenError, TokenRequest};

/// A refresh that failed is tried again after this much, and up to as much again: what the SDKs do.
const REFRESH_RETRY: Duration = Duration::from_secs(5);

impl<C: Connector, H: ProtocolHandler> Connection<C, H> {
    // -- Getting a session

    pub(super) fn authenticate(&mut self) -> Flow {
        if !self.shared.config.auth_on_connect {
            return self.session_open(Session::default());
        }
        let shared = self.shared.clone();
        let id = shared.ids.next();
        let credentials = Credentials {
            token: self.token.as_deref(),
            data: shared.config.connect_data.as_ref(),
            positions: shared.registry.server_positions(),
        };
        match self.handler.build_auth_message(&id, &credentials, &mut self.out) {
            Ok(true) => {
                self.auth = Some(id);
                self.transition(Input::AuthSent);
                self.subscribe_early();
                GO_ON
            }
            Ok(false) => self.session_open(Session::default()),
            Err(error) => self.lost(error.into()),
        }
    }

    fn authenticated(&mut self, outcome: Result<Session, ServerError>) -> Flow {
        self.auth = None;
        if self.state() == ConnectionState::Closing {
            // The answer crossed our close frame: there is nobody to open a session for.
            return GO_ON;
        }
        match outcome {
            Ok(session) => self.session_open(session),
            Err(error) => {
                if self.handler.advice(&error) == Advice::NewToken {
                    self.token = None;
                }
                // A connection whose authentication was refused is of no use any more.
                self.say_close(codes::close::NORMAL, "");
                self.lost(DialError::Auth(error).into())
            }
        }
    }

    fn session_open(&mut self, mut session: Session) -> Flow {
        self.timers.clear(Timer::Connect);
        self.losses = 0;
        self.failures = 0;
        if let Some(permit) = self.permit.take() {
            permit.succeeded();
        }
        let (now, config) = (Instant::now(), &self.shared.config);
        if let Some(every) = session.server_ping {
            let silence_max = every + config.pong_timeout;
            self.silence_max = Some(silence_max);
            self.timers.set(Timer::Silence, now + silence_max);
        } else if !config.ping_interval.is_zero() {
            self.timers.set(Timer::Ping, now + config.ping_interval);
        }
        self.expires_in(session.expires_in);
        let made_by_server = std::mem::take(&mut session.subscriptions);
        count(&self.shared.counters.sessions);
        self.shared.set_session(Some(session));
        self.transition(Input::SessionOpen);
        self.early_subscribes_are_due(now);
        self.server_subscriptions(made_by_server);
        self.agenda = self.shared.registry.topics().into();
        self.work_off_agenda();
        GO_ON
    }

    /// Sets when the connection's token has to be renewed.
    fn expires_in(&mut self, expires_in: Option<Duration>) {
        match expires_in {
            Some(expires_in) if self.shared.config.token.is_renewable() => {
                self.timers.set(Timer::Refresh, Instant::now() + refresh_after(expires_in));
            }
            _ => self.timers.clear(Timer::Refresh),
        }
    }

    // -- What comes in

    pub(super) fn received(&mut self, received: Received<H::Message>) -> Flow {
        self.heard_at = Instant::now();
        self.ping_unanswered = false;
        for payload in received.pings {
            // At once, and not behind what the handler has yet to say.
            if let super::Link::Up(socket) = &mut self.link {
                socket.send(Opcode::Pong, &payload);
            }
        }
        let generation = self.generation();
        for message in received.messages {
            self.message(message)?;
            if generation != self.generation() || !matches!(self.link, super::Link::Up(_)) {
                // One of them ended the connection: what comes after it was said to somebody else.
                return GO_ON;
            }
        }
        if let Some((code, reason)) = received.close {
            let echo = u16::try_from(code).unwrap_or(codes::close::NORMAL);
            let echo = if echo == codes::close::ABNORMAL { codes::close::NORMAL } else { echo };
            return match self.state() {
                ConnectionState::Closing => Flow::Break(CloseReason::Requested),
                state => {
                    self.say_close(echo, "");
                    let target = self.target.to_string();
                    self.lost(match state.is_ready() {
                        true => CloseReason::Server { code, reason },
                        false => DialError::Closed { target, code, reason }.into(),
                    })
                }
            };
        }
        match received.failure {
            None => GO_ON,
            Some(Failure::Io(error)) => self.lost(CloseReason::Transport { source: error.into() }),
            Some(Failure::Violation(violation)) => {
                self.say_close(violation.close_code(), &violation.to_string());
                self.lost(ProtocolError::Frame(std::sync::Arc::new(violation)).into())
            }
            Some(Failure::Protocol(error)) => {
                let code = match error {
                    ProtocolError::UnexpectedBinary(_) | ProtocolError::UnexpectedText(_) => {
                        codes::close::UNSUPPORTED_DATA
                    }
                    _ => codes::close::INVALID_PAYLOAD,
                };
                self.say_close(code, "");
                self.lost(error.into())
            }
        }
    }

    fn message(&mut self, mut message: H::Message) -> Flow {
        if self.handler.is_server_ping(&message) {
            self.handler.build_pong(&message, &mut self.out);
            return GO_ON;
        }
        if self.handler.is_pong_response(&message) {
            return GO_ON;
        }
        if let Some(id) = &self.auth
            && let Some(outcome) = self.handler.is_auth_success(id, &mut message)
        {
            return self.authenticated(outcome);
        }
        match self.handler.classify_message(&message) {
            MessageKind::Response => self.response(message),
            MessageKind::Update => self.update(message),
            MessageKind::System | MessageKind::Control => GO_ON,
            MessageKind::Unknown => {
                self.stray("message that the protocol handler does not know");
                GO_ON
            }
        }
    }

    fn response(&mut self, message: H::Message) -> Flow {
        let Some(id) = self.handler.extract_request_id(&message) else {
            self.stray("answer without a request id");
            return GO_ON;
        };
        if let Some(own) = self.own.remove(&id) {
            return self.answered(own.asked, message);
        }
        let Some(kind) = self.shared.pending.kind(&id) else {
            self.stray("answer that nobody waits for");
            return GO_ON;
        };
        let answer = self.handler.response(kind, message).map_err(RequestError::Server);
        self.shared.pending.resolve(&id, answer);
        GO_ON
    }

    fn answered(&mut self, asked: Asking, message: H::Message) -> Flow {
        match asked {
            Asking::Subscribe(topics) => self.subscribe_answered(topics, message),
            Asking::Unsubscribe(topics) => match self.handler.unsubscribed(message) {
                Ok(()) => {
                    self.unsubscribed(topics);
                    GO_ON
                }
                Err(error) => {
                    // Subscribed or not? A new connection knows.
                    let unexpected = ProtocolError::UnexpectedAnswer { to: "unsubscribe", what: error.to_string() };
                    self.lost(unexpected.into())
                }
            },
            Asking::Refresh(topic) => {
                let outcome = self.handler.refreshed(message);
                self.refresh_answered(topic, outcome)
            }
        }
    }

    fn update(&mut self, message: H::Message) -> Flow {
        let topic = self.handler.extract_topic(&message);
        let update = self.handler.update(message);
        match (update, topic) {
            (Update::Publication(publication), Some(topic)) => {
                count(&self.shared.counters.publications);
                match self.shared.registry.publication(&topic, publication) {
                    Verdict::Delivered | Verdict::Duplicate => {}
                    Verdict::Stray => self.stray("publication of a topic that is not subscribed"),
                    Verdict::Gap => {
                        count(&self.shared.counters.gaps);
                        tracing::debug!(%topic, "gap: subscribing anew");
                        self.look_at(topic);
                    }
                }
            }
            (Update::Join(info), Some(topic)) => self.shared.registry.notice(&topic, &Event::Join(info)),
            (Update::Leave(info), Some(topic)) => self.shared.registry.notice(&topic, &Event::Leave(info)),
            (Update::Unsubscribed { code, reason }, Some(topic)) => self.unsubscribed_by_server(topic, code, &reason),
            (Update::Subscribed(result), Some(topic)) => {
                self.shared.registry.server_subscribed(&topic, result, self.generation());
            }
            (Update::Message(data), _) => match self.shared.messages() {
                Some(mailbox) => mailbox.publication(&Publication::message(data), false).now(),
                None => self.stray("message to this connection that nobody listens for"),
            },
            (Update::Disconnect { code, reason }, _) => return self.lost(CloseReason::Server { code, reason }),
            (Update::Expires(expires_in), _) => self.expires_in(expires_in),
            (Update::Nothing, _) => {}
            (_, None) => self.stray("news of a topic without its name"),
        }
        GO_ON
    }

    fn stray(&self, what: &str) {
        count(&self.shared.counters.strays);
        tracing::debug!(target = %self.target, what, "dropped");
    }

    // -- What goes out

    pub(super) fn command(&mut self, command: Command) {
        let id = match command {
            Command::Request(id) => id,
            Command::Send(data) => {
                if let Err(error) = self.handler.build_send(&data, &mut self.out) {
                    tracing::warn!(%error, "message not sent");
                }
                return;
            }
        };
        // Its caller may have given up meanwhile.
        let Some(call) = self.shared.pending.mark_sent(&id) else { return };
        if let Err(error) = self.handler.build_request(&id, &call, &mut self.out) {
            self.shared.pending.resolve(&id, Err(error.into()));
        }
    }

    /// Takes note of a request of the task's own.
    pub(super) fn expect(&mut self, id: RequestId, asked: Asking) {
        let deadline = Instant::now() + self.shared.config.request_timeout;
        self.timers.set_no_later(Timer::Answer, deadline);
        self.own.insert(id, Own { asked, deadline });
    }

    /// What left along with the credentials could not be answered before them: its time begins now.
    fn early_subscribes_are_due(&mut self, now: Instant) {
        let deadline = now + self.shared.config.request_timeout;
        for own in self.own.values_mut() {
            own.deadline = deadline;
        }
        if !self.own.is_empty() {
            self.timers.set(Timer::Answer, deadline);
        }
    }

    /// A request of the task's own may be overdue. The connection cannot be trusted then: a subscription may or may not
    /// be in force.
    pub(super) fn answer_due(&mut self, now: Instant) -> Flow {
        if !self.state().is_ready() {
            // Until the session is open the connect timeout rules.
            return GO_ON;
        }
        let Some(own) = self.own.values().min_by_key(|own| own.deadline) else { return GO_ON };
        if own.deadline > now {
            self.timers.set(Timer::Answer, own.deadline);
            return GO_ON;
        }
        let (to, after) = (own.asked.name(), self.shared.config.request_timeout);
        self.lost(ProtocolError::NoAnswer { to, after }.into())
    }

    pub(super) fn ping(&mut self, now: Instant) {
        let config = &self.shared.config;
        let (interval, timeout) = (config.ping_interval, config.pong_timeout);
        let id = self.shared.ids.next();
        let by_protocol = config.ping_kind == PingKind::Protocol && self.handler.build_ping(&id, &mut self.out);
        if !by_protocol && let super::Link::Up(socket) = &mut self.link {
            socket.send(Opcode::Ping, b"");
        }
        self.ping_unanswered = true;
        self.timers.set(Timer::Ping, now + interval);
        self.timers.set(Timer::Pong, now + timeout);
    }

    // -- Tokens

    /// Renews a token: the connection's, or a topic's.
    pub(super) fn refresh(&mut self, topic: Option<Topic>) -> Flow {
        let asked = match &topic {
            None => self.shared.config.token.ask(TokenRequest::Connection),
            Some(topic) => self
                .shared
                .registry
                .with(topic, |entry| entry.in_force().then(|| entry.options.token.clone()))
                .flatten()
                .and_then(|source| source.ask(TokenRequest::Subscription(topic.clone()))),
        };
        match asked {
            Some(Asked::Later(future)) => {
                self.tokens.push(Fetching { purpose: Fetch::Refresh(topic), future });
                GO_ON
            }
            // A constant cannot be renewed; the server will say so when the time has come.
            Some(Asked::Now(_)) | None => GO_ON,
        }
    }

    pub(super) fn token_fetched(&mut self, purpose: Fetch, token: Result<String, TokenError>) -> Flow {
        match purpose {
            Fetch::Subscribe { topic, number } => {
                self.topic_token_fetched(topic, number, token);
                GO_ON
            }
            // It was for a subscription that is over: whoever wants the topic fetches another.
            Fetch::Refresh(Some(topic)) if !self.in_force(&topic) => GO_ON,
            Fetch::Refresh(topic) => match token {
                Ok(token) => {
                    let id = self.shared.ids.next();
                    if self.handler.build_refresh(&id, topic.as_ref(), &token, &mut self.out) {
                        self.expect(id, Asking::Refresh(topic.clone()));
                    }
                    match topic {
                        None => self.token = Some(token.into()),
                        Some(topic) => {
                            self.shared.registry.with(&topic, |entry| entry.token = Some(token.into()));
                        }
                    }
                    GO_ON
                }
                Err(error) => self.refresh_failed(topic, error.is_final().then_some(CloseReason::Token(error))),
            },
        }
    }

    fn in_force(&self, topic: &Topic) -> bool {
        self.shared.registry.with(topic, |entry| entry.in_force()).unwrap_or_default()
    }

    fn refresh_answered(&mut self, topic: Option<Topic>, outcome: Result<Option<Duration>, ServerError>) -> Flow {
        if topic.as_ref().is_some_and(|topic| !self.in_force(topic)) {
            // Over meanwhile. What comes to be in force later is answered later.
            return GO_ON;
        }
        match outcome {
            Ok(expires_in) => {
                match topic {
                    None => self.expires_in(expires_in),
                    Some(topic) => self.topic_expires_in(topic, expires_in),
                }
                GO_ON
            }
            Err(error) => {
                let is_final = self.handler.advice(&error) == Advice::GiveUp;
                self.refresh_failed(topic, is_final.then(|| DialError::Auth(error).into()))
            }
        }
    }

    /// A refresh failed; for good, with a reason, or for now.
    fn refresh_failed(&mut self, topic: Option<Topic>, for_good: Option<CloseReason>) -> Flow {
        let retry_at = Instant::now() + REFRESH_RETRY.mul_f64(1.0 + self.draw(Purpose::Refresh));
        match (topic, for_good) {
            (None, None) => self.timers.set(Timer::Refresh, retry_at),
            (None, Some(reason)) => {
                self.say_close(codes::close::NORMAL, "");
                return self.lost(reason);
            }
            (Some(topic), None) => self.timers.set_topic(topic, TopicTimer::Refresh, retry_at),
            (Some(topic), Some(reason)) => self.give_up_topic(&topic, &reason),
        }
        GO_ON
    }
}
