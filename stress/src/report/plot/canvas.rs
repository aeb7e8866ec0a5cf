//! Ink and axes: panels over time, and charts of lines with a legend below.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 74.0;
/// Half of the last label of an axis stands out.
const RIGHT: f64 = 40.0;
/// Below title and subtitle.
const TOP: f64 = 62.0;
const CHART_HEIGHT: f64 = 240.0;
const PANEL_HEIGHT: f64 = 92.0;
const PANEL_GAP: f64 = 30.0;
/// A row of a legend, or of a label below an axis.
const ROW: f64 = 18.0;
/// About what a character of the smaller text takes.
const CHARACTER: f64 = 6.1;

/// Light and dark, each with ink that can be read on it. The lines' colours can be told apart by colour-blind readers and stand
/// out from both (after Okabe and Ito, the yellow left out).
const STYLE: &str = r"<style>
.paper{fill:#ffffff;stroke:#d1d9e0}.ink{fill:#1f2328}.dim{fill:#59636e}.grid{stroke:#d8dee4}.axis{stroke:#8c959f}.fault{fill:#cf222e;opacity:.10}.phase{stroke:#8c959f}
.l0{stroke:#0969da}.l1{stroke:#d4570a}.l2{stroke:#1a7f5a}.l3{stroke:#a3408f}.l4{stroke:#0e8aa8}.l5{stroke:#7a6100}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.dash{stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){.paper{fill:#0d1117;stroke:#3d444d}.ink{fill:#f0f6fc}.dim{fill:#9198a1}.grid{stroke:#2a3038}.axis{stroke:#656c76}.fault{fill:#f85149;opacity:.16}.phase{stroke:#656c76}
.l0{stroke:#4493f8}.l1{stroke:#f0883e}.l2{stroke:#3fb98a}.l3{stroke:#d88fd0}.l4{stroke:#56c7e0}.l5{stroke:#d4b73f}}
</style>";
const COLOURS: usize = 6;

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    dashed: bool,
}

impl Line {
    pub(super) fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, dashed: false }
    }

    /// In the colour of the line before it.
    pub(super) fn dashed(mut self) -> Self {
        self.dashed = true;
        self
    }
}

/// Lines that share an axis.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    unit: String,
    lines: Vec<Line>,
}

impl Panel {
    pub(super) fn new(unit: &str, lines: Vec<Line>) -> Self {
        Self { unit: unit.to_owned(), lines }
    }
}

/// How a chart's y axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
    Percent,
}

/// A plot being drawn.
#[derive(Debug)]
pub(super) struct Canvas {
    body: String,
    bottom: f64,
    name: String,
}

