use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use pubsub_protocol::command::Request;

use super::cell::{BUCKET_NANOS, OTHER};
use super::family::FAMILIES;
use super::*;

/// The value lines of an exposition, each under its name and labels as they are written.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line:?}"));
        (name, value.parse().unwrap_or_else(|_| panic!("not a number: {line:?}")))
    });
    let all: Vec<_> = samples.collect();
    let unique: BTreeMap<_, _> = all.iter().copied().collect();
    assert_eq!(all.len(), unique.len(), "a series is there twice");
    unique
}

/// Everything counted once or more, with different numbers everywhere.
fn busy() -> Metrics {
    let metrics = Metrics::new(2);
    let node = &metrics.node;
    node.connections_accepted.add(100);
    node.publications.add(3);
    node.channels.set(7);
    for (n, &reason) in Refused::ALL.iter().enumerate() {
        (0..=n).for_each(|_| node.refuse(reason));
    }
    node.api_request("publish", 200);
    node.api_request("publish", 200);
    node.api_request("publish", 401);
    node.api_request("made up", 404);
    node.api_request("info", 418);
    for (n, shard) in [1, 1000].into_iter().zip(0..) {
        let shard = metrics.shard(shard);
        shard.connections_opened.add(10 * n);
        shard.connections_closed.add(4 * n);
        shard.subscriptions_opened.add(20 * n);
        shard.subscriptions_closed.add(5 * n);
        shard.publications.add(2 * n);
        shard.deliveries.add(30 * n);
        shard.recoveries_asked.add(9 * n);
        shard.recoveries_succeeded.add(6 * n);
        shard.recoveries_failed.add(3 * n);
        shard.recovered_publications.add(8 * n);
        shard.bytes_received.add(11 * n);
        shard.bytes_sent.add(12 * n);
        shard.outbox_bytes.add(13 * n as i64);
        shard.inbox_messages.set(14 * n as i64);
        shard.command("publish", Duration::from_micros(40));
        shard.reply_error("subscribe", 103);
        shard.disconnect(3008);
        shard.unsubscribe(2500);
    }
    metrics
}

