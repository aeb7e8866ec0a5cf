//! One direction of a faulty stream: its line, what shapes it, and the blows that wait for their moment in it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::fault::aim::{Mark, MarkReader};
use crate::fault::frames::{FrameCursor, FrameHeader, Unit};
use crate::fault::injector::{Active, Link};
use crate::fault::kind::corruption::corrupt;
use crate::fault::kind::mutation::{Astray, Mutator};
use crate::fault::kind::{Allow, Shape, shape};
use crate::fault::lane::{Blow, Lane};
use crate::fault::plan::{Aim, Corruption, Direction, Fault, Kind};

use super::felt::Felt;

/// A frame longer than this passes without being looked at.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// Whether a fault does anything to a stream (and not only to the connect before it).
pub(super) fn concerns_stream(fault: &Fault) -> bool {
    fault.aim != Aim::Connect && !matches!(fault.kind, Kind::Refuse | Kind::Blackhole) && !fault.kind.is_of_node()
}

/// A lasting fault at work here.
struct Attached {
    active: Arc<Active>,
    shape: Box<dyn Shape>,
    applied: bool,
}

impl Attached {
    fn note_applied(&mut self, felt: &mut Felt) {
        if !std::mem::replace(&mut self.applied, true) {
            felt.applied(&self.active);
        }
    }
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.active.fault.id)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Way {
    direction: Direction,
    pub(super) lane: Lane,
    cursor: FrameCursor,
    marks: MarkReader,
    mutator: Mutator,
    shapes: Vec<Attached>,
    /// Faults whose moment has not come.
    waiting: Vec<Arc<Active>>,
    /// The frame being put together, while somebody waits for frames.
    partial: Vec<u8>,
    /// Nothing comes in any more.
    ended: bool,
    pub(super) felt: Felt,
}

impl Way {
    pub(super) fn new(direction: Direction, cursor: FrameCursor, capacity: usize) -> Self {
        Self {
            direction,
            lane: Lane::new(capacity, cursor.seen()),
            cursor,
            marks: MarkReader::default(),
            mutator: Mutator::default(),
            shapes: Vec::new(),
            waiting: Vec::new(),
            partial: Vec::new(),
            ended: false,
            felt: Felt::default(),
        }
    }

    /// Takes note of what holds now: begins what is new, ends what is gone, keeps the state of what stays.
    pub(super) fn hold(&mut self, holding: &[Arc<Active>], link: &Link, now: Instant) {
        let connection = link.connection;
        let holds = |active: &Arc<Active>| holding.iter().any(|held| held.key == active.key);
        self.shapes.retain(|attached| holds(&attached.active));
        self.lane.drop_blows(|blow| matches!(blow, Blow::Stall(active) if !holds(active)));
        self.waiting.clear();
        for active in holding {
            let fault = &active.fault;
            if !concerns_stream(fault) || !fault.direction.covers(self.direction) {
                continue;
            }
            let lasts = fault.kind.lasts();
            let begun = lasts && (fault.aim == Aim::At || active.holds_on(link.serial));
            if self.lane.is_stalled_by(active.key) {
                // It stands in line, behind exactly the bytes it was aimed behind.
            } else if begun && !self.shapes.iter().any(|attached| attached.active.key == active.key) {
                if let Some(shape) = shape(active, connection, self.direction, now) {
                    if fault.aim == Aim::At {
                        active.counters.attempt();
                    }
                    self.shapes.push(Attached { active: Arc::clone(active), shape, applied: false });
                }
            } else if !begun && !active.has_struck(connection) && !strikes_at_once(fault) {
                self.waiting.push(Arc::clone(active));
            }
        }
        if !self.needs_frames() && !self.partial.is_empty() {
            let held_up = std::mem::take(&mut self.partial);
            self.lane.push_bytes(now, &held_up);
        }
    }

    /// How far the bytes were followed, as they came.
    pub(super) fn cursor(&self) -> &FrameCursor {
        &self.cursor
    }

    /// Whether a poll says "not yet" for no reason.
    pub(super) fn yields(&mut self) -> bool {
        let mut any = false;
        for attached in &mut self.shapes {
            if attached.shape.yields() {
                attached.note_applied(&mut self.felt);
                any = true;
            }
        }
        any
    }

    /// Whether nothing is taken in, stalled or over.
    pub(super) fn is_closed(&self) -> bool {
        self.ended || self.lane.is_stalled()
    }

    /// Whether anything at all may pass, an end included.
    pub(super) fn carries(&self) -> bool {
        let stops = |attached: &Attached| matches!(attached.active.fault.kind, Kind::HalfOpen | Kind::Stall);
        !self.lane.is_stalled() && !self.shapes.iter().any(stops)
    }

