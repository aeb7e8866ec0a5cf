//! A whole day in virtual time: ten thousand subscriptions, a hundred publications a second, 86,400 seconds.
//!
//! Server and clients are the real ones; the clock is not, and the streams between them are in memory. That is said wherever the
//! result is shown. The same claim with real sockets, and without the waiting, is [`sustained`](super::sustained).

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::run::Run;
use super::{Context, Scenario};
use crate::fault::plan::{Plan, Sessions, Topology, Workload};
use crate::fault::{Fault, Kind, Target};
use crate::fleet::Offered;
use crate::live_bytes::live_bytes;
use crate::oracle::Law;
use crate::progress::Progress;
use crate::report::{Plot, Report};
use crate::threshold::Threshold;
use crate::trend::seasonal_trend;
use crate::virtual_time::world::{Look, Outcome, Sample, run};

const SOURCE: &str = "fault model, section 8";
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const RATE: f64 = 100.0;
/// Channels of each member, all of them its own.
const SUBSCRIPTIONS_EACH: u64 = 10;
/// A channel gets a publication every 100 seconds, and its history runs out shortly before the next: whoever comes back in time
/// recovers, and who stays away for longer is told that it could not.
const HISTORY_TTL: Duration = Duration::from_secs(90);
const HISTORY_SIZE: u64 = 10;
/// After so many hours the faults come round again.
const ROUND_HOURS: u32 = 6;
/// By then each kind of fault has struck once, and whatever keeps room for the largest burst it has seen has seen it.
const WARM_UP: Duration = Duration::from_secs(7 * 3600);
/// Members that leave, per second: one stays for 83 minutes, so that after [`WARM_UP`] hardly anybody is left from the beginning. What a
/// client holds depends on its age, for it keeps the room that it has needed once; those of every later hour are as old as these.
const DEPARTURES: f64 = 0.2;
const SAMPLE_EVERY: Duration = Duration::from_secs(300);
/// Growth of live bytes over the day that is put up with. A series whose slope is no accident and which stays below is said to be
/// so.
const GROWTH_MAX_PERCENT: f64 = 1.0;
/// A trend this unlikely by accident is one.
const P_MIN: f64 = 0.01;

/// A day.
pub(super) struct Day {
    /// Publications and nothing else: no heartbeats, no faults, nobody comes or goes, and no client says anything. A backend
    /// publishes to all channels of a member at once, where on the other day they come one by one, half of them from clients.
    payload_only: bool,
}

impl Day {
    pub(super) fn new() -> Self {
        Self { payload_only: false }
    }

    pub(super) fn payload_only() -> Self {
        Self { payload_only: true }
    }

    fn plan(&self, context: &Context) -> Plan {
        let subscriptions = context.scaled(10_000, 20);
        // Of a few members a fault for a tenth of them would mean nobody.
        let connections = (subscriptions / SUBSCRIPTIONS_EACH).max(20).min(subscriptions);
        let subscriptions_each = subscriptions / connections;
        let channels = connections * subscriptions_each;
        // The day stays a day: a smaller one has fewer members, and fewer publications a second.
        let share = channels as f64 / 10_000.0;
        let rate = RATE * share;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let publications = (rate * DAY.as_secs_f64()) as u64;
        let busy = Sessions {
            token_ttl: Some(HOUR / 2),
            departures: DEPARTURES * share.sqrt(),
            away: Duration::from_secs(1),
            requests: 0.1,
            by_api: 0.5,
            ..Sessions::default()
        };
        let quiet =
            Sessions { ping_interval: Duration::ZERO, by_api: 1.0, burst: subscriptions_each, ..Sessions::default() };
        let topology = Topology {
            connections,
            channels,
            subscriptions_each,
            history_size: HISTORY_SIZE,
            history_ttl: HISTORY_TTL,
            history_meta_ttl: HOUR,
            sessions: if self.payload_only { quiet } else { busy },
        };
        let workload = Workload { publishers: channels, publications, rate, payload_bytes: 128 };
        let faults = if self.payload_only { Vec::new() } else { faults() };
        Plan { seed: context.seed, topology, workload, faults }
    }
}