#[test]
fn counts_of_all_shards_are_added_up() {
    let stats = busy().snapshot();
    assert_eq!(stats.connections_accepted, 100);
    assert_eq!((stats.connections_opened, stats.connections_closed, stats.connections()), (10_010, 4_004, 6_006));
    assert_eq!(
        (stats.subscriptions_opened, stats.subscriptions_closed, stats.subscriptions()),
        (20_020, 5_005, 15_015)
    );
    assert_eq!((stats.publications_by_clients, stats.publications_by_api, stats.publications()), (2_002, 3, 2_005));
    assert_eq!((stats.deliveries, stats.recovered_publications), (30_030, 8_008));
    assert_eq!((stats.recoveries_asked, stats.recoveries_succeeded, stats.recoveries_failed), (9_009, 6_006, 3_003));
    assert_eq!((stats.bytes_received, stats.bytes_sent), (11_011, 12_012));
    assert_eq!((stats.outbox_bytes, stats.inbox_messages), (vec![13, 13_000], vec![14, 14_000]));
    assert_eq!(stats.channels, 7);
    assert_eq!(stats.reply_errors, BTreeMap::from([(("subscribe", 103), 2)]));
    assert_eq!(stats.unsubscribes, BTreeMap::from([(2500, 2)]));
    assert_eq!(stats.disconnects, BTreeMap::from([(3008, 2)]));
    assert_eq!(
        stats.api_requests,
        BTreeMap::from([(("publish", 200), 2), (("publish", 401), 1), (("unknown", 404), 1), (("info", OTHER), 1)])
    );
    let refused: Vec<_> = Refused::ALL.iter().map(|reason| stats.connections_refused[reason.label()]).collect();
    assert_eq!(refused, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn a_connection_cut_for_slowness_is_a_slow_consumer() {
    let metrics = Metrics::new(1);
    let shard = metrics.shard(0);
    for code in [3008, 3008, 3012, 4000, 4999, 1009, 0, u16::MAX] {
        shard.disconnect(code);
    }
    let stats = metrics.snapshot();
    assert_eq!(stats.slow_consumers(), 2);
    assert_eq!(stats.disconnected(DisconnectCode::NoPong), 1);
    assert_eq!(stats.disconnects, BTreeMap::from([(OTHER, 4), (1009, 1), (3008, 2), (3012, 1)]));
}

#[test]
fn every_code_of_the_protocol_has_a_count_of_its_own() {
    let metrics = Metrics::new(1);
    let shard = metrics.shard(0);
    DisconnectCode::ALL.iter().for_each(|code| shard.disconnect(code.code().try_into().unwrap()));
    UnsubscribeCode::ALL.iter().for_each(|code| shard.unsubscribe(code.code()));
    ErrorCode::ALL.iter().for_each(|code| shard.reply_error("rpc", code.code()));
    shard.reply_error("rpc", 400);
    shard.unsubscribe(2999);
    let stats = metrics.snapshot();
    assert!(stats.disconnects.values().all(|count| *count == 1));
    assert_eq!(stats.disconnects.len(), DisconnectCode::ALL.len());
    assert_eq!(stats.unsubscribes.len(), UnsubscribeCode::ALL.len() + 1);
    assert_eq!(stats.reply_errors.len(), ErrorCode::ALL.len() + 1);
    assert_eq!(stats.reply_errors[&("rpc", OTHER)], 1);
}

#[test]
fn every_command_of_the_protocol_has_a_row_of_its_own() {
    let requests = [
        Request::Pong,
        Request::Connect(Default::default()),
        Request::Subscribe(Default::default()),
        Request::Unsubscribe(Default::default()),
        Request::Publish(serde_json::from_str(r#"{"channel":"a","data":1}"#).unwrap()),
        Request::Presence(Default::default()),
        Request::PresenceStats(Default::default()),
        Request::History(Default::default()),
        Request::Ping,
        Request::Send(serde_json::from_str(r#"{"data":1}"#).unwrap()),
        Request::Rpc(serde_json::from_str(r#"{"method":"a"}"#).unwrap()),
        Request::Refresh(Default::default()),
        Request::SubRefresh(Default::default()),
        Request::Unknown,
    ];
    let names: BTreeSet<_> = requests.iter().map(Request::name).collect();
    assert_eq!(names, COMMANDS.iter().copied().collect());
    assert_eq!(COMMANDS.last(), Some(&"unknown"));
    assert_eq!(API_METHODS.last(), Some(&"unknown"));

    let metrics = Metrics::new(1);
    requests.iter().for_each(|request| metrics.shard(0).command(request.name(), Duration::ZERO));
    metrics.shard(0).command("of a later version", Duration::ZERO);
    for (method, seen) in metrics.snapshot().commands {
        assert_eq!(seen.count(), if method == "unknown" { 2 } else { 1 }, "{method}");
    }
}

#[test]
fn a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_exceed() {
    let seen = |nanos: u64| {
        let metrics = Metrics::new(1);
        metrics.shard(0).command("rpc", Duration::from_nanos(nanos));
        let seen = metrics.snapshot().commands["rpc"].clone();
        assert_eq!((seen.count(), seen.sum), (1, Duration::from_nanos(nanos)));
        seen.buckets.iter().position(|(_, count)| *count == 1).unwrap()
    };
    assert_eq!(seen(0), 0);
    for (place, bound) in BUCKET_NANOS.into_iter().enumerate() {
        assert_eq!((seen(bound - 1), seen(bound), seen(bound + 1)), (place, place, place + 1), "{bound}");
    }
    assert_eq!(seen(u64::MAX), BUCKET_NANOS.len());
    assert!(BUCKET_NANOS.is_sorted());
}

#[test]
fn nothing_is_lost_when_many_threads_count_at_once() {
    let metrics = Arc::new(Metrics::new(1));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let metrics = metrics.clone();
            std::thread::spawn(move || {
                for n in 0..10_000 {
                    let shard = metrics.shard(0);
                    shard.connections_opened.increment();
                    shard.deliveries.add(3);
                    shard.outbox_bytes.add(if n % 2 == 0 { 5 } else { -5 });
                    shard.command("publish", Duration::from_micros(n));
                    shard.connections_closed.increment();
                    if n % 100 == 0 {
                        let stats = metrics.snapshot();
                        assert!(stats.deliveries.is_multiple_of(3), "half an addition was seen");
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let stats = metrics.snapshot();
    assert_eq!((stats.connections(), stats.connections_opened, stats.deliveries), (0, 40_000, 120_000));
    assert_eq!(stats.outbox_bytes, [0]);
    assert_eq!(stats.commands["publish"].count(), 40_000);
}

#[test]
fn a_gauge_seen_below_zero_is_told_as_zero() {
    let metrics = Metrics::new(1);
    metrics.node.channels.add(-1);
    metrics.shard(0).outbox_bytes.add(-5);
    metrics.shard(0).connections_closed.increment();
    let stats = metrics.snapshot();
    assert_eq!((stats.channels, stats.outbox_bytes[0], stats.connections()), (0, 0, 0));
}

#[test]
fn the_text_tells_what_the_snapshot_tells() {
    let metrics = busy();
    let text = metrics.encode();
    let samples = samples(&text);
    let expected = [
        ("pubsub_connections", 6_006.0),
        ("pubsub_connections_accepted_total", 100.0),
        ("pubsub_connections_opened_total", 10_010.0),
        ("pubsub_connections_closed_total", 4_004.0),
        ("pubsub_connections_refused_total{reason=\"limit\"}", 1.0),
        ("pubsub_connections_refused_total{reason=\"rate\"}", 2.0),
        ("pubsub_connections_refused_total{reason=\"handshake_timeout\"}", 3.0),
        ("pubsub_connections_refused_total{reason=\"bad_request\"}", 4.0),
        ("pubsub_connections_refused_total{reason=\"unread\"}", 5.0),
        ("pubsub_connections_refused_total{reason=\"tls\"}", 6.0),
        ("pubsub_connections_refused_total{reason=\"bad_upgrade\"}", 7.0),
        ("pubsub_connections_refused_total{reason=\"origin\"}", 8.0),
        ("pubsub_connections_refused_total{reason=\"descriptors\"}", 9.0),
        ("pubsub_connections_refused_total{reason=\"draining\"}", 10.0),
        ("pubsub_disconnects_total{code=\"3008\"}", 2.0),
        ("pubsub_slow_consumers_total", 2.0),
        ("pubsub_subscriptions", 15_015.0),
        ("pubsub_subscriptions_opened_total", 20_020.0),
        ("pubsub_subscriptions_closed_total", 5_005.0),
        ("pubsub_unsubscribes_total{code=\"2500\"}", 2.0),
        ("pubsub_channels", 7.0),
        ("pubsub_publications_total{source=\"client\"}", 2_002.0),
        ("pubsub_publications_total{source=\"api\"}", 3.0),
        ("pubsub_deliveries_total", 30_030.0),
        ("pubsub_recoveries_asked_total", 9_009.0),
        ("pubsub_recoveries_total{result=\"recovered\"}", 6_006.0),
        ("pubsub_recoveries_total{result=\"unrecovered\"}", 3_003.0),
        ("pubsub_recovered_publications_total", 8_008.0),
        ("pubsub_received_bytes_total", 11_011.0),
        ("pubsub_sent_bytes_total", 12_012.0),
        ("pubsub_outbox_bytes{shard=\"0\"}", 13.0),
        ("pubsub_outbox_bytes{shard=\"1\"}", 13_000.0),
        ("pubsub_inbox_messages{shard=\"0\"}", 14.0),
        ("pubsub_inbox_messages{shard=\"1\"}", 14_000.0),
        ("pubsub_command_duration_seconds_count{method=\"publish\"}", 2.0),
        ("pubsub_command_duration_seconds_sum{method=\"publish\"}", 0.000_08),
        ("pubsub_command_duration_seconds_bucket{le=\"0.000025\",method=\"publish\"}", 0.0),
        ("pubsub_command_duration_seconds_bucket{le=\"0.00005\",method=\"publish\"}", 2.0),
        ("pubsub_command_duration_seconds_bucket{le=\"1.0\",method=\"publish\"}", 2.0),
        ("pubsub_command_duration_seconds_bucket{le=\"+Inf\",method=\"publish\"}", 2.0),
        ("pubsub_reply_errors_total{method=\"subscribe\",code=\"103\"}", 2.0),
        ("pubsub_http_api_requests_total{method=\"publish\",status=\"200\"}", 2.0),
        ("pubsub_http_api_requests_total{method=\"publish\",status=\"401\"}", 1.0),
        ("pubsub_http_api_requests_total{method=\"unknown\",status=\"404\"}", 1.0),
        ("pubsub_http_api_requests_total{method=\"info\",status=\"other\"}", 1.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series} in\n{text}");
    }
    assert!(!text.contains("method=\"connect\""), "what never happened takes no space");
    let version = format!("pubsub_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    let known: BTreeSet<&str> =
        expected.iter().map(|(series, _)| *series).chain([version.as_str(), "pubsub_uptime_seconds"]).collect();
    let unknown: Vec<_> = samples
        .keys()
        .filter(|series| !known.contains(**series))
        .filter(|series| !series.starts_with("pubsub_command_duration_seconds_") && !series.starts_with("process_"))
        .collect();
    assert!(unknown.is_empty(), "not expected: {unknown:?}");
}

#[test]
fn the_process_is_told_of() {
    process::heap_counted_by(|| Some(12_345));
    let text = Metrics::new(1).encode();
    let samples = samples(&text);
    let resident = samples["process_resident_memory_bytes"];
    assert!((1e6..1e12).contains(&resident), "{resident} bytes");
    assert_eq!(samples["process_heap_bytes"], 12_345.0);
    let (open, max) = (samples["process_open_fds"], samples["process_max_fds"]);
    assert!(open >= 3.0 && open <= max, "{open} of {max}");
}

#[tokio::test(start_paused = true)]
async fn the_uptime_follows_the_clock_of_the_runtime() {
    let metrics = Metrics::new(1);
    tokio::time::advance(Duration::from_secs(90_000)).await;
    assert_eq!(metrics.snapshot().uptime, Duration::from_secs(90_000));
    assert_eq!(samples(&metrics.encode())["pubsub_uptime_seconds"], 90_000.0);
}

/// What a scraper's parser insists on: each family once, described before its values, its values beside each other,
/// counters that end in `_total`, units in the name, one end mark.
#[test]
fn the_text_is_well_formed() {
    for text in [busy().encode(), Metrics::new(0).encode()] {
        let body = text.strip_suffix("# EOF\n").expect("ends with its end mark");
        assert!(!body.contains("# EOF") && !body.contains("\n\n"));
        let mut described = Vec::new();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, meaning) = rest.split_once(' ').unwrap();
                assert!(meaning.ends_with('.') && !meaning.contains('\\'), "{line}");
                assert!(!described.contains(&name), "{name} is described twice");
                described.push(name);
                continue;
            }
            let name = *described.last().expect("a description comes first");
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (of, kind) = rest.split_once(' ').unwrap();
                assert_eq!(of, name);
                assert!(["counter", "gauge", "histogram", "info"].contains(&kind), "{line}");
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (of, unit) = rest.split_once(' ').unwrap();
                assert!(of == name && name.ends_with(&format!("_{unit}")), "{line}");
            } else {
                let series = line.split(['{', ' ']).next().unwrap();
                let ending = series.strip_prefix(name).unwrap_or_else(|| panic!("{line} stands under {name}"));
                assert!(["", "_total", "_info", "_bucket", "_sum", "_count"].contains(&ending), "{line}");
            }
        }
        assert_eq!(described.len(), FAMILIES.len());
    }
}

#[test]
fn the_documentation_lists_every_metric() {
    let documentation = include_str!("../../../../docs/metrics.md");
    let labels = |labels: &[&str]| labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    let rows = FAMILIES.iter().map(|family| {
        format!("| `{}` | {} | {} | {} |", family.name(), family.kind(), labels(family.labels()), family.meaning())
    });
    let expected: Vec<_> = rows.collect();
    let found: Vec<_> = documentation.lines().filter(|line| line.starts_with("| `p")).collect();
    assert_eq!(found, expected, "docs/metrics.md should have these rows:\n{}", expected.join("\n"));
    // And the text has them under these names.
    process::heap_counted_by(|| Some(12_345));
    let text = busy().encode();
    let series: BTreeSet<_> =
        samples(&text).keys().map(|series| series.split('{').next().unwrap().to_owned()).collect();
    for family in FAMILIES {
        let name = family.name();
        let name = if family.kind() == "histogram" { format!("{name}_bucket") } else { name };
        assert!(series.contains(&name), "{name} is not in\n{text}");
    }
    for reason in Refused::ALL {
        assert!(documentation.contains(&format!("`{}`", reason.label())), "{}", reason.label());
    }
}

proptest! {
    #[test]
    fn buckets_are_cumulative_and_end_with_the_count(micros in prop::collection::vec(0_u64..10_000_000, 1..200)) {
        let metrics = Metrics::new(3);
        for (n, &micros) in micros.iter().enumerate() {
            metrics.shard(n % 3).command("history", Duration::from_micros(micros));
        }
        let text = metrics.encode();
        let of_history = text.lines().filter(|line| line.contains("_bucket{") && line.contains("method=\"history\""));
        let counts: Vec<u64> = of_history.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        prop_assert!(counts.is_sorted());
        prop_assert_eq!(counts.len(), BUCKET_NANOS.len() + 1);
        for (bound, count) in BUCKET_NANOS.iter().zip(&counts) {
            let expected = micros.iter().filter(|&&micros| micros * 1000 <= *bound).count();
            prop_assert_eq!(*count, expected as u64);
        }
        prop_assert_eq!(*counts.last().unwrap(), micros.len() as u64);
    }
}
