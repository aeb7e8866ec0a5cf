//! One channel: which publication stands where, and what became of each publish.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smallvec::SmallVec;

use super::few::Few;
use super::{Class, Law, Notes, Subject};
use crate::ledger::{Content, Epoch, Outcome, Place, Policy};
use crate::payload::PublicationId;

/// An offset further than this beyond everything published is a wild number, not a place.
const WILD_OFFSET_SLACK: u64 = 1 << 20;

/// A publication in eight bytes: 24 bits of publisher, 40 of n. 0: none.
fn packed(id: PublicationId) -> u64 {
    (u64::from(id.publisher) << 40) | (id.n & ((1 << 40) - 1))
}

fn unpacked(packed: u64) -> String {
    format!("{}-{}", packed >> 40, packed & ((1 << 40) - 1))
}

fn refusal(from: Place) -> String {
    format!("what follows {} was kept, and was not recovered", from.offset)
}

/// A stream's life.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The publication at each offset, from 1.
    ids: Vec<u64>,
    /// The highest offset that an acknowledgement named.
    acked_top: u64,
    /// The highest top that a history told of.
    history_top: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) number: u32,
    /// The run its publications belong to.
    run: u32,
    pub(super) policy: Policy,
    /// Who publishes to it, and how many each of them has begun. Mostly there is one.
    publishers: SmallVec<[(u32, u64); 1]>,
    pub(super) sentinel: Option<PublicationId>,
    pub(super) failed: BTreeSet<PublicationId>,
    unknown: BTreeSet<PublicationId>,
    /// When each of them was begun.
    in_flight: Few<PublicationId, Duration>,
    /// When the first of all was begun: there is no older history.
    first_begun_at: Option<Duration>,
    /// When the last of those that succeeded was begun: history was no older than that.
    refreshed_at: Option<Duration>,
    /// What may have run out before this one came: from it on, history has been refreshed in time. None: all of it has.
    kept_since: Option<PublicationId>,
    /// Recoveries that were refused though all of it was kept from a publication on: whose, from where, and that one. Where it
    /// stands is perhaps told later.
    refused: Vec<(Subject, Place, PublicationId)>,
    /// Acknowledged without a place, and nobody has told of one yet.
    unplaced: Few<PublicationId, ()>,
    /// Begun before the server lost its memory and answered after: the answer may tell of what is gone.
    excused: BTreeSet<PublicationId>,
    /// For each publication of a channel with history that has no place yet: how far each stream was known to be when it was begun.
    floors: Few<PublicationId, SmallVec<[(Epoch, u64); 1]>>,
    /// Told of before they were begun, which is the harness's fault.
    early: BTreeSet<PublicationId>,
    /// In the order of their epochs. Mostly there is one.
    streams: SmallVec<[(Epoch, Stream); 1]>,
    published: u64,
    /// Streams of these epochs may be gone, by declaration.
    forgotten: BTreeSet<Epoch>,
}

impl Channel {
    pub(super) fn new(number: u32, policy: Policy) -> Self {
        Self {
            number,
            run: 0,
            policy,
            publishers: SmallVec::new(),
            sentinel: None,
            failed: BTreeSet::new(),
            unknown: BTreeSet::new(),
            in_flight: Few::default(),
            first_begun_at: None,
            refreshed_at: None,
            kept_since: None,
            refused: Vec::new(),
            unplaced: Few::default(),
            excused: BTreeSet::new(),
            floors: Few::default(),
            early: BTreeSet::new(),
            streams: SmallVec::new(),
            published: 0,
            forgotten: BTreeSet::new(),
        }
    }

    pub(super) fn has_history(&self) -> bool {
        self.policy.history_size > 0
    }

    pub(super) fn add_publisher(&mut self, publisher: u32) {
        self.publishers.push((publisher, 0));
    }

    fn is_publisher(&self, publisher: u32) -> bool {
        self.publishers.iter().any(|&(known, _)| known == publisher)
    }

