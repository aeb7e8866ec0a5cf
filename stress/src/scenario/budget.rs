//! A server that may have only so much memory.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustix::process::{Pid, Resource, getrlimit, prlimit};

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario, Subject, stats};
use crate::fault::plan::{Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fault::{FaultGuard, Faults};
use crate::fleet::{Fleet, FleetOptions};
use crate::monitor::data_bytes;
use crate::oracle::Law;
use crate::report::Report;
use crate::server::{Server, ServerConfig};
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F26";
/// What the server may have beyond what it has at the start; the kernel refuses more (`RLIMIT_DATA`).
/// At full size, and at small ones.
const BUDGET_BYTES: [u64; 2] = [64 << 20, 16 << 20];
/// What is published by the budget: past it, what the kernel holds and everything else that could hold it.
const FLOOD: u64 = 3;
const PAYLOAD_BYTES: u64 = 60_000;
const HEALTHY: u64 = 2;
const STALLED: u64 = 20;
/// `client.queue_max_size`, and what it is for the server that has no bound.
const QUEUE_BYTES: u64 = 256 << 10;
const NO_BOUND: u64 = 1 << 30;
/// How long those that did not read may take to come back.
const BACK_MAX: Duration = Duration::from_secs(20);
/// Published at a time: what a healthy reader has yet to read stays below the bound, however late it is.
const BURST: u64 = QUEUE_BYTES / PAYLOAD_BYTES;
const WINDOW: usize = BURST as usize;

/// A limit on memory that the kernel enforces.
pub(super) struct Budget;

impl Scenario for Budget {
    fn name(&self) -> &'static str {
        "memory_budget"
    }

    fn claim(&self) -> &'static str {
        "three times as much as the server may have in memory is published past readers that do not read: it cuts them and stays within its budget, while the same server without a bound on what waits dies of it"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Budget {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let plan = plan(context);
        let publications = plan.workload.publications;
        let connections = plan.topology.connections;
        let mut stage = Stage::set(context, self, plan, config(QUEUE_BYTES), options()).await?;
        stage.connect(1, |member| member >= STALLED).await?;
        limit(stage.server(), budget_bytes(context))?;
        let stalled = stall(&stage.faults);
        stage.progress.phase("publish past those that do not read", publications);
        let mut healthy = true;
        for burst in 1..=publications / BURST {
            stage.fleet.publish(BURST, 0.0, WINDOW, |_| {}).await;
            stage.progress.at(burst * BURST);
            healthy &= stage.fleet.wait_delivered(burst * BURST * HEALTHY, Duration::from_secs(10)).await;
        }
        let used = data_bytes(stage.server().pid())?;
        let slow = stats::metric(stage.address(), "pubsub_slow_consumers_total").await?;
        drop(stalled);
        stage.fleet.recorder().healed();
        // What they lack is not kept: only those who are back are given the last publication.
        let back = async {
            while stage.fleet.recoveries().count() < STALLED {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _late = tokio::time::timeout(BACK_MAX, back).await;
        stage.rest(Duration::from_secs(60), connections, connections).await?;
        let recoveries = stage.fleet.recoveries();
        stage.run.latencies("recovery", &recoveries);
        stage.progress.phase("the same without a bound", 1);
        let survives = without_bound(context).await?;

        let run = &mut stage.run;
        if survives {
            run.inconclusive("a server without a bound lived through it as well: the limit does not bite");
        }
        run.number("data_mib_after_the_flood", used as f64 / f64::from(1 << 20));
        let told = f64::from(u8::from(healthy));
        run.threshold(Threshold::exactly("healthy ones had all of it meanwhile", 1.0, "", SOURCE).measured(told));
        run.threshold(
            Threshold::exactly("cut as slow (3008), by the server", STALLED as f64, "connections", SOURCE)
                .measured(slow),
        );
        // That it lives is shown by everything that is asked of it now. What it does not keep cannot be recovered.
        let laws: Vec<Law> = BREAKING.into_iter().filter(|law| *law != Law::I5).chain([Law::I13]).collect();
        stage.verdict(&laws).await
    }
}

fn budget_bytes(context: &Context) -> u64 {
    BUDGET_BYTES[usize::from(context.scale < 0.5)]
}

/// What may wait for one connection is what differs; that it waits long is for nobody else to end.
fn config(queue_bytes: u64) -> ServerConfig {
    ServerConfig::default().with("client.queue_max_size", queue_bytes).with("websocket.write_timeout", "60s")
}

fn plan(context: &Context) -> Plan {
    let publications = FLOOD * budget_bytes(context) / PAYLOAD_BYTES;
    let topology = Topology { connections: STALLED + HEALTHY, channels: 1, history_size: 20, ..Topology::default() };
    let payload_bytes = usize::try_from(PAYLOAD_BYTES).unwrap_or(usize::MAX);
    let workload = Workload { publishers: 1, publications, rate: 0.0, payload_bytes };
    Plan { seed: context.seed, topology, workload, faults: Vec::new() }
}

fn options() -> FleetOptions {
    FleetOptions {
        receive_buffer_bytes: Some(4 << 10),
        receive_buffer_below: STALLED,
        // Of the one that dies, nothing is to be waited for.
        request_timeout: Duration::from_secs(3),
        ..FleetOptions::default()
    }
}

fn stall(faults: &Faults) -> FaultGuard {
    let fault = Fault::new("stalled_readers", Kind::Stall).direction(Direction::In);
    faults.inject(fault.target(Target::Connections((0..STALLED).collect())))
}

/// From now on the kernel refuses more than the budget.
fn limit(server: &Server, budget_bytes: u64) -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Data);
    limit.current = Some(data_bytes(server.pid())? + budget_bytes);
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Data, limit)?;
    Ok(())
}

/// Whether a server that lets anything wait lives through it.
async fn without_bound(context: &Context) -> anyhow::Result<bool> {
    let plan = plan(context);
    let mut subject: Subject = context.subject(config(NO_BOUND)).await?;
    let faults = Faults::new(&plan);
    let mut fleet = Fleet::new(&plan, faults.clone(), subject.address(), options());
    fleet.connect(0..STALLED + HEALTHY, Duration::from_secs(10), |_| false, |_| {}).await;
    fleet.connect_publishers(1, Duration::from_secs(10)).await?;
    let server = subject.server.as_mut().ok_or_else(|| anyhow::anyhow!("the server is not a child of ours"))?;
    limit(server, budget_bytes(context))?;
    let stalled = stall(&faults);
    for _ in 0..plan.workload.publications / BURST {
        fleet.publish(BURST, 0.0, WINDOW, |_| {}).await;
        if !server.is_running() {
            break;
        }
    }
    let survives = server.is_running();
    drop(stalled);
    fleet.close(Duration::from_secs(1)).await;
    Ok(survives)
}
