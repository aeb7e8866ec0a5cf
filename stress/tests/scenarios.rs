//! Every scenario, small, against a server inside this process; and at full size, against the server binary, when asked:
//!
//! `cargo test -p stress --release -- --ignored`, with `PUBSUB_STRESS_CLIENTS` (what 10,000 stands for in the plan of the
//! first scenario; all others shrink or grow alike) or `PUBSUB_STRESS_SCALE` (the same as a factor), `PUBSUB_STRESS_SEED`,
//! `PUBSUB_STRESS_SERVER` (the binary) and `PUBSUB_STRESS_OUT` (where reports go).

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

mod common;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use stress::fault::plan::{Fault, Kind, Latency, Plan, Target, Topology, Workload};
use stress::raw::RawPeer;
use stress::report::Report;
use stress::scenario::planned::Planned;
use stress::scenario::stats::metric;
use stress::scenario::{Context, Scenario as _, named};
use stress::{Seed, Verdict};

fn variable<T: FromStr<Err: std::fmt::Display>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

async fn run(name: &str, context: &Context) -> Report {
    named(&[name.to_owned()]).unwrap().remove(0).run(context).await.unwrap()
}

/// What is said, delivered and counted, and not how fast: the machine of a test has other things to do, so that a rate
/// that could not be offered is no reason to fail here. Every other one is.
fn assert_held(report: &Report) {
    let told = || serde_json::to_string_pretty(&report).unwrap();
    assert!(report.verdict != Verdict::Broken, "{}", told());
    assert!(report.inconclusive.iter().all(|reason| reason.starts_with("of the planned rate")), "{}", told());
    assert!(report.tally.pushed > 0 && report.violations.is_empty(), "{}", told());
}

async fn holds_small(name: &str) {
    let (server, address) = common::serving(1_000);
    assert_held(&run(name, &Context { target: Some(address), scale: 0.01, ..Context::default() }).await);
    drop(server);
}

/// With settings of its own, so with a process of its own.
async fn holds_small_alone(name: &str) {
    assert_held(&run(name, &Context { server: Some(common::binary()), scale: 0.01, ..Context::default() }).await);
}

/// A whole day of a few members, with a server inside this process.
async fn holds_small_virtual(name: &str) {
    assert_held(&run(name, &Context { scale: 0.001, ..Context::default() }).await);
}

async fn holds_full(name: &str) {
    let clients = variable::<u64>("PUBSUB_STRESS_CLIENTS").map(|clients| clients as f64 / 10_000.0);
    let scale = variable("PUBSUB_STRESS_SCALE").or(clients).unwrap_or(1.0);
    let seed = Seed(variable("PUBSUB_STRESS_SEED").unwrap_or(1));
    let (server, out) = (variable("PUBSUB_STRESS_SERVER"), variable::<PathBuf>("PUBSUB_STRESS_OUT"));
    let report = run(name, &Context { scale, seed, server, ..Context::default() }).await;
    if let Some(out) = out {
        report.write(&out).unwrap();
    }
    assert_eq!(report.verdict, Verdict::Held, "{}", serde_json::to_string_pretty(&report).unwrap());
}

macro_rules! scenarios {
    ($($small:ident by $how:ident, $full:ident: $name:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $small() {
                $how($name).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "full size: minutes, thousands of descriptors, and a server binary"]
            async fn $full() {
                holds_full($name).await;
            }
        )+

        #[test]
        fn every_scenario_has_its_tests() {
            let tested = [$($name),+];
            let all: Vec<&str> = stress::scenario::all().iter().map(|scenario| scenario.name()).collect();
            assert_eq!(all, tested);
        }
    };
}