    /// How many publications each publisher has begun.
    pub(super) fn all_begun(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.publishers.iter().copied()
    }

    fn stream(&mut self, epoch: Epoch) -> &mut Stream {
        let at = self.streams.binary_search_by_key(&epoch, |&(known, _)| known).unwrap_or_else(|at| {
            self.streams.insert(at, (epoch, Stream::default()));
            at
        });
        &mut self.streams[at].1
    }

    fn subject(&self) -> Subject {
        Subject::Channel(self.number)
    }

    pub(super) fn invoke(&mut self, at: Duration, id: PublicationId) {
        self.published += 1;
        self.run = id.run;
        if let Some((_, begun)) = self.publishers.iter_mut().find(|(publisher, _)| *publisher == id.publisher) {
            *begun = id.n.max(*begun);
        }
        self.in_flight.insert(id, at);
        self.first_begun_at.get_or_insert(at);
        if self.has_history() && !self.early.remove(&id) {
            let floors = self.streams.iter().map(|(epoch, stream)| (*epoch, stream.ids.len() as u64)).collect();
            self.floors.insert(id, floors);
        }
    }

    pub(super) fn done(&mut self, at: Duration, id: PublicationId, outcome: Outcome, notes: &mut Notes) {
        notes.check(Law::I17);
        let Some(begun_at) = self.in_flight.remove(&id) else {
            let line = || format!("the publish of {id} was answered, but it was not open");
            notes.find(Class::LostCompletion, self.subject(), line);
            return;
        };
        if matches!(outcome, Outcome::Ok(_)) {
            let before = self.refreshed_at.or(self.first_begun_at).unwrap_or(begun_at);
            if at.saturating_sub(before) >= self.policy.history_ttl {
                self.kept_since = Some(id);
            }
            self.refreshed_at = self.refreshed_at.max(Some(begun_at));
        }
        match outcome {
            Outcome::Ok(Some(place)) => {
                notes.check(Law::I9);
                // Of one that was on its way when the memory went, the answer may speak of a stream that went with it.
                if !self.excused.contains(&id) {
                    let stream = self.stream(place.epoch);
                    stream.acked_top = stream.acked_top.max(place.offset);
                }
                self.place(place, id, "its acknowledgement", notes);
            }
            Outcome::Ok(None) => {
                if self.has_history() && !self.is_placed(id) && !self.excused.contains(&id) {
                    self.unplaced.insert(id, ());
                }
            }
            Outcome::Failed => {
                if self.has_history() && self.is_placed(id) {
                    let line = || format!("{id} has a place although its publish failed");
                    notes.find(Class::Aborted, self.subject(), line);
                }
                self.failed.insert(id);
                self.floors.remove(&id);
            }
            Outcome::Unknown => {
                self.unknown.insert(id);
            }
        }
    }

    /// Somebody says that `id` stands at `place`.
    pub(super) fn place(&mut self, place: Place, id: PublicationId, who: &str, notes: &mut Notes) {
        if place.offset == 0 || !self.is_publisher(id.publisher) {
            return;
        }
        notes.check(Law::I2);
        let subject = self.subject();
        if place.offset > self.published + WILD_OFFSET_SLACK {
            let line = || format!("{who} puts {id} at offset {}, after {} publishes", place.offset, self.published);
            notes.find(Class::Disagreement, subject, line);
            return;
        }
        let stream = self.stream(place.epoch);
        let at = usize::try_from(place.offset - 1).unwrap_or(usize::MAX);
        if stream.ids.len() <= at {
            stream.ids.resize(at + 1, 0);
        }
        let standing = stream.ids[at];
        if standing == packed(id) {
            return;
        }
        if standing != 0 {
            let line = || {
                format!(
                    "offset {} of epoch {} is {} by others, {id} by {who}",
                    place.offset,
                    place.epoch,
                    unpacked(standing)
                )
            };
            notes.find(Class::Disagreement, subject, line);
            return;
        }
        stream.ids[at] = packed(id);
        self.unplaced.remove(&id);
        notes.check(Law::I10);
        let Some(floors) = self.floors.remove(&id) else {
            self.early.insert(id);
            return;
        };
        if let Some((_, floor)) =
            floors.into_iter().find(|&(epoch, floor)| epoch == place.epoch && place.offset <= floor)
        {
            let line =
                || format!("{id} stands at offset {}, but was begun when {floor} was known already", place.offset);
            notes.find(Class::Inversion, subject, line);
        }
    }

