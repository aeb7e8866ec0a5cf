//! Payloads of 100 KB to 1 MB, and the size at which something refuses.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::{Fleet, FleetOptions};
use crate::oracle::Law;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 8";
const MEMBERS: u64 = 100;
const SIZES: [usize; 3] = [100_000, 500_000, 1_000_000];
/// What the server is told to accept (`websocket.message_size_limit`), in a full run and in a small one.
const LIMIT_BYTES: [usize; 2] = [8 << 20, 2 << 20];
const HISTORY_SIZE: usize = 10;
/// How long one publication may take to reach everybody.
const ONE_MAX: Duration = Duration::from_secs(20);

/// Large payloads to 100 subscribers, then doubled until refused.
pub(super) struct LargePayloads;

impl Scenario for LargePayloads {
    fn name(&self) -> &'static str {
        "large_payload_memory_limits"
    }

    fn claim(&self) -> &'static str {
        "100 publications each of 100 KB, 500 KB and 1 MB reach 100 subscribers unharmed, at a memory that does not grow with the subscribers; past the configured limit they are refused and nobody else notices"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl LargePayloads {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let members = context.scaled(MEMBERS, 5);
        let events = context.scaled(100, 3);
        let limit_bytes = LIMIT_BYTES[usize::from(context.scale < 0.5)];
        let topology =
            Topology { connections: members, channels: 1, history_size: HISTORY_SIZE as u64, ..Topology::default() };
        let workload = Workload { publishers: 1, publications: 3 * events, rate: 0.0, payload_bytes: SIZES[0] };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        // One publication may be larger than the bound on what waits for a connection: it passes, and the next does not.
        // How fast the lab reads 800 MB beside the server is not what is asked.
        let config = ServerConfig::default()
            .with("websocket.message_size_limit", limit_bytes)
            .with("websocket.write_timeout", format!("{}s", ONE_MAX.as_secs()));
        let options = FleetOptions { message_bytes_max: 256 << 20, ..FleetOptions::default() };
        let mut stage = Stage::set(context, self, plan, config, options).await?;
        // Few of them first, with the largest: what all of them add to that is what each of them costs.
        let few = (members / 4).max(1);
        stage.members("connect and subscribe a quarter", 0..few, |_| true).await;
        stage.publishers(1).await?;
        let idle = stage.resident()?;
        let mut published = Vec::new();
        // As many as fill the history, which is then no part of the difference.
        let first = (events / 4).max(HISTORY_SIZE as u64);
        let with_few = each_gets(&mut stage, SIZES[2], first, few).await?;
        published.extend(std::iter::repeat_n(SIZES[2], first as usize));
        stage.fleet.reset_latencies();
        stage.members("connect and subscribe the others", few..members, |_| true).await;

        let mut with_all = 0.0;
        for size in SIZES {
            with_all = each_gets(&mut stage, size, events, members).await?;
            published.extend(std::iter::repeat_n(size, events as usize));
            let latencies = stage.fleet.reset_latencies();
            stage.run.latencies(&format!("delivery of {} KB", size / 1_000), &latencies);
        }

        stage.progress.phase("double until refused", 8);
        let (mut accepted, mut size) = (SIZES[2], 2 * SIZES[2]);
        let refused = loop {
            stage.fleet.set_payload_bytes(size);
            let before = stage.fleet.ledger().tally();
            if everybody_gets_one(&mut stage.fleet, members).await.is_err() {
                let after = stage.fleet.ledger().tally();
                let answered = after.acknowledged > before.acknowledged;
                anyhow::ensure!(!answered, "{size} bytes were acknowledged and did not reach everybody in {ONE_MAX:?}");
                break Some(size);
            }
            published.push(size);
            accepted = size;
            size *= 2;
            if size > 8 * limit_bytes {
                break None;
            }
        };
        // Its client has been told 1009 and gives up for good: sending the same again would not help.
        stage.fleet.connect_publishers(1, Duration::from_secs(10)).await?;
        stage.fleet.set_payload_bytes(200);
        let resources = stage.rest(Duration::from_secs(60), members, members).await?;

        let run = &mut stage.run;
        let limit = limit_bytes as f64;
        run.number("configured_limit_bytes", limit);
        run.number("largest_accepted_bytes", accepted as f64);
        run.threshold(
            Threshold::at_most("largest payload accepted, by the configured limit", 1.0, "times", PLAN)
                .measured(accepted as f64 / limit),
        );
        run.threshold(
            Threshold::at_most("smallest payload refused, by the configured limit", 2.0, "times", PLAN)
                .measured(refused.map_or(f64::NAN, |refused| refused as f64 / limit)),
        );
        if let Some(server) = resources.get("server") {
            let peak = server.peak.resident_bytes as f64;
            let history = published.iter().rev().take(HISTORY_SIZE).sum::<usize>() as f64;
            let each = ((peak - idle - history) / accepted as f64).max(0.0);
            let copies = Threshold::at_most(
                "payloads in memory at the peak, besides history",
                members as f64 / 4.0,
                "copies",
                "a quarter of one per subscriber",
            );
            let copies = copies.measured(each);
            // Of a few subscribers it says nothing: what is on its way in, and what the allocator has not given back yet, is more.
            run.threshold(if context.scale < 0.5 { copies.goal() } else { copies });
            let others = (members - few) as f64;
            let added = Threshold::at_most(
                "payloads of 1 MB in memory that those added beyond a quarter add",
                others / 4.0,
                "copies",
                "a quarter of one for each of them",
            );
            let added = added.measured(((with_all - with_few) / SIZES[2] as f64).max(0.0));
            run.threshold(if context.scale < 0.5 { added.goal() } else { added });
            for (name, bytes) in [("with_a_quarter", with_few), ("with_all", with_all)] {
                run.number(&format!("mib_for_one_megabyte_payloads_{name}"), (bytes - idle) / f64::from(1 << 20));
            }
        }
        stage.verdict(&BREAKING.map(|law| if law == Law::I5 || law == Law::I7 { Law::I13 } else { law })).await
    }
}

/// Publishes so many of one size, one after the other, to so many members. The most that the server had resident, as seen after
/// each: what was needed for it is given back later than that.
async fn each_gets(stage: &mut Stage, size: usize, events: u64, members: u64) -> anyhow::Result<f64> {
    stage.progress.phase(&format!("{} KB to {members}", size / 1_000), events);
    stage.fleet.set_payload_bytes(size);
    let mut most = 0.0_f64;
    for n in 0..events {
        everybody_gets_one(&mut stage.fleet, members).await?;
        most = most.max(stage.resident()?);
        stage.progress.at(n);
    }
    Ok(most)
}

/// Publishes one and waits until it has reached everybody, so that what is measured is size and not a queue.
async fn everybody_gets_one(fleet: &mut Fleet, members: u64) -> anyhow::Result<()> {
    let target = fleet.delivered() + members;
    fleet.publish(1, 0.0, 1, |_| {}).await;
    let acknowledged = fleet.ledger().tally();
    anyhow::ensure!(acknowledged.unknown + acknowledged.failed == 0, "refused");
    anyhow::ensure!(fleet.wait_delivered(target, ONE_MAX).await, "not everybody had it after {ONE_MAX:?}");
    Ok(())
}
