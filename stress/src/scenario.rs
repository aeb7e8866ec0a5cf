//! Claims about the server, each with its load, its faults, its thresholds and a verdict.
//!
//! [`Scenario`] is what a claim looks like; [`all`] lists them; [`Context`] is what the user asked for; [`run::Run`] collects what
//! is found on the way and turns it into a [`Report`]. One file per family.

use std::path::PathBuf;

use anyhow::Context as _;
use futures_util::future::BoxFuture;

use crate::chance::Seed;
use crate::report::Report;
use crate::server::{Server, ServerConfig, find_binary};

mod bandwidth;
mod budget;
mod campaign;
mod cascading;
mod churn;
mod connections;
mod controls;
mod corrupted;
mod day;
mod descriptors;
mod drops;
mod endings;
mod far_and_large;
mod gone;
mod half_open;
mod handshakes;
mod herd;
mod idle;
mod jitter;
mod lagging;
mod large_payloads;
mod late_bytes;
mod latency;
pub mod planned;
mod process;
mod queue_overflow;
mod reordering;
mod retries;
mod roaming;
pub mod run;
mod stage;
mod stalled;
mod stalled_writers;
mod starved;
pub mod stats;
mod stopped;
mod subscriptions;
mod sustained;
mod truncated;
mod unfinished;
mod unreachable;

pub use unfinished::Unfinished;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Context {
    /// All chance.
    pub seed: Seed,
    /// 1.0 is full size; smaller runs do the same with fewer.
    pub scale: f64,
    /// The server binary, if it was named.
    pub server: Option<PathBuf>,
    /// Host and port of a server that runs already, instead of a child of ours.
    pub target: Option<String>,
    /// Where reports go.
    pub out: Option<PathBuf>,
    /// Says nothing while running.
    pub quiet: bool,
    /// The commit the lab was built from.
    pub commit: String,
    /// Whether nothing else is run meanwhile, neither a scenario nor a test: then process and processors are its own.
    pub alone: bool,
    /// What the scenario that runs now has so far.
    pub unfinished: Unfinished,
}

impl Default for Context {
    fn default() -> Self {
        let (server, target, out, commit, unfinished) = Default::default();
        Self { seed: Seed(1), scale: 1.0, server, target, out, quiet: true, commit, alone: false, unfinished }
    }
}

impl Context {
    /// `full` at this run's scale, at least `least`.
    #[must_use]
    pub fn scaled(&self, full: u64, least: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let scaled = (full as f64 * self.scale).round() as u64;
        scaled.max(least)
    }

    /// The line that runs a scenario again as it is run now.
    #[must_use]
    pub fn replay_line(&self, scenario: &str) -> String {
        let target = self.target.as_ref().map_or_else(String::new, |target| format!(" --target {target}"));
        let server = self.server.as_ref().map_or_else(String::new, |server| format!(" --server {}", server.display()));
        format!("stress run {scenario} --seed {:#x} --scale {}{target}{server}", self.seed.0, self.scale)
    }

    /// Whether a scenario can be run as it was asked for.
    ///
    /// # Errors
    /// When it cannot be run against the server that was named.
    pub fn suits(&self, scenario: &dyn Scenario) -> anyhow::Result<()> {
        let suits = self.target.is_none() || scenario.takes_target();
        anyhow::ensure!(suits, "it needs a server with settings of its own: run it without --target");
        Ok(())
    }

    /// The server to run against: a child of ours with this configuration, or the one that was named.
    ///
    /// # Errors
    /// When there is no server, or when there is no such server at the target.
    pub async fn subject(&self, config: ServerConfig) -> anyhow::Result<Subject> {
        let Some(address) = &self.target else {
            let server = Server::start(&find_binary(self.server.as_deref())?, config).await?;
            return Ok(Subject { address: server.address().to_owned(), server: Some(server) });
        };
        stats::info(address).await.with_context(|| {
            format!("{address} does not answer as such a server should (its HTTP API must be open: http_api.insecure)")
        })?;
        Ok(Subject { address: address.clone(), server: None })
    }
}

/// The server under test.
#[derive(Debug)]
pub struct Subject {
    address: String,
    server: Option<Server>,
}

impl Subject {
    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The child, if it is ours: only then can it be watched and signalled.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }
}

/// A claim.
pub trait Scenario: Send + Sync {
    /// What it is called on the command line.
    fn name(&self) -> &'static str;

    /// What must hold, in a sentence.
    fn claim(&self) -> &'static str;

    /// Whether a server that runs already will do: it needs no settings of its own, and is sent no signals.
    fn takes_target(&self) -> bool {
        false
    }

    /// The line that runs it again as `context` asked for it.
    fn replay_line(&self, context: &Context) -> String {
        context.replay_line(self.name())
    }

    /// Finds out.
    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>>;
}

/// All of them, in the order in which a full run does them.
#[must_use]
pub fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(connections::ConcurrentConnections),
        Box::new(subscriptions::Cascade),
        Box::new(latency::Distant),
        Box::new(jitter::Jitter),
        Box::new(drops::RandomDrops::new(20)),
        Box::new(drops::RandomDrops::new(30)),
        Box::new(drops::RandomDrops::new(50)),
        Box::new(cascading::CascadingFailures),
        Box::new(lagging::Lagging),
        Box::new(large_payloads::LargePayloads),
        Box::new(herd::ThunderingHerd::new(herd::Blow::Half)),
        Box::new(herd::ThunderingHerd::new(herd::Blow::All)),
        Box::new(herd::ThunderingHerd::new(herd::Blow::Kill)),
        Box::new(herd::ThunderingHerd::new(herd::Blow::Restart)),
        Box::new(far_and_large::FarAndLarge),
        Box::new(churn::Churn),
        Box::new(stopped::Stopped),
        Box::new(descriptors::Descriptors),
        Box::new(half_open::HalfOpen),
        Box::new(stalled::Stalled),
        Box::new(truncated::Truncated),
        Box::new(handshakes::Handshakes),
        Box::new(late_bytes::LateBytes),
        Box::new(retries::Retries),
        Box::new(idle::IdleTimeouts),
        Box::new(unreachable::Unreachable::new(unreachable::How::Refused)),
        Box::new(unreachable::Unreachable::new(unreachable::How::Dropped)),
        Box::new(queue_overflow::QueueOverflow),
        Box::new(endings::Endings),
        Box::new(stalled_writers::StalledWriters),
        Box::new(bandwidth::Bandwidth),
        Box::new(reordering::Reordering),
        Box::new(corrupted::Corrupted),
        Box::new(roaming::Roaming),
        Box::new(starved::Starved),
        Box::new(budget::Budget),
        Box::new(controls::Controls),
        Box::new(campaign::Campaign),
        Box::new(sustained::Sustained),
        Box::new(day::Day::new()),
        Box::new(day::Day::payload_only()),
    ]
}

/// Those named, or an error that says which names there are.
///
/// # Errors
/// When a name is unknown.
pub fn named(names: &[String]) -> anyhow::Result<Vec<Box<dyn Scenario>>> {
    let mut chosen = Vec::new();
    for name in names {
        let found = all().into_iter().find(|scenario| scenario.name() == name);
        let Some(found) = found else {
            let known: Vec<&str> = all().iter().map(|scenario| scenario.name()).collect();
            anyhow::bail!("there is no scenario `{name}`; `stress list` shows them: {}", known.join(", "));
        };
        chosen.push(found);
    }
    Ok(chosen)
}
