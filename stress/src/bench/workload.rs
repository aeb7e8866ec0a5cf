//! What is done to each server, and what came of it.

use std::ops::Range;
use std::time::Duration;

/// A workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its short name.
    pub name: &'static str,
    /// What it is, for the report.
    pub what: &'static str,
    /// Subscribers.
    pub connections: usize,
    /// Who is on which channel.
    pub spread: Spread,
    /// Payload of each publication in bytes.
    pub payload: usize,
    /// What is published.
    pub load: Load,
}

/// Who is on which channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Everybody on one of so many channels, all of which are published to in turn.
    Even {
        /// So many.
        channels: usize,
    },
    /// The first so many are on the one channel that is published to, all others on idle channels of their own.
    Audience {
        /// So many.
        of: usize,
        /// How many channels each of the others has.
        others_have: usize,
    },
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
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Figures {
    /// Seconds until all were connected and subscribed.
    pub storm_s: f64,
    /// Server CPU for each of them, in microseconds.
    pub storm_cpu_us: f64,
    /// Connections that the kernel dropped, or asked for again, while all came.
    pub storm_retries: u64,
    /// Server memory (PSS) for each connection when all are idle, in KiB.
    pub idle_kib: f64,
    /// Publications made.
    pub publications: u64,
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
    /// CPU of the load generator for each delivery, in microseconds.
    pub generator_us: f64,
    /// Time from the planned moment of publishing to arrival, in milliseconds: median and 99th percentile.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// Share of the planned publications that were made in time: below 0.99 the load was not what it says.
    pub offered: f64,
    /// Processors that others kept busy meanwhile.
    pub others_cores: f64,
}

/// From here on, somebody with one thread has no time left.
const BUSY_CORES: f64 = 0.9;

impl Figures {
    /// Whether it is at the limit of one thread: what it takes then to deliver is the length of its queue.
    #[must_use]
    pub fn fills_a_thread(&self) -> bool {
        self.cpu_us * self.per_s / 1e6 >= BUSY_CORES
    }
}

/// The workloads W1 to W5.
#[must_use]
pub fn all() -> Vec<Workload> {
    let lasting = Duration::from_secs(3);
    let even = |channels| Spread::Even { channels };
    let make = |name, what, connections, spread, load| Workload { name, what, connections, spread, payload: 128, load };
    vec![
        make("W1", "10,000 connections, each on a channel of its own, idle", 10_000, even(10_000), Load::Idle),
        make(
            "W2",
            "1,000 subscribers of one channel, 100 publications/s",
            1_000,
            even(1),
            Load::Rate { per_s: 100.0, lasting },
        ),
        make(
            "W3",
            "10,000 subscribers of one channel, 10 publications/s",
            10_000,
            even(1),
            Load::Rate { per_s: 10.0, lasting },
        ),
        make(
            "W4",
            "1,000 subscribers of one channel, 32 publications always under way",
            1_000,
            even(1),
            Load::Saturate { window: 32, lasting: Duration::from_secs(2) },
        ),
        make(
            "W5",
            "10,000 subscribers over 1,000 channels, 2,000 publications/s",
            10_000,
            even(1_000),
            Load::Rate { per_s: 2_000.0, lasting },
        ),
    ]
}

impl Workload {
    /// The channels of a subscriber.
    #[must_use]
    pub fn channels_of(&self, subscriber: usize) -> Range<usize> {
        match self.spread {
            Spread::Even { channels } => subscriber % channels..subscriber % channels + 1,
            Spread::Audience { of, .. } if subscriber < of => 0..1,
            Spread::Audience { of, others_have } => {
                let first = 1 + (subscriber - of) * others_have;
                first..first + others_have
            }
        }
    }

    /// How many channels are published to.
    #[must_use]
    pub fn published(&self) -> usize {
        match self.spread {
            Spread::Even { channels } => channels,
            Spread::Audience { .. } => 1,
        }
    }

    /// How many subscribers a channel that is published to has.
    #[must_use]
    pub fn subscribers_of(&self, channel: usize) -> usize {
        match self.spread {
            Spread::Even { channels } => {
                self.connections / channels + usize::from(channel < self.connections % channels)
            }
            Spread::Audience { of, .. } => of,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_channel_has_is_who_is_on_it() {
        let spreads = [Spread::Even { channels: 7 }, Spread::Audience { of: 10, others_have: 3 }];
        for spread in spreads {
            let workload = Workload { connections: 100, spread, ..all().remove(0) };
            for channel in 0..workload.published() {
                let on_it = (0..100).filter(|&at| workload.channels_of(at).contains(&channel)).count();
                assert_eq!(workload.subscribers_of(channel), on_it, "{spread:?}, {channel}");
            }
        }
    }
}