scenarios! {
    small_concurrent_connections by holds_small, test_stress_10000_concurrent_connections: "10000_concurrent_connections";
    small_subscriptions_cascade by holds_small, test_stress_50000_subscriptions_cascade: "50000_subscriptions_cascade";
    small_latency_1000ms by holds_small_alone, test_stress_latency_1000ms_connections: "latency_1000ms_connections";
    small_jitter by holds_small_alone, test_stress_jitter_50_500ms_latency: "jitter_50_500ms_latency";
    small_random_connection_drops by holds_small, test_stress_random_connection_drops: "random_connection_drops";
    small_random_connection_drops_30 by holds_small, test_stress_random_connection_drops_30: "random_connection_drops_30";
    small_random_connection_drops_50 by holds_small, test_stress_random_connection_drops_50: "random_connection_drops_50";
    small_cascading_connection_failures by holds_small_alone, test_stress_cascading_connection_failures: "cascading_connection_failures";
    small_memory_saturation by holds_small_alone, test_stress_memory_saturation_event_queue: "memory_saturation_event_queue";
    small_large_payloads by holds_small_alone, test_stress_large_payload_memory_limits: "large_payload_memory_limits";
    small_thundering_herd_recovery by holds_small_alone, test_stress_thundering_herd_recovery: "thundering_herd_recovery";
    small_thundering_herd_recovery_of_all by holds_small_alone, test_stress_thundering_herd_recovery_10000: "thundering_herd_recovery_10000";
    small_thundering_herd_after_kill by holds_small_alone, test_stress_thundering_herd_after_kill: "thundering_herd_after_kill";
    small_thundering_herd_after_restart by holds_small_alone, test_stress_thundering_herd_after_restart: "thundering_herd_after_restart";
    small_high_latency_large_payload by holds_small_alone, test_stress_high_latency_large_payload_many_subscribers: "high_latency_large_payload_many_subscribers";
    small_churn by holds_small_alone, test_stress_churn_failures_memory_pressure: "churn_failures_memory_pressure";
    small_server_stopped_and_continued by holds_small_alone, test_stress_server_stopped_and_continued: "server_stopped_and_continued";
    small_descriptors_exhausted by holds_small_alone, test_stress_descriptors_exhausted: "descriptors_exhausted";
    small_half_open_peers by holds_small_alone, test_stress_half_open_peers: "half_open_peers";
    small_stalled_readers by holds_small_alone, test_stress_stalled_readers: "stalled_readers";
    small_truncated_frames by holds_small_alone, test_stress_truncated_frames: "truncated_frames";
    small_slow_handshakes by holds_small_alone, test_stress_slow_handshakes: "slow_handshakes";
    small_late_bytes_of_an_old_connection by holds_small_alone, test_stress_late_bytes_of_an_old_connection: "late_bytes_of_an_old_connection";
    small_retried_publishes by holds_small_alone, test_stress_retried_publishes: "retried_publishes";
    small_idle_timeouts by holds_small_alone, test_stress_idle_timeouts: "idle_timeouts";
    small_connect_refused by holds_small_alone, test_stress_connect_refused: "connect_refused";
    small_connect_unanswered by holds_small_alone, test_stress_connect_unanswered: "connect_unanswered";
    small_accept_queue_overflow by holds_small_alone, test_stress_accept_queue_overflow: "accept_queue_overflow";
    small_half_closed_connections by holds_small_alone, test_stress_half_closed_connections: "half_closed_connections";
    small_stalled_writers by holds_small_alone, test_stress_stalled_writers: "stalled_writers";
    small_bandwidth_caps by holds_small_alone, test_stress_bandwidth_caps: "bandwidth_caps";
    small_reordering_across_connections by holds_small_alone, test_stress_reordering_across_connections: "reordering_across_connections";
    small_corrupted_frames by holds_small_alone, test_stress_corrupted_frames: "corrupted_frames";
    small_address_change by holds_small_alone, test_stress_address_change: "address_change";
    small_processor_starved by holds_small_alone, test_stress_processor_starved: "processor_starved";
    small_memory_budget by holds_small_alone, test_stress_memory_budget: "memory_budget";
    small_harmless_links by holds_small_alone, test_stress_harmless_links: "harmless_links";
    small_every_fault_at_every_moment by holds_small_alone, test_stress_every_fault_at_every_moment: "every_fault_at_every_moment";
    small_sustained by holds_small_alone, test_stress_sustained_10k_subscriptions: "sustained_10k_subscriptions";
    small_virtual_day by holds_small_virtual, test_stress_24hour_sustained_10k_subscriptions: "24hour_sustained_10k_subscriptions";
    small_virtual_day_payload_only by holds_small_virtual, test_stress_24hour_sustained_10k_payload_only: "24hour_sustained_10k_payload_only";
}