impl Canvas {
    pub(super) fn new(name: &str, subtitle: &str) -> Self {
        let mut canvas = Self { body: String::new(), bottom: TOP, name: format!("{name}: {subtitle}") };
        canvas.text(16.0, 24.0, "ink", "start", &format!(r#"font-size="14" font-weight="600">{}"#, escaped(name)));
        canvas.text(16.0, 42.0, "dim", "start", &format!(">{}", escaped(subtitle)));
        canvas
    }

    /// One panel below the other, over the same time; none for a panel without lines.
    pub(super) fn over_time(&mut self, panels: &[Panel], end: f64, phases: &[(f64, String)], faults: &[(f64, f64)]) {
        let end = end.max(0.1);
        let x = |at: f64| LEFT + (at / end).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT);
        let panels: Vec<&Panel> = panels.iter().filter(|panel| !panel.lines.is_empty()).collect();
        let top = TOP + self.phase_names(phases, x);
        let height = panels.len() as f64 * (PANEL_HEIGHT + PANEL_GAP);
        let bottom = top + height - PANEL_GAP;
        for (from, until) in merged(faults) {
            let (x0, x1) = (x(from), x(until).max(x(from) + 1.5));
            self.rect(x0, top, x1 - x0, bottom - top, "fault");
        }
        for &(at, _) in phases {
            self.line(x(at), x(at), top, bottom, r#"phase" stroke-dasharray="2 4"#);
        }
        for (at, panel) in panels.iter().enumerate() {
            let panel_top = top + at as f64 * (PANEL_HEIGHT + PANEL_GAP);
            let most = nice(panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max));
            let y = |value: f64| panel_top + PANEL_HEIGHT * (1.0 - (value / most).clamp(0.0, 1.0));
            for step in 0..=2u32 {
                let value = most * f64::from(step) / 2.0;
                self.y_tick(y(value), &label(value));
            }
            // The unit and the names stand above the panel, where no line is.
            self.text(LEFT, panel_top - 7.0, "ink", "start", &format!(r#"font-weight="600">{}"#, escaped(&panel.unit)));
            let mut right = WIDTH - RIGHT;
            if panel.lines.len() > 1 {
                for (colour, line) in panel.lines.iter().enumerate().rev() {
                    right -= line.name.chars().count() as f64 * CHARACTER + 26.0;
                    self.key(right, panel_top - 7.0, colour, line);
                }
            }
            for (colour, line) in panel.lines.iter().enumerate() {
                self.path(colour % COLOURS, line, line.points.iter().map(|&(at, value)| (x(at), y(value))));
            }
        }
        for step in 0..=5u32 {
            let at = end * f64::from(step) / 5.0;
            self.text(x(at), bottom + 16.0, "dim", "middle", &format!(">{} s", label(at)));
        }
        self.bottom = bottom + 16.0;
        if !faults.is_empty() {
            self.bottom += ROW + 2.0;
            self.rect(LEFT, self.bottom - 10.0, 22.0, 12.0, "fault");
            self.text(LEFT + 28.0, self.bottom, "dim", "start", ">a fault holds");
        }
    }

    /// The phases' names, each in the first row in which it does not touch another. How high they are altogether.
    fn phase_names(&mut self, phases: &[(f64, String)], x: impl Fn(f64) -> f64) -> f64 {
        let mut rows: Vec<f64> = Vec::new();
        for (at, name) in phases {
            let width = name.chars().count() as f64 * CHARACTER;
            let left = x(*at).min(WIDTH - RIGHT - width).max(16.0);
            let row = rows.iter().position(|&end| end < left).unwrap_or(rows.len());
            if row == rows.len() {
                rows.push(0.0);
            }
            rows[row] = left + width + 8.0;
            self.text(left, TOP + 6.0 + row as f64 * ROW, "dim", "start", &format!(">{}", escaped(name)));
        }
        rows.len() as f64 * ROW + 26.0
    }

    /// Lines over `0..=most` with the given ticks.
    pub(super) fn chart(&mut self, unit: &str, scale: Scale, panel: &Panel, most: f64, ticks: Vec<(f64, String)>) {
        let top = TOP + 18.0;
        let x = |at: f64| LEFT + (at / most.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT);
        let values = || panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
        let (low, high) = match scale {
            Scale::Percent => (0.0, 100.0),
            Scale::Linear => (0.0, nice(values().fold(0.0, f64::max))),
            Scale::Log => {
                let low = values().filter(|&value| value > 0.0).fold(f64::INFINITY, f64::min);
                let low = if low.is_finite() { low.log10().floor() } else { 0.0 };
                (low, values().fold(f64::MIN_POSITIVE, f64::max).log10().ceil().max(low + 1.0))
            }
        };
        let y = |value: f64| {
            let value = if scale == Scale::Log { value.max(1e-9).log10() } else { value };
            top + CHART_HEIGHT * (1.0 - ((value - low) / (high - low)).clamp(0.0, 1.0))
        };
        self.text(LEFT, top - 10.0, "ink", "start", &format!(r#"font-weight="600">{}"#, escaped(unit)));
        match scale {
            Scale::Percent | Scale::Linear => {
                let ticks = (0..=4u32).map(|step| high * f64::from(step) / 4.0);
                ticks.for_each(|at| self.y_tick(y(at), &label(at)));
            }
            Scale::Log => {
                let mut decade = low;
                while decade <= high {
                    self.y_tick(y(10f64.powf(decade)), &label(10f64.powf(decade)));
                    decade += 1.0;
                }
            }
        }
        let bottom = top + CHART_HEIGHT;
        for (at, text) in ticks {
            self.line(x(at), x(at), bottom, bottom + 4.0, "axis");
            self.text(x(at), bottom + 18.0, "dim", "middle", &format!(">{}", escaped(&text)));
        }
        let (mut colour, mut left) = (0usize, LEFT);
        self.bottom = bottom + 22.0 + ROW;
        for (at, line) in panel.lines.iter().enumerate() {
            if at > 0 && !line.dashed {
                colour += 1;
            }
            let colour = colour % COLOURS;
            self.path(colour, line, line.points.iter().map(|&(at, value)| (x(at), y(value))));
            let width = line.name.chars().count() as f64 * CHARACTER + 44.0;
            if left + width > WIDTH - RIGHT && left > LEFT {
                (left, self.bottom) = (LEFT, self.bottom + ROW);
            }
            self.key(left, self.bottom, colour, line);
            left += width;
        }
    }

    pub(super) fn finish(self) -> String {
        let height = self.bottom + 16.0;
        let name = escaped(&self.name);
        // An image has no page to take its size from.
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" \
             role=\"img\" aria-label=\"{name}\" font-family=\"system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif\" font-size=\"11\">\n\
             {STYLE}\n<rect class=\"paper\" x=\".5\" y=\".5\" width=\"{:.0}\" height=\"{:.0}\" rx=\"8\"/>\n{}</svg>\n",
            WIDTH - 1.0,
            height - 1.0,
            self.body
        )
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _infallible = writeln!(self.body, "{element}");
    }

    /// `rest` begins inside the tag.
    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, rest: &str) {
        self.add(format_args!(r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}" {rest}</text>"#));
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        self.add(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        ));
    }

    fn line(&mut self, x0: f64, x1: f64, y0: f64, y1: f64, class: &str) {
        self.add(format_args!(r#"<line class="{class}" x1="{x0:.1}" x2="{x1:.1}" y1="{y0:.1}" y2="{y1:.1}"/>"#));
    }

    fn y_tick(&mut self, y: f64, text: &str) {
        self.line(LEFT, WIDTH - RIGHT, y, y, "grid");
        self.text(LEFT - 8.0, y + 4.0, "dim", "end", &format!(">{}", escaped(text)));
    }

    fn path(&mut self, colour: usize, line: &Line, points: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dash = if line.dashed { " dash" } else { "" };
        self.add(format_args!(
            r#"<g class="l{colour}"><polyline class="line{dash}" points="{}"/></g>"#,
            points.join(" ")
        ));
    }

    /// A line's name in a legend, after a bit of the line.
    fn key(&mut self, x: f64, y: f64, colour: usize, line: &Line) {
        let dash = if line.dashed { " dash" } else { "" };
        let (x1, middle) = (x + 18.0, y - 4.0);
        self.add(format_args!(
            r#"<g class="l{colour}"><line class="line{dash}" x1="{x:.1}" x2="{x1:.1}" y1="{middle:.1}" y2="{middle:.1}"/></g>"#
        ));
        self.text(x + 23.0, y, "dim", "start", &format!(">{}", escaped(&line.name)));
    }
}

/// Stretches that touch as one: several faults at a time are not to look worse than one.
fn merged(stretches: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sorted = stretches.to_vec();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (from, until) in sorted {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => merged.push((from, until)),
        }
    }
    merged
}

/// The next round number, near enough that a plot is not half empty.
pub(super) fn nice(value: f64) -> f64 {
    if value <= 0.0 || value.is_nan() {
        return 1.0;
    }
    let magnitude = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * magnitude).find(|&step| step >= value).unwrap_or(value)
}

/// A number on an axis.
pub(super) fn label(value: f64) -> String {
    let short = |number: f64, unit: &str| {
        let text = format!("{number:.2}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        format!("{text}{unit}")
    };
    match value {
        _ if value >= 1e6 => short(value / 1e6, " M"),
        _ if value >= 1e4 => short(value / 1e3, " k"),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 0.1 || value == 0.0 => short(value, ""),
        _ => format!("{value:.3}").trim_end_matches('0').to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_just_above() {
        assert_eq!([0.0, 0.07, 10.1, 120.5, 999.0].map(nice), [1.0, 0.08, 12.0, 150.0, 1000.0]);
        assert_eq!(
            [0.0, 0.001, 0.5, 12.0, 150.0, 12_500.0, 2e6].map(label),
            ["0", "0.001", "0.5", "12", "150", "12.5 k", "2 M"]
        );
    }

    #[test]
    fn stretches_that_touch_are_one() {
        assert_eq!(merged(&[(3.0, 4.0), (0.0, 1.0), (0.5, 2.0)]), [(0.0, 2.0), (3.0, 4.0)]);
    }

    #[test]
    fn nothing_is_drawn_of_nothing_and_it_is_still_an_image() {
        let mut canvas = Canvas::new("a", "b");
        canvas.over_time(&[Panel::new("x", vec![])], 0.0, &[], &[]);
        canvas.chart("ms", Scale::Log, &Panel::new("", vec![Line::new("none", vec![])]), 0.0, vec![]);
        let svg = canvas.finish();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
