//! The benchmark: what a connection and a delivery cost, side by side with a floor and with peers, in one run.
//!
//! A figure counts only as a ratio within one run on one machine. So every server does every workload in a process of its own,
//! the servers take turns round by round, and what is shown is the median of the rounds with its spread. CPU and memory are
//! read from outside, from `/proc`.
//!
//! - [`workload`]: what is done; [`generator`]: does it, with [`fleet`], [`publisher`] and [`churn`]
//! - [`stamp`]: what a publication carries; [`stream`], [`words`]: how it travels
//! - [`peer`], [`others`]: to whom; [`process`]: a server as a child, and what it uses
//! - [`floor`]: the least a server can cost; [`naive`]: what one writes in an afternoon
//! - [`growth`]: how it grows; [`once`]: what is looked at once, for itself
//! - [`wsload`]: whether another load generator sees the same
//! - [`goals`]: what it should come to; [`report`]: the page and its plots

pub mod churn;
pub mod fleet;
pub mod floor;
pub mod generator;
pub mod goals;
pub mod growth;
pub mod naive;
pub mod once;
pub mod others;
pub mod peer;
pub mod process;
pub mod publisher;
pub mod report;
pub mod stamp;
pub mod stream;
pub mod words;
pub mod workload;
pub mod wsload;

use std::collections::BTreeMap;

use peer::Peer;
use workload::{Figures, Workload};

/// All figures of a run: by workload, then by server, one for each round.
pub type Results = BTreeMap<&'static str, BTreeMap<String, Vec<Figures>>>;

/// Runs `rounds` rounds of all workloads against all peers, and tells of each as it is done.
///
/// # Errors
/// When a server can not be started, or does not do its work.
pub fn run(
    peers: &[Peer],
    workloads: &[Workload],
    rounds: usize,
    mut done: impl FnMut(usize, &Workload, &Peer, &Figures),
) -> anyhow::Result<Results> {
    let mut results = Results::new();
    for round in 0..rounds {
        for workload in workloads {
            // Another order in each round: whoever comes first finds the machine as the one before left it.
            for at in 0..peers.len() {
                let peer = &peers[(at + round) % peers.len()];
                if !peer.only.is_empty() && !peer.only.contains(&workload.name) {
                    continue;
                }
                let child = process::Child::start(peer)?;
                let figures = generator::run(workload, peer, &child)
                    .map_err(|error| error.context(format!("{} against {}", workload.name, peer.name)))?;
                done(round, workload, peer, &figures);
                results.entry(workload.name).or_default().entry(peer.name.clone()).or_default().push(figures);
            }
        }
    }
    Ok(results)
}
