//! Plots of a report, as SVG that draws its own background, light or dark as its reader's screen is.
//!
//! Drawn by hand: no font is read and no script runs, and the same report gives the same bytes. [`canvas`] knows axes and
//! ink; here is what is shown: [`timeline`] for what happened when, [`percentiles`] for how long deliveries took,
//! [`recovery`] for how soon those who were cut were back.

use super::{LatencyReport, Plot, Report};
use crate::timeline::Timeline;

mod canvas;

use canvas::{Canvas, Line, Panel, Scale};

/// What the latencies of those who came back are called in reports.
pub const RECOVERY: &str = "recovery";

const MIB: f64 = (1 << 20) as f64;

/// The plots there are data for, by name.
#[must_use]
pub fn of(report: &Report) -> Vec<(&str, String)> {
    let plots = [("timeline", timeline(report)), ("latency", percentiles(report)), (RECOVERY, recovery(report))];
    let curves = report.curves.iter().map(|plot| (plot.name.as_str(), curve(report, plot)));
    plots.into_iter().filter_map(|(name, plot)| Some((name, plot?))).chain(curves).collect()
}

/// What a scenario wants shown besides.
fn curve(report: &Report, plot: &Plot) -> String {
    let lines: Vec<Line> = plot.series.iter().map(|(name, points)| Line::new(name, points.clone())).collect();
    let most = canvas::nice(lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(0.0, f64::max));
    let tick = |at: f64| (at, format!("{} {}", canvas::label(at), plot.x_unit));
    let ticks = (0..=5u32).map(|step| tick(most * f64::from(step) / 5.0)).collect();
    let mut canvas = Canvas::new(&report.name, &plot.title);
    canvas.chart(&plot.y_unit, Scale::Linear, &Panel::new("", lines), most, ticks);
    canvas.finish()
}

/// Deliveries a second, subscriptions in force, memory and processors, one above the other on one axis of time, with the
/// phases and the stretches in which faults held.
fn timeline(report: &Report) -> Option<String> {
    let Timeline { samples, phases } = &report.timeline;
    let sampled = |name: &str| report.resources.get(name).map_or(&[][..], |resources| &resources.samples);
    let end = samples.last().map(|moment| moment.at).into_iter();
    let end = end.chain(["server", "lab"].iter().filter_map(|name| Some(sampled(name).last()?.at))).fold(0.0, f64::max);
    if samples.len() < 2 {
        return None;
    }
    let memory = |name: &str| sampled(name).iter().map(|s| (s.at, s.resident_bytes as f64 / MIB)).collect();
    let allocated: Vec<(f64, f64)> =
        sampled("server").iter().filter_map(|s| Some((s.at, s.live_bytes? as f64 / MIB))).collect();
    let cores = |name: &str| {
        let used = |pair: &[crate::monitor::Sample]| {
            let seconds = pair[1].at - pair[0].at;
            (seconds > 0.05).then(|| (pair[1].at, (pair[1].cpu_seconds - pair[0].cpu_seconds).max(0.0) / seconds))
        };
        sampled(name).windows(2).filter_map(used).collect()
    };
    let processes = |of: &dyn Fn(&str) -> Vec<(f64, f64)>| {
        ["server", "lab"].iter().map(|name| Line::new(name, of(name))).filter(|line| !line.points.is_empty()).collect()
    };
    let mut memory: Vec<Line> = processes(&memory);
    if !allocated.is_empty() {
        memory.push(Line::new("server, allocated", allocated));
    }
    let panels = [
        Panel::new("deliveries/s", vec![Line::new("deliveries", report.timeline.delivery_rate())]),
        Panel::new("in force", vec![Line::new("subscriptions", report.timeline.live())]),
        Panel::new("MiB", memory),
        Panel::new("cores", processes(&cores)),
    ];
    let held: Vec<(f64, f64)> = report
        .faults
        .values()
        .map(|fault| (fault.fault.from.as_secs_f64(), fault.fault.until.map_or(end, |until| until.as_secs_f64())))
        .collect();
    let mut canvas = Canvas::new(&report.name, "deliveries, subscriptions, memory and processors over time");
    canvas.over_time(&panels, end, phases, &held);
    Some(canvas.finish())
}

