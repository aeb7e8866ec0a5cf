//! Our load generator beside another one, `wsload`, which shares no line with it: both do the same to the same server, so both have to
//! see as many deliveries and have them cost as much. Whoever measures wrong measures otherwise.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::generator;
use super::peer::{OURS, server};
use super::process::Child;
use super::report::median;
use super::workload::{Load, Spread, Workload};

/// By how much the cost of a delivery may differ.
pub const APART_MAX: f64 = 0.10;

/// What one generator came to in one round.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Seen {
    /// Deliveries that should have come.
    pub expected: u64,
    /// Those that did.
    pub deliveries: u64,
    /// CPU of the server for each, in microseconds.
    pub cpu_us: f64,
}

/// What both came to in one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The workload's name.
    pub workload: &'static str,
    /// Ours, by round.
    pub ours: Vec<Seen>,
    /// The other one, by round.
    pub other: Vec<Seen>,
}

impl Pair {
    /// What a delivery costs by ours, of what it costs by the other: the median of the rounds.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(self.ours.iter().zip(&self.other).map(|(ours, other)| ours.cpu_us / other.cpu_us).collect()).1
    }

    /// Whether both saw all that was due, and the same cost.
    #[must_use]
    pub fn agree(&self) -> bool {
        let all_came = self.ours.iter().chain(&self.other).all(|seen| seen.deliveries == seen.expected);
        all_came && (self.ratio() - 1.0).abs() <= APART_MAX
    }
}

/// Has both do each workload that has a rate, by turns, to a server started for it with `options`.
///
/// # Errors
/// When one of them can not do its work.
pub fn run(
    program: &Path,
    workloads: &[Workload],
    rounds: usize,
    options: &[String],
    mut done: impl FnMut(&str, &str, &Seen),
) -> anyhow::Result<Vec<Pair>> {
    let peer = server(OURS, options)?;
    let mut pairs = Vec::new();
    for workload in workloads {
        let (Load::Rate { per_s, lasting }, Spread::Even { channels }) = (workload.load, workload.spread) else {
            continue;
        };
        let mut pair = Pair { workload: workload.name, ours: Vec::new(), other: Vec::new() };
        for round in 0..rounds {
            for turn in 0..2 {
                let child = Child::start(&peer)?;
                if (turn + round) % 2 == 0 {
                    let figures = generator::run(workload, &peer, &child)?;
                    let (expected, deliveries) = (figures.expected, figures.deliveries);
                    let seen = Seen { expected, deliveries, cpu_us: figures.cpu_us };
                    done(workload.name, "ours", &seen);
                    pair.ours.push(seen);
                } else {
                    let mut command = Command::new(program);
                    let url = format!("ws://{}{}", child.address, peer.path);
                    command.args(["--label", workload.name, "--protocol", "centrifuge", "--url", &url]);
                    for (name, value) in [
                        ("--connections", workload.connections.to_string()),
                        ("--channels", channels.to_string()),
                        ("--payload", workload.payload.to_string()),
                        ("--rate", per_s.to_string()),
                        ("--secs", lasting.as_secs().to_string()),
                        ("--server-pid", child.pid().to_string()),
                    ] {
                        command.args([name, &value]);
                    }
                    let seen = other(command).with_context(|| format!("{} by {}", workload.name, program.display()))?;
                    done(workload.name, "wsload", &seen);
                    pair.other.push(seen);
                }
            }
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

/// What `wsload` prints, as far as it matters here.
#[derive(Deserialize)]
struct Printed {
    fanout: Fanout,
}

#[derive(Deserialize)]
struct Fanout {
    expected: u64,
    delivered: u64,
    server_cpu_us_per_delivery: f64,
}

fn other(mut command: Command) -> anyhow::Result<Seen> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    let Printed { fanout } = serde_json::from_slice(&output.stdout).context("it did not print what wsload prints")?;
    let Fanout { expected, delivered, server_cpu_us_per_delivery } = fanout;
    Ok(Seen { expected, deliveries: delivered, cpu_us: server_cpu_us_per_delivery })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(deliveries: u64, cpu_us: f64) -> Seen {
        Seen { expected: 100, deliveries, cpu_us }
    }

    #[test]
    fn they_agree_about_deliveries_and_about_their_cost_or_not_at_all() {
        let pair = |ours: [Seen; 3], other: [Seen; 3]| Pair { workload: "W2", ours: ours.into(), other: other.into() };
        let other = [seen(100, 2.0), seen(100, 3.0), seen(100, 4.0)];
        let near = [seen(100, 2.1), seen(100, 3.2), seen(100, 9.0)];
        assert!(pair(near, other).agree(), "one round of three is noise");
        assert!(!pair([seen(100, 2.3), seen(100, 3.4), seen(100, 4.6)], other).agree(), "a tenth apart");
        let lost = [near[0], near[1], seen(99, 4.0)];
        assert!(!pair(lost, other).agree() && !pair(other, lost).agree(), "one of them missed a delivery");
    }

    #[test]
    fn what_it_prints_is_read() {
        let mut command = Command::new("printf");
        command.arg(r#"{"fanout":{"expected":9,"delivered":8,"server_cpu_us_per_delivery":2.5,"lost":1},"idle":{}}"#);
        let seen = other(command).unwrap();
        assert_eq!((seen.expected, seen.deliveries, seen.cpu_us), (9, 8, 2.5));
        let mut command = Command::new("printf");
        command.arg("usage");
        assert!(other(command).unwrap_err().to_string().contains("did not print"));
        assert!(other(Command::new("false")).unwrap_err().to_string().contains("exit status: 1"));
    }
}
