//! What a scenario has so far, within reach of whoever ends it before its time.
//!
//! A scenario that is interrupted is dropped where it stands: nothing of it runs any more. What its fleet, its faults and its
//! monitors have seen is taken down before, by [`Unfinished::interrupt`], since its clients must not be judged for what
//! they see of the end; and its [`Run`] leaves what it has found here when it is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::run::{Run, Watched};
use crate::fault::Faults;
use crate::fleet::Recorder;
use crate::histogram::Latencies;
use crate::monitor::ResourceReport;
use crate::oracle::{Judgement, Tally};
use crate::progress::Progress;
use crate::report::Report;
use crate::timeline::Timeline;

/// Of the scenario that runs now. Cloning shares.
#[derive(Clone, Debug, Default)]
pub struct Unfinished(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    report: Option<Report>,
    scene: Option<Scene>,
    seen: Option<Box<Seen>>,
}

/// Who knows what happened so far.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) recorder: Recorder,
    pub(super) faults: Faults,
    pub(super) progress: Progress,
    pub(super) watched: Watched,
}

/// What they knew when the scenario was interrupted.
#[derive(Debug)]
struct Seen {
    phase: String,
    judgement: Judgement,
    tally: Tally,
    latencies: BTreeMap<&'static str, Latencies>,
    faults: Faults,
    timeline: Timeline,
    resources: BTreeMap<String, ResourceReport>,
}

impl Scene {
    fn seen(self) -> Seen {
        let phases = self.progress.phases();
        self.progress.finish();
        let (judgement, tally) = {
            let ledger = self.recorder.ledger();
            (ledger.found(), ledger.tally())
        };
        let mut latencies = BTreeMap::from([("delivery", self.recorder.latencies())]);
        let recoveries = self.recorder.recoveries();
        if recoveries.count() > 0 {
            latencies.insert("recovery", recoveries);
        }
        Seen {
            phase: phases.last().map_or("its beginning", |(_, name)| name).to_owned(),
            judgement,
            tally,
            latencies,
            faults: self.faults,
            timeline: self.recorder.timeline(&phases),
            resources: self.watched.reports(),
        }
    }
}

impl Unfinished {
    /// Another scenario begins.
    pub fn forget(&self) {
        *self.parts() = Parts::default();
    }

    /// Its stage is set.
    pub(super) fn set(&self, scene: Scene) {
        self.parts().scene = Some(scene);
    }

    /// Its run has been dropped.
    pub(super) fn leave(&self, report: Report) {
        self.parts().report = Some(report);
    }

    /// It will be dropped now: nothing that happens from here on is held against it.
    pub fn interrupt(&self) {
        let mut parts = self.parts();
        parts.seen = parts.scene.take().map(|scene| Box::new(scene.seen()));
    }

    /// The report of a scenario that has been [interrupted](Self::interrupt) and dropped because of `why`. Only what can not be
    /// mended by what was still to come is judged. `None`: it had not begun, or was finished.
    #[must_use]
    pub fn report(&self, why: &str) -> Option<Report> {
        let Parts { report, seen, .. } = std::mem::take(&mut *self.parts());
        let mut run = Run::resumed(report?);
        let Some(seen) = seen else {
            run.inconclusive(format!("{why} before it was over"));
            return Some(run.finish());
        };
        let phase = &seen.phase;
        run.inconclusive(format!("{why} during `{phase}`: what is here is what was seen until then"));
        run.judged(&seen.judgement, seen.tally, &[]);
        seen.latencies.iter().for_each(|(name, latencies)| run.latencies(name, latencies));
        run.faults(&seen.faults);
        run.timeline(seen.timeline);
        seen.resources.into_iter().for_each(|(name, resources)| run.resources(&name, resources));
        Some(run.finish())
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
