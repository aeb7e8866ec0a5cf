//! A server that gets little of a processor, and in pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::process::{child, strike};
use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Fault, Kind, Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::monitor::threads_of;
use crate::report::Report;
use crate::server::{Server, ServerConfig};
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F27";
/// Threads that do nothing but use the processor on which the server has to run.
const SPINNERS: usize = 3;
/// The processor of the server and of the spinners.
const PROCESSOR: usize = 0;
/// The server is stopped and continued so often, for so long each: its worker is blocked as if by a long computation.
const STOPS: u32 = 20;
const STOPPED: Duration = Duration::from_millis(60);
const RUNNING: Duration = Duration::from_millis(140);
const RATE: f64 = 200.0;
const PONG_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Little processor time, and that in pieces.
pub(super) struct Starved;

impl Scenario for Starved {
    fn name(&self) -> &'static str {
        "processor_starved"
    }

    fn claim(&self) -> &'static str {
        "the server shares one processor with three threads that never rest, and is stopped and continued twenty times: nobody is sent away for a pong it could not read, and all arrives in order"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Starved {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(500, 50);
        let lasts = (STOPPED + RUNNING) * STOPS;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of publications")]
        let publications = (lasts.as_secs_f64() * RATE) as u64;
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 2 * publications, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("client.ping_interval", "2s").with("client.pong_timeout", "1500ms");
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        stage.connect(2, |_| true).await?;
        let spinners = Spinners::beside(stage.server())?;
        let before = stage.sample()?;
        stage.publish("publish beside the spinners", publications, RATE, 1).await;
        let share = (stage.sample()?.cpu_seconds - before.cpu_seconds) / lasts.as_secs_f64();
        stage.progress.phase("publish, stopped and continued", publications);
        let faults = stage.faults.clone();
        let (fleet, subject) = (&mut stage.fleet, &stage.subject);
        let server = child(subject)?;
        let blocking = async {
            for n in 1..=STOPS {
                let blocked = Fault::new(format!("server_blocked_{n:02}"), Kind::Pause);
                let held = strike(&faults, blocked, || server.pause())?;
                tokio::time::sleep(STOPPED).await;
                server.resume()?;
                drop(held);
                tokio::time::sleep(RUNNING).await;
            }
            anyhow::Ok(())
        };
        let (offered, blocked) = tokio::join!(fleet.publish(publications, RATE, 1, |_| {}), blocking);
        blocked?;
        stage.offered(offered);
        let spun = spinners.end();
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let breaks = stage.fleet.ledger().tally().breaks;
        let run = &mut stage.run;
        // Without rivals on its processor the spinners would not be where the server is.
        if spun == 0 {
            run.inconclusive("the spinners did not run");
        }
        run.number("server_cores_beside_the_spinners", share);
        run.number("pong_timeout_ms", PONG_TIMEOUT.as_secs_f64() * 1_000.0);
        run.threshold(Threshold::exactly("connections that broke", 0.0, "", SOURCE).measured(breaks as f64));
        stage.verdict(&UNBROKEN).await
    }
}

/// Threads that use one processor without rest, with a server bound to the same one. Dropping ends them.
struct Spinners {
    go_on: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Spinners {
    fn beside(server: &Server) -> anyhow::Result<Self> {
        let mut processor = CpuSet::new();
        processor.set(PROCESSOR);
        for thread in threads_of(server.pid())? {
            sched_setaffinity(Pid::from_raw(thread), &processor)?;
        }
        let go_on = Arc::new(AtomicBool::new(true));
        let threads = (0..SPINNERS).map(|_| {
            let go_on = Arc::clone(&go_on);
            std::thread::spawn(move || {
                // Only where the server is: the lab must not starve with it.
                if sched_setaffinity(None, &processor).is_err() {
                    return 0;
                }
                let mut turns = 0u64;
                while go_on.load(Relaxed) {
                    turns += 1;
                    std::hint::spin_loop();
                }
                turns
            })
        });
        Ok(Self { threads: threads.collect(), go_on })
    }

    /// Ends them, and says how often they turned.
    fn end(mut self) -> u64 {
        self.go_on.store(false, Relaxed);
        self.threads.drain(..).map(|thread| thread.join().unwrap_or(0)).min().unwrap_or(0)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.go_on.store(false, Relaxed);
    }
}
