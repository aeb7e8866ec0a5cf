//! What a shard does with a connection's bytes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pubsub_protocol::websocket::{Decoder, Event, MessageKind, Opcode, Role};
use pubsub_protocol::{DisconnectCode, Format};
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::Shard;
use super::connection::{Connection, Stage, Unread};
use super::turn::Fate;
use crate::outbox::Outbox;
use crate::planted::{self, Bug};
use crate::session::effect::Close;
use crate::transport::frame::encode_control;
use crate::transport::socket::Socket;

/// Reads of one connection before others have their turn.
const READS_MAX: usize = 4;

/// Commands of one connection, and frames without any, that are dealt with before others have their turn. A read may hold
/// ten thousand of them: whoever floods is served in between those who do not ([`Shard::defer`]).
pub(super) const VISIT: usize = 16;

/// The same for a connection that has just said something. Enough for whoever says little, also after a busy machine kept
/// its words back for a while; and a thousand who each say fifty things at once are not in front of it with more than this.
pub(super) const FIRST_VISIT: usize = 8;

/// The same when a connection's time is up: what it said in time is to be found, though not at any price.
pub(super) const LAST_VISIT: usize = 1024;

/// Answers that may wait before no further command is read.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The same in frames: small ones take far more memory here than their bytes.
const ANSWERS_MAX: usize = 1024;

/// A command that takes so long counts as two.
const COMMAND_TIME: Duration = Duration::from_micros(20);

/// How long a peer has to answer a close frame, and then to close its side.
const CLOSE_TIMEOUT_MS: u64 = 3000;

