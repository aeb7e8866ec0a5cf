//! A reader of one subscription: writes down what it is told, and judges nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pubsub_client::{Event as News, Publication, Recovery, Subscribed, Subscription};

use super::{Breaks, Common, lock};
use crate::chance::Seed;
use crate::ledger::{Cause, Epoch, Event, Place};
use crate::oracle::Law;
use crate::payload::Verified;

/// Chance that a reader that pauses at all does so before an event.
const PAUSES: f64 = 0.25;

pub(super) struct Subscriber {
    common: Arc<Common>,
    sub: u32,
    channel: u32,
    bystander: bool,
    generation: u32,
    /// Where it stands, by what it has read.
    place: Option<Place>,
    live: bool,
    reached: bool,
    /// So many did not fit into its mailbox, which only somebody who leaves may put up with.
    lagged: Option<u64>,
    broke_at: Option<Duration>,
    /// Of all it was given, in order.
    sequence: Arc<AtomicU64>,
}

impl Subscriber {
    pub(super) fn new(common: Arc<Common>, sub: u32, channel: u32, bystander: bool, sequence: Arc<AtomicU64>) -> Self {
        let (generation, place, lagged, broke_at) = (0, None, None, None);
        let (live, reached) = (false, false);
        Self { common, sub, channel, bystander, generation, place, live, reached, lagged, broke_at, sequence }
    }

    pub(super) async fn run(mut self, mut subscription: Subscription) {
        let longest = self.common.plan.topology.sessions.reader_pauses;
        let mut chance = self.common.plan.seed.chance(u64::from(self.sub), "reader");
        while let Some(news) = subscription.next().await {
            if !longest.is_zero() && chance.bernoulli(PAUSES) {
                tokio::time::sleep(chance.between(Duration::ZERO, longest)).await;
            }
            let leaves =
                matches!(news, News::Unsubscribed { code: News::UNSUBSCRIBED_BY_US | News::CONNECTION_CLOSED, .. });
            if let Some(missed) = self.lagged.take().filter(|_| !leaves) {
                let wrong = vec![format!("subscription {} of the lab left {missed} publications unread", self.sub)];
                self.common.ledger().record(Event::Checked { law: Law::I11, count: 1, wrong });
            }
            match news {
                News::Subscribed(subscribed) => self.subscribed(&subscribed),
                News::Publication(publication) => self.publication(&publication),
                News::Interrupted { code, .. } => self.broke(Cause::Disconnected(code)),
                News::Unsubscribed { code: News::UNSUBSCRIBED_BY_US | News::CONNECTION_CLOSED, .. } => {
                    self.dead();
                    let (at, sub, generation) = (self.common.now(), self.sub, self.generation);
                    self.common.ledger().record(Event::Left { at, sub, generation });
                }
                News::Unsubscribed { code, .. } => self.broke(Cause::Unsubscribed(code)),
                News::Lagged { missed } => self.lagged = Some(missed),
                _ => {}
            }
        }
        self.dead();
    }

    fn subscribed(&mut self, subscribed: &Subscribed) {
        let at = self.common.now();
        self.generation += 1;
        let (sub, generation) = (self.sub, self.generation);
        let asked = subscribed.recovery != Recovery::Fresh;
        let from = self.place.filter(|_| asked);
        let mut ledger = self.common.ledger();
        let position = subscribed.position.as_ref();
        let place = position.map(|position| Place { epoch: (&*position.epoch).into(), offset: position.offset });
        ledger.record(Event::Ask { at, sub, generation, from });
        ledger.record(Event::Reply {
            at,
            sub,
            generation,
            recovered: subscribed.recovery == Recovery::Recovered,
            was_recovering: asked,
            place,
            batch: Vec::new(),
            batch_follows: true,
        });
        drop(ledger);
        self.place = place;
        if let Some(broke_at) = self.broke_at.take() {
            let healed = *lock(&self.common.healed);
            lock(&self.common.recoveries).record(broke_at, healed.max(broke_at), at);
        }
        if !std::mem::replace(&mut self.live, true) {
            self.common.live.fetch_add(1, Relaxed);
            self.common.changed.notify_waiters();
        }
    }

    fn publication(&mut self, publication: &Publication) {
        let at = self.common.now();
        let header = Verified::verify(&self.common.verified, self.common.plan.seed, &publication.data);
        // The sentinels leave all at once, which is nobody's load.
        let sentinels = self.common.sentinels.get();
        if let (Ok(header), None) = (&header, sentinels) {
            lock(&self.common.latencies[usize::from(self.bystander)]).record(header.due, header.sent, at);
        }
        let content = header.map(|header| header.id);
        let told = content.map_or(0, |id| (u64::from(id.publisher) << 40) ^ id.n);
        let before = self.sequence.load(Relaxed);
        // Nobody else writes it.
        self.sequence.store(Seed(before).value(told, "sequence", publication.offset), Relaxed);
        let (sub, generation, channel, offset) = (self.sub, self.generation, self.channel, publication.offset);
        let epoch = (!publication.epoch.is_empty()).then(|| Epoch::from(&*publication.epoch));
        self.common.ledger().record(Event::Push { at, sub, generation, channel, epoch, offset, content });
        if let Some(epoch) = epoch {
            self.place = Some(Place { epoch, offset });
        }
        self.common.delivered.fetch_add(1, Relaxed);
        let sentinel = sentinels.and_then(|sentinels| sentinels.get(&self.channel));
        if content.ok().as_ref() == sentinel && sentinel.is_some() && !std::mem::replace(&mut self.reached, true) {
            self.common.reached.fetch_add(1, Relaxed);
            self.common.changed.notify_waiters();
        }
    }

    fn broke(&mut self, cause: Cause) {
        self.dead();
        let (at, sub, generation) = (self.common.now(), self.sub, self.generation);
        self.broke_at = Some(at);
        let (Cause::Disconnected(code) | Cause::Unsubscribed(code)) = cause;
        let mut breaks = lock(&self.common.breaks);
        let told = breaks.entry(code).or_insert(Breaks { first: at, ..Breaks::default() });
        (told.count, told.last) = (told.count + 1, at);
        drop(breaks);
        self.common.ledger().record(Event::Break { at, sub, generation, cause });
    }

    fn dead(&mut self) {
        if std::mem::take(&mut self.live) {
            self.common.live.fetch_sub(1, Relaxed);
            self.common.changed.notify_waiters();
        }
    }
}