    /// How many of `want` bytes may pass; `None` if none, with the moment to try again, if there is one.
    pub(super) fn allow(&mut self, now: Instant, want: usize, wake_at: &mut Option<Instant>) -> Option<usize> {
        let mut allowed = want;
        if want == 0 {
            return None;
        }
        for attached in &mut self.shapes {
            match attached.shape.allow(now, allowed) {
                Allow::Bytes(count) => {
                    if count < allowed {
                        attached.note_applied(&mut self.felt);
                        allowed = count;
                    }
                }
                Allow::After(at) => {
                    attached.note_applied(&mut self.felt);
                    super::pump::sooner(wake_at, at);
                    return None;
                }
                Allow::Never => {
                    attached.note_applied(&mut self.felt);
                    return None;
                }
            }
        }
        (allowed > 0).then_some(allowed)
    }

    /// So many bytes have passed.
    pub(super) fn passed(&mut self, bytes: usize) {
        for attached in &mut self.shapes {
            attached.shape.passed(bytes);
        }
    }

    /// How many of `want` bytes one write may bring.
    pub(super) fn accept(&mut self, mut want: usize) -> usize {
        for attached in &mut self.shapes {
            if let Kind::Slices { bytes } = attached.active.fault.kind
                && bytes.max(1) < want
            {
                attached.note_applied(&mut self.felt);
                want = bytes.max(1);
            }
        }
        want
    }

    /// Takes bytes in. What comes back are frames that a mutant sends elsewhere.
    pub(super) fn intake(&mut self, now: Instant, bytes: &[u8], link: &Link, stale: &mut bool) -> Vec<Vec<u8>> {
        let arrival = now + self.delay(now);
        let mut astray = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() && !self.ended {
            if self.cursor.seen() == 0 {
                self.strike_if(arrival, link, stale, |fault| fault.aim == Aim::Handshake);
            }
            let collects = self.needs_frames() && (self.cursor.at_boundary() || !self.partial.is_empty());
            let step = self.cursor.step(rest);
            let (unit, after) = rest.split_at(step.used);
            rest = after;
            if !collects {
                self.put(arrival, unit, link, stale);
                continue;
            }
            self.partial.extend_from_slice(unit);
            match step.complete {
                Some(Unit::Frame(header)) => {
                    let frame = std::mem::take(&mut self.partial);
                    if let Some(frame) = self.frame(arrival, &header, frame, link, stale) {
                        astray.push(frame);
                    }
                }
                Some(Unit::Head) | None => {
                    if self.partial.len() > FRAME_BYTES_MAX {
                        let long = std::mem::take(&mut self.partial);
                        self.put(arrival, &long, link, stale);
                    }
                }
            }
        }
        astray
    }

    /// Frames of another connection, by a mutant.
    pub(super) fn take_strays(&mut self, strays: Vec<Vec<u8>>, now: Instant) {
        for frame in strays {
            self.lane.push_bytes(now, &frame);
        }
    }

    /// Puts a blow in line.
    pub(super) fn blow(&mut self, arrival: Instant, blow: Blow) {
        self.lane.push_blow(arrival, blow);
    }

    /// This direction ends behind what is in line.
    pub(super) fn end(&mut self, arrival: Instant) {
        self.lane.push_blow(arrival, Blow::End);
        self.ended = true;
    }

    fn delay(&mut self, now: Instant) -> Duration {
        let mut total = Duration::ZERO;
        for attached in &mut self.shapes {
            let delay = attached.shape.delay(now);
            if !delay.is_zero() {
                attached.note_applied(&mut self.felt);
                total += delay;
            }
        }
        total
    }

    fn needs_frames(&self) -> bool {
        self.mutator.is_busy()
            || self.waiting.iter().any(|active| {
                let fault = &active.fault;
                fault.aim.needs_frames() || (fault.aim == Aim::At && !fault.kind.lasts())
            })
    }

