//! The task that owns the socket: one loop, one wait, and what is done about each thing that can happen.
//!
//! The wait's order is its priorities: deadlines first, so that no flood of data can hide a dead peer; then what the
//! handles want, which is bounded; then what was dialled or fetched; the socket last. Everything is decided here, on
//! one task, so that no two decisions about a connection can cross. A lost connection's stream is dropped before
//! another is opened, and request ids are never used twice: nothing that an old connection still says can be heard.
//!
//! - `session`: what is done about messages and requests while there is a session
//! - `topics`: subscribing, unsubscribing and recovering

mod session;
mod topics;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hashbrown::HashMap;
use pubsub_protocol::websocket::{self, Opcode};
use pubsub_protocol::{DisconnectCode, codes};
use rand::Rng as _;
use tokio::time::Instant;

use crate::breaker::{Admission, CircuitBreaker, Permit};
use crate::chance::{Purpose, Seed};
use crate::connector::{Connector, Target};
use crate::error::{CloseReason, DialError, ProtocolError};
use crate::handler::{Outgoing, ProtocolHandler};
use crate::ids::{RequestId, Topic};
use crate::inbox::Mail;
use crate::pending::FixedHasher;
use crate::planted::{self, Bug};
use crate::shared::{Shared, count};
use crate::socket::{ReadError, Socket};
use crate::state::{ConnectionState, Input};
use crate::timers::{Due, Timer, Timers, TopicTimer};
use crate::token::{Asked, TokenError, TokenRequest};
use crate::upgrade::Upgrade;

/// Commands stay in their queue while so much waits to be written: a peer that does not read must not make the
/// client grow.
const WRITE_BACKLOG_BYTES_MAX: usize = 1_024 * 1_024;

pub(crate) struct Connection<C: Connector, H: ProtocolHandler> {
    shared: Arc<Shared>,
    connector: Arc<C>,
    handler: H,
    target: Target,
    seed: Seed,
    breaker: Option<CircuitBreaker>,
    /// Leave for the attempt under way.
    permit: Option<Permit>,
    link: Link<C::Stream>,
    timers: Timers,
    out: Outgoing,
    /// The connection's token, once it was had.
    token: Option<Arc<str>>,
    tokens: Vec<Fetching>,
    /// How many tokens were fetched for topics.
    fetches: u64,
    /// Ids of requests that the task itself waits for.
    own: HashMap<RequestId, Own, FixedHasher>,
    auth: Option<RequestId>,
    /// Topics to be looked at.
    agenda: VecDeque<Topic>,
    /// Topics whose subscribe or unsubscribe is under way.
    under_way: usize,
    heard_at: Instant,
    /// A ping was sent, and nothing has been heard since.
    ping_unanswered: bool,
    /// How long the server may be silent, where it pings.
    silence_max: Option<Duration>,
    /// Losses in a row since the last session; attempts that failed among them.
    losses: u32,
    failures: u32,
    /// Draws so far, by purpose.
    draws: u64,
    reason: Option<CloseReason>,
}

/// What there is of a connection.
enum Link<S> {
    Down,
    Dialing(Pin<Box<dyn Future<Output = Result<Dialed<S>, DialError>> + Send>>),
    Up(Box<Socket<S>>),
}

struct Dialed<S> {
    stream: S,
    leftover: Vec<u8>,
    token: Option<Arc<str>>,
}

/// A request of the task's own.
struct Own {
    asked: Asking,
    deadline: Instant,
}

enum Asking {
    Subscribe(Vec<Topic>),
    Unsubscribe(Vec<Topic>),
    /// A new token, for the connection or a topic.
    Refresh(Option<Topic>),
}

impl Asking {
    fn name(&self) -> &'static str {
        match self {
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Refresh(_) => "refresh",
        }
    }
}

/// A token that the application is fetching.
struct Fetching {
    purpose: Fetch,
    future: crate::token::TokenFuture,
}

enum Fetch {
    /// The `number`-th.
    Subscribe {
        topic: Topic,
        number: u64,
    },
    Refresh(Option<Topic>),
}

