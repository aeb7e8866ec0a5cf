//! Many short runs in virtual time, each with other options, each judged; a broken one is made small.
//!
//! - [`mod@draw`]: a plan from a seed, everything redrawn: who is there, what they do, what is done to them
//! - [`mod@shrink`]: a smaller plan that is broken in the same way
//! - [`summary`]: what is kept of it
//!
//! [`one`] is a whole round: draw, run, judge. Safety is judged while faults hold, and after them, when everything is
//! healed, that everybody converges; see [`virtual_time`](crate::virtual_time).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::chance::Seed;
use crate::fault::plan::Plan;
use crate::oracle::{Class, Judgement};
use crate::report::matrix::Cells;
use crate::virtual_time::world::{Look, Outcome, run};

pub mod draw;
pub mod shrink;
pub mod summary;

pub use draw::draw;
pub use shrink::shrink;

/// What to explore.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names of the kinds of fault to draw from ([`Kind::virtual_names`](crate::fault::Kind::virtual_names)). Empty: all that a network or a node may do.
    pub faults: Vec<String>,
    /// Puts more strain on the server than everyday life does: subscribers on the wire, an engine that hesitates, small
    /// limits.
    pub strained: bool,
}

/// A round that ended badly.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Its seed.
    pub seed: Seed,
    /// What was done.
    pub plan: Plan,
    /// What was found.
    pub judgement: Judgement,
}

/// What came of many rounds.
#[derive(Debug, Default)]
pub struct Explored {
    /// Rounds run.
    pub rounds: u64,
    /// Publications delivered in them.
    pub delivered: u64,
    /// How often each kind of fault was applied at each family of aims.
    pub reached: Cells,
    /// The rounds that ended badly, by seed.
    pub broken: Vec<Broken>,
    /// Rounds that could not be run.
    pub errors: Vec<String>,
    /// The fingerprint of each round, by seed.
    pub fingerprints: BTreeMap<Seed, u64>,
}

/// One round: draws a plan from `seed` and runs it.
///
/// # Errors
/// When it could not be run.
pub fn one(seed: Seed, options: &Options) -> anyhow::Result<(Plan, Outcome)> {
    let plan = draw(seed, options);
    let outcome = run(&plan, &Look::default())?;
    Ok((plan, outcome))
}

/// Makes the plan of a broken round small: it still has a finding of one of the same classes. At most `runs` runs.
#[must_use]
pub fn make_small(broken: &Broken, runs: usize) -> Plan {
    let classes: BTreeSet<Class> = broken.judgement.classes();
    shrink(&broken.plan, runs, |plan| {
        run(plan, &Look::default()).is_ok_and(|outcome| !outcome.judgement.classes().is_disjoint(&classes))
    })
}

/// Runs the rounds `from..from + rounds`, on so many threads; what comes out does not depend on how many. `goes_on` is told of each
/// that is over, and begins no more by saying no.
pub fn many(
    from: u64,
    rounds: u64,
    options: &Options,
    jobs: usize,
    goes_on: &(dyn Fn(u64) -> bool + Sync),
) -> Explored {
    let next = AtomicU64::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    if n >= rounds {
                        return;
                    }
                    let round = one(Seed(from + n), options);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(n, round);
                    if !goes_on(n) {
                        next.store(rounds, Relaxed);
                    }
                }
            });
        }
    });
    let mut explored = Explored::default();
    for (n, round) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        explored.rounds += 1;
        match round {
            Ok((plan, outcome)) => explored.take(Seed(from + n), plan, outcome),
            Err(error) => explored.errors.push(format!("seed {:#x}: {error:#}", from + n)),
        }
    }
    explored
}

impl Explored {
    /// All fingerprints in one.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprints.iter().fold(0, |all, (seed, &one)| Seed(all).value(one, "rounds", seed.0))
    }

    /// Rounds that went another way in `other`, where their seed was the same.
    #[must_use]
    pub fn other_ways(&self, other: &Self) -> Vec<Seed> {
        let differs = |(seed, one): (&Seed, &u64)| (other.fingerprints.get(seed) != Some(one)).then_some(*seed);
        self.fingerprints.iter().filter_map(differs).collect()
    }

    fn take(&mut self, seed: Seed, plan: Plan, outcome: Outcome) {
        self.delivered += outcome.tally.pushed + outcome.tally.recovered;
        for (fault, counts) in outcome.faults.values() {
            *self.reached.entry((fault.kind.name(), fault.aim.family())).or_default() += counts.applied;
        }
        self.fingerprints.insert(seed, outcome.fingerprint);
        if !outcome.judgement.is_clean() {
            self.broken.push(Broken { seed, plan, judgement: outcome.judgement });
        }
    }
}
