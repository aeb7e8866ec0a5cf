//! A subscriber on the wire: it mends nothing that the server gets wrong, so that the oracle sees it.
//!
//! A client drops what comes twice, fetches what is missing and turns strays away; with clients alone those mistakes of a
//! server would never show. This one writes each reply down as it came. It recovers when its connection has ended, and
//! now and then leaves its channel of its own accord, listens on for a while, and comes back as somebody new.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use pubsub_client::StreamPosition;
use pubsub_protocol::push::PushBody;
use pubsub_protocol::reply::{Answer, Reply, SubscribeResult};
use pubsub_protocol::{Publication, Push};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Common, channel_name};
use crate::chance::Chance;
use crate::fault::Faults;
use crate::ledger::{Cause, Event, Place};
use crate::oracle::Law;
use crate::raw::{Message, RawPeer};
use crate::virtual_time::network::Network;

/// Subscribers on the wire have connections of their own, numbered from here.
const WIRE_CONNECTIONS: u64 = 3 << 32;
/// How long it waits before it connects again, and for anything from the server beyond its pings.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it listens after it has left.
const LISTENS_ON: Duration = Duration::from_millis(500);

/// Who it is.
pub(super) struct Wire {
    pub(super) common: Arc<Common>,
    pub(super) network: Network,
    pub(super) faults: Faults,
    pub(super) number: u32,
    pub(super) channel: u32,
    pub(super) bystander: bool,
    /// It leaves after about so long, each time. Zero: it stays.
    pub(super) stays: Duration,
    /// From now on nobody leaves any more.
    pub(super) stay: Arc<AtomicBool>,
}

/// How far its subscription is on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was asked yet, or it was ended.
    Away,
    /// The subscribe with this id is not answered yet.
    Asked(u32),
    /// In force.
    Live,
    /// The unsubscribe with this id is not answered yet.
    Leaving(u32),
    /// It is, and nothing may come any more.
    Left,
}

struct Subscriber {
    wire: Wire,
    name: String,
    chance: Chance,
    sub: u32,
    generation: u32,
    stage: Stage,
    position: Option<StreamPosition>,
    /// It counts among those who are there.
    live: bool,
    reached: bool,
}

impl Wire {
    /// Subscribes, and again, until it is aborted.
    pub(super) async fn run(self) {
        let mut subscriber = Subscriber {
            name: channel_name(self.channel.into()),
            chance: self.common.plan.seed.chance(u64::from(self.number), "wire"),
            sub: 0,
            wire: self,
            generation: 0,
            stage: Stage::Away,
            position: None,
            live: false,
            reached: false,
        };
        subscriber.begin();
        loop {
            // Why it ended does not matter: that it did is written down.
            let code = subscriber.connection().await.unwrap_or(1006);
            subscriber.broke(Cause::Disconnected(code.into()));
            sleep(AGAIN_AFTER).await;
        }
    }
}

impl Subscriber {
    fn record(&self, event: Event) {
        self.wire.common.ledger().record(event);
    }

    fn now(&self) -> Duration {
        self.wire.common.now()
    }

    /// Begins a subscription: what the one before missed is not promised to it.
    fn begin(&mut self) {
        let Wire { channel, bystander, .. } = self.wire;
        self.sub = self.wire.common.new_subscription();
        self.record(Event::Subscription { sub: self.sub, channel, bystander });
        (self.stage, self.position, self.reached) = (Stage::Away, None, false);
    }

    /// One connection, until it ends with a close code or with an error.
    async fn connection(&mut self) -> io::Result<u16> {
        let connection = WIRE_CONNECTIONS + u64::from(self.wire.number);
        timeout(PATIENCE, self.wire.faults.connect(connection)).await??;
        let stream = self.wire.faults.stream(connection, self.wire.network.connect(connection)?);
        self.generation += 1;
        let masks = self.wire.common.plan.seed.chance(connection, &format!("masks{}", self.generation));
        let mut peer = timeout(PATIENCE, RawPeer::upgrade(stream, "lab", masks)).await??;
        timeout(PATIENCE, peer.connect()).await??;
        let sessions = &self.wire.common.plan.topology.sessions;
        let silence_max = sessions.ping_interval + sessions.pong_timeout + PATIENCE;
        let mut moves_at = None;
        loop {
            let stage = self.stage;
            tokio::select! {
                biased;
                () = at(moves_at) => timeout(PATIENCE, self.moves(&mut peer)).await??,
                message = timeout_at(Instant::now() + silence_max, peer.next()) => match message?? {
                    Message::Replies(replies) => {
                        for reply in replies {
                            timeout(PATIENCE, self.take(reply, &mut peer)).await??;
                        }
                    }
                    Message::Close { code } => return Ok(code),
                    Message::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Message::Garbage(what) if self.wire.bystander => {
                        self.record(Event::Checked { law: Law::I16, count: 1, wrong: vec![what] });
                    }
                    // A fault of the plan may have made it that.
                    Message::Garbage(what) => return Err(io::Error::other(what)),
                },
            }
            if self.stage != stage || moves_at.is_some_and(|at| at <= Instant::now()) {
                moves_at = self.moves_at();
            }
        }
    }

    /// When it does something of its own accord.
    fn moves_at(&mut self) -> Option<Instant> {
        let after = match self.stage {
            Stage::Live if !self.wire.stays.is_zero() => self.wire.stays.mul_f64(2.0 * self.chance.uniform()),
            Stage::Left => LISTENS_ON,
            _ => return None,
        };
        Some(Instant::now() + after)
    }

