//! `make bench`: what a connection and a delivery cost.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use stress::bench::{self, floor, growth, naive, once, others, peer, report, workload, wsload};
use stress::budget;
use stress::commit::commit;

/// Measures the server side by side with a floor and with peers, and writes a page about it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Rounds; the median of them is shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these workloads, as in `W1,W2`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure the peers that are installed here, too.
    #[arg(long)]
    peers: bool,
    /// Measure the server with history, presence, protobuf, TLS, one shard and reconnects, too.
    #[arg(long)]
    features: bool,
    /// Look once at heartbeats, at the memory that a storm leaves behind, and at fairness (2 min).
    #[arg(long)]
    once: bool,
    /// Measure how the server grows with subscribers, channels, subscriptions, payload and connections (3 min).
    #[arg(long)]
    growth: bool,
    /// Have this binary of wsload, another load generator, do W2, W3 and W5 too, to see whether ours measures the same.
    #[arg(long)]
    wsload: Option<PathBuf>,
    /// Options of the server, as `http_server.shards=1`.
    #[arg(long)]
    set: Vec<String>,
    /// Where the page goes; its plots and all figures of all rounds go into a folder of the same name beside it.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Role {
    /// Be the floor server. The benchmark starts it by itself.
    #[command(hide = true)]
    Floor {
        /// Where to listen.
        port: u16,
        /// Seconds between two heartbeats of a connection.
        #[arg(long)]
        pings: Option<u64>,
    },
    /// Be the server that anybody would write. The benchmark starts it by itself.
    #[command(hide = true)]
    Naive {
        /// Where to listen.
        port: u16,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.role {
        Some(Role::Floor { port, pings }) => return floor::serve(port, pings.map(Duration::from_secs)),
        Some(Role::Naive { port }) => return naive::serve(port),
        None => {}
    }
    budget::raise_descriptors();
    let chosen =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only.eq_ignore_ascii_case(name));
    let workloads: Vec<_> = workload::all().into_iter().filter(|workload| chosen(workload.name)).collect();
    anyhow::ensure!(!workloads.is_empty(), "no such workload; there are W1 to W5");
    anyhow::ensure!(arguments.rounds > 0, "at least one round");
    let mut skipped = Vec::new();
    let peers = peers(arguments, &mut skipped)?;
    let setting = report::Setting {
        commit: commit(),
        machine: machine(),
        command: command_line(std::env::args().skip(1)),
        skipped: skipped.into_iter().map(str::to_owned).collect(),
        load_before: load_average(),
    };
    eprintln!("{} rounds of {} workloads against {} servers", arguments.rounds, workloads.len(), peers.len());
    let results = bench::run(&peers, &workloads, arguments.rounds, |round, workload, peer, figures| {
        eprintln!(
            "round {} {} {:<40} storm {:.2} s {:.0} µs  idle {:.2} KiB  {:.3} µs/delivery  {:.0}/s  p50 {:.1} p99 {:.1} ms  generator {:.3} µs",
            round + 1,
            workload.name,
            peer.name,
            figures.storm_s,
            figures.storm_cpu_us,
            figures.idle_kib,
            figures.cpu_us,
            figures.per_s,
            figures.p50_ms,
            figures.p99_ms,
            figures.generator_us
        );
    })?;
    let once = arguments.once.then(|| once::run(&arguments.set)).transpose()?;
    let growth = if arguments.growth {
        growth::run(&arguments.set, |what, size, figures| {
            eprintln!(
                "{size} {what}: {:.3} µs/delivery  storm {:.0} µs  idle {:.2} KiB",
                figures.cpu_us, figures.storm_cpu_us, figures.idle_kib
            );
        })?
    } else {
        Vec::new()
    };
    let beside = match &arguments.wsload {
        None => Vec::new(),
        Some(program) => {
            wsload::run(program, &workloads, arguments.rounds, &arguments.set, |workload, generator, seen| {
                eprintln!(
                    "{workload} by {generator}: {} of {} deliveries, {:.3} µs/delivery",
                    seen.deliveries, seen.expected, seen.cpu_us
                );
            })?
        }
    };
    let run = report::Run { setting, results, once, growth, beside };
    let folder = arguments.out.as_ref().map(|out| out.with_extension(""));
    let shown =
        folder.as_ref().and_then(|folder| folder.file_name()).map_or("bench".into(), |name| name.to_string_lossy());
    let (page, plots) = report::page(&run, &workloads, &peers, &shown);
    match (&arguments.out, &folder) {
        (Some(out), Some(folder)) => {
            std::fs::write(folder_made(folder)?.join("run.json"), serde_json::to_string(&run)?)?;
            for (file, svg) in plots {
                std::fs::write(folder.join(file), svg)?;
            }
            std::fs::write(out, page).with_context(|| format!("{} cannot be written", out.display()))?;
            eprintln!("written to {}", out.display());
        }
        _ => write_out(&page)?,
    }
    Ok(())
}

fn folder_made(folder: &Path) -> anyhow::Result<&Path> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

fn write_out(page: &str) -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), page.as_bytes())
}

fn peers(arguments: &Arguments, skipped: &mut Vec<&'static str>) -> anyhow::Result<Vec<peer::Peer>> {
    let mut peers = vec![peer::floor(None)?, peer::server(peer::OURS, &arguments.set)?];
    if arguments.features {
        peers.extend(peer::features(&arguments.set)?);
    }
    if arguments.peers {
        let (found, missing) = others::all()?;
        peers.extend(found);
        skipped.extend(missing);
    }
    Ok(peers)
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|line| line.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {}, Linux {}", model.map_or("an unknown processor", |(_, model)| model), kernel.trim())
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// What this was called with. Where another load generator lies on this machine is of no interest elsewhere.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["bench".to_owned()];
    for argument in arguments {
        let is_path = words.last().is_some_and(|before| before == "--wsload");
        words.push(if is_path { "PATH".to_owned() } else { argument });
    }
    words.join(" ")
}