    fn is_placed(&self, id: PublicationId) -> bool {
        // Being given a place takes it out of `floors`; a search would take as long as the stream.
        !self.floors.contains_key(&id)
    }

    /// The highest offset of `epoch` that has been acknowledged so far.
    pub(super) fn acked_top(&self, epoch: Epoch) -> u64 {
        self.streams.iter().find(|&&(known, _)| known == epoch).map_or(0, |(_, stream)| stream.acked_top)
    }

    /// The same of every epoch.
    pub(super) fn acked_tops(&self) -> BTreeMap<Epoch, u64> {
        self.streams.iter().map(|(epoch, stream)| (*epoch, stream.acked_top)).collect()
    }

    /// The place of a publication, if anybody told of it.
    pub(super) fn place_of(&self, id: PublicationId) -> Option<Place> {
        self.streams.iter().find_map(|&(epoch, ref stream)| {
            let at = stream.ids.iter().rposition(|&standing| standing == packed(id))?;
            Some(Place { epoch, offset: at as u64 + 1 })
        })
    }

    /// How many publishes this publisher has begun.
    pub(super) fn begun(&self, publisher: u32) -> u64 {
        self.publishers.iter().find(|&&(known, _)| known == publisher).map_or(0, |&(_, begun)| begun)
    }

    /// Whether the history, which lives for so long after each publication, cannot have run out by `at`.
    pub(super) fn is_fresh(&self, at: Duration) -> bool {
        self.refreshed_at.is_some_and(|refreshed_at| at.saturating_sub(refreshed_at) < self.policy.history_ttl)
    }

    /// A subscription was refused what follows `from`, though it was not too much. It was needless unless some of that had run out.
    pub(super) fn refuse(&mut self, at: Duration, subject: Subject, from: Place, notes: &mut Notes) {
        if !self.is_fresh(at) {
            return;
        }
        match self.kept_since {
            Some(since) => self.refused.push((subject, from, since)),
            None => notes.find(Class::NeedlessFailure, subject, || refusal(from)),
        }
    }

    /// Whether this publish is known to have succeeded.
    pub(super) fn is_ok(&self, publisher: u32, n: u64) -> bool {
        let id = PublicationId { run: self.run, publisher, n };
        !self.failed.contains(&id) && !self.unknown.contains(&id) && !self.in_flight.contains_key(&id)
    }

    /// Whether nobody knows what came of this publish: then it may still come, whatever its publisher has sent meanwhile.
    pub(super) fn is_unknown(&self, id: PublicationId) -> bool {
        self.unknown.contains(&id)
    }

    pub(super) fn forgets(&mut self) {
        self.forgotten.extend(self.streams.iter().map(|&(epoch, _)| epoch));
        self.unplaced.clear();
        self.excused.extend(self.in_flight.keys());
        self.kept_since = None;
    }

