//! `make bench`: what a connection and a delivery cost.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use stress::bench::{self, floor, peer, report, workload};

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
    /// Measure the server with history, and with presence, too.
    #[arg(long)]
    features: bool,
    /// Options of the server, as `http_server.shards=1`.
    #[arg(long)]
    set: Vec<String>,
    /// Where the page goes; its plots go into a folder of the same name beside it.
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
    if let Some(Role::Floor { port }) = arguments.role {
        return floor::serve(port);
    }
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
        command: std::iter::once("bench".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" "),
        skipped,
        load_before: load_average(),
    };
    eprintln!("{} rounds of {} workloads against {} servers", arguments.rounds, workloads.len(), peers.len());
    let results = bench::run(&peers, &workloads, arguments.rounds, |round, workload, peer, figures| {
        eprintln!(
            "round {} {} {:<24} storm {:.2} s {:.0} µs  idle {:.2} KiB  {:.3} µs/delivery  {:.0}/s  p50 {:.1} p99 {:.1} ms",
            round + 1,
            workload.name,
            peer.name,
            figures.storm_s,
            figures.storm_cpu_us,
            figures.idle_kib,
            figures.cpu_us,
            figures.per_s,
            figures.p50_ms,
            figures.p99_ms
        );
    })?;
    let (page, plots) = report::page(&results, &workloads, &peers, &setting);
    match &arguments.out {
        None => write_out(&page)?,
        Some(out) => {
            let folder = out.with_extension("");
            std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            for (file, svg) in plots {
                std::fs::write(folder.join(file), svg)?;
            }
            std::fs::write(out, page).with_context(|| format!("{} cannot be written", out.display()))?;
            eprintln!("written to {}", out.display());
        }
    }
    Ok(())
}

fn write_out(page: &str) -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), page.as_bytes())
}

fn peers(arguments: &Arguments, skipped: &mut Vec<String>) -> anyhow::Result<Vec<peer::Peer>> {
    let with = |options: &[&str]| -> Vec<String> {
        options.iter().map(|option| (*option).to_owned()).chain(arguments.set.iter().cloned()).collect()
    };
    let server = |name: &str, options: &[&str]| {
        let options = with(options);
        peer::server(name, &options.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let history = [
        "channel.without_namespace.history_size=100",
        "channel.without_namespace.history_ttl=5m",
        "channel.without_namespace.force_recovery=true",
    ];
    let mut peers = vec![peer::floor()?, server("pubsub-server", &[])?];
    if arguments.features {
        peers.push(server("pubsub-server, history", &history)?);
        peers.push(server("pubsub-server, presence", &["channel.without_namespace.presence=true"])?);
    }
    if arguments.peers {
        match peer::nats() {
            Some(nats) => peers.push(nats),
            None => skipped.push("nats-server".to_owned()),
        }
    }
    Ok(peers)
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
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