/// Something in every hour but the first, the same again after [`ROUND_HOURS`]; three quarters of an hour are quiet after it.
fn faults() -> Vec<Fault> {
    let mut faults = Vec::new();
    for hour in 1..24 {
        let from = HOUR * hour + MINUTE;
        let some = |name: &str, kind: Kind, percent: f64, lasts: Duration| {
            Fault::new(format!("{name} at {hour}"), kind).target(Target::Percent(percent)).between(from, from + lasts)
        };
        faults.push(match hour % ROUND_HOURS {
            1 => some("drops", Kind::Reset, 20.0, MINUTE),
            2 => some("half-open peers", Kind::HalfOpen, 5.0, MINUTE * 3),
            3 => some("stalls", Kind::Stall, 5.0, MINUTE * 2),
            4 => some("closed without a word", Kind::Fin, 10.0, MINUTE),
            5 => some("node killed", Kind::Kill, 100.0, Duration::from_secs(10)),
            _ => some("node restarted", Kind::Restart, 100.0, Duration::from_secs(20)),
        });
    }
    faults
}

impl Scenario for Day {
    fn name(&self) -> &'static str {
        if self.payload_only { "24hour_sustained_10k_payload_only" } else { "24hour_sustained_10k_subscriptions" }
    }

    fn claim(&self) -> &'static str {
        if self.payload_only {
            "virtual time: 10,000 subscriptions of 1,000 members get 100 publications a second for 24 hours by the server API, ten at a time, nothing else going on: all arrive, nothing is left behind"
        } else {
            "virtual time: 10,000 subscriptions of 1,000 members get 100 publications a second for 24 hours with heartbeats, tokens that run out, members that come and go, drops, half-open peers, stalls and restarts: every delivery is right, memory is level, nothing is left behind"
        }
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Day {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let plan = self.plan(context);
        let mut run = Run::in_memory(context, self, &plan);
        let progress = if context.quiet { Progress::quiet() } else { Progress::new(self.name()) };
        progress.phase("minutes of a virtual day", DAY.as_secs() / 60);
        let began = Instant::now();
        let outcome = on_a_thread(plan.clone(), progress.clone()).await?;
        let took = began.elapsed();
        progress.finish();

        let (begun, planned) = outcome.offered;
        run.offered(Offered { publications: begun, ratio: begun as f64 / planned.max(1) as f64 });
        run.fault_counts(outcome.faults.clone(), outcome.lane_peak);
        run.judged(&outcome.judgement, outcome.tally, self.laws());
        run.latencies("delivery, virtual time", &outcome.latencies);
        for (code, breaks) in &outcome.breaks {
            run.number(&format!("breaks_with_code_{code}"), breaks.count as f64);
        }
        self.thresholds(&mut run, context, &outcome, took);
        let hours = |at: Duration| at.as_secs_f64() / 3600.0;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let points = |of: fn(&Sample) -> u64| -> Vec<(f64, f64)> {
            outcome.samples.iter().map(|sample| (hours(sample.at), mib(of(sample)))).collect()
        };
        run.plot(Plot {
            name: "live_bytes".to_owned(),
            title: format!("{}: allocated by server, clients and lab (virtual time)", self.name()),
            x_unit: "h".to_owned(),
            y_unit: "MiB".to_owned(),
            series: vec![
                (
                    "server and clients".to_owned(),
                    points(|sample| sample.live_bytes.saturating_sub(sample.ledger_bytes)),
                ),
                ("the ledger".to_owned(), points(|sample| sample.ledger_bytes)),
            ],
        });
        run.number("virtual_hours", hours(outcome.virtual_time));
        run.number("wall_seconds", took.as_secs_f64());
        run.number("fingerprint_high", (outcome.fingerprint >> 32) as f64);
        run.number("fingerprint_low", (outcome.fingerprint & 0xffff_ffff) as f64);
        run.doubt(
            "time was virtual and the streams were in memory: nothing is said of kernel buffers, real clocks or speed",
        );
        Ok(run.finish())
    }

    fn laws(&self) -> &'static [Law] {
        const QUIET: [Law; 13] = [
            Law::I1,
            Law::I2,
            Law::I3,
            Law::I4,
            Law::I8,
            Law::I9,
            Law::I10,
            Law::I12,
            Law::I14,
            Law::I15,
            Law::I17,
            Law::I18,
            Law::I19,
        ];
        const BUSY: [Law; 15] = [
            Law::I1,
            Law::I2,
            Law::I3,
            Law::I4,
            Law::I5,
            Law::I7,
            Law::I8,
            Law::I9,
            Law::I10,
            Law::I12,
            Law::I14,
            Law::I15,
            Law::I17,
            Law::I18,
            Law::I19,
        ];
        if self.payload_only { &QUIET } else { &BUSY }
    }

    fn thresholds(&self, run: &mut Run, context: &Context, outcome: &Outcome, took: Duration) {
        let level: Vec<(f64, f64)> = outcome
            .samples
            .iter()
            .filter(|sample| sample.is_level && sample.at > WARM_UP)
            .map(|sample| (sample.at.as_secs_f64(), sample.live_bytes.saturating_sub(sample.ledger_bytes) as f64))
            .collect();
        // What follows a fault is compared with what follows the same fault in another round.
        let season = |at: f64| (at % (f64::from(ROUND_HOURS) * HOUR.as_secs_f64()) / SAMPLE_EVERY.as_secs_f64()) as u64;
        let slope = seasonal_trend(&level, season);
        let first = level.first().map_or(f64::NAN, |&(_, bytes)| bytes);
        let grown = slope.map_or(f64::NAN, |slope| slope.per_second * DAY.as_secs_f64() / first * 100.0);
        let p = slope.map_or(f64::NAN, |slope| slope.p);
        run.number("live_bytes_slope_per_hour", slope.map_or(f64::NAN, |slope| slope.per_second * 3600.0));
        run.number("live_bytes_slope_p", p);
        run.number("live_bytes_samples_at_equal_states", level.len() as f64);
        if p < P_MIN && grown > 0.0 {
            run.doubt(format!(
                "live bytes grow: {grown:.2} % in a day (Theil–Sen), which is no accident (p {p:.4}): something grows that is below the limit"
            ));
        }
        let counted = if p < P_MIN || p.is_nan() { grown } else { 0.0 };
        let wall_max = if self.payload_only { 90.0 } else { 300.0 };
        let wall =
            Threshold::at_most("time on the machine's clock", wall_max, "s", SOURCE).measured(took.as_secs_f64());
        let growth = Threshold::at_most("trend of live bytes over the day", GROWTH_MAX_PERCENT, "%", SOURCE);
        let delivered = (outcome.tally.pushed + outcome.tally.recovered) as f64;
        run.threshold(growth.measured(counted));
        // A small one is quick whatever happens, and a busy machine is not the server's fault.
        run.threshold(if context.scale < 1.0 { wall.goal() } else { wall });
        run.threshold(
            Threshold::at_least("deliveries judged, of publications", 95.0, "%", SOURCE)
                .measured(delivered / outcome.offered.1.max(1) as f64 * 100.0),
        );
    }
}

/// A runtime whose clock stands still cannot live inside one whose clock runs.
async fn on_a_thread(plan: Plan, progress: Progress) -> anyhow::Result<Outcome> {
    let (done, outcome) = tokio::sync::oneshot::channel();
    let work = move || {
        let told = |at: Duration| progress.at(at.as_secs() / 60);
        let look = Look { sample_every: Some(SAMPLE_EVERY), live_bytes: Some(live_bytes), progress: Some(&told) };
        // Nobody waits any more if this fails.
        let _gone = done.send(run(&plan, &look));
    };
    std::thread::Builder::new().name("virtual day".to_owned()).spawn(work)?;
    outcome.await?
}
