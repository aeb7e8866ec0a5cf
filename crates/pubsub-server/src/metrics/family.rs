//! Every metric, written down once: its name, kind, labels and meaning, and where its value comes from.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType::{self, Counter, Gauge, Histogram, Info};
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::Stats;
use super::cell::{Distribution, OTHER};
use super::process::Process;

/// One metric, with all values of its labels.
#[derive(Debug)]
pub struct Family {
    /// Without unit and ending.
    stem: &'static str,
    unit: Option<In>,
    kind: MetricType,
    labels: &'static [&'static str],
    meaning: &'static str,
    read: Read,
}

/// Where its values come from.
type Read = fn(&Stats, &Process) -> Vec<Sample>;

/// The unit, which becomes part of the name.
#[derive(Clone, Copy, Debug)]
enum In {
    Bytes,
    Seconds,
}

impl From<In> for Unit {
    fn from(unit: In) -> Self {
        match unit {
            In::Bytes => Self::Bytes,
            In::Seconds => Self::Seconds,
        }
    }
}

/// One value, with those of the labels in the order of the family's.
#[derive(Debug)]
struct Sample {
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Seconds(f64),
    Distribution(Distribution),
}

impl Family {
    /// The name that a query uses.
    #[must_use]
    pub fn name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{}", Unit::from(unit).as_str())).unwrap_or_default();
        let ending = match self.kind {
            Counter => "_total",
            Info => "_info",
            _ => "",
        };
        format!("{}{unit}{ending}", self.stem)
    }

    /// Counter, gauge, histogram or info.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind.as_str()
    }

    /// Names of the labels.
    #[must_use]
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// What it says, in one line.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    const fn new(kind: MetricType, stem: &'static str, meaning: &'static str, read: Read) -> Self {
        Self { stem, unit: None, kind, labels: &[], meaning, read }
    }

    const fn in_(mut self, unit: In) -> Self {
        self.unit = Some(unit);
        self
    }

    const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, stats: &Stats, process: &Process) -> fmt::Result {
        let samples = (self.read)(stats, process);
        let unit = self.unit.map(Unit::from);
        let mut metric = encoder.encode_descriptor(self.stem, self.meaning, unit.as_ref(), self.kind)?;
        for sample in samples {
            let labels: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
            if let Info = self.kind {
                metric.encode_info(&labels)?;
            } else if labels.is_empty() {
                sample.value.encode(self.kind, &mut metric)?;
            } else {
                sample.value.encode(self.kind, &mut metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, kind: MetricType, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
        match (self, kind) {
            (Self::Count(count), Counter) => metric.encode_counter(count, NO_EXEMPLAR),
            (Self::Count(count), _) => metric.encode_gauge(count),
            (Self::Seconds(seconds), _) => metric.encode_gauge(seconds),
            (Self::Distribution(seen), _) => {
                metric.encode_histogram::<NoLabelSet>(seen.sum.as_secs_f64(), seen.count(), &seen.buckets, None)
            }
        }
    }
}

/// All metrics, in the order of the output.
pub static FAMILIES: &[Family] = &[
    Family::new(Info, "pubsub_build", "Version of the server.", |_, _| {
        vec![Sample { labels: vec![env!("CARGO_PKG_VERSION").to_owned()], value: Value::Count(1) }]
    })
    .by(&["version"]),
    Family::new(Gauge, "pubsub_uptime", "Time since the server started.", |stats, _| {
        vec![Sample { labels: Vec::new(), value: Value::Seconds(stats.uptime.as_secs_f64()) }]
    })
    .in_(In::Seconds),
    Family::new(Gauge, "pubsub_connections", "WebSocket connections that are open.", |stats, _| {
        one(stats.connections())
    }),
    Family::new(
        Counter,
        "pubsub_connections_accepted",
        "Connections that the listeners accepted, plain HTTP among them.",
        |stats, _| one(stats.connections_accepted),
    ),
    Family::new(
        Counter,
        "pubsub_connections_refused",
        "Connections refused before the upgrade to WebSocket.",
        |stats, _| by_name(&stats.connections_refused),
    )
    .by(&["reason"]),
    Family::new(Counter, "pubsub_connections_opened", "Connections that were upgraded to WebSocket.", |stats, _| {
        one(stats.connections_opened)
    }),
    Family::new(
        Counter,
        "pubsub_connections_closed",
        "WebSocket connections that ended, whoever ended them.",
        |stats, _| one(stats.connections_closed),
    ),
    Family::new(
        Counter,
        "pubsub_disconnects",
        "WebSocket connections that the server ended, by close code.",
        |stats, _| by_code(&stats.disconnects),
    )
    .by(&["code"]),
    Family::new(
        Counter,
        "pubsub_slow_consumers",
        "Connections ended because more waited for them than may: code 3008.",
        |stats, _| one(stats.slow_consumers()),
    ),
    Family::new(
        Gauge,
        "pubsub_subscriptions",
        "Subscriptions of open connections, server-side ones among them.",
        |stats, _| one(stats.subscriptions()),
    ),
    Family::new(Counter, "pubsub_subscriptions_opened", "Subscriptions that began.", |stats, _| {
        one(stats.subscriptions_opened)
    }),
    Family::new(
        Counter,
        "pubsub_subscriptions_closed",
        "Subscriptions that ended, with their connection or alone.",
        |stats, _| one(stats.subscriptions_closed),
    ),
    Family::new(Counter, "pubsub_unsubscribes", "Subscriptions that the server ended, by code.", |stats, _| {
        by_code(&stats.unsubscribes)
    })
    .by(&["code"]),
    Family::new(Gauge, "pubsub_channels", "Channels with at least one subscriber on this node.", |stats, _| {
        one(stats.channels)
    }),
    Family::new(
        Counter,
        "pubsub_publications",
        "Publications accepted, from clients and from the HTTP API.",
        |stats, _| {
            let sources = [("client", stats.publications_by_clients), ("api", stats.publications_by_api)];
            sources.map(|(source, count)| Sample { labels: vec![source.to_owned()], value: Value::Count(count) }).into()
        },
    )
    .by(&["source"]),
    Family::new(
        Counter,
        "pubsub_deliveries",
        "Publications put into outboxes: one publication counts once per subscriber.",
        |stats, _| one(stats.deliveries),
    ),
    Family::new(
        Counter,
        "pubsub_recoveries_asked",
        "Subscriptions that asked to recover what they missed.",
        |stats, _| one(stats.recoveries_asked),
    ),
    Family::new(
        Counter,
        "pubsub_recoveries",
        "Recoveries answered: all that was missed, or that it cannot be had.",
        |stats, _| {
            let results = [("recovered", stats.recoveries_succeeded), ("unrecovered", stats.recoveries_failed)];
            results.map(|(result, count)| Sample { labels: vec![result.to_owned()], value: Value::Count(count) }).into()
        },
    )
    .by(&["result"]),
    Family::new(
        Counter,
        "pubsub_recovered_publications",
        "Publications given back by recoveries; not among the deliveries.",
        |stats, _| one(stats.recovered_publications),
    ),
    Family::new(Counter, "pubsub_received", "Read from WebSocket connections, frame headers included.", |stats, _| {
        one(stats.bytes_received)
    })
    .in_(In::Bytes),
    Family::new(Counter, "pubsub_sent", "Written to WebSocket connections, frame headers included.", |stats, _| {
        one(stats.bytes_sent)
    })
    .in_(In::Bytes),
    Family::new(Gauge, "pubsub_outbox", "Waiting to be written to connections.", |stats, _| {
        by_shard(&stats.outbox_bytes)
    })
    .in_(In::Bytes)
    .by(&["shard"]),
    Family::new(Gauge, "pubsub_inbox_messages", "Messages that wait for the shard's next turn.", |stats, _| {
        by_shard(&stats.inbox_messages)
    })
    .by(&["shard"]),
    Family::new(
        Histogram,
        "pubsub_command_duration",
        "From a command's decoding to its answer's place in the outbox.",
        |stats, _| {
            let rows = stats.commands.iter().filter(|(_, seen)| seen.count() > 0);
            rows.map(|(method, seen)| Sample {
                labels: vec![(*method).to_owned()],
                value: Value::Distribution(seen.clone()),
            })
            .collect()
        },
    )
    .in_(In::Seconds)
    .by(&["method"]),
    Family::new(
        Counter,
        "pubsub_reply_errors",
        "Commands answered with an error, by method and error code.",
        |stats, _| by_name_and_code(&stats.reply_errors),
    )
    .by(&["method", "code"]),
    Family::new(
        Counter,
        "pubsub_http_api_requests",
        "Requests to the HTTP API, by method and HTTP status.",
        |stats, _| by_name_and_code(&stats.api_requests),
    )
    .by(&["method", "status"]),
    Family::new(Gauge, "process_resident_memory", "Memory of the process that is really in use.", |_, process| {
        maybe(process.resident_bytes)
    })
    .in_(In::Bytes),
    Family::new(
        Gauge,
        "process_heap",
        "Memory that is allocated and not given back, as the allocator counts it. What is resident beyond it, the allocator keeps for later.",
        |_, process| maybe(process.heap_bytes),
    )
    .in_(In::Bytes),
    Family::new(Gauge, "process_open_fds", "Open descriptors; each connection is one.", |_, process| {
        maybe(process.open_fds)
    }),
    Family::new(Gauge, "process_max_fds", "How many descriptors may be open.", |_, process| maybe(process.max_fds)),
];

fn one(count: u64) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value: Value::Count(count) }]
}