    /// What somebody was told who asked when so much had been acknowledged.
    pub(super) fn history(
        &mut self,
        at: Duration,
        top: Place,
        entries: &[(u64, Content)],
        acked_tops: &BTreeMap<Epoch, u64>,
        notes: &mut Notes,
    ) {
        notes.check(Law::I9);
        for (offset, content) in entries {
            if let Ok(id) = content {
                self.place(Place { epoch: top.epoch, offset: *offset }, *id, "the history", notes);
            }
        }
        let subject = self.subject();
        let stream = self.stream(top.epoch);
        stream.history_top = stream.history_top.max(top.offset);
        let mut lost = |line: String| notes.find(Class::AckedThenLost, subject, || line);
        let acked_top = acked_tops.get(&top.epoch).copied().unwrap_or(0);
        if acked_top > top.offset {
            lost(format!("the history of {at:?} ends at {}, but {acked_top} was acknowledged", top.offset));
        }
        let steps = entries.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
        if !steps || entries.last().is_some_and(|&(offset, _)| offset != top.offset) {
            let offsets: Vec<u64> = entries.iter().map(|&(offset, _)| offset).take(20).collect();
            lost(format!("the history of {at:?} has holes: {offsets:?} … up to {}", top.offset));
        }
        for (&epoch, &acked_top) in acked_tops {
            if epoch != top.epoch && acked_top > 0 && !self.forgotten.contains(&epoch) {
                lost(format!("epoch {epoch} with {acked_top} acknowledged gave way to {} undeclared", top.epoch));
            }
        }
    }

    /// What can only be said at the end.
    pub(super) fn judge(&self, notes: &mut Notes) {
        for id in self.in_flight.keys() {
            notes.find(Class::LostCompletion, self.subject(), || format!("the publish of {id} was never answered"));
        }
        if !self.has_history() {
            return;
        }
        for &(subject, from, since) in &self.refused {
            let kept = |since: Place| since.epoch == from.epoch && since.offset <= from.offset.saturating_add(1);
            if self.place_of(since).is_some_and(kept) {
                notes.find(Class::NeedlessFailure, subject, || refusal(from));
            }
        }
        let mut everywhere: Vec<u64> = Vec::new();
        for (_, stream) in &self.streams {
            let mut latest: BTreeMap<u64, u64> = BTreeMap::new();
            for &id in stream.ids.iter().filter(|&&id| id != 0) {
                let (publisher, n) = (id >> 40, id & ((1 << 40) - 1));
                let latest = latest.entry(publisher).or_default();
                if n < *latest && !self.is_unknown(PublicationId { run: self.run, publisher: publisher as u32, n }) {
                    let line = || format!("{} stands behind number {latest} of the same publisher", unpacked(id));
                    notes.find(Class::Inversion, self.subject(), line);
                }
                *latest = n.max(*latest);
                everywhere.push(id);
            }
        }
        notes.check(Law::I3);
        everywhere.sort_unstable();
        for pair in everywhere.windows(2).filter(|pair| pair[0] == pair[1]) {
            let line = || format!("{} has two places", unpacked(pair[0]));
            notes.find(Class::DuplicateAppend, self.subject(), line);
        }
        self.judge_unplaced(notes);
    }

    /// I9 where acknowledgements name no place: whatever nobody told of must be where nobody looked.
    fn judge_unplaced(&self, notes: &mut Notes) {
        let told_top = self.sentinel.and_then(|id| self.place_of(id));
        let has_top = told_top.is_some() || self.streams.iter().any(|(_, stream)| stream.history_top > 0);
        if !has_top {
            return;
        }
        notes.check(Law::I9);
        let unseen: u64 = self
            .streams
            .iter()
            .map(|(_, stream)| {
                let holes = stream.ids.iter().filter(|&&id| id == 0).count() as u64;
                holes + stream.history_top.saturating_sub(stream.ids.len() as u64)
            })
            .sum();
        let unplaced = self.unplaced.len() as u64;
        if unplaced > unseen {
            let ids: Vec<String> = self.unplaced.keys().take(5).map(ToString::to_string).collect();
            let line = || format!("{unplaced} acknowledged, for {unseen} places nobody saw: {}", ids.join(", "));
            notes.find(Class::AckedThenLost, self.subject(), line);
        }
    }
}
