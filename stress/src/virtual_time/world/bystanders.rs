//! Who must feel nothing of a plan's faults.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fault::plan::Plan;
use crate::fault::{Aim, Fault, Faults, Kind};

/// Whether nothing in the plan means everybody.
pub(super) fn is_calm(plan: &Plan, faults: &Faults) -> bool {
    plan.faults
        .iter()
        .all(|fault| is_weather(plan, fault) || !fault.kind.is_of_node() && faults.targets(fault).is_some())
}

/// Members that nothing in the plan means: they must feel nothing.
pub(super) fn bystanders(plan: &Plan, faults: &Faults) -> BTreeSet<u64> {
    if plan.faults.iter().any(|fault| fault.kind.is_of_node()) || plan.topology.sessions.departures > 0.0 {
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
