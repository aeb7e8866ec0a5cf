//! What is left when all have gone: what the server still holds (I15), whether all that it said was in order (I16), and
//! whether it lives and is at rest (I19). The fleet's ledger is closed by then; this has one of its own.
//!
//! Of a server that is not a child of ours only its own numbers are known: no descriptors, memory, processor or log.

use std::collections::BTreeMap;

use pubsub_protocol::codes::{DisconnectCode, UnsubscribeCode, close};

use super::run::Run;
use super::stats::Counts;
use crate::fault::plan::{Direction, Fault, Kind};
use crate::fault::{FaultCounts, Observed};
use crate::fleet::Breaks;
use crate::ledger::{Event, Ledger};
use crate::monitor::Sample;
use crate::oracle::Law;
use crate::threshold::Threshold;

const LEAK: &str = "fault model, I15";
/// What the server may hold on to when all have gone: tables that have grown, and what the allocator keeps at hand.
const KEPT_BYTES_MAX: f64 = 32.0 * 1_048_576.0;
/// Cores that a server without connections may use: a task that spins uses a whole one.
const AT_REST_CORES_MAX: f64 = 0.5;
const MIB: f64 = 1_048_576.0;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// The server's own numbers, before all came and now.
    pub(super) counts: (Counts, Counts),
    /// What its process used then and uses now, if it is a child of ours.
    pub(super) process: Option<(Sample, Sample)>,
    /// Cores it uses now, and every panic it told of.
    pub(super) rest: Option<(f64, Vec<String>)>,
    /// How it behaved on the wire.
    pub(super) observed: Observed,
    /// Codes with which it ended connections and subscriptions.
    pub(super) breaks: BTreeMap<u32, Breaks>,
    /// Faults of ours may have changed those codes.
    pub(super) is_damaged: bool,
}

impl Gone {
    /// Has the oracle look at it, and shows what it comes to.
    pub(super) fn judge(&self, run: &mut Run) {
        let mut ledger = Ledger::new();
        self.events().into_iter().for_each(|event| ledger.record(event));
        run.found(&ledger.judge());
        let left = self.left();
        for (what, before, now) in left.iter().filter(|(_, before, now)| now > before) {
            run.doubt(format!("when all had gone, the server still had {what}: {}", now - before));
        }
        let name = "connections, subscriptions, channels, queues and descriptors left when all have gone";
        let sum = left.iter().map(|(_, before, now)| now - before).sum();
        run.threshold(Threshold::at_most(name, 0.0, "", LEAK).measured(sum));
        if let Some((before, now)) = self.process {
            let name = "server's memory when all have gone, above that before they came";
            let kept = kept_bytes(before, now) / MIB;
            run.threshold(Threshold::at_most(name, KEPT_BYTES_MAX / MIB, "MiB", LEAK).measured(kept));
        }
    }

    /// What is counted, what there was before, and what there is now.
    fn left(&self) -> Vec<(&'static str, f64, f64)> {
        let (before, now) = self.counts;
        let mut left = vec![
            ("connections", before.connections, now.connections),
            ("subscriptions", before.subscriptions, now.subscriptions),
            ("channels", before.channels, now.channels),
            ("bytes and messages that wait", 0.0, now.queued),
        ];
        left.extend(self.process.map(|(before, now)| {
            let now = now.descriptors.max(before.descriptors);
            ("descriptors", before.descriptors as f64, now as f64)
        }));
        left
    }

    fn events(&self) -> Vec<Event> {
        let compare = |law, name: &str, expected, actual, tolerance| {
            let name = format!("{name} when all had gone");
            Event::Compare { law, name, expected, actual, tolerance }
        };
        let mut events: Vec<Event> =
            self.left().into_iter().map(|(what, before, now)| compare(Law::I15, what, before, now, 0.0)).collect();
        if let Some((before, now)) = self.process {
            let (before, now) = (before.resident_bytes as f64, now.resident_bytes as f64);
            events.push(compare(Law::I15, "resident bytes", before, now, KEPT_BYTES_MAX));
        }
        let Observed { frames, wrong } = self.observed.clone();
        events.push(Event::Checked { law: Law::I16, count: frames, wrong });
        if !self.is_damaged {
            let count = self.breaks.values().map(|breaks| breaks.count).sum();
            let unknown = self.breaks.keys().filter(|&&code| !is_known(code));
            let wrong = unknown.map(|code| format!("an end with code {code}, which is in no table")).collect();
            events.push(Event::Checked { law: Law::I16, count, wrong });
        }
        // It has just answered: see `counts`.
        events.push(Event::Checked { law: Law::I19, count: 1, wrong: Vec::new() });
        if let Some((cores, panics)) = &self.rest {
            events.push(compare(Law::I19, "cores in use", 0.0, *cores, AT_REST_CORES_MAX));
            events.push(Event::Checked { law: Law::I19, count: 1, wrong: panics.clone() });
        }
        events
    }
}

