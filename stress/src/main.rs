//! The lab's command line: list, run, replay, report.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stress::Seed;
use stress::cli::{self, RunOptions};

/// Breaks the server on purpose and judges every delivery.
///
/// Exit code 0: everything held. 1: something is broken. 2: nothing was shown, or it could not be run.
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
    /// Run scenarios.
    Run {
        /// Which; see `stress list`.
        names: Vec<String>,
        /// All of them.
        #[arg(long, conflicts_with = "names")]
        all: bool,
        #[command(flatten)]
        options: Options,
    },
    /// Run again what a report tells of, with its seed and scale; or a plan, in virtual time.
    Replay {
        /// A report's NAME.json, or a plan that `explore` has written.
        file: PathBuf,
        /// The server binary.
        #[arg(long, value_name = "PATH")]
        server: Option<PathBuf>,
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
        /// Threads; by default as many as there are processors. The outcome does not depend on it.
        #[arg(long)]
        jobs: Option<usize>,
        /// Where the small plans go.
        #[arg(long, value_name = "DIR", default_value = "stress-out")]
        out: PathBuf,
    },
    /// Double connections, subscriptions, rate and payload until an objective breaks, and tell the knees.
    Limits {
        #[command(flatten)]
        options: Options,
    },
    /// Print the table of the reports in a directory.
    Report {
        /// Where they are.
        #[arg(default_value = "stress-out")]
        directory: PathBuf,
        /// Write them to this page instead, with machine, commit, matrix and plots.
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
        /// Where the page's plots go.
        #[arg(long, value_name = "DIR", default_value = "docs/stress_results")]
        plots: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// All chance comes from this number; 0x… is understood.
    #[arg(long, default_value = "1", value_parser = cli::parse_seed)]
    seed: Seed,
    /// Size: 1 is full, 0.1 a tenth.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The server binary; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// A server that runs already, with an open HTTP API, instead of a child of the lab.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    target: Option<String>,
    /// Where reports and plots go.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl From<Options> for RunOptions {
    fn from(options: Options) -> Self {
        let Options { seed, scale, server, target, out } = options;
        Self { seed, scale, server, target, out }
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::List => Ok(cli::list()),
        Command::Run { names, all, options } => cli::run(&names, all, options.into()),
        Command::Limits { options } => cli::limits(options.into()),
        Command::Explore { seeds, from, faults, jobs, out } => cli::explore(seeds, from, faults, jobs, &out),
        Command::Replay { file, server, out } => cli::replay(&file, server, out),
        Command::Report { directory, write, plots } => cli::report(&directory, write.as_deref(), &plots),
    };
    match outcome {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("stress: {error:#}");
            ExitCode::from(2)
        }
    }
}
