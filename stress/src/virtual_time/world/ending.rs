//! The end of a run: everything is healed and comes to rest, the numbers are compared, everybody leaves, and whatever a map
//! still holds then is a leak.

use std::time::Duration;

use pubsub_server::api::Service;
use pubsub_server::api::channels::OfChannel;
use tokio::time::Instant;

use super::{World, publisher_connections};
use crate::fault::Faults;
use crate::fault::plan::Plan;
use crate::fleet::coming::CLOSE_MAX;
use crate::fleet::{Fleet, FleetOptions, Recorder, channel_name};
use crate::ledger::Event;
use crate::oracle::Law;
use crate::scenario::stats::counted;
use crate::virtual_time::node::{Holdings, Node};

/// How often it is looked whether the node has come to rest.
const REST_INTERVAL: Duration = Duration::from_millis(10);
/// Within it, what has run out is given back.
const SWEPT_AFTER: Duration = Duration::from_secs(3);
/// How long the server waits for the end of a connection that it has closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(3);
/// Histories read at the census.
const CENSUS_CHANNELS_MAX: u64 = 500;

impl World<'_> {
    /// The quiet point, the sentinels, the census.
    pub(super) async fn rest(&mut self) {
        let topology = &self.plan.topology;
        let wires = topology.sessions.wires;
        let subscriptions = topology.subscriptions() + wires;
        self.fleet.stay();
        let sessions = &topology.sessions;
        // A connection that a fault has broken may not know it yet: it finds out by the next ping, or is told to close, and does
        // not hear it. What is said to it meanwhile is not kept, or more than may be recovered. So it is with who reads slowly.
        let noticed = sessions.ping_interval + sessions.pong_timeout + sessions.hesitates + CLOSED_WITHIN;
        tokio::time::sleep(noticed.max(self.reading())).await;
        self.fleet.settle(self.bound(), subscriptions).await;
        self.fleet.check_given_up();
        let Some(server) = self.node.server() else { return };
        let clients = topology.connections + publisher_connections(self.plan) + wires;
        let service = server.service();
        let mut expected = vec![("num_clients".to_owned(), clients), ("num_subs".to_owned(), subscriptions)];
        for channel in 0..topology.channels.min(CENSUS_CHANNELS_MAX) {
            let here = (0..topology.connections).filter(|&c| topology.channels_of(c).any(|of| of == channel)).count();
            let here = here + (0..wires).filter(|w| w % topology.channels == channel).count();
            expected.push((channel_name(channel), here as u64));
        }
        self.fleet.take_histories(service, CENSUS_CHANNELS_MAX).await;
        // Publishers come back in their own time, and connections that were given up are closed in the server's. From the last
        // look to the census nothing is waited for: whoever was there is still there.
        let deadline = Instant::now() + self.bound();
        let mut told = told_by(service, &expected).await;
        while !self.is_at_rest(subscriptions, &expected, &told) && Instant::now() < deadline {
            tokio::time::sleep(REST_INTERVAL).await;
            told = told_by(service, &expected).await;
        }
        for (n, ((name, expected), actual)) in expected.into_iter().zip(told).enumerate() {
            let (law, name) = if n < 2 { (Law::I14, name) } else { (Law::I18, format!("present in {name}")) };
            let (expected, actual) = (expected as f64, actual as f64);
            self.fleet.ledger().record(Event::Compare { law, name, expected, actual, tolerance: 0.0 });
        }
        // Of a node that was started again the ledger does not know what it counted before.
        if self.node.has_run_through() {
            let tally = self.fleet.ledger().tally();
            for comparison in counted(&service.metrics().snapshot(), &tally, sessions.requests > 0.0) {
                self.fleet.ledger().record(comparison);
            }
        }
        self.fleet.close_ledger();
    }

    /// Whether everybody is there, in their own words and in the server's.
    fn is_at_rest(&self, subscriptions: u64, expected: &[(String, u64)], told: &[u64]) -> bool {
        let agree = expected.iter().zip(told).all(|((_, expected), told)| expected == told);
        agree && self.fleet.live() >= subscriptions
    }

    /// B: within it, once everything is healed, everybody has come back and caught up.
    fn bound(&self) -> Duration {
        let sessions = &self.plan.topology.sessions;
        let options = FleetOptions::default();
        // A dead connection is noticed, twice at worst; then a connect that fails, a delay, one that works; then drain.
        (sessions.ping_interval + sessions.pong_timeout) * 2
            + options.connect_timeout * 2
            + options.reconnect_max_delay * 2
            + options.request_timeout
            + sessions.hesitates * 20
            + self.reading()
            + Duration::from_secs(10)
    }

    /// How long the slowest reader takes at most.
    fn reading(&self) -> Duration {
        let publications = u32::try_from(self.plan.workload.publications).unwrap_or(u32::MAX);
        self.plan.topology.sessions.reader_pauses * publications.saturating_add(100)
    }
}

/// Everybody leaves, what runs out runs out, and what is left is a leak.
pub(super) async fn leave(plan: &Plan, mut node: Node, fleet: Fleet, faults: &Faults, recorder: &Recorder) {
    let sessions = &plan.topology.sessions;
    fleet.close(CLOSE_MAX).await;
    tokio::time::sleep(sessions.ping_interval + sessions.pong_timeout + plan.topology.history_ttl + SWEPT_AFTER).await;
    // Positions are still there.
    compare_left(recorder, "publications that ran out", node.holdings().await.engine.publications);
    tokio::time::sleep(node.forgets_after()).await;
    let Holdings { census, gate, engine } = node.holdings().await;
    let left = [
        ("connections in shards", census.connections),
        ("connections at the gate", gate),
        ("channels in shards", census.channels),
        ("members of channels", census.members),
        ("subscriptions that wait", census.waiting + census.answers),
        ("bytes in outboxes", census.outbox_bytes),
        ("messages in inboxes", census.inbox_messages),
        ("channels in the hub", census.routes),
        ("users", census.users),
        ("streams", engine.streams),
        ("channels with presence", engine.presence),
        ("remembered results", engine.results),
    ];
    for (what, left) in left {
        compare_left(recorder, what, left);
    }
    node.shut_down().await;
    faults.forget_lingering();
    drop(node);
    tokio::task::yield_now().await;
    compare_left(recorder, "tasks", tokio::runtime::Handle::current().metrics().num_alive_tasks());
}

fn compare_left(recorder: &Recorder, what: &str, left: usize) {
    let name = format!("{what} left when all have gone");
    recorder.record(Event::Compare { law: Law::I15, name, expected: 0.0, actual: left as f64, tolerance: 0.0 });
}

/// What the node says of its clients, its subscriptions, and then of who is present in each of the channels behind those two.
async fn told_by(service: &Service, names: &[(String, u64)]) -> Vec<u64> {
    let stats = service.metrics().snapshot();
    let mut told = vec![stats.connections(), stats.subscriptions()];
    for (channel, _) in names.iter().skip(told.len()) {
        let present = service.presence_stats(OfChannel { channel: channel.clone() }).await;
        // Nobody is a number as well, and one that no channel here expects.
        told.push(present.map_or(u64::MAX, |present| present.num_clients.into()));
    }
    told
}
