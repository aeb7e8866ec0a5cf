//! All numbers of one moment, added up over the shards.

use std::collections::BTreeMap;
use std::time::Duration;

use pubsub_protocol::DisconnectCode;

use super::cell::{Codes, Distribution};
use super::{NodeMetrics, Refused, ShardMetrics};

/// All numbers of one moment. Maps hold only what occurred; a code that is not one of the server's own is counted
/// under [`OTHER`](super::cell::OTHER).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Time since the start.
    pub uptime: Duration,
    /// Connections that the listeners accepted.
    pub connections_accepted: u64,
    /// Connections that were refused before the upgrade, by reason. Holds every reason.
    pub connections_refused: BTreeMap<&'static str, u64>,
    /// Connections that became WebSocket connections.
    pub connections_opened: u64,
    /// Of those, the ones that ended.
    pub connections_closed: u64,
    /// Connections that the server ended, by close code.
    pub disconnects: BTreeMap<u32, u64>,
    /// Subscriptions that began.
    pub subscriptions_opened: u64,
    /// Of those, the ones that ended.
    pub subscriptions_closed: u64,
    /// Subscriptions that the server ended, by code.
    pub unsubscribes: BTreeMap<u32, u64>,
    /// Channels with at least one subscriber.
    pub channels: u64,
    /// Publications that clients made.
    pub publications_by_clients: u64,
    /// Publications that the HTTP API made.
    pub publications_by_api: u64,
    /// Publications put into outboxes, one for each subscriber.
    pub deliveries: u64,
    /// Recoveries that were asked for.
    pub recoveries_asked: u64,
    /// Recoveries that gave everything missed.
    pub recoveries_succeeded: u64,
    /// Recoveries that could not.
    pub recoveries_failed: u64,
    /// Publications given back by recoveries.
    pub recovered_publications: u64,
    /// Bytes read from WebSocket connections.
    pub bytes_received: u64,
    /// Bytes written to WebSocket connections.
    pub bytes_sent: u64,
    /// Bytes that wait in outboxes, by shard.
    pub outbox_bytes: Vec<u64>,
    /// Messages that wait in inboxes, by shard.
    pub inbox_messages: Vec<u64>,
    /// How long commands took, by method. Holds every method.
    pub commands: BTreeMap<&'static str, Distribution>,
    /// Error replies, by method and code.
    pub reply_errors: BTreeMap<(&'static str, u32), u64>,
    /// Requests to the HTTP API, by method and status.
    pub api_requests: BTreeMap<(&'static str, u32), u64>,
}

impl Stats {
    pub(super) fn read(node: &NodeMetrics, shards: &[ShardMetrics], uptime: Duration) -> Self {
        let mut stats = Self {
            uptime,
            connections_accepted: node.connections_accepted.value(),
            channels: positive(node.channels.value()),
            publications_by_api: node.publications.value(),
            ..Self::default()
        };
        for (reason, count) in Refused::ALL.iter().zip(&node.refused) {
            stats.connections_refused.insert(reason.label(), count.value());
        }
        add_rows(&mut stats.api_requests, node.api_requests.read());
        for shard in shards {
            stats.add(shard);
        }
        stats
    }

    fn add(&mut self, shard: &ShardMetrics) {
        // What ends is read before what begins: then whatever has ended is seen to have begun.
        self.connections_closed += shard.connections_closed.value();
        self.connections_opened += shard.connections_opened.value();
        self.subscriptions_closed += shard.subscriptions_closed.value();
        self.subscriptions_opened += shard.subscriptions_opened.value();
        self.publications_by_clients += shard.publications.value();
        self.deliveries += shard.deliveries.value();
        self.recoveries_succeeded += shard.recoveries_succeeded.value();
        self.recoveries_failed += shard.recoveries_failed.value();
        self.recoveries_asked += shard.recoveries_asked.value();
        self.recovered_publications += shard.recovered_publications.value();
        self.bytes_received += shard.bytes_received.value();
        self.bytes_sent += shard.bytes_sent.value();
        self.outbox_bytes.push(positive(shard.outbox_bytes.value()));
        self.inbox_messages.push(positive(shard.inbox_messages.value()));
        add_codes(&mut self.disconnects, &shard.disconnects);
        add_codes(&mut self.unsubscribes, &shard.unsubscribes);
        add_rows(&mut self.reply_errors, shard.reply_errors.read());
        for (method, histogram) in shard.commands.read() {
            self.commands.entry(method).or_default().merge(&histogram.read());
        }
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections_opened.saturating_sub(self.connections_closed)
    }

    /// Subscriptions that last.
    #[must_use]
    pub fn subscriptions(&self) -> u64 {
        self.subscriptions_opened.saturating_sub(self.subscriptions_closed)
    }

    /// Publications, whoever made them.
    #[must_use]
    pub fn publications(&self) -> u64 {
        self.publications_by_clients + self.publications_by_api
    }

    /// Connections that the server ended with this code.
    #[must_use]
    pub fn disconnected(&self, code: DisconnectCode) -> u64 {
        self.disconnects.get(&code.code()).copied().unwrap_or_default()
    }

    /// Connections that the server ended because more waited for them than may.
    #[must_use]
    pub fn slow_consumers(&self) -> u64 {
        self.disconnected(DisconnectCode::Slow)
    }
}

/// A gauge that is added to from two sides may be seen below zero for a moment.
fn positive(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn add_codes(total: &mut BTreeMap<u32, u64>, codes: &Codes) {
    for (code, count) in codes.read() {
        *total.entry(code).or_default() += count;
    }
}

fn add_rows<'a>(total: &mut BTreeMap<(&'static str, u32), u64>, rows: impl Iterator<Item = (&'static str, &'a Codes)>) {
    for (name, codes) in rows {
        for (code, count) in codes.read() {
            *total.entry((name, code)).or_default() += count;
        }
    }
}