    /// A whole frame: the faults that waited for one like it strike.
    fn frame(
        &mut self,
        arrival: Instant,
        header: &FrameHeader,
        mut frame: Vec<u8>,
        link: &Link,
        stale: &mut bool,
    ) -> Option<Vec<u8>> {
        let marks = self.marks.read(self.direction, header, &frame);
        let meets = |fault: &Fault| match fault.aim {
            // A change of bytes that waits for nothing takes the next frame with data.
            Aim::At => header.is_whole_data(),
            ref aim => aim.meets(header, &marks),
        };
        let mut mutation = None;
        for active in self.waiting.clone() {
            if !meets(&active.fault) {
                continue;
            }
            match active.fault.kind {
                Kind::Corrupt(kind) => {
                    active.counters.attempt();
                    if corrupt(kind, header, &mut frame) && self.struck(&active, link) {
                        self.felt.applied(&active);
                    }
                }
                Kind::Mutant(kind) if mutation.is_none() => {
                    active.counters.attempt();
                    self.struck(&active, link);
                    self.felt.applied(&active);
                    mutation = Some(kind);
                }
                _ => {}
            }
        }
        let has_publication = marks.contains(&Mark::Reply("push"));
        let mut arriving = Vec::new();
        let astray = match self.mutator.pass(mutation, header.header_bytes, has_publication, frame, &mut arriving) {
            Astray::No => None,
            Astray::ToNext(frame) => Some(frame),
        };
        for frame in arriving {
            let cut = self.waiting.iter().find(|active| is_blow_in_line(&active.fault) && meets(&active.fault));
            let passes = cut.map_or(frame.len(), |active| active.fault.aim.passes(header).min(frame.len()));
            self.put(arrival, &frame[..passes], link, stale);
            self.strike_if(arrival, link, stale, |fault| is_blow_in_line(fault) && meets(fault));
            if self.ended {
                break;
            }
            self.put(arrival, &frame[passes..], link, stale);
        }
        astray
    }

    /// Puts bytes in line, cut where a fault waits for one of them by number.
    fn put(&mut self, arrival: Instant, bytes: &[u8], link: &Link, stale: &mut bool) {
        let mut rest = bytes.to_vec();
        loop {
            let begin = self.lane.entered();
            let next = self.waiting.iter().filter_map(|active| byte_within(&active.fault, begin, rest.len())).min();
            let Some((number, at)) = next else { break };
            self.lane.push_bytes(arrival, &rest[..at]);
            rest.drain(..at);
            let corrupts = |active: &&Arc<Active>| {
                active.fault.aim == Aim::Byte(number) && active.fault.kind == Kind::Corrupt(Corruption::Byte)
            };
            if let Some(active) = self.waiting.iter().find(corrupts).cloned() {
                rest[0] ^= 0x01;
                active.counters.attempt();
                self.felt.applied(&active);
                self.struck(&active, link);
            }
            self.strike_if(arrival, link, stale, |fault| fault.aim == Aim::Byte(number));
            if self.ended {
                return;
            }
        }
        self.lane.push_bytes(arrival, &rest);
    }

    /// Strikes with every waiting fault that `when` is true for.
    fn strike_if(&mut self, arrival: Instant, link: &Link, stale: &mut bool, when: impl Fn(&Fault) -> bool) {
        for active in self.waiting.clone() {
            if !when(&active.fault) || !self.struck(&active, link) {
                continue;
            }
            active.counters.attempt();
            match active.fault.kind {
                Kind::Reset => {
                    self.felt.applied(&active);
                    self.lane.push_blow(arrival, Blow::Reset);
                    self.ended = true;
                }
                Kind::Fin => {
                    self.felt.applied(&active);
                    let blow = match active.fault.direction {
                        Direction::In => Blow::End,
                        Direction::Out => Blow::Fin { both: false },
                        Direction::Both => Blow::Fin { both: true },
                    };
                    self.lane.push_blow(arrival, blow);
                    self.ended = true;
                }
                Kind::Stall | Kind::HalfOpen => {
                    self.felt.applied(&active);
                    self.lane.push_blow(arrival, Blow::Stall(Arc::clone(&active)));
                    *stale = true;
                }
                _ => *stale = true,
            }
        }
    }

    /// Notes that a fault's moment has come here. False if it came before, on the other way or an earlier stream.
    fn struck(&mut self, active: &Arc<Active>, link: &Link) -> bool {
        self.waiting.retain(|waiting| waiting.key != active.key);
        active.strike(link)
    }
}

/// A blow that needs no moment in the line: the stream deals with it as soon as it holds.
fn strikes_at_once(fault: &Fault) -> bool {
    fault.aim == Aim::At && matches!(fault.kind, Kind::Reset | Kind::Fin)
}

/// Whether a fault stands in line as a blow when its frame comes, rather than changing the frame.
fn is_blow_in_line(fault: &Fault) -> bool {
    fault.aim.needs_frames() && !matches!(fault.kind, Kind::Corrupt(_) | Kind::Mutant(_))
}

/// The number of the byte that `fault` waits for and how far into the next `len` bytes it is.
fn byte_within(fault: &Fault, begin: u64, len: usize) -> Option<(u64, usize)> {
    let Aim::Byte(number) = fault.aim else { return None };
    let at = usize::try_from(number.checked_sub(begin)?).ok()?;
    (at < len).then_some((number, at))
}