/// Whatever its scenario, a plan is done as it is written: each fault at its time, and the same plan stands in the report.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_runs_as_it_is_written() {
    let second = Duration::from_secs(1);
    let delay = Latency { min: second / 20, max: second / 10, correlation: 0.0 };
    let plan = Plan {
        seed: Seed(5),
        topology: Topology { connections: 20, channels: 4, ..Topology::default() },
        workload: Workload { publishers: 4, publications: 400, rate: 200.0, payload_bytes: 256 },
        faults: vec![
            Fault::new("cut", Kind::Reset).target(Target::Percent(25.0)).between(second / 2, second),
            Fault::new("far", Kind::Latency(delay))
                .target(Target::Connections(vec![1]))
                .between(second / 4, 2 * second),
        ],
    };
    let context = Context { server: Some(common::binary()), ..Context::default() };
    let report = Planned::new(plan.clone(), Path::new("plan.json")).run(&context).await.unwrap();
    assert_held(&report);
    assert_eq!(report.plan, plan);
    let (cut, far) = (report.faults["cut"].counts, report.faults["far"].counts);
    assert_eq!((cut.applied, cut.seen), (5, 5));
    assert!(far.applied > 0 && far.seen > 0 && report.tally.breaks >= 5, "{far:?}, {:?}", report.tally);
    assert!(report.replay.contains("replay plan.json"), "{}", report.replay);
}

/// The laws about what is left are laws: what somebody else holds on to is found.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stays_is_a_leak() {
    let (server, address) = common::serving(1_000);
    let there = address.clone();
    let stranger = tokio::spawn(async move {
        while metric(&there, "pubsub_connections").await.unwrap() < 20.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stream = tokio::net::TcpStream::connect(&there).await.unwrap();
        let mut stays = RawPeer::upgrade(stream, &there, Seed(1).chance(0, "mask")).await.unwrap();
        stays.connect().await.unwrap();
        std::future::pending::<()>().await;
    });
    let context = Context { target: Some(address), scale: 0.002, ..Context::default() };
    let report = run("10000_concurrent_connections", &context).await;
    let classes: Vec<&str> = report.violations.keys().map(String::as_str).collect();
    assert_eq!((report.verdict, classes), (Verdict::Broken, vec!["Drift", "Leak"]));
    stranger.abort();
    drop(server);
}

#[tokio::test]
async fn a_scenario_takes_a_target_or_refuses_it_as_it_says() {
    let context = Context { target: Some("127.0.0.1:1".to_owned()), scale: 0.001, ..Context::default() };
    for scenario in stress::scenario::all() {
        assert_eq!(context.suits(&*scenario).is_ok(), scenario.takes_target(), "{}", scenario.name());
        if !scenario.name().starts_with("24hour") {
            let refused = scenario.run(&context).await.unwrap_err().to_string();
            assert_eq!(
                refused.contains("without --target"),
                !scenario.takes_target(),
                "{}: {refused}",
                scenario.name()
            );
        }
    }
}

#[test]
fn an_unknown_scenario_is_told_with_those_there_are() {
    let error = named(&["nonsense".to_owned()]).err().unwrap().to_string();
    assert!(error.contains("nonsense") && error.contains("thundering_herd_recovery"), "{error}");
}

#[tokio::test]
async fn a_target_that_is_no_such_server_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let context = Context { target: Some(address.clone()), scale: 0.01, ..Context::default() };
    let scenario = named(&["random_connection_drops".to_owned()]).unwrap().remove(0);
    let error = format!("{:#}", scenario.run(&context).await.unwrap_err());
    assert!(error.contains(&address) && error.contains("http_api.insecure"), "{error}");
    silent.abort();
}

#[tokio::test]
async fn no_server_binary_is_told_with_what_to_do() {
    let context = Context { server: Some("/nowhere/pubsub-server".into()), ..Context::default() };
    let scenario = named(&["random_connection_drops".to_owned()]).unwrap().remove(0);
    let error = scenario.run(&context).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/pubsub-server") && error.contains("cargo build"), "{error}");
}
