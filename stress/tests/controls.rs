//! The same fault with and without what makes it good: where there is no history it must show as missing, where there is no
//! circuit breaker as hammering, or the green of the first would prove nothing.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

mod common;

use std::time::Duration;

use pubsub_client::{BreakerConfig, CircuitBreaker, Client};
use stress::fault::plan::{Fault, Kind, Plan, Target, Topology, Workload};
use stress::fault::{Aim, Direction, Faults};
use stress::fleet::{Fleet, FleetOptions};
use stress::{Judgement, Seed};

const MEMBERS: u64 = 20;
const PUBLICATIONS: u64 = 300;

/// What was judged, and how many deliveries are missing of those that everybody should have had.
async fn cut_in_mid_payload(history_size: u64) -> (Judgement, u64) {
    let (server, address) = common::serving(u32::try_from(history_size).unwrap());
    let topology = Topology { connections: MEMBERS, channels: 1, history_size, ..Topology::default() };
    let workload = Workload { publishers: 1, publications: PUBLICATIONS, rate: 300.0, payload_bytes: 300 };
    let plan = Plan { seed: Seed(5), topology, workload, faults: Vec::new() };
    let faults = Faults::new(&plan);
    let mut fleet = Fleet::new(&plan, faults.clone(), &address, FleetOptions::default());
    let connected = fleet.connect(0..MEMBERS, Duration::from_secs(10), |_| false, |_| {}).await;
    assert_eq!(connected.subscribed, MEMBERS, "{:?}", connected.errors);
    fleet.connect_publishers(1, Duration::from_secs(10)).await.unwrap();
    let cut =
        Fault::new("cut", Kind::Reset).aimed(Aim::MidPayload).direction(Direction::In).target(Target::Percent(50.0));
    let guard = faults.inject(cut);
    fleet.publish(PUBLICATIONS, 300.0, 1, |_| {}).await;
    drop(guard);
    assert!(fleet.settle(Duration::from_secs(20), MEMBERS).await);
    fleet.census(&address, 1).await.unwrap();
    assert_eq!(faults.counts()["cut"].1.applied, MEMBERS / 2);
    let (judgement, tally) = {
        let ledger = fleet.ledger();
        (ledger.judge(), ledger.tally())
    };
    // The sentinel is one more.
    let missing = (PUBLICATIONS + 1) * MEMBERS - tally.pushed;
    fleet.close(Duration::from_secs(5)).await;
    drop(server);
    (judgement, missing)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_history_nothing_is_missing() {
    let (judgement, missing) = cut_in_mid_payload(1_000).await;
    assert!(judgement.is_clean(), "{:#?}", judgement.findings);
    assert_eq!(missing, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_history_the_same_fault_shows_as_missing_and_is_no_violation() {
    let (judgement, missing) = cut_in_mid_payload(0).await;
    assert!(judgement.is_clean(), "the server promised nothing: {:#?}", judgement.findings);
    assert!(missing >= MEMBERS / 2, "each of those cut lost at least the publication it was cut in: {missing}");
}

/// How often those who are refused try within a second, and how many of them there are.
async fn refused(breaker: Option<CircuitBreaker>) -> u64 {
    let (server, address) = common::serving(1_000);
    let topology = Topology { connections: MEMBERS, channels: 1, ..Topology::default() };
    let plan = Plan { seed: Seed(6), topology, ..Plan::default() };
    let faults = Faults::new(&plan);
    let options = FleetOptions { breaker, reconnect_max_delay: Duration::from_millis(200), ..FleetOptions::default() };
    let mut fleet = Fleet::new(&plan, faults.clone(), &address, options);
    let connected = fleet.connect(0..MEMBERS, Duration::from_secs(10), |_| false, |_| {}).await;
    assert_eq!(connected.subscribed, MEMBERS, "{:?}", connected.errors);
    let attempts = |fleet: &Fleet| fleet.members().iter().map(|client: &Client| client.stats().attempts).sum::<u64>();
    let before = attempts(&fleet);
    let network = [faults.inject(Fault::new("down", Kind::Refuse)), faults.inject(Fault::new("cut", Kind::Reset))];
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tried = attempts(&fleet) - before;
    drop(network);
    assert!(fleet.recorder().wait_live(MEMBERS, Duration::from_secs(10)).await, "they come back by themselves");
    fleet.close(Duration::from_secs(5)).await;
    drop(server);
    tried
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_breaker_bounds_the_attempts_and_without_it_they_hammer() {
    let settings = BreakerConfig { failures_max: 4, open_for: Duration::from_millis(250) };
    // Four failures, one attempt on each other thread meanwhile, four probes; a busy machine may take longer than a second.
    let bound = 4 + tokio::runtime::Handle::current().metrics().num_workers() as u64 + 2 * 4;
    let tried = refused(Some(CircuitBreaker::new(settings))).await;
    assert!((4..=bound).contains(&tried), "{tried} attempts, {bound} allowed");
    // Each of them tries again after 100 ms on average.
    let hammered = refused(None).await;
    assert!(hammered > 4 * bound, "{hammered} attempts without a breaker, {bound} with one");
}