/// How much more is resident than before.
pub(super) fn kept_bytes(before: Sample, now: Sample) -> f64 {
    now.resident_bytes.saturating_sub(before.resident_bytes) as f64
}

/// Whether a fault of ours changed what came from the server.
pub(super) fn is_damaged(counts: &BTreeMap<String, (Fault, FaultCounts)>) -> bool {
    counts.values().any(|(fault, counts)| {
        let changes = matches!(fault.kind, Kind::Corrupt(_) | Kind::Mutant(_));
        changes && counts.applied > 0 && fault.direction.covers(Direction::In)
    })
}

/// Whether a server may end a connection or a subscription with it, or the end came without one.
fn is_known(code: u32) -> bool {
    const OF_WEBSOCKET: [u16; 7] = [
        close::NORMAL,
        close::GOING_AWAY,
        close::PROTOCOL_ERROR,
        close::UNSUPPORTED_DATA,
        close::ABNORMAL,
        close::INVALID_PAYLOAD,
        close::MESSAGE_TOO_BIG,
    ];
    DisconnectCode::from_code(code).is_some()
        || UnsubscribeCode::from_code(code).is_some()
        || OF_WEBSOCKET.iter().any(|&known| u32::from(known) == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Class;

    /// Everything was looked at, and all is well.
    fn good() -> Gone {
        let sample = Sample { descriptors: 20, resident_bytes: 10 << 20, ..Sample::default() };
        let grown = Sample { resident_bytes: 40 << 20, descriptors: 19, ..sample };
        let mut before = Counts::default();
        (before.connections, before.subscriptions, before.channels) = (1.0, 2.0, 2.0);
        Gone {
            counts: (before, before),
            process: Some((sample, grown)),
            rest: Some((0.1, Vec::new())),
            observed: Observed { frames: 1_000, wrong: Vec::new() },
            breaks: BTreeMap::from([(1006, Breaks { count: 3, ..Breaks::default() }), (3008, Breaks::default())]),
            is_damaged: false,
        }
    }

    fn found(gone: &Gone) -> Vec<Class> {
        let mut ledger = Ledger::new();
        gone.events().into_iter().for_each(|event| ledger.record(event));
        let judgement = ledger.judge();
        assert!(judgement.unevaluated(&[Law::I15, Law::I16, Law::I19]).is_empty());
        judgement.classes().into_iter().collect()
    }

    #[test]
    fn each_thing_that_is_left_or_wrong_is_called_by_its_name() {
        assert_eq!(found(&good()), []);
        let spoilt = |spoil: fn(&mut Gone)| {
            let mut gone = good();
            spoil(&mut gone);
            found(&gone)
        };
        assert_eq!(spoilt(|gone| gone.counts.1.connections += 1.0), [Class::Leak]);
        assert_eq!(spoilt(|gone| gone.counts.1.subscriptions += 1.0), [Class::Leak]);
        assert_eq!(spoilt(|gone| gone.counts.1.channels += 1.0), [Class::Leak]);
        assert_eq!(spoilt(|gone| gone.counts.1.queued = 1.0), [Class::Leak]);
        assert_eq!(spoilt(|gone| gone.process.as_mut().unwrap().1.descriptors = 21), [Class::Leak]);
        assert_eq!(spoilt(|gone| gone.process.as_mut().unwrap().1.resident_bytes = 43 << 20), [Class::Leak]);
        assert_eq!(spoilt(|gone| gone.observed.wrong.push("frame 7".to_owned())), [Class::Protocol]);
        assert_eq!(spoilt(|gone| gone.breaks = BTreeMap::from([(3999, Breaks::default())])), [Class::Protocol]);
        assert_eq!(spoilt(|gone| gone.rest = Some((1.0, Vec::new()))), [Class::Crash]);
        assert_eq!(spoilt(|gone| gone.rest.as_mut().unwrap().1.push("panicked at x".to_owned())), [Class::Crash]);
    }

    #[test]
    fn codes_that_our_own_faults_may_have_changed_are_nobodys() {
        let mut gone = good();
        gone.breaks.insert(3999, Breaks::default());
        gone.is_damaged = true;
        assert_eq!(found(&gone), []);
    }
}