/// What the wait ended with.
enum Wake<S, M> {
    Due(Due),
    Mail(Mail),
    Dialed(Result<Dialed<S>, DialError>),
    Token(Fetch, Result<String, TokenError>),
    Received(Received<M>),
    WriteFailed(std::io::Error),
}

/// What one read brought.
struct Received<M> {
    messages: Vec<M>,
    /// Pings of the WebSocket kind, to be answered.
    pings: Vec<Vec<u8>>,
    close: Option<(u32, String)>,
    /// What ended the reading, after the messages above.
    failure: Option<Failure>,
}

enum Failure {
    Io(std::io::Error),
    Violation(websocket::Violation),
    Protocol(ProtocolError),
}

/// Whether the loop goes on.
type Flow = std::ops::ControlFlow<CloseReason>;

const GO_ON: Flow = Flow::Continue(());

impl<C: Connector, H: ProtocolHandler> Connection<C, H> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        connector: C,
        handler: H,
        target: Target,
        seed: Seed,
        breaker: Option<CircuitBreaker>,
    ) -> Self {
        Self {
            shared,
            connector: Arc::new(connector),
            handler,
            target,
            seed,
            breaker,
            permit: None,
            link: Link::Down,
            timers: Timers::default(),
            out: Outgoing::default(),
            token: None,
            tokens: Vec::new(),
            fetches: 0,
            own: HashMap::default(),
            auth: None,
            agenda: VecDeque::new(),
            under_way: 0,
            heard_at: Instant::now(),
            ping_unanswered: false,
            silence_max: None,
            losses: 0,
            failures: 0,
            draws: 0,
            reason: None,
        }
    }

    /// Lives until the client ends.
    pub(crate) async fn run(mut self) {
        let mut flow = self.dial();
        loop {
            if let Flow::Break(reason) = flow {
                self.reason = Some(reason);
                return;
            }
            self.send_outgoing();
            let wake = poll_fn(|cx| self.poll_wake(cx)).await;
            flow = self.handle(wake);
        }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake<C::Stream, H::Message>> {
        if let Poll::Ready(due) = self.timers.poll_due(cx) {
            return Poll::Ready(Wake::Due(due));
        }
        let backlog = if let Link::Up(socket) = &self.link { socket.backlog() } else { 0 };
        let can_send = self.state().is_ready() && backlog < WRITE_BACKLOG_BYTES_MAX;
        if let Poll::Ready(mail) = self.shared.inbox.poll(cx, can_send) {
            return Poll::Ready(Wake::Mail(mail));
        }
        for i in 0..self.tokens.len() {
            if let Poll::Ready(token) = self.tokens[i].future.as_mut().poll(cx) {
                return Poll::Ready(Wake::Token(self.tokens.remove(i).purpose, token));
            }
        }
        match &mut self.link {
            Link::Down => Poll::Pending,
            Link::Dialing(dialing) => dialing.as_mut().poll(cx).map(Wake::Dialed),
            Link::Up(socket) => {
                let flushed = socket.poll_flush(cx);
                if backlog >= WRITE_BACKLOG_BYTES_MAX && socket.backlog() < WRITE_BACKLOG_BYTES_MAX {
                    // The commands that were left alone above may go on.
                    cx.waker().wake_by_ref();
                }
                let received = poll_received(socket, &mut self.handler, cx);
                // Who can not be written to may have said why: what it sent before is read first.
                if let (Poll::Pending, Poll::Ready(Err(error))) = (&received, flushed) {
                    return Poll::Ready(Wake::WriteFailed(error));
                }
                received.map(Wake::Received)
            }
        }
    }

    fn handle(&mut self, wake: Wake<C::Stream, H::Message>) -> Flow {
        match wake {
            Wake::Due(Due::Timer(timer)) => self.due(timer),
            Wake::Due(Due::Topic(topic, TopicTimer::Retry)) => self.retry_topic(topic),
            Wake::Due(Due::Topic(topic, TopicTimer::Refresh)) => self.refresh(Some(topic)),
            Wake::Mail(mail) => self.mail(mail),
            Wake::Dialed(Ok(dialed)) => self.dialed(dialed),
            Wake::Dialed(Err(error)) => self.lost(error.into()),
            Wake::Token(purpose, token) => self.token_fetched(purpose, token),
            Wake::Received(received) => self.received(received),
            Wake::WriteFailed(error) => self.lost(CloseReason::Transport { source: error.into() }),
        }
    }

    fn due(&mut self, timer: Timer) -> Flow {
        let now = Instant::now();
        let config = &self.shared.config;
        match timer {
            Timer::Reconnect => return self.dial(),
            Timer::Connect => {
                let after = config.connect_timeout;
                return self.lost(DialError::Timeout { target: self.target.to_string(), after }.into());
            }
            Timer::Ping => self.ping(now),
            Timer::Pong => {
                // Anything heard since the ping is a sign of life.
                if self.ping_unanswered {
                    return self.lost(CloseReason::NoPong { silent_for: now - self.heard_at });
                }
            }
            Timer::Silence => {
                let until = self.heard_at + self.silence_max.unwrap_or_default();
                if until <= now {
                    return self.lost(CloseReason::NoPong { silent_for: now - self.heard_at });
                }
                self.timers.set(Timer::Silence, until);
            }
            Timer::CleanUp => {
                if let Some(next) = self.shared.pending.clean_up(now) {
                    self.timers.set(Timer::CleanUp, next.max(now + config.cleanup_interval));
                }
            }
            Timer::Answer => return self.answer_due(now),
            Timer::Refresh => return self.refresh(None),
            Timer::Close => return Flow::Break(CloseReason::Requested),
        }
        GO_ON
    }

    fn mail(&mut self, mail: Mail) -> Flow {
        if mail.deadline_added {
            // The search finds out when the next deadline really is.
            self.timers.set_no_later(Timer::CleanUp, Instant::now() + self.shared.config.cleanup_interval);
        }
        for command in mail.commands {
            self.command(command);
        }
        if !mail.touched.is_empty() {
            self.agenda.extend(mail.touched);
            self.work_off_agenda();
        }
        if mail.close { self.close() } else { GO_ON }
    }

    // -- Coming and going

    /// Begins an attempt, if the breaker lets it.
    fn dial(&mut self) -> Flow {
        let now = Instant::now();
        if let Some(breaker) = &self.breaker {
            match breaker.ask(now) {
                Admission::Go(permit) => self.permit = Some(permit),
                Admission::Wait(until) => {
                    // Spread, so that those who wait do not all ask at one moment.
                    let at = until + self.shared.config.backoff().delay(1, self.draw(Purpose::Reconnect));
                    self.timers.set(Timer::Reconnect, at);
                    return GO_ON;
                }
            }
        }
        self.transition(Input::Dial);
        count(&self.shared.counters.attempts);
        let attempt = self.shared.stats().attempts;
        self.timers.set(Timer::Connect, now + self.shared.config.connect_timeout);
        let mut key = [0; 16];
        self.seed.generator(Purpose::UpgradeKey, attempt).fill_bytes(&mut key);
        let upgrade = Upgrade {
            target: self.target.clone(),
            key,
            subprotocol: self.handler.subprotocol().map(str::to_owned),
            headers: self.shared.config.headers.clone(),
        };
        let asked = match &self.token {
            Some(token) => Some(Asked::Now(token.clone())),
            None => self.shared.config.token.ask(TokenRequest::Connection),
        };
        let connector = self.connector.clone();
        self.link = Link::Dialing(Box::pin(dial(connector, upgrade, asked, attempt)));
        GO_ON
    }

    fn dialed(&mut self, dialed: Dialed<C::Stream>) -> Flow {
        count(&self.shared.counters.connections);
        let generation = self.generation();
        let masks = self.seed.generator(Purpose::Masks, generation);
        let limit = self.shared.config.message_bytes_max;
        self.link = Link::Up(Box::new(Socket::new(dialed.stream, dialed.leftover, limit, masks)));
        self.token = dialed.token;
        self.heard_at = Instant::now();
        self.transition(Input::Upgraded);
        self.handler.on_connect(&mut self.out);
        self.authenticate()
    }

    /// Which connection this is; the first is 1.
    fn generation(&self) -> u64 {
        self.shared.counters.connections.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The connection is gone, or never was. Decides whether there will be another, and when.
    fn lost(&mut self, reason: CloseReason) -> Flow {
        let now = Instant::now();
        let state = self.state();
        self.link = Link::Down;
        self.timers.clear_connection();
        self.out = Outgoing::default();
        self.tokens.clear();
        self.own.clear();
        self.auth = None;
        self.agenda = VecDeque::new();
        self.under_way = 0;
        self.silence_max = None;
        self.ping_unanswered = false;
        self.shared.set_session(None);
        if state == ConnectionState::Closing {
            return Flow::Break(CloseReason::Requested);
        }
        if let Some(permit) = self.permit.take() {
            permit.failed(now);
        }
        let code = reason.code();
        let invalidated = code == DisconnectCode::StateInvalidated.code();
        if invalidated {
            self.token = None;
        }
        self.shared.set_last_loss(reason.clone());
        if self.is_final(&reason) {
            return Flow::Break(reason);
        }
        if !state.is_ready() {
            self.failures = self.failures.saturating_add(1);
            if self.shared.config.reconnect_attempts_max.is_some_and(|max| self.failures >= max) {
                return Flow::Break(CloseReason::AttemptsExhausted { attempts: self.failures, last: Box::new(reason) });
            }
        }
        self.losses = self.losses.saturating_add(1);
        let advised = match &reason {
            CloseReason::Dial(DialError::Refused { retry_after, .. }) => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let delay = advised + self.shared.config.backoff().delay(self.losses, self.draw(Purpose::Reconnect));
        tracing::info!(target = %self.target, attempt = self.losses, ?delay, %reason, "connection lost");
        self.transition(Input::Lost { attempt: self.losses });
        self.timers.set(Timer::Reconnect, now + delay);
        // Last, so that whoever hears of it here finds a client that knows it too.
        self.shared.registry.connection_lost(code, &reason.to_string(), invalidated);
        let again = self.shared.pending.connection_lost(&reason);
        self.shared.inbox.return_to_front(again);
        GO_ON
    }

    /// Whether it is pointless to come back.
    fn is_final(&self, reason: &CloseReason) -> bool {
        match reason {
            CloseReason::Server { code, .. } if planted::is(Bug::StaysAwayAfterSlow) => {
                *code == DisconnectCode::Slow.code()
            }
            CloseReason::Server { code, reason } | CloseReason::Dial(DialError::Closed { code, reason, .. }) => {
                !self.handler.should_reconnect(*code, reason)
            }
            CloseReason::Dial(DialError::Token(error)) | CloseReason::Token(error) => error.is_final(),
            CloseReason::Dial(DialError::Auth(error)) => match self.handler.advice(error) {
                crate::handler::Advice::Retry => false,
                crate::handler::Advice::NewToken => !self.shared.config.token.is_renewable(),
                crate::handler::Advice::GiveUp => true,
            },
            // What is too long will be too long again; our own limit says so.
            CloseReason::Protocol(ProtocolError::Frame(violation)) => violation
                .downcast_ref::<websocket::Violation>()
                .is_some_and(|violation| !codes::should_reconnect(u32::from(violation.close_code()))),
            CloseReason::Protocol(ProtocolError::Unwritable(_)) => true,
            _ => false,
        }
    }

    /// The user wants an end.
    fn close(&mut self) -> Flow {
        if self.state() == ConnectionState::Closing {
            return GO_ON;
        }
        let upgraded = !matches!(self.state(), ConnectionState::Disconnected | ConnectionState::Connecting);
        if self.state().is_ready() {
            // Also what a peer that reads slowly has kept in the queue: there is no later.
            for command in self.shared.inbox.take_commands() {
                self.command(command);
            }
        }
        self.transition(Input::Close);
        self.send_outgoing();
        match &mut self.link {
            Link::Up(socket) if upgraded => {
                socket.send(Opcode::Close, &websocket::close_payload(codes::close::NORMAL, ""));
                self.timers.clear_connection();
                self.timers.set(Timer::Close, Instant::now() + self.shared.config.close_timeout);
                GO_ON
            }
            _ => Flow::Break(CloseReason::Requested),
        }
    }

    /// Says goodbye on a connection that is about to be dropped, as far as it takes it at once.
    fn say_close(&mut self, code: u16, reason: &str) {
        self.send_outgoing();
        if let Link::Up(socket) = &mut self.link {
            socket.send(Opcode::Close, &websocket::close_payload(code, reason));
            let _ = socket.poll_flush(&mut Context::from_waker(std::task::Waker::noop()));
        }
    }

    // -- Small things

    fn state(&self) -> ConnectionState {
        *self.shared.state.borrow()
    }

    fn transition(&self, input: Input) {
        let from = self.state();
        let to = from.next(input).expect("the loop takes only ways that the table has");
        if from != to {
            tracing::debug!(target = %self.target, generation = self.generation(), %from, %to, "state");
            self.shared.state.send_replace(to);
        }
    }

    /// A number in `[0, 1)` that nothing else will draw.
    fn draw(&mut self, purpose: Purpose) -> f64 {
        self.draws += 1;
        self.seed.fraction(purpose, self.draws)
    }

    /// Encodes what the handler has written.
    fn send_outgoing(&mut self) {
        let messages = self.out.take();
        if let Link::Up(socket) = &mut self.link {
            for (opcode, message) in messages {
                socket.send(opcode, &message);
            }
        }
    }
}

/// However the task ends, also when its runtime is shut down: nobody is left waiting.
impl<C: Connector, H: ProtocolHandler> Drop for Connection<C, H> {
    fn drop(&mut self) {
        let reason = self.reason.take().unwrap_or(CloseReason::Stopped);
        self.link = Link::Down;
        if !matches!(reason, CloseReason::Requested) {
            tracing::info!(target = %self.target, %reason, "client ended");
        }
        self.shared.set_session(None);
        self.shared.set_closed(reason);
        if !self.state().is_final() {
            self.transition(Input::End);
        }
        self.shared.end();
    }
}

/// One attempt, up to the end of the upgrade.
async fn dial<C: Connector>(
    connector: Arc<C>,
    upgrade: Upgrade,
    asked: Option<Asked>,
    attempt: u64,
) -> Result<Dialed<C::Stream>, DialError> {
    let token = match asked {
        None => None,
        Some(Asked::Now(token)) => Some(token),
        Some(Asked::Later(token)) => Some(Arc::from(token.await?)),
    };
    let connected = connector.connect(&upgrade.target, attempt).await;
    let mut stream =
        connected.map_err(|error| DialError::Transport { target: upgrade.target.to_string(), source: error.into() })?;
    let leftover = upgrade.run(&mut stream).await?;
    Ok(Dialed { stream, leftover, token })
}

fn poll_received<S, H>(socket: &mut Socket<S>, handler: &mut H, cx: &mut Context<'_>) -> Poll<Received<H::Message>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    H: ProtocolHandler,
{
    let mut received = Received { messages: Vec::new(), pings: Vec::new(), close: None, failure: None };
    let outcome = socket.poll_receive(cx, |event| {
        if received.failure.is_some() {
            return;
        }
        let decoded = match event {
            websocket::Event::Message { kind: websocket::MessageKind::Text, data } => {
                handler.decode(data, &mut received.messages)
            }
            websocket::Event::Message { kind: websocket::MessageKind::Binary, data } => {
                handler.decode_binary(data, &mut received.messages)
            }
            websocket::Event::Ping(payload) => {
                received.pings.push(payload.to_vec());
                Ok(())
            }
            websocket::Event::Pong(_) => Ok(()),
            websocket::Event::Close(frame) => {
                let none = (u32::from(codes::close::ABNORMAL), String::new());
                received.close = Some(frame.map_or(none, |frame| (u32::from(frame.code), frame.reason.to_owned())));
                Ok(())
            }
        };
        received.failure = decoded.err().map(Failure::Protocol);
    });
    match std::task::ready!(outcome) {
        Ok(true) => {}
        Ok(false) => {
            received.failure.get_or_insert(Failure::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Err(ReadError::Io(error)) => received.failure = Some(Failure::Io(error)),
        Err(ReadError::Violation(violation)) => {
            received.failure.get_or_insert(Failure::Violation(violation));
        }
    }
    Poll::Ready(received)
}

/// How long before its end a token is renewed: at four fifths of its time.
fn refresh_after(expires_in: Duration) -> Duration {
    expires_in.mul_f64(0.8)
}
