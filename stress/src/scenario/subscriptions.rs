//! Fifty thousand subscriptions, in waves.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{GIVEN_BACK, Stage, UNBROKEN};
use super::{Context, Scenario, stats};
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 2";
const WAVES: u64 = 5;
const SUBSCRIPTIONS_EACH: u64 = 5;
const PUBLISHER_CONNECTIONS: u64 = 2;
/// What a straight line must explain. The allocator takes memory in steps of up to 2 MiB, and all 50,000 subscriptions
/// come to some 14 MiB: such steps alone cost the fit 2 to 3 %. Growth by the square would leave it at 0.92.
const FIT_MIN: f64 = 0.95;
/// As what power of the subscriptions memory may grow. In proportion is 1, with a logarithm 1.1 over these sizes, by the
/// square 2; what is paid once, with the first wave, pulls it below 1.
const EXPONENT_MAX: f64 = 1.25;

/// 50,000 subscriptions of 10,000 clients, in five waves.
pub(super) struct Cascade;

impl Scenario for Cascade {
    fn name(&self) -> &'static str {
        "50000_subscriptions_cascade"
    }

    fn claim(&self) -> &'static str {
        "50,000 subscriptions come in five waves, are all active at once, cost memory in proportion, and are counted exactly"
    }

    fn takes_target(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Cascade {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let per_wave = context.scaled(2_000, 10);
        let connections = per_wave * WAVES;
        // As many channels as connections: five subscribers in each.
        let topology = Topology {
            connections,
            channels: connections,
            subscriptions_each: SUBSCRIPTIONS_EACH,
            ..Topology::default()
        };
        let rate = connections as f64 / 5.0;
        let workload = Workload { publishers: connections, publications: connections, rate, payload_bytes: 128 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;

        let (mut subscribed, mut wanted, mut took) = (0, 0, Duration::ZERO);
        let mut points = vec![(0.0, stage.resident()?)];
        for wave in 0..WAVES {
            let members = wave * per_wave..(wave + 1) * per_wave;
            let connected = stage.members(&format!("wave {} of {WAVES}", wave + 1), members, |_| true).await;
            subscribed += connected.subscribed;
            wanted += connected.wanted;
            took += connected.took;
            // Equal states: what the storm of connects needed is given back first.
            tokio::time::sleep(GIVEN_BACK).await;
            points.push((subscribed as f64, stage.resident()?));
        }
        let (_, counted) = stats::info(stage.address()).await?;
        stage.publishers(PUBLISHER_CONNECTIONS).await?;
        stage.publish("publish", connections, rate, 1).await;
        let connections = stage.fleet.plan().topology.connections;
        let resources = stage.rest(Duration::from_secs(60), connections, wanted).await?;

        let run = &mut stage.run;
        for &(subscriptions, bytes) in &points {
            run.number(&format!("resident_bytes_at_{subscriptions}"), bytes);
        }
        run.threshold(
            Threshold::exactly("active subscriptions, by the server", wanted as f64, "", PLAN).measured(counted as f64),
        );
        run.threshold(Threshold::at_most("all in force", 60.0, "s", PLAN).measured(took.as_secs_f64()));
        if resources.contains_key("server") {
            let ((slope, fit), exponent) = (line(&points), exponent(&points));
            run.number("bytes_per_subscription", slope);
            let limits = [
                Threshold::at_least("memory by subscriptions, R² of a line", FIT_MIN, "", PLAN).measured(fit),
                Threshold::at_most("memory by subscriptions, exponent of its growth", EXPONENT_MAX, "", PLAN)
                    .measured(exponent),
            ];
            let is_enough = context.scale >= 0.5;
            for limit in limits {
                run.threshold(if is_enough { limit } else { limit.goal() });
            }
            if !is_enough {
                run.doubt("too few subscriptions for their memory to stand out: how it grows is shown and not judged");
            }
        } else {
            run.doubt("the server is not a child of the lab: its memory was not watched");
        }
        stage.verdict(&UNBROKEN).await
    }
}

/// Least squares: the slope, and how much of the variance the line explains.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let sxy: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let syy: f64 = points.iter().map(|p| (p.1 - my).powi(2)).sum();
    (sxy / sxx, sxy * sxy / (sxx * syy))
}

/// `y - y₀` grows as this power of `x`: the slope between their logarithms. The first point is `y₀`.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let base = points.first().map_or(0.0, |first| first.1);
    let logarithms: Vec<(f64, f64)> = points.iter().skip(1).map(|&(x, y)| (x.ln(), (y - base).ln())).collect();
    line(&logarithms).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..6).map(|x| (f64::from(x), of(f64::from(x)))).collect()
    }

    #[test]
    fn a_line_is_told_from_a_curve() {
        let straight = points(|x| 3.0 + 2.0 * x);
        let (slope, fit) = line(&straight);
        assert!((slope - 2.0).abs() < 1e-9 && (fit - 1.0).abs() < 1e-9);
        assert!((exponent(&straight) - 1.0).abs() < 1e-9);
        for power in [1.5, 2.0] {
            let curved = points(|x| 9.0 + x.powf(power));
            assert!((exponent(&curved) - power).abs() < 1e-9);
        }
        assert!(line(&points(|x| x.powi(2))).1 < FIT_MIN);
        // Where nothing grows there is no exponent, and what is none does not hold.
        assert!(!Threshold::at_most("x", EXPONENT_MAX, "", PLAN).measured(exponent(&points(|_| 1.0))).held);
    }

    #[test]
    fn a_full_run_in_steps_of_the_allocator_is_within_both_limits() {
        // Bytes of a run, from 0 to 50,000 subscriptions.
        let measured: [f64; 6] = [9_072_640.0, 12_779_520.0, 15_753_216.0, 17_039_360.0, 21_188_608.0, 22_671_360.0];
        let run = points(|x| measured[x as usize]);
        assert!(line(&run).1 > FIT_MIN && exponent(&run) < EXPONENT_MAX, "{:?}, {}", line(&run), exponent(&run));
    }
}