    async fn moves<S: AsyncRead + AsyncWrite + Unpin>(&mut self, peer: &mut RawPeer<S>) -> io::Result<()> {
        if self.stage == Stage::Live && self.wire.stay.load(Relaxed) {
            return Ok(());
        }
        if self.stage == Stage::Live {
            // Whoever waits for everybody to be there waits for it to come back.
            self.dead();
            self.stage = Stage::Leaving(peer.unsubscribe(&self.name).await?);
            return Ok(());
        }
        self.ask(peer).await
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&mut self, peer: &mut RawPeer<S>) -> io::Result<()> {
        if self.stage == Stage::Left {
            self.begin();
        }
        let (at, sub, generation) = (self.now(), self.sub, self.generation);
        let from = self.position.as_ref().map(|position| self.place(position));
        self.record(Event::Ask { at, sub, generation, from });
        self.stage = Stage::Asked(peer.subscribe(&self.name, self.position.clone()).await?);
        Ok(())
    }

    fn place(&self, position: &StreamPosition) -> Place {
        Place { epoch: (&*position.epoch).into(), offset: position.offset }
    }

    async fn take<S>(&mut self, reply: Reply, peer: &mut RawPeer<S>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match (reply, self.stage) {
            (Reply::Answer { outcome: Ok(Answer::Connect(_)), .. }, _) => self.ask(peer).await?,
            (Reply::Answer { id, outcome: Ok(Answer::Subscribe(result)) }, Stage::Asked(asked)) if id == asked => {
                self.subscribed(&result);
            }
            (Reply::Answer { id, outcome: Ok(_) }, Stage::Leaving(asked)) if id == asked => {
                let (at, sub, generation) = (self.now(), self.sub, self.generation);
                self.record(Event::Left { at, sub, generation });
                self.stage = Stage::Left;
            }
            (Reply::Answer { outcome: Err(error), .. }, _) => return Err(io::Error::other(error.message)),
            (Reply::Push(Push { channel, body: PushBody::Publication(publication) }), _) => {
                self.publication(&channel, &publication);
            }
            (Reply::Push(Push { body: PushBody::Unsubscribe(told), .. }), Stage::Live) => {
                self.broke(Cause::Unsubscribed(told.code));
                self.ask(peer).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn subscribed(&mut self, result: &SubscribeResult) {
        let position = result.positioned.then(|| StreamPosition::new(result.offset, &*result.epoch));
        let place = position.as_ref().map(|position| self.place(position));
        let content = |one: &Publication| (one.offset, self.wire.common.content(one.data.as_bytes()));
        let batch: Vec<_> = result.publications.iter().map(content).collect();
        let sentinel = self.wire.common.sentinel(self.wire.channel);
        let reached = batch.iter().any(|(_, content)| content.ok().is_some_and(|id| Some(id) == sentinel));
        self.record(Event::Reply {
            at: self.now(),
            sub: self.sub,
            generation: self.generation,
            recovered: result.recovered,
            was_recovering: result.was_recovering,
            place,
            batch,
            batch_follows: false,
        });
        self.position = position.map(|position| match result.publications.last() {
            Some(last) => StreamPosition { offset: last.offset, ..position },
            None => position,
        });
        self.stage = Stage::Live;
        if !std::mem::replace(&mut self.live, true) {
            self.wire.common.live.fetch_add(1, Relaxed);
        }
        self.has_reached(reached);
    }

    fn publication(&mut self, channel: &str, publication: &Publication) {
        let (at, sub, generation, offset) = (self.now(), self.sub, self.generation, publication.offset);
        let channel = channel.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(u32::MAX);
        let content = self.wire.common.content(publication.data.as_bytes());
        let epoch = (!publication.epoch.is_empty()).then(|| (&*publication.epoch).into());
        self.record(Event::Push { at, sub, generation, channel, epoch, offset, content });
        // Also while it waits for the answer to its unsubscribe: if the connection ends first, it is still subscribed.
        let counts = matches!(self.stage, Stage::Live | Stage::Leaving(_)) && channel == self.wire.channel;
        if let Some(position) = self.position.as_mut().filter(|_| counts) {
            position.offset = offset;
        }
        if !counts || self.stage != Stage::Live {
            return;
        }
        self.wire.common.delivered.fetch_add(1, Relaxed);
        let sentinel = self.wire.common.sentinel(channel);
        self.has_reached(content.ok().is_some_and(|id| Some(id) == sentinel));
    }

    fn has_reached(&mut self, reached: bool) {
        if reached && !std::mem::replace(&mut self.reached, true) {
            self.wire.common.reached.fetch_add(1, Relaxed);
        }
        self.wire.common.changed.notify_waiters();
    }

    /// Continuity is over, and it knows.
    fn broke(&mut self, cause: Cause) {
        self.dead();
        if matches!(self.stage, Stage::Live | Stage::Leaving(_)) {
            let (at, sub, generation) = (self.now(), self.sub, self.generation);
            self.record(Event::Break { at, sub, generation, cause });
        }
        if self.stage != Stage::Left {
            self.stage = Stage::Away;
        }
    }

    /// Once for each time it was there: it may break while it says that it leaves.
    fn dead(&mut self) {
        if std::mem::take(&mut self.live) {
            self.wire.common.live.fetch_sub(1, Relaxed);
            self.wire.common.changed.notify_waiters();
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