/// The whole distribution of each latency but the recoveries', on logarithmic axes: the tail is what one wants to see.
fn percentiles(report: &Report) -> Option<String> {
    let shown: Vec<(&String, &LatencyReport)> =
        report.latencies.iter().filter(|(name, latency)| *name != RECOVERY && latency.response.count > 0).collect();
    if shown.is_empty() {
        return None;
    }
    let nines = |&(share, ms): &(f64, f64), count: u64| {
        let left = if share >= 100.0 { 1.0 / (count as f64 + 1.0) } else { 1.0 - share / 100.0 };
        (-left.log10(), ms)
    };
    let mut lines = Vec::new();
    for (name, latency) in shown {
        let points = |curve: &[(f64, f64)]| curve.iter().map(|point| nines(point, latency.response.count)).collect();
        lines.push(Line::new(name, points(&latency.curve)));
        // Where both are the same there is one line to see, which says that the lab kept its plan.
        if differ(&latency.curve, &latency.service_curve) {
            lines.push(Line::new("… from when it was sent", points(&latency.service_curve)).dashed());
        }
    }
    let most = lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(1.0, f64::max).ceil();
    let labels = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999", "99.999999"];
    let ticks = (0u32..).zip(labels).map(|(at, label)| (f64::from(at), format!("{label} %")));
    let ticks = ticks.take_while(|(at, _)| *at <= most).collect();
    let mut canvas = Canvas::new(&report.name, "latency by percentile, from the planned moment");
    canvas.chart("ms", Scale::Log, &Panel::new("", lines), most, ticks);
    Some(canvas.finish())
}

fn differ(one: &[(f64, f64)], other: &[(f64, f64)]) -> bool {
    one.iter().zip(other).any(|(one, other)| (one.1 - other.1).abs() > 0.05 * one.1)
}

/// How many of those who were cut were back after how long.
fn recovery(report: &Report) -> Option<String> {
    let latency = report.latencies.get(RECOVERY).filter(|latency| latency.response.count > 0)?;
    let swapped = |curve: &[(f64, f64)]| curve.iter().map(|&(share, ms)| (ms, share)).collect();
    let mut lines = vec![Line::new("since the break", swapped(&latency.curve))];
    if differ(&latency.curve, &latency.service_curve) {
        lines.push(Line::new("since it was healed", swapped(&latency.service_curve)).dashed());
    }
    let most = canvas::nice(lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(0.0, f64::max));
    let ticks = (0..=5u32).map(|step| most * f64::from(step) / 5.0).map(|at| (at, canvas::label(at) + " ms")).collect();
    let count = latency.response.count;
    let mut canvas = Canvas::new(&report.name, &format!("recovery: back in force, of {count} that were cut"));
    canvas.chart("%", Scale::Percent, &Panel::new("", lines), most, ticks);
    Some(canvas.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Latencies;
    use crate::timeline::Moment;
    use std::time::Duration;

    #[test]
    fn a_report_without_anything_has_no_plots_and_one_with_everything_has_all() {
        assert!(of(&Report::empty()).is_empty());
        let mut latencies = Latencies::default();
        (1..500).for_each(|n| latencies.record_one(Duration::from_millis(n)));
        let mut report = Report { name: "a<b".to_owned(), ..Report::empty() };
        report.latencies.insert("delivery".to_owned(), (&latencies).into());
        report.latencies.insert(RECOVERY.to_owned(), (&latencies).into());
        let moment = |at: f64| Moment { at, delivered: 0, live: 0 };
        report.timeline.samples = vec![moment(0.0), moment(1.0)];
        let series = vec![("x".to_owned(), vec![(0.0, 1.0), (24.0, 2.0)])];
        report.curves = vec![Plot { name: "bytes".to_owned(), series, ..Plot::default() }];
        let plots = of(&report);
        assert_eq!(
            plots.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["timeline", "latency", "recovery", "bytes"]
        );
        for (name, svg) in plots {
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("a<b"), "{name}: {svg}");
        }
    }
}
