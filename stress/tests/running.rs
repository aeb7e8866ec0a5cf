//! How a scenario is run: as its plan is written, against what it was told to, and judged by what others leave behind.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

mod common;

use std::path::Path;
use std::time::Duration;

use stress::fault::plan::{Fault, Kind, Latency, Plan, Target, Topology, Workload};
use stress::raw::RawPeer;
use stress::scenario::planned::Planned;
use stress::scenario::stats::metric;
use stress::scenario::{Context, Scenario as _, named};
use stress::{Seed, Verdict};

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
    common::held::<String>(&report).unwrap();
    assert_eq!(report.plan, plan);
    let (cut, far) = (report.faults["cut"].counts, report.faults["far"].counts);
    assert_eq!((cut.applied, cut.seen), (5, 5));
    assert!(far.applied > 0 && far.seen > 0 && report.tally.breaks >= 5, "{far:?}, {:?}", report.tally);
    assert!(report.replay.contains("replay plan.json"), "{}", report.replay);
}

/// What a plan does to the node is done to the server's process: it stands still, or is killed and started again. Everybody
/// comes back, and what was lost with it is declared.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_stops_and_kills_the_process_as_it_is_written() {
    let second = Duration::from_secs(1);
    let still = Fault::new("node", Kind::Pause).between(2 * second, 5 * second / 2);
    // Whomever it names: who is killed is the server, and that is felt by all.
    let gone = Fault::new("node", Kind::Kill).target(Target::Connections(vec![1])).between(3 * second, 7 * second / 2);
    let cut = Fault::new("cut", Kind::Reset).target(Target::Connections(vec![3])).between(2 * second, 9 * second / 4);
    let run = async |faults: Vec<Fault>| {
        let plan = Plan {
            seed: Seed(6),
            topology: Topology { connections: 20, channels: 4, ..Topology::default() },
            workload: Workload { publishers: 4, publications: 1_000, rate: 200.0, payload_bytes: 256 },
            faults,
        };
        let context = Context { server: Some(common::binary()), ..Context::default() };
        let report = Planned::new(plan.clone(), Path::new("plan.json")).run(&context).await.unwrap();
        common::held::<String>(&report).unwrap();
        assert_eq!(report.plan, plan);
        let counts = report.faults["node"].counts;
        assert_eq!((counts.attempted, counts.applied), (1, 1));
        report
    };
    let stopped = run(vec![still]).await;
    let delivery = &stopped.latencies["delivery"].response;
    assert!(delivery.max >= 400.0 && stopped.tally.breaks == 0, "{delivery}, {:?}", stopped.tally);
    let killed = run(vec![gone, cut]).await;
    assert_eq!((killed.tally.breaks, killed.tally.unrecovered), (21, 20), "{:?}", killed.tally);
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
    let scenario = named(&["10000_concurrent_connections".to_owned()]).unwrap().remove(0);
    let report = scenario.run(&context).await.unwrap();
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
