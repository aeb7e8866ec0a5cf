//! What the server says of itself, held against the ledger (I14), and what it still holds when all have gone (I15).

use std::time::Duration;

use pubsub_server::metrics::Stats;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::ledger::Event;
use crate::oracle::{Law, Tally};
use crate::server::http;

/// How long the server may take to notice that somebody has come or gone.
const AT_REST_MAX: Duration = Duration::from_secs(5);
const REPLY_ERRORS: &str = "pubsub_reply_errors_total";
/// Histories removed by one request.
const REMOVED_AT_ONCE: u64 = 1_000;

/// The server's own numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Open connections, and how many ever were opened.
    pub connections: f64,
    opened: f64,
    closed: f64,
    /// Subscriptions, and how many ever were opened.
    pub subscriptions: f64,
    subscriptions_opened: f64,
    subscriptions_closed: f64,
    /// Channels with at least one subscriber.
    pub channels: f64,
    publications: f64,
    deliveries: f64,
    recovered: f64,
    recoveries: f64,
    unrecovered: f64,
    reply_errors: f64,
    /// Bytes in outboxes and messages in inboxes.
    pub queued: f64,
}

impl Counts {
    /// Asks.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn read(address: &str) -> anyhow::Result<Self> {
        let text = metrics(address).await?;
        let sum = |name: &str| sum(&text, name);
        Ok(Self {
            connections: sum("pubsub_connections"),
            opened: sum("pubsub_connections_opened_total"),
            closed: sum("pubsub_connections_closed_total"),
            subscriptions: sum("pubsub_subscriptions"),
            subscriptions_opened: sum("pubsub_subscriptions_opened_total"),
            subscriptions_closed: sum("pubsub_subscriptions_closed_total"),
            channels: sum("pubsub_channels"),
            publications: sum("pubsub_publications_total"),
            deliveries: sum("pubsub_deliveries_total"),
            recovered: sum("pubsub_recovered_publications_total"),
            recoveries: sum("pubsub_recoveries_total{result=\"recovered\"}"),
            unrecovered: sum("pubsub_recoveries_total{result=\"unrecovered\"}"),
            reply_errors: sum("pubsub_reply_errors_total"),
            queued: sum("pubsub_outbox_bytes") + sum("pubsub_inbox_messages"),
        })
    }
}

impl From<&Stats> for Counts {
    /// Of a server in this process.
    fn from(stats: &Stats) -> Self {
        let queued = stats.outbox_bytes.iter().chain(&stats.inbox_messages).sum::<u64>();
        Self {
            connections: stats.connections() as f64,
            opened: stats.connections_opened as f64,
            closed: stats.connections_closed as f64,
            subscriptions: stats.subscriptions() as f64,
            subscriptions_opened: stats.subscriptions_opened as f64,
            subscriptions_closed: stats.subscriptions_closed as f64,
            channels: stats.channels as f64,
            publications: (stats.publications_by_clients + stats.publications_by_api) as f64,
            deliveries: stats.deliveries as f64,
            recovered: stats.recovered_publications as f64,
            recoveries: stats.recoveries_succeeded as f64,
            unrecovered: stats.recoveries_failed as f64,
            reply_errors: stats.reply_errors.values().sum::<u64>() as f64,
            queued: queued as f64,
        }
    }
}

/// What there must be at rest.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Connections, publishers included.
    pub clients: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// What the server had counted before the fleet came. `None`: it has been started again since, and what it had
    /// counted went with its memory, so that only what is there now can be compared.
    pub before: Option<Counts>,
}

/// One number held against another.
#[derive(Debug)]
struct Comparison {
    name: &'static str,
    expected: f64,
    actual: f64,
    tolerance: f64,
}

impl Comparison {
    fn exact(name: &'static str, expected: f64, actual: f64) -> Self {
        Self { name, expected, actual, tolerance: 0.0 }
    }

    /// What broken connections took with them was counted by the server and seen by nobody: it may have counted more.
    fn at_least(name: &'static str, expected: f64, actual: f64) -> Self {
        Self::exact(name, expected, actual.min(expected))
    }

    fn holds(&self) -> bool {
        (self.actual - self.expected).abs() <= self.tolerance
    }
}

