//! What a scenario has so far, within reach of whoever ends it before its time.
//!
//! A scenario that is interrupted is dropped where it stands: nothing of it runs any more. So its [`Run`] leaves
//! what it has found here when it is dropped unfinished, and what the fleet, the faults and the monitors know is kept from the
//! beginning, since it is shared anyhow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::run::{Run, Watched};
use crate::fault::Faults;
use crate::fleet::Recorder;
use crate::progress::Progress;
use crate::report::Report;

/// Of the scenario that runs now. Cloning shares.
#[derive(Clone, Debug, Default)]
pub struct Unfinished(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    report: Option<Report>,
    scene: Option<Scene>,
}

/// Who knows what happened so far.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) recorder: Recorder,
    pub(super) faults: Faults,
    pub(super) progress: Progress,
    pub(super) watched: Watched,
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

    /// The report of a scenario that has been dropped before it was finished, because of `why`. Only what can not be
    /// mended by what was still to come is judged. `None`: it had not begun, or was finished.
    #[must_use]
    pub fn report(&self, why: &str) -> Option<Report> {
        let Parts { report, scene } = std::mem::take(&mut *self.parts());
        let mut run = Run::resumed(report?);
        let Some(scene) = scene else {
            run.inconclusive(format!("{why} before it was over"));
            return Some(run.finish());
        };
        let phases = scene.progress.phases();
        let phase = phases.last().map_or("its beginning", |(_, name)| name);
        run.inconclusive(format!("{why} during `{phase}`: what is here is what was seen until then"));
        let (judgement, tally) = {
            let ledger = scene.recorder.ledger();
            (ledger.found(), ledger.tally())
        };
        run.judged(&judgement, tally, &[]);
        run.latencies("delivery", &scene.recorder.latencies());
        let recoveries = scene.recorder.recoveries();
        if recoveries.count() > 0 {
            run.latencies("recovery", &recoveries);
        }
        run.faults(&scene.faults);
        run.timeline(scene.recorder.timeline(&phases));
        for (name, resources) in scene.watched.reports() {
            run.resources(&name, resources);
        }
        scene.progress.finish();
        Some(run.finish())
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
