//! Everybody at once: many subscribers lose their connections at one moment and come back at one moment.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::process::{self, again, child, child_mut};
use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::plan::{Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::oracle::Law;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 9";
const PUBLISHERS: u64 = 2;
/// Members of one channel: each publication is so many deliveries.
const MEMBERS_EACH: u64 = 100;
const RATE: f64 = 100.0;
/// Publications sent as fast as they go, just before the server is asked to end: what waits then has to arrive.
const BURST: u64 = 200;
/// How long the server spreads the closing of connections.
const SPREAD: Duration = Duration::from_millis(300);
/// The code with which a server that shuts down sends everybody elsewhere.
const SHUTDOWN: u32 = 3001;
const PATIENCE: Duration = Duration::from_secs(30);

/// What sets the herd off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    /// Half of 1,000 are cut.
    Half,
    /// All of 10,000 are cut.
    All,
    /// The server is killed and started again.
    Kill,
    /// The server is asked to end and started again.
    Restart,
}

/// See the module.
pub(super) struct ThunderingHerd {
    blow: Blow,
}

impl ThunderingHerd {
    pub(super) fn new(blow: Blow) -> Self {
        Self { blow }
    }
}

impl Scenario for ThunderingHerd {
    fn name(&self) -> &'static str {
        match self.blow {
            Blow::Half => "thundering_herd_recovery",
            Blow::All => "thundering_herd_recovery_10000",
            Blow::Kill => "thundering_herd_after_kill",
            Blow::Restart => "thundering_herd_after_restart",
        }
    }

    fn claim(&self) -> &'static str {
        match self.blow {
            Blow::Half => {
                "half of 1,000 subscribers are cut at once and come back at once while publishing goes on; nobody misses anything"
            }
            Blow::All => {
                "10,000 of 10,000 subscribers are cut at once and come back at once while publishing goes on; nobody misses anything"
            }
            Blow::Kill => {
                "the server is killed under 1,000 subscribers and started again: all come back at once, and each is told that it cannot recover"
            }
            Blow::Restart => {
                "the server is asked to end and started again: whatever it had acknowledged is delivered first, 3001 is spread, and 1,000 subscribers come back and are told that they cannot recover"
            }
        }
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl ThunderingHerd {
    fn plan(&self, context: &Context) -> Plan {
        let connections = context.scaled(if self.blow == Blow::All { 10_000 } else { 1_000 }, 40);
        let channels = (connections / MEMBERS_EACH).max(4);
        let topology = Topology { connections, channels, ..Topology::default() };
        let workload = Workload { publishers: channels, publications: 600, rate: RATE, payload_bytes: 256 };
        Plan { seed: context.seed, topology, workload, faults: Vec::new() }
    }

    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let plan = self.plan(context);
        let connections = plan.topology.connections;
        let config = ServerConfig::default().with("shutdown.spread", format!("{}ms", SPREAD.as_millis()));
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        let back = match self.blow {
            Blow::Half => self.cut(&mut stage, 50.0).await?,
            Blow::All => self.cut(&mut stage, 100.0).await?,
            Blow::Kill => self.kill(&mut stage).await?,
            Blow::Restart => self.restart(&mut stage).await?,
        };
        stage.rest(PATIENCE, connections, connections).await?;

        let recoveries = stage.fleet.recoveries();
        let tally = stage.fleet.ledger().tally();
        let run = &mut stage.run;
        let returned = recoveries.service();
        run.threshold(Threshold::exactly("came back", back as f64, "clients", PLAN).measured(returned.count as f64));
        run.threshold(Threshold::at_most("back, longest", 5_000.0, "ms", PLAN).measured(returned.max));
        run.threshold(Threshold::at_most("back, p99 (goal)", 1_000.0, "ms", PLAN).goal().measured(returned.p99));
        let (recovered, unrecovered) = match self.blow {
            Blow::Half | Blow::All => (back, 0),
            Blow::Kill | Blow::Restart => (0, back),
        };
        run.threshold(
            Threshold::exactly("told that they recovered", recovered as f64, "clients", PLAN)
                .measured(tally.recoveries as f64),
        );
        run.threshold(
            Threshold::exactly("told that they cannot", unrecovered as f64, "clients", PLAN)
                .measured(tally.unrecovered as f64),
        );
        run.number("publishes_of_unknown_outcome", tally.unknown as f64);
        run.number("publishes_failed", tally.failed as f64);
        run.latencies("recovery", &recoveries);
        let mut laws = BREAKING.to_vec();
        match self.blow {
            Blow::Half => laws.push(Law::I13),
            Blow::All => {}
            // Nobody recovers: there is no recovery to be judged.
            Blow::Kill | Blow::Restart => laws.retain(|law| *law != Law::I5),
        }
        stage.verdict(&laws).await
    }

    /// How many were cut.
    async fn cut(&self, stage: &mut Stage, percent: f64) -> anyhow::Result<u64> {
        let cut = Fault::new("cut", Kind::Reset).target(Target::Percent(percent));
        let herd = stage.faults.targets(&cut).unwrap_or_default();
        stage.connect(PUBLISHERS, |member| !herd.contains(&member)).await?;
        let third = stage.fleet.plan().workload.publications / 3;
        stage.publish("publish", third, RATE, 1).await;
        let before = stage.fleet.reset_latencies();
        let guard = stage.faults.inject(cut);
        stage.publish("publish, cut", 2 * third, RATE, 1).await;
        drop(guard);
        stage.run.latencies("delivery before", &before);
        Ok(herd.len() as u64)
    }

    async fn kill(&self, stage: &mut Stage) -> anyhow::Result<u64> {
        let members = stage.connect(PUBLISHERS, |_| false).await?.subscribed;
        let publications = stage.fleet.plan().workload.publications;
        stage.progress.phase("publish, killed meanwhile", publications);
        let recorder = stage.fleet.recorder();
        let faults = stage.faults.clone();
        let (fleet, subject) = (&mut stage.fleet, &mut stage.subject);
        let killing = async {
            tokio::time::sleep(Duration::from_secs_f64(publications as f64 / RATE / 3.0)).await;
            let server = child(subject)?;
            let _killed = process::strike(&faults, Fault::new("server_killed", Kind::Kill), || server.kill())?;
            again(subject, &recorder).await
        };
        let (offered, killed) = tokio::join!(fleet.publish(publications, RATE, 1, |_| {}), killing);
        killed?;
        stage.offered(offered);
        stage.look_again()?;
        Ok(members)
    }

    async fn restart(&self, stage: &mut Stage) -> anyhow::Result<u64> {
        let members = stage.connect(PUBLISHERS, |_| false).await?.subscribed;
        let third = stage.fleet.plan().workload.publications / 3;
        stage.publish("publish", third, RATE, 1).await;
        stage.publish("publish as fast as possible", BURST, 0.0, BURST as usize).await;
        // Everything is acknowledged, and some of it is still on its way.
        let due = due(stage);
        let asked = Instant::now();
        let recorder = stage.fleet.recorder();
        stage.progress.phase("ask the server to end", 1);
        let server = child(&stage.subject)?;
        let asking = Fault::new("server_asked_to_end", Kind::Restart);
        let ending = process::strike(&stage.faults, asking, || server.terminate())?;
        let (ended, took) = (child_mut(&mut stage.subject)?.wait().await?, asked.elapsed());
        let all_gone = recorder.wait_live_at_most(0, PATIENCE).await;
        let (delivered, breaks) = (stage.fleet.delivered(), stage.fleet.breaks());
        stage.progress.phase("publish, the server started again", 2 * third);
        let (fleet, subject) = (&mut stage.fleet, &mut stage.subject);
        let (offered, restarted) = tokio::join!(fleet.publish(2 * third, RATE, 1, |_| {}), again(subject, &recorder));
        restarted?;
        drop(ending);
        stage.offered(offered);
        stage.look_again()?;

        let run = &mut stage.run;
        anyhow::ensure!(all_gone, "the server is gone, and some of its clients have not noticed");
        run.threshold(
            Threshold::exactly("acknowledged before the end, and delivered", due as f64, "deliveries", PLAN)
                .measured(delivered as f64),
        );
        let code = ended.code().map_or(f64::NAN, f64::from);
        run.threshold(Threshold::exactly("exit code of the server", 0.0, "", "fault model, F20").measured(code));
        let told = breaks.get(&SHUTDOWN).copied().unwrap_or_default();
        run.threshold(Threshold::exactly("told 3001", members as f64, "clients", PLAN).measured(told.count as f64));
        let spread = told.last.saturating_sub(told.first).as_secs_f64() * 1_000.0;
        // A hundredth of the members are closed in the first and last hundredth of it: nearly all of it is used.
        let threshold = Threshold::at_least(
            "3001 spread over",
            SPREAD.as_secs_f64() * 800.0,
            "ms",
            "shutdown.spread, less a fifth",
        );
        let threshold = threshold.measured(spread);
        run.threshold(if members < 1_000 { threshold.goal() } else { threshold });
        run.number("drain_s", took.as_secs_f64());
        Ok(members)
    }
}

/// Deliveries there are when every publication so far has reached every member of its channel.
fn due(stage: &Stage) -> u64 {
    let topology = &stage.fleet.plan().topology;
    let each = |channel: u64| {
        let members = (0..topology.connections).filter(|&member| topology.channels_of(member).any(|c| c == channel));
        members.count() as u64 * stage.fleet.published(channel)
    };
    (0..topology.channels).map(each).sum()
}
