//! A smaller plan that is broken in the same way: fewer faults, connections, channels, publications, and nothing drawn in
//! that is not needed.
//!
//! Chance is counted per entity, so what is taken out does not move what stays. Whether a plan is still broken is
//! found out by running it.

use std::time::Duration;

use crate::fault::plan::{Fault, Plan, Sessions, Target};

/// A smaller plan for which `is_broken` still says yes, found with at most `runs` questions.
#[must_use]
pub fn shrink(plan: &Plan, runs: usize, mut is_broken: impl FnMut(&Plan) -> bool) -> Plan {
    let mut left = runs;
    let mut best = plan.clone();
    loop {
        let before = best.clone();
        faults(&mut best, &mut left, &mut is_broken);
        for step in steps(best.faults.len()) {
            let mut smaller = best.clone();
            step(&mut smaller);
            try_one(&mut best, smaller, &mut left, &mut is_broken);
        }
        if best == before || left == 0 {
            return best;
        }
    }
}

fn try_one(best: &mut Plan, smaller: Plan, left: &mut usize, is_broken: &mut impl FnMut(&Plan) -> bool) -> bool {
    if *left == 0 || smaller == *best {
        return false;
    }
    *left -= 1;
    let broken = is_broken(&smaller);
    if broken {
        *best = smaller;
    }
    broken
}

/// Delta debugging: ever smaller pieces are left out, for as long as that works.
fn faults(best: &mut Plan, left: &mut usize, is_broken: &mut impl FnMut(&Plan) -> bool) {
    let mut piece = best.faults.len();
    while piece > 0 {
        let mut at = 0;
        while at < best.faults.len() {
            let kept = |(n, _): &(usize, &Fault)| *n < at || *n >= at + piece;
            let rest = best.faults.iter().enumerate().filter(kept).map(|(_, fault)| fault.clone()).collect();
            let smaller = Plan { faults: rest, ..best.clone() };
            if !try_one(best, smaller, left, is_broken) {
                at += piece;
            }
        }
        piece /= 2;
    }
}

/// Makes a plan smaller in one direction.
type Step = Box<dyn Fn(&mut Plan)>;

/// One step smaller in each direction there is, for a plan with so many faults.
fn steps(faults: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut with = |step: Step| steps.push(step);
    for divisor in [4, 2] {
        with(Box::new(move |plan| plan.topology.connections = (plan.topology.connections / divisor).max(1)));
        with(Box::new(move |plan| plan.workload.publications = (plan.workload.publications / divisor).max(1)));
    }
    with(Box::new(|plan| plan.topology.connections = (plan.topology.connections - 1).max(1)));
    with(Box::new(|plan| {
        plan.workload.publications = (plan.workload.publications - plan.workload.publications / 8).max(1);
    }));
    with(Box::new(|plan| {
        plan.topology.channels = 1;
        plan.topology.subscriptions_each = 1;
        plan.workload.publishers = 1;
    }));
    with(Box::new(|plan| plan.topology.subscriptions_each = 1));
    with(Box::new(|plan| plan.workload.publishers = (plan.workload.publishers / 2).max(plan.topology.channels)));
    with(Box::new(|plan| plan.workload.payload_bytes = 100));
    let plain = Sessions::default;
    with(Box::new(|plan| plan.topology.sessions.token_ttl = None));
    with(Box::new(|plan| plan.topology.sessions.departures = 0.0));
    with(Box::new(|plan| plan.topology.sessions.requests = 0.0));
    with(Box::new(|plan| plan.topology.sessions.burst = 1));
    with(Box::new(|plan| plan.topology.sessions.keyed = 0.0));
    with(Box::new(|plan| plan.topology.sessions.by_api = 0.0));
    with(Box::new(|plan| plan.topology.sessions.protobuf = 0.0));
    with(Box::new(|plan| plan.topology.sessions.wires /= 2));
    with(Box::new(|plan| plan.topology.sessions.wires_stay = Duration::ZERO));
    with(Box::new(|plan| plan.topology.sessions.shards = 1));
    with(Box::new(|plan| plan.topology.sessions.hesitates = Duration::ZERO));
    with(Box::new(|plan| plan.topology.sessions.accept_failures = 0.0));
    with(Box::new(|plan| plan.topology.sessions.reader_pauses = Duration::ZERO));
    with(Box::new(move |plan| plan.topology.sessions.mailbox = plain().mailbox));
    with(Box::new(move |plan| plan.topology.sessions.recovery_max = plain().recovery_max));
    with(Box::new(move |plan| plan.topology.sessions.queue_bytes = plain().queue_bytes));
    with(Box::new(move |plan| {
        plan.topology.sessions.ping_interval = plain().ping_interval;
        plan.topology.sessions.pong_timeout = plain().pong_timeout;
    }));
    for n in 0..faults {
        with(Box::new(move |plan| {
            let Fault { from, until, .. } = &mut plan.faults[n];
            *until = until.map(|until| halfway(*from, until));
        }));
        for is_first in [true, false] {
            with(Box::new(move |plan| halve(&mut plan.faults[n].target, is_first)));
        }
    }
    steps
}

/// Aims at one half only.
fn halve(target: &mut Target, is_first: bool) {
    if let Target::Connections(targets) = target
        && targets.len() > 1
    {
        let second = targets.split_off(targets.len() / 2);
        if !is_first {
            *targets = second;
        }
    }
}

fn halfway(from: Duration, until: Duration) -> Duration {
    from + until.saturating_sub(from) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;
    use crate::fault::plan::{Topology, Workload};

    #[test]
    fn what_does_not_matter_is_taken_out_and_what_does_stays() {
        let faults = (0..7).map(|n| Fault::new(format!("f{n}"), Kind::Reset)).collect();
        let topology = Topology { connections: 12, channels: 4, subscriptions_each: 3, ..Topology::default() };
        let workload = Workload { publishers: 8, publications: 300, ..Workload::default() };
        let plan = Plan { topology, workload, faults, ..Plan::default() };
        // Broken is: two certain faults together, three connections, 40 publications.
        let is_broken = |plan: &Plan| {
            let has = |id: &str| plan.faults.iter().any(|fault| fault.id == id);
            has("f2") && has("f5") && plan.topology.connections >= 3 && plan.workload.publications >= 40
        };
        let small = shrink(&plan, 500, is_broken);
        let ids: Vec<&str> = small.faults.iter().map(|fault| fault.id.as_str()).collect();
        assert_eq!((ids, small.topology.connections, small.topology.channels), (vec!["f2", "f5"], 3, 1));
        assert!((40..48).contains(&small.workload.publications), "{}", small.workload.publications);
    }

    #[test]
    fn it_stops_when_its_questions_are_used_up() {
        let mut asked = 0;
        let plan = Plan { faults: (0..50).map(|n| Fault::new(n.to_string(), Kind::Fin)).collect(), ..Plan::default() };
        let _small = shrink(&plan, 7, |_| {
            asked += 1;
            true
        });
        assert!(asked <= 7);
    }
}
