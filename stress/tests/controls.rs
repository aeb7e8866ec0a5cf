//! The same fault with and without history: what recovery makes good must show as missing where there is none, or the
//! green of the first would prove nothing.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

mod common;

use std::time::Duration;

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
