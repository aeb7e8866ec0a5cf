//! Who must feel nothing of a plan's faults.

use std::collections::BTreeSet;
use std::time::Duration;

use super::FRAME_BYTES;
use crate::fault::plan::Plan;
use crate::fault::{Aim, Fault, Faults, Kind};

/// Whether nothing in the plan means everybody.
pub(super) fn is_calm(plan: &Plan, faults: &Faults) -> bool {
    let means_some = |fault: &Fault| !fault.kind.is_of_node() && faults.targets(fault).is_some();
    !is_swamped(plan) && plan.faults.iter().all(|fault| is_weather(plan, fault) || means_some(fault))
}

/// Whether more may come while the engine hesitates than may wait for one connection. Then a subscription that begins is told to
/// begin anew, without any fault.
fn is_swamped(plan: &Plan) -> bool {
    let (sessions, workload) = (&plan.topology.sessions, &plan.workload);
    // Before and after what it does; and the first of them comes at once.
    let publications = workload.rate * sessions.hesitates.as_secs_f64() * 2.0 + sessions.burst as f64;
    let bytes = publications * (workload.payload_bytes + FRAME_BYTES) as f64;
    !sessions.hesitates.is_zero() && bytes > sessions.queue_bytes as f64
}

/// Members that nothing in the plan means: they must feel nothing.
pub(super) fn bystanders(plan: &Plan, faults: &Faults) -> BTreeSet<u64> {
    let nobody_can_be = plan.topology.sessions.departures > 0.0 || is_swamped(plan);
    if nobody_can_be || plan.faults.iter().any(|fault| fault.kind.is_of_node()) {
        return BTreeSet::new();
    }
    let mut untouched: BTreeSet<u64> = (0..plan.topology.connections).collect();
    for fault in plan.faults.iter().filter(|fault| !is_weather(plan, fault)) {
        match faults.targets(fault) {
            None => return BTreeSet::new(),
            Some(targets) => untouched.retain(|member| targets.binary_search(member).is_err()),
        }
    }
    untouched
}

/// Slow or fitful, and nothing that ends a connection.
fn is_weather(plan: &Plan, fault: &Fault) -> bool {
    let mild = match fault.kind {
        Kind::Slices { .. } | Kind::Yields { .. } => true,
        // A pong that takes longer than it may is late by its own fault.
        Kind::Latency(_) | Kind::Coalesce { .. } => round_trip_max(plan) < plan.topology.sessions.pong_timeout,
        _ => false,
    };
    mild && fault.aim == Aim::At
}

/// What a ping and its pong can take at most, with all delays of the plan on one connection.
fn round_trip_max(plan: &Plan) -> Duration {
    let delay = |fault: &Fault| match &fault.kind {
        Kind::Latency(latency) => latency.max,
        Kind::Coalesce { window } => *window,
        _ => Duration::ZERO,
    };
    plan.faults.iter().map(|fault| delay(fault) * 2).sum()
}