impl<S: Socket> Shard<S> {
    /// Gets on with a connection that wants it: writes, work under way, input for so many frames and commands.
    pub(super) fn drive(&mut self, visit: usize, slot: u32, connection: &mut Connection<S>) -> Fate {
        self.visit = visit;
        if let Some(wake) = &connection.wake {
            wake.polling();
        }
        if let Stage::Lingering { .. } = connection.stage {
            return self.linger(slot, connection);
        }
        if connection.work.is_some() {
            self.poll_work(slot, connection);
            self.apply(slot, connection);
        }
        let waker = connection.socket_waker(&self.ready, slot);
        let mut cx = Context::from_waker(&waker);
        let mut reads = 0;
        while reads < READS_MAX && self.visit > 0 {
            // Answers to what was read go out before more is read.
            if connection.wants_to_write() && self.write(slot, connection) == Fate::Drop {
                return Fate::Drop;
            }
            if self.is_paused(slot, connection) {
                return Fate::Keep;
            }
            if let Some(unread) = connection.unread.take() {
                self.resume(slot, connection, unread);
                continue;
            }
            reads += 1;
            let mut scratch = std::mem::take(&mut self.scratch);
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut connection.stream).poll_read(&mut cx, &mut buffer);
            let n = buffer.filled().len();
            let fate = match read {
                Poll::Pending => Some(Fate::Keep),
                Poll::Ready(Ok(())) if n > 0 => {
                    self.cells().bytes_received.add(n as u64);
                    let done = self.input(slot, connection, &mut scratch[..n]);
                    if done < n {
                        connection.unread.get_or_insert_default().input = scratch[done..n].to_vec();
                    }
                    None
                }
                Poll::Ready(Ok(())) => {
                    tracing::debug!(connection_id = %connection.session.id(), "the peer went away");
                    Some(Fate::Drop)
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(connection_id = %connection.session.id(), %error, "the connection broke");
                    if planted::is(Bug::CountedTwiceOnReset) {
                        self.cells().connections_closed.increment();
                    }
                    Some(Fate::Drop)
                }
            };
            self.scratch = scratch;
            if let Some(fate) = fate {
                return fate;
            }
        }
        // There may be more: others first.
        self.defer(slot, connection);
        Fate::Keep
    }

    /// Puts a connection that has used up its visit behind those that have news, and after its next behind those that
    /// say a little more than others: whoever says little is not behind whoever says much.
    fn defer(&mut self, slot: u32, connection: &mut Connection<S>) {
        if !connection.deferred {
            connection.deferred = true;
            let queue = if self.again { &mut self.deferred } else { &mut self.unfinished };
            queue.push_back(slot);
        }
    }

    /// Whether nothing of a connection is read for our own sake.
    pub(super) fn is_kept_waiting(&self, connection: &Connection<S>) -> bool {
        connection.work.is_some() || !self.desk.node.hub.has_room()
    }

    /// Whether a connection's next command has to wait: for one under way, for its answers to be read, or for
    /// room to publish.
    fn is_paused(&self, slot: u32, connection: &mut Connection<S>) -> bool {
        if connection.work.is_some() || answers_pile_up(&connection.outbox) {
            return true;
        }
        let hub = &self.desk.node.hub;
        !hub.has_room() && {
            let waker = connection.waker(&self.ready, slot);
            hub.poll_room(&mut Context::from_waker(&waker)).is_pending()
        }
    }

    fn resume(&mut self, slot: u32, connection: &mut Connection<S>, mut unread: Box<Unread>) {
        if unread.message_done < unread.message.len() {
            unread.message_done += self.commands(slot, connection, &unread.message[unread.message_done..]);
            if unread.message_done < unread.message.len() {
                connection.unread = Some(unread);
                return;
            }
        }
        if unread.input_done < unread.input.len() && self.has_to_stop(slot, connection) {
            connection.unread = Some(unread);
            return;
        }
        let Unread { mut input, mut input_done, .. } = *unread;
        input_done += self.input(slot, connection, &mut input[input_done..]);
        if input_done < input.len() {
            let unread = connection.unread.get_or_insert_default();
            (unread.input, unread.input_done) = (input, input_done);
        }
    }

    /// Decodes input and acts upon it, as far as may be. Returns how much of it is done with.
    fn input(&mut self, slot: u32, connection: &mut Connection<S>, input: &mut [u8]) -> usize {
        if connection.echo {
            connection.session.postpone(&self.desk.context());
        }
        let mut decoder = std::mem::replace(&mut connection.decoder, Decoder::new(Role::Server, 0));
        if planted::is(Bug::PartialFrameParsed) && decoder.is_mid_message() {
            decoder = Decoder::new(Role::Server, self.settings.message_bytes_max);
        }
        let mut at = 0;
        loop {
            let decoded = match decoder.decode(&mut input[at..]) {
                Ok(decoded) => decoded,
                Err(violation) => {
                    tracing::info!(connection_id = %connection.session.id(), %violation, "WebSocket rules broken");
                    self.end(slot, connection, Close::new(violation.close_code(), violation.to_string()));
                    // Its close frame could not be told from anything else any more.
                    connection.stage = Stage::Closed { until_ms: close_deadline(self.desk.now.ms) };
                    self.mark_dirty(slot, connection);
                    at = input.len();
                    break;
                }
            };
            at += decoded.consumed;
            let visit = self.visit;
            match decoded.event {
                None => break,
                Some(Event::Message { kind, data }) => self.message(slot, connection, kind, data),
                Some(Event::Ping(payload)) if connection.stage == Stage::Open => {
                    connection.outbox.answer(encode_control(Opcode::Pong, payload));
                    self.mark_dirty(slot, connection);
                }
                Some(Event::Ping(_)) => {}
                Some(Event::Pong(_)) => connection.session.native_pong(),
                Some(Event::Close(frame)) => {
                    let code = frame.map(|frame| frame.code);
                    self.peer_closes(slot, connection, code);
                }
            }
            if self.visit == visit {
                // A frame without commands.
                self.visit = self.visit.saturating_sub(1);
            }
            if at < input.len() && (connection.unread.is_some() || self.has_to_stop(slot, connection)) {
                break;
            }
        }
        connection.decoder = decoder;
        at
    }

    /// Whether a connection's next frame or command has to wait, for others or for its own sake.
    fn has_to_stop(&self, slot: u32, connection: &mut Connection<S>) -> bool {
        self.visit == 0 || self.is_paused(slot, connection)
    }

    fn message(&mut self, slot: u32, connection: &mut Connection<S>, kind: MessageKind, data: &[u8]) {
        if connection.stage != Stage::Open {
            return;
        }
        if connection.echo {
            connection.outbox.answer(encode_control(kind.opcode(), data));
            return self.mark_dirty(slot, connection);
        }
        let expected = match connection.format {
            Format::Json => MessageKind::Text,
            Format::Protobuf => MessageKind::Binary,
        };
        if kind != expected {
            tracing::info!(connection_id = %connection.session.id(), ?kind, "wrong kind of message for the format");
            return self.end(slot, connection, DisconnectCode::BadRequest.into());
        }
        let done = self.commands(slot, connection, data);
        if done < data.len() {
            connection.unread.get_or_insert_default().message = data[done..].to_vec();
        }
    }

    /// The commands of a message, in order, as far as may be. Returns how much of it is done with.
    fn commands(&mut self, slot: u32, connection: &mut Connection<S>, message: &[u8]) -> usize {
        let mut commands = connection.format.commands(message);
        while let Some(command) = commands.next() {
            match command {
                Ok(command) => {
                    let (method, begun) = (command.request.name(), Instant::now());
                    connection.session.command(command, &mut self.desk.context());
                    self.apply(slot, connection);
                    let took = begun.elapsed();
                    self.cells().command(method, took);
                    self.spend(took);
                }
                Err(error) => {
                    tracing::info!(connection_id = %connection.session.id(), %error, "message refused");
                    self.end(slot, connection, DisconnectCode::BadRequest.into());
                }
            }
            if connection.session.is_closed() {
                break;
            }
            if commands.consumed() < message.len() && self.has_to_stop(slot, connection) {
                return commands.consumed();
            }
        }
        message.len()
    }

    /// A command is done: whoever wants much is through with its visit after few.
    fn spend(&mut self, took: Duration) {
        let counts = took.as_micros() / COMMAND_TIME.as_micros();
        self.visit = self.visit.saturating_sub(1 + usize::try_from(counts).unwrap_or(usize::MAX - 1));
    }

    /// Ends the conversation from our side.
    fn end(&mut self, slot: u32, connection: &mut Connection<S>, close: Close) {
        if !connection.session.is_closed() {
            connection.session.close(close, &mut self.desk.context());
            self.apply(slot, connection);
        }
    }

    /// The peer's close frame: answered with the same code, unless ours was the first.
    fn peer_closes(&mut self, slot: u32, connection: &mut Connection<S>, code: Option<u16>) {
        if connection.stage == Stage::Open {
            connection.session.vanish(&mut self.desk.context());
            self.apply(slot, connection);
            let payload = code.map(u16::to_be_bytes);
            let payload = payload.as_ref().map_or(&[][..], |code| code);
            connection.outbox.answer(encode_control(Opcode::Close, payload));
        }
        connection.unread = None;
        connection.stage = Stage::Closed { until_ms: close_deadline(self.desk.now.ms) };
        self.mark_dirty(slot, connection);
    }

    /// Writes what waits, and deals with what comes of it.
    pub(super) fn write(&mut self, slot: u32, connection: &mut Connection<S>) -> Fate {
        let (answers_piled, had_ping) = (answers_pile_up(&connection.outbox), connection.outbox.has_ping());
        let waker = connection.socket_waker(&self.ready, slot);
        let written = connection.flush(&mut Context::from_waker(&waker), self.desk.now.ms);
        self.cells().bytes_sent.add(written.bytes);
        if had_ping && !connection.outbox.has_ping() {
            connection.session.ping_left(self.desk.now.ms, self.settings.ping_interval_ms);
        }
        if answers_piled && !answers_pile_up(&connection.outbox) {
            self.defer(slot, connection);
        }
        self.after_write(slot, connection, written.flushed)
    }

    /// What becomes of a connection after a write. When both sides have said their last, it was ours.
    pub(super) fn after_write(
        &mut self,
        slot: u32,
        connection: &mut Connection<S>,
        flushed: Poll<std::io::Result<()>>,
    ) -> Fate {
        match flushed {
            Poll::Pending => Fate::Keep,
            Poll::Ready(Err(error)) => {
                tracing::debug!(connection_id = %connection.session.id(), %error, "the connection broke");
                Fate::Drop
            }
            Poll::Ready(Ok(())) => match connection.stage {
                Stage::Closed { until_ms } => {
                    // The last bytes are with the kernel. A stream with more to say (TLS) says it here or not at all.
                    let waker = connection.socket_waker(&self.ready, slot);
                    let _ = Pin::new(&mut connection.stream).poll_shutdown(&mut Context::from_waker(&waker));
                    connection.stage = Stage::Lingering { until_ms };
                    self.linger(slot, connection)
                }
                _ => Fate::Keep,
            },
        }
    }

    /// Drops what the peer still says, until it is gone.
    fn linger(&mut self, slot: u32, connection: &mut Connection<S>) -> Fate {
        let waker = connection.socket_waker(&self.ready, slot);
        let mut cx = Context::from_waker(&waker);
        for _ in 0..READS_MAX {
            let mut buffer = ReadBuf::new(&mut self.scratch);
            match Pin::new(&mut connection.stream).poll_read(&mut cx, &mut buffer) {
                Poll::Pending => return Fate::Keep,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Fate::Drop,
            }
        }
        self.defer(slot, connection);
        Fate::Keep
    }

    /// Notes that a connection has something to send.
    pub(super) fn mark_dirty(&mut self, slot: u32, connection: &mut Connection<S>) {
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(slot);
        }
    }
}

/// Whether a peer has to read its answers before it is heard again.
pub(super) fn answers_pile_up(outbox: &Outbox) -> bool {
    outbox.answer_bytes() > ANSWER_BYTES_MAX || outbox.answers() > ANSWERS_MAX
}

/// When a close frame that goes out now has to be answered by.
pub(super) fn close_deadline(now_ms: u64) -> u64 {
    now_ms + CLOSE_TIMEOUT_MS
}
