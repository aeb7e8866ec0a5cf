//! What is done to each server.

use std::time::Duration;

/// A workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its short name.
    pub name: &'static str,
    /// What it is, for the report.
    pub what: &'static str,
    /// Subscribers, one channel each.
    pub connections: usize,
    /// Channels they are spread over.
    pub channels: usize,
    /// Payload of each publication in bytes.
    pub payload: usize,
    /// What is published.
    pub load: Load,
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Nothing: only memory counts.
    Idle,
    /// So many publications a second, round-robin over the channels, on an absolute schedule.
    Rate {
        /// Publications a second.
        per_s: f64,
        /// For so long.
        lasting: Duration,
    },
    /// As many as go through with so many publications under way.
    Saturate {
        /// Publications that may be under way.
        window: u64,
        /// For so long.
        lasting: Duration,
    },
}

/// What a workload came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Seconds until all were connected and subscribed.
    pub storm_s: f64,
    /// Server CPU for each of them, in microseconds.
    pub storm_cpu_us: f64,
    /// Server memory (PSS) for each connection when all are idle, in KiB.
    pub idle_kib: f64,
    /// Deliveries that came.
    pub deliveries: u64,
    /// Deliveries that should have come.
    pub expected: u64,
    /// Deliveries out of order or to the wrong subscriber.
    pub wrong: u64,
    /// Deliveries a second.
    pub per_s: f64,
    /// Server CPU for each delivery, in microseconds.
    pub cpu_us: f64,
    /// Time from the planned moment of publishing to arrival, in milliseconds: median and 99th percentile.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// Share of the planned publications that were made: below 0.99 the load was not what it says.
    pub offered: f64,
}

/// The workloads W1 to W5.
#[must_use]
pub fn all() -> Vec<Workload> {
    let lasting = Duration::from_secs(5);
    let payload = 128;
    vec![
        Workload {
            name: "W1",
            what: "10,000 connections, each on a channel of its own, idle",
            connections: 10_000,
            channels: 10_000,
            payload,
            load: Load::Idle,
        },
        Workload {
            name: "W2",
            what: "1,000 subscribers of one channel, 100 publications/s",
            connections: 1_000,
            channels: 1,
            payload,
            load: Load::Rate { per_s: 100.0, lasting },
        },
        Workload {
            name: "W3",
            what: "10,000 subscribers of one channel, 10 publications/s",
            connections: 10_000,
            channels: 1,
            payload,
            load: Load::Rate { per_s: 10.0, lasting },
        },
        Workload {
            name: "W4",
            what: "1,000 subscribers of one channel, 32 publications always under way",
            connections: 1_000,
            channels: 1,
            payload,
            load: Load::Saturate { window: 32, lasting: Duration::from_secs(3) },
        },
        Workload {
            name: "W5",
            what: "10,000 subscribers over 1,000 channels, 2,000 publications/s",
            connections: 10_000,
            channels: 1_000,
            payload,
            load: Load::Rate { per_s: 2_000.0, lasting },
        },
    ]
}

impl Workload {
    /// Which channel a subscriber is on.
    #[must_use]
    pub fn channel_of(&self, subscriber: usize) -> usize {
        subscriber % self.channels
    }

    /// How many subscribers a channel has.
    #[must_use]
    pub fn subscribers_of(&self, channel: usize) -> usize {
        self.connections / self.channels + usize::from(channel < self.connections % self.channels)
    }
}
