//! A plan from a file, run as it is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::process;
use super::stage::Stage;
use super::{Context, Scenario};
use crate::fault::{Fault, Plan};
use crate::fleet::FleetOptions;
use crate::oracle::Law;
use crate::report::Report;
use crate::server::ServerConfig;

/// Publishes unanswered at one time, where the plan has no rate.
const WINDOW: usize = 64;
const PUBLISHERS: u64 = 2;
/// How long everybody may take to connect and subscribe.
const PATIENCE: Duration = Duration::from_secs(60);
/// What must have been looked at whatever the plan does. What its faults do besides is judged as well.
const LAWS: [Law; 8] = [Law::I1, Law::I2, Law::I3, Law::I4, Law::I8, Law::I9, Law::I12, Law::I14];

/// A plan that somebody wrote down, against real sockets.
#[derive(Debug)]
pub struct Planned {
    plan: Plan,
    file: PathBuf,
}

impl Planned {
    /// What reports of plans are called.
    pub const NAME: &'static str = "plan";

    /// Of this plan, which stands in this file.
    #[must_use]
    pub fn new(plan: Plan, file: &Path) -> Self {
        Self { plan, file: file.to_owned() }
    }
}

impl Scenario for Planned {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn claim(&self) -> &'static str {
        "whatever the faults of this plan do at their times: nothing that was promised is lost, and all come to rest once they are healed"
    }

    fn replay_line(&self, context: &Context) -> String {
        let server = context.server.as_ref().map_or_else(|| "PATH".to_owned(), |server| server.display().to_string());
        format!("stress replay {} --plan --server {server}", self.file.display())
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Planned {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let plan = &self.plan;
        let (connections, workload) = (plan.topology.connections, &plan.workload);
        let each = plan.topology.each();
        let mut stage =
            Stage::set(context, self, plan.clone(), ServerConfig::default(), FleetOptions::default()).await?;
        let faults = stage.faults.clone();
        let everybody = || (0..connections).collect::<Vec<u64>>();
        let meant = |fault: &Fault| faults.targets(fault).filter(|_| !fault.kind.is_of_node());
        let hurt: BTreeSet<u64> = plan.faults.iter().flat_map(|fault| meant(fault).unwrap_or_else(everybody)).collect();
        let of_streams = plan.of_streams();
        stage.publishers = PUBLISHERS;
        stage.progress.phase("connect, subscribe and publish", workload.publications);
        let (recorder, progress) = (stage.fleet.recorder(), stage.progress.clone());
        let (fleet, subject) = (&mut stage.fleet, &mut stage.subject);
        let load = async {
            let connected = fleet.connect(0..connections, PATIENCE, |member| !hurt.contains(&member), |_| {}).await;
            fleet.connect_publishers(PUBLISHERS, PATIENCE).await?;
            let offered = fleet.publish(workload.publications, workload.rate, WINDOW, |n| progress.at(n)).await;
            anyhow::Ok((connected, offered))
        };
        let process = process::run(plan, &faults, subject, &recorder);
        let (guards, done, started_again) = tokio::join!(faults.run(&of_streams), load, process);
        drop(guards);
        let (connected, offered) = done?;
        stage.offered(offered);
        connected.errors.iter().for_each(|error| stage.run.doubt(format!("while connecting: {error}")));
        if started_again? {
            stage.look_again()?;
        }
        stage.rest(Duration::from_secs(60), connections, connections * each).await?;
        let recoveries = stage.fleet.recoveries();
        stage.run.latencies("recovery", &recoveries);
        stage.verdict(&LAWS).await
    }
}
