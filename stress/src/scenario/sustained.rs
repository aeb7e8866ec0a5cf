//! Ten thousand subscriptions, a day's worth of publications.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;
use crate::trend::trend;

const PLAN: &str = "plan, scenario 12";
/// 100 a second for 24 hours.
const PUBLICATIONS: u64 = 8_640_000;
/// Publications a channel keeps: each channel gets 864, so history is full after the first eighth and memory has no
/// reason to grow from there.
const HISTORY_SIZE: u64 = 100;
const PUBLISHERS: u64 = 4;
/// Publications unanswered at one time.
const WINDOW: usize = 1_024;
/// Stretches of equal length; the first is warm-up.
const STRETCHES: u64 = 8;

/// 10,000 subscriptions, 8.64 million publications.
pub(super) struct Sustained;

impl Scenario for Sustained {
    fn name(&self) -> &'static str {
        "sustained_10k_subscriptions"
    }

    fn claim(&self) -> &'static str {
        "10,000 subscriptions get 8.64 million publications (100 a second for a day) as fast as the machine goes: all arrive, counts are exact, neither memory nor latency grows"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Sustained {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(10_000, 20);
        let publications = if context.scale < 0.1 { 16_000 } else { context.scaled(PUBLICATIONS, 1) };
        let topology =
            Topology { connections, channels: connections, history_size: HISTORY_SIZE, ..Topology::default() };
        let workload = Workload { publishers: connections, publications, rate: 0.0, payload_bytes: 128 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        stage.connect(PUBLISHERS, |_| true).await?;
        let connections = stage.fleet.plan().topology.connections;

        let began = stage.fleet.now();
        let mut stretches = Vec::new();
        let mut memory = Vec::new();
        for stretch in 0..STRETCHES {
            let name =
                if stretch == 0 { "warm up".to_owned() } else { format!("stretch {stretch} of {}", STRETCHES - 1) };
            stage.progress.phase(&name, 1);
            // A few samples in each stretch, so that a slope has something to stand on.
            for _ in 0..4 {
                stage.fleet.publish(publications / STRETCHES / 4, 0.0, WINDOW, |_| {}).await;
                if stretch > 0 {
                    memory.push((stage.fleet.now().as_secs_f64(), stage.resident()?));
                }
            }
            stretches.push(stage.fleet.reset_latencies());
        }
        let took = (stage.fleet.now() - began).as_secs_f64();
        stage.rest(Duration::from_secs(60), connections, connections).await?;

        let (first, last) = (stretches[1].response(), stretches[stretches.len() - 1].response());
        let level = memory.first().map_or(f64::NAN, |&(_, bytes)| bytes);
        let span = memory.last().map_or(0.0, |&(at, _)| at) - memory.first().map_or(0.0, |&(at, _)| at);
        let grown = trend(&memory).map_or(f64::NAN, |trend| trend.per_second * span / level * 100.0);
        let run = &mut stage.run;
        let limits = [
            Threshold::at_most("server's memory, growth over the run", 5.0, "%", PLAN).measured(grown),
            Threshold::at_most("median delivery, last stretch by first", 2.0, "times", PLAN)
                .measured(last.p50 / first.p50),
        ];
        for threshold in limits {
            // A second or two has no trend: what a short run shows is its beginning.
            run.threshold(if context.scale < 0.1 { threshold.goal() } else { threshold });
        }
        run.number("publications_per_second", publications as f64 / took);
        run.number("p99_first_ms", first.p99);
        run.number("p99_last_ms", last.p99);
        run.doubt(format!(
            "no rate was planned: a publication left as soon as fewer than {WINDOW} were unanswered, so latencies are those of a \
             saturated machine"
        ));
        run.latencies("delivery, first stretch", &stretches[1]);
        run.latencies("delivery, last stretch", &stretches[stretches.len() - 1]);
        stage.verdict(&UNBROKEN).await
    }
}
