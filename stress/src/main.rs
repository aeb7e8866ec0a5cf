//! The lab's command line: list, run, replay, explore, limits, proxy, report.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stress::cli::{self, Pages, ProxyOptions, ReplayOptions, RunOptions};
use stress::{Seed, budget};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Breaks the server on purpose and judges every delivery.
///
/// Exit code 0: everything held. 1: something is broken. 2: nothing was shown either way, or it could not be run.
#[derive(Debug, Parser)]
#[command(name = "stress", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the scenarios and what each claims.
    List,
    /// Run scenarios: each starts a server of its own, hurts it, and writes its report as soon as it is over.
    ///
    /// The first line says commit, seed and every option. A scenario that did not hold ends with the line that runs it
    /// again. Ctrl-C ends the servers, keeps all reports, and adds one of what was seen of each scenario under way.
    Run {
        /// Which; see `stress list`.
        names: Vec<String>,
        /// All of them: about 17 minutes at full size on two cores.
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// How many at once, of small ones (below --scale 0.5): most of a small run is waiting.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        #[command(flatten)]
        options: Options,
    },
    /// Run again what a file tells of: a report (its scenario, with its seed, scale and target), or a plan.
    ///
    /// Where the scenario plans something else now than what stands in the report, that is said.
    Replay {
        /// A report's NAME.json, or a plan: as `explore` has written it, or by hand.
        file: PathBuf,
        /// The server binary; by default the one beside this program. A plan is run in virtual time unless one is named.
        #[arg(long, value_name = "PATH")]
        server: Option<PathBuf>,
        /// A server that runs already; by default the one that the report was made against, if it was.
        #[arg(long, value_name = "URL", conflicts_with_all = ["server", "plan"])]
        target: Option<String>,
        /// Run the plan itself as it stands in the file, each fault at its time, against a server of the lab's: of a report
        /// that is what really happened, with nothing asked of it but the laws.
        #[arg(long)]
        plan: bool,
        /// Where the new report goes.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Draw a plan from each of many seeds, run it in virtual time, and make small what is broken.
    Explore {
        /// How many rounds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// Seed of the first; the others follow.
        #[arg(long, default_value = "1", value_parser = cli::parse_seed)]
        from: Seed,
        /// Only faults of these kinds, as `reset,fin,stall`; all by default.
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        faults: Vec<String>,
        /// Also what everyday life hides: subscribers on the wire, an engine that hesitates, small limits.
        #[arg(long)]
        strained: bool,
        /// Threads; by default as many as there are processors. The outcome does not depend on it.
        #[arg(long)]
        jobs: Option<usize>,
        /// Run every round twice, and fail if one does not go the same way to the byte.
        #[arg(long)]
        twice: bool,
        /// Where the small plans go, and explore.json, a summary.
        #[arg(long, value_name = "DIR", default_value = "stress-out")]
        out: PathBuf,
        /// Fail unless all goes as it did in another process, by its explore.json, which is told of it.
        #[arg(long, value_name = "FILE")]
        like: Option<PathBuf>,
    },
    /// Plant one bug after the other in server and client, and find out whether the oracle notices.
    #[cfg(feature = "planted-bugs")]
    Bugs {
        /// Seeds that each bug may take.
        #[arg(long, default_value_t = 1_000)]
        budget: u64,
        /// Seeds without a bug, in which nothing may be found.
        #[arg(long, default_value_t = 1_000)]
        control: u64,
        /// The first seed of each.
        #[arg(long, default_value = "1", value_parser = cli::parse_seed)]
        from: Seed,
        /// Only these bugs, as `LagSwallowed,BatchCapped`; all by default.
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        only: Vec<String>,
        /// Show the bugs and what each has to be found as, and hunt nothing.
        #[arg(long)]
        list: bool,
        /// Threads; by default as many as there are processors. The outcome does not depend on it.
        #[arg(long)]
        jobs: Option<usize>,
        /// Where `bugs.json` goes.
        #[arg(long, value_name = "DIR", default_value = "stress-out")]
        out: PathBuf,
    },
    /// Double connections, subscriptions, rate and payload until an objective breaks, and tell the knees.
    ///
    /// Says for each whether the server, the lab or the machine that both share was the limit. With --out, limits.json is
    /// kept there for the page of results. A few minutes.
    Limits {
        #[command(flatten)]
        options: Options,
    },
    /// Stand between somebody's client and server: a TCP hop that does to what passes what a plan says.
    ///
    /// Connections are numbered from 0 as they come. Ctrl-C ends it and tells what each fault came to: attempted, applied, seen.
    Proxy {
        /// The server: host and port.
        #[arg(long, value_name = "HOST:PORT")]
        to: String,
        /// Where clients connect to; port 0 for any.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
        listen: std::net::SocketAddr,
        /// A plan whose faults hold at their times after the start: `{"seed":1,"faults":[{"id":"far","kind":…}]}`.
        /// Without one bytes pass as they are.
        #[arg(long, value_name = "FILE")]
        plan: Option<PathBuf>,
    },
    /// Print the summary of the reports in a directory, or write the pages made of them.
    ///
    /// The exit code is the verdict over all of them.
    Report {
        /// Where they are.
        #[arg(default_value = "stress-out")]
        directory: PathBuf,
        /// Write the page of results here: summary, machine, matrix, plots, every number.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// Where the page's plots go.
        #[arg(long, value_name = "DIR", default_value = "docs/stress_results")]
        plots: PathBuf,
        /// Write the page of ways to fail here, with what these reports measured.
        #[arg(long, value_name = "FILE")]
        failure_modes: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// All chance comes from this number; 0x… is understood.
    #[arg(long, default_value = "1", value_parser = cli::parse_seed)]
    seed: Seed,
    /// Size: 1 is full, 0.1 a tenth.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    scale: f64,
    /// The server binary; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// A server that runs already, instead of a child of the lab; docs/stress.md says how it must be set up.
    ///
    /// It is not watched, and scenarios that need settings of their own or send signals refuse to run against it.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    target: Option<String>,
    /// Where reports and plots go. Without it they are only said.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Options {
    fn with(self, jobs: usize) -> RunOptions {
        let Self { seed, scale, server, target, out } = self;
        RunOptions { seed, scale, jobs, server, target, out }
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // What clients say, and in virtual time the server too: `RUST_LOG=debug stress replay …`.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    budget::raise_descriptors();
    let outcome = match command {
        Command::List => Ok(cli::list()),
        Command::Run { names, all, jobs, options } => cli::run(&names, all, options.with(jobs)),
        Command::Limits { options } => cli::limits(options.with(1)),
        #[cfg(feature = "planted-bugs")]
        Command::Bugs { list: true, .. } => Ok(cli::list_bugs()),
        #[cfg(feature = "planted-bugs")]
        Command::Bugs { budget, control, from, only, jobs, out, .. } => {
            cli::bugs(budget, control, from, only, jobs, &out)
        }
        Command::Explore { seeds, from, faults, strained, jobs, twice, out, like } => {
            cli::explore(cli::ExploreOptions { seeds, from, faults, strained, jobs, twice, out, like })
        }
        Command::Replay { file, server, target, plan, out } => {
            cli::replay(&file, ReplayOptions { server, target, plan, out })
        }
        Command::Proxy { to, listen, plan } => cli::proxy(&ProxyOptions { to, listen, plan }),
        Command::Report { directory, write, plots, failure_modes } => {
            cli::report(&directory, &Pages { results: write, plots, failure_modes })
        }
    };
    match outcome {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("stress: {error:#}");
            ExitCode::from(2)
        }
    }
}