/// Asks the server for everything it counts until all of it is as the ledger has it, or time is up, and writes what it said
/// last into the ledger: at rest it must be exact.
///
/// # Errors
/// When it does not answer.
pub async fn compare(fleet: &Fleet, address: &str, expected: Expected) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + AT_REST_MAX;
    loop {
        let told = comparisons(fleet, address, expected).await?;
        if told.iter().all(Comparison::holds) || tokio::time::Instant::now() > deadline {
            let mut ledger = fleet.ledger();
            told.into_iter().for_each(|comparison| ledger.record(comparison.into()));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn comparisons(fleet: &Fleet, address: &str, expected: Expected) -> anyhow::Result<Vec<Comparison>> {
    let (clients, subscriptions) = info(address).await?;
    let counts = Counts::read(address).await?;
    let tally = fleet.ledger().tally();
    let before = expected.before.unwrap_or_default();
    let (there, subscribed) = (expected.clients as f64, expected.subscriptions as f64);
    let mut all = vec![
        Comparison::exact("num_clients", there + before.connections, clients as f64),
        Comparison::exact("num_subs", subscribed + before.subscriptions, subscriptions as f64),
        Comparison::exact("pubsub_connections", there + before.connections, counts.connections),
        Comparison::exact("pubsub_subscriptions", subscribed + before.subscriptions, counts.subscriptions),
        Comparison::exact("pubsub_channels", tally.live_channels as f64 + before.channels, counts.channels),
        Comparison::exact("pubsub_outbox_bytes and pubsub_inbox_messages", 0.0, counts.queued),
        Comparison::exact("opened less closed connections", counts.connections, counts.opened - counts.closed),
        Comparison::exact(
            "opened less closed subscriptions",
            counts.subscriptions,
            counts.subscriptions_opened - counts.subscriptions_closed,
        ),
    ];
    if let Some(before) = expected.before {
        all.extend(since(&before, &counts, &tally, true));
    }
    Ok(all)
}

/// What was counted since `before`, against what the ledger saw; exactly, unless something was sent that nobody got.
fn since(before: &Counts, now: &Counts, tally: &Tally, undisturbed: bool) -> Vec<Comparison> {
    // A publish whose answer was lost was made or was not.
    let open = tally.unknown as f64 / 2.0;
    let mut all = vec![Comparison {
        name: "pubsub_publications_total",
        expected: tally.acknowledged as f64 + open,
        actual: now.publications - before.publications,
        tolerance: open,
    }];
    // Nothing was lost on a broken connection, nor given up by its reader: both sides have seen the same.
    let whole = undisturbed && tally.breaks == 0 && tally.left == 0;
    let compare = if whole { Comparison::exact } else { Comparison::at_least };
    let at_once = whole && tally.recoveries == 0 && tally.unrecovered == 0;
    let deliver = if at_once { Comparison::exact } else { Comparison::at_least };
    let delivered = now.deliveries - before.deliveries + now.recovered - before.recovered;
    all.extend([
        // A reader that fell behind its own client was given again what it had thrown away.
        deliver("pubsub_deliveries_total and pubsub_recovered_publications_total", tally.pushed as f64, delivered),
        compare("pubsub_recoveries_total, recovered", tally.recoveries as f64, now.recoveries - before.recoveries),
        compare("pubsub_recoveries_total, unrecovered", tally.unrecovered as f64, now.unrecovered - before.unrecovered),
    ]);
    if whole && tally.failed == 0 {
        all.push(Comparison::exact(REPLY_ERRORS, 0.0, now.reply_errors - before.reply_errors));
    }
    all
}

/// What a server in this process has counted since it started, against what the ledger saw. Who asks questions may be refused,
/// as for the history of a channel that has none.
#[must_use]
pub fn counted(stats: &Stats, tally: &Tally, asks_questions: bool) -> Vec<Event> {
    // A connection may have ended before its member knew that it was subscribed: no break for the ledger.
    let undisturbed = stats.connections_closed == 0;
    let all = since(&Counts::default(), &stats.into(), tally, undisturbed).into_iter();
    all.filter(|one| !(asks_questions && one.name == REPLY_ERRORS)).map(Event::from).collect()
}

impl From<Comparison> for Event {
    fn from(Comparison { name, expected, actual, tolerance }: Comparison) -> Self {
        Self::Compare { law: Law::I14, name: name.to_owned(), expected, actual, tolerance }
    }
}

/// Connections and subscriptions, by the server's own count.
///
/// # Errors
/// When it does not answer.
pub async fn info(address: &str) -> anyhow::Result<(u64, u64)> {
    let info: Value = http::call(address, "info", &json!({})).await?;
    let nodes = info["nodes"].as_array().cloned().unwrap_or_default();
    let sum = |field: &str| nodes.iter().filter_map(|node: &Value| node[field].as_u64()).sum();
    Ok((sum("num_clients"), sum("num_subs")))
}

/// A number of `/metrics`, all its labels together. What is not listed has never happened: 0.
///
/// # Errors
/// When the server does not answer.
pub async fn metric(address: &str, name: &str) -> anyhow::Result<f64> {
    Ok(sum(&metrics(address).await?, name))
}

/// Has the server forget the histories of the fleet's channels, so that what it holds on to then is nobody's.
///
/// # Errors
/// When it does not answer.
pub async fn forget_histories(address: &str, channels: u64) -> anyhow::Result<()> {
    for first in (0..channels).step_by(usize::try_from(REMOVED_AT_ONCE).unwrap_or(1)) {
        let some = first..(first + REMOVED_AT_ONCE).min(channels);
        let commands: Vec<Value> = some
            .map(|channel| json!({ "history_remove": { "channel": crate::fleet::channel_name(channel) } }))
            .collect();
        http::batch(address, &commands).await?;
    }
    Ok(())
}

async fn metrics(address: &str) -> anyhow::Result<String> {
    let (status, text) = http::get(address, "/metrics").await?;
    anyhow::ensure!(status == 200, "{address}/metrics answers {status}");
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn sum(text: &str, name: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // `name value` or `name{labels} value`, not a longer name that begins alike.
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(before: &Counts, now: &Counts, tally: &Tally) -> Vec<&'static str> {
        since(before, now, tally, true)
            .iter()
            .filter(|comparison| !comparison.holds())
            .map(|wrong| wrong.name)
            .collect()
    }

    #[test]
    fn every_number_off_by_one_is_found_where_nothing_broke() {
        let tally = Tally { acknowledged: 10, pushed: 100, ..Tally::default() };
        let before = Counts { publications: 5.0, deliveries: 7.0, recoveries: 1.0, ..Counts::default() };
        let now = Counts { publications: 15.0, deliveries: 107.0, recoveries: 1.0, ..Counts::default() };
        assert!(found(&before, &now, &tally).is_empty());
        for off in [-1.0, 1.0] {
            let wrong = |change: fn(&mut Counts, f64)| {
                let mut now = now;
                change(&mut now, off);
                found(&before, &now, &tally).len()
            };
            assert_eq!(wrong(|now, off| now.publications += off), 1);
            assert_eq!(wrong(|now, off| now.deliveries += off), 1);
            assert_eq!(wrong(|now, off| now.recoveries += off), 1);
            assert_eq!(wrong(|now, off| now.unrecovered += off), 1);
            assert_eq!(wrong(|now, off| now.reply_errors += off), 1);
        }
    }

    #[test]
    fn after_a_break_the_server_may_have_sent_more_than_arrived_and_never_less() {
        let tally = Tally { acknowledged: 10, unknown: 2, pushed: 100, breaks: 1, ..Tally::default() };
        let now = |publications: f64, deliveries: f64| Counts { publications, deliveries, ..Counts::default() };
        let before = Counts::default();
        assert!(found(&before, &now(11.0, 104.0), &tally).is_empty());
        assert_eq!(found(&before, &now(13.0, 104.0), &tally).len(), 1);
        assert_eq!(found(&before, &now(12.0, 99.0), &tally).len(), 1);
    }

    #[test]
    fn a_metric_is_the_sum_of_its_labels_and_not_of_longer_names() {
        let text = "a_total{code=\"1\"} 2\na_total{code=\"2\"} 3\na_total_more 9\na 7\n";
        assert_eq!((sum(text, "a_total"), sum(text, "a"), sum(text, "a_total{code=\"2\"}")), (5.0, 7.0, 3.0));
    }
}
