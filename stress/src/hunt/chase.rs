//! The hunts: for each bug worlds of one seed after the other, until one of them is condemned for it.
//!
//! A bug is planted on the thread that runs the world, so several hunts run side by side, each on a thread of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::{Bug, Control, Hunt, Matrix};
use crate::chance::Seed;
use crate::explore::{self, Options};
use crate::oracle::{Class, Judgement};

/// Rounds of the control that one thread takes at a time.
const CONTROL_PART: u64 = 10;

/// How to hunt.
#[derive(Clone, Debug)]
pub struct Chase {
    /// The first seed.
    pub seed: u64,
    /// Seeds for each bug at most.
    pub budget: u64,
    /// Seeds of the control.
    pub control: u64,
    /// Hunts at one time.
    pub jobs: usize,
    /// Only these bugs; empty: all.
    pub only: Vec<String>,
}

/// Keeps a bug planted on this thread.
enum Planted {
    Server(pubsub_server::planted::Planted),
    Client(pubsub_client::planted::Planted),
}

fn plant(bug: Bug) -> Planted {
    match bug {
        Bug::Server(bug) => Planted::Server(pubsub_server::planted::plant(bug)),
        Bug::Client(bug) => Planted::Client(pubsub_client::planted::plant(bug)),
    }
}

/// A piece of work for one thread.
enum Part {
    Bug(Bug),
    Control { from: u64, rounds: u64 },
}

/// What came of it.
enum Done {
    Hunt(Hunt),
    Control(Control),
}

impl Chase {
    /// Hunts all, and runs the control. `told` hears of each hunt when it is over.
    pub fn run(&self, commit: String, told: &(dyn Fn(&Hunt) + Sync)) -> Matrix {
        let bugs = Bug::all().filter(|bug| self.only.is_empty() || self.only.contains(&bug.name())).map(Part::Bug);
        let controls = (0..self.control.div_ceil(CONTROL_PART)).map(|part| Part::Control {
            from: self.seed + part * CONTROL_PART,
            rounds: CONTROL_PART.min(self.control - part * CONTROL_PART),
        });
        let parts: Vec<Part> = bugs.chain(controls).collect();
        let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Relaxed);
                        let Some(part) = parts.get(at) else { return };
                        let done = self.work(part);
                        if let Done::Hunt(hunt) = &done {
                            told(hunt);
                        }
                        results.lock().unwrap_or_else(PoisonError::into_inner).insert(at, done);
                    }
                });
            }
        });
        let mut matrix = Matrix { commit, seed: self.seed, budget: self.budget, ..Matrix::default() };
        for done in results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values() {
            match done {
                Done::Hunt(hunt) => matrix.hunts.push(hunt),
                Done::Control(mut part) => {
                    matrix.control.seeds += part.seeds;
                    matrix.control.delivered += part.delivered;
                    matrix.control.findings.append(&mut part.findings);
                }
            }
        }
        matrix
    }

    fn work(&self, part: &Part) -> Done {
        match *part {
            Part::Bug(bug) => Done::Hunt(self.hunt(bug)),
            Part::Control { from, rounds } => Done::Control(control(from, rounds)),
        }
    }

    fn hunt(&self, bug: Bug) -> Hunt {
        let mut hunt = Hunt { bug: bug.name(), side: bug.side().to_owned(), ..Hunt::default() };
        for n in 0..self.budget {
            let planted = plant(bug);
            let round = explore::one(Seed(self.seed + n), &options());
            drop(planted);
            let Ok((_, outcome)) = round else { continue };
            let classes = outcome.judgement.classes();
            let named = bug.sign().classes.iter().copied().find(|class| classes.contains(class));
            if let Some(class) = named {
                hunt.seeds = Some(n + 1);
                hunt.witness = witness(&outcome.judgement, class);
                hunt.classes = classes;
                return hunt;
            }
            hunt.before.extend(classes);
        }
        hunt
    }
}

fn options() -> Options {
    Options { strained: true, ..Options::default() }
}

fn control(from: u64, rounds: u64) -> Control {
    let mut control = Control::default();
    for seed in from..from + rounds {
        control.seeds += 1;
        match explore::one(Seed(seed), &options()) {
            Ok((_, outcome)) => {
                control.delivered += outcome.tally.pushed + outcome.tally.recovered;
                for class in outcome.judgement.classes() {
                    control.findings.push(format!("seed {seed:#x}: {class:?}: {}", witness(&outcome.judgement, class)));
                }
            }
            Err(error) => control.findings.push(format!("seed {seed:#x} could not be run: {error:#}")),
        }
    }
    control
}

fn witness(judgement: &Judgement, class: Class) -> String {
    let finding = judgement.findings.iter().find(|((found, _), _)| *found == class);
    finding
        .and_then(|((_, subject), finding)| Some(format!("{subject}: {}", finding.witness.first()?)))
        .unwrap_or_default()
}