fn maybe(count: Option<u64>) -> Vec<Sample> {
    count.map(one).unwrap_or_default()
}

fn by_name(counts: &BTreeMap<&'static str, u64>) -> Vec<Sample> {
    counts
        .iter()
        .map(|(name, &count)| Sample { labels: vec![(*name).to_owned()], value: Value::Count(count) })
        .collect()
}

fn by_code(counts: &BTreeMap<u32, u64>) -> Vec<Sample> {
    counts.iter().map(|(&code, &count)| Sample { labels: vec![code_label(code)], value: Value::Count(count) }).collect()
}

fn by_name_and_code(counts: &BTreeMap<(&'static str, u32), u64>) -> Vec<Sample> {
    let samples = counts.iter().map(|(&(name, code), &count)| Sample {
        labels: vec![name.to_owned(), code_label(code)],
        value: Value::Count(count),
    });
    samples.collect()
}

fn by_shard(values: &[u64]) -> Vec<Sample> {
    let samples = values.iter().enumerate();
    samples.map(|(shard, &value)| Sample { labels: vec![shard.to_string()], value: Value::Count(value) }).collect()
}

fn code_label(code: u32) -> String {
    if code == OTHER { "other".to_owned() } else { code.to_string() }
}

/// The text format, down to its end mark.
pub(super) fn encode(stats: Stats, process: Process) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Moment { stats, process }));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Moment {
    stats: Stats,
    process: Process,
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        FAMILIES.iter().try_for_each(|family| family.encode(&mut encoder, &self.stats, &self.process))
    }
}
