//! Plots, drawn by hand: lines over time, grouped bars on a logarithmic axis, lines on two, and bars that lie. No fonts are
//! read, no script runs.

mod log_lines;
mod rows;

pub use log_lines::log_lines;
pub use rows::rows;

use std::fmt::Write as _;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 180.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;
/// Told apart by colour-blind readers too (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555"];

/// A line.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// One bar in each group.
#[derive(Clone, Debug, Default)]
pub struct Bars {
    /// Its name in the legend.
    pub name: String,
    /// A value for each group.
    pub values: Vec<f64>,
}

/// Lines over x. The y axis begins at zero: growth is not to look larger than it is.
#[must_use]
pub fn lines(title: &str, x_unit: &str, y_unit: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let x_max = nice(points().map(|p| p.0).fold(0.0, f64::max));
    let y_max = nice(points().map(|p| p.1).fold(0.0, f64::max));
    let mut svg = Canvas::new(title, y_unit);
    for step in 0..=5u32 {
        let share = f64::from(step) / 5.0;
        svg.y_tick(share, &label(y_max * share));
        svg.x_label(
            share,
            &format!("{}{}", label(x_max * share), if step == 5 { format!(" {x_unit}") } else { String::new() }),
        );
    }
    for (at, series) in series.iter().enumerate() {
        let path: Vec<String> =
            series.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", svg.x(x / x_max), svg.y(y / y_max))).collect();
        let colour = COLOURS[at % COLOURS.len()];
        svg.add(&format!(
            r#"<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{}"/>"#,
            path.join(" ")
        ));
        svg.legend(at, &series.name);
    }
    svg.finish()
}

/// Groups of bars. The y axis is logarithmic: p50 and max rarely fit on another.
#[must_use]
pub fn bars(title: &str, y_unit: &str, groups: &[&str], bars: &[Bars]) -> String {
    let values = || bars.iter().flat_map(|bars| bars.values.iter().copied()).filter(|&value| value > 0.0);
    let low = values().fold(f64::INFINITY, f64::min).min(1e9).log10().floor();
    let high = values().fold(f64::MIN_POSITIVE, f64::max).log10().ceil().max(low + 1.0);
    let mut svg = Canvas::new(title, y_unit);
    let decades = (high - low).max(1.0);
    let mut decade = 0.0;
    while decade <= decades {
        svg.y_tick(decade / decades, &label(10f64.powf(low + decade)));
        decade += 1.0;
    }
    let group_share = 1.0 / groups.len().max(1) as f64;
    let bar_share = group_share * 0.8 / bars.len().max(1) as f64;
    for (g, group) in groups.iter().enumerate() {
        svg.x_label((g as f64 + 0.5) * group_share, group);
        for (b, one) in bars.iter().enumerate() {
            let Some(&value) = one.values.get(g).filter(|&&value| value > 0.0) else { continue };
            let share = ((value.log10() - low) / decades).clamp(0.004, 1.0);
            let x = svg.x(g as f64 * group_share + group_share * 0.1 + b as f64 * bar_share);
            let (y, width) = (svg.y(share), (svg.x(bar_share) - svg.x(0.0)) * 0.92);
            let colour = COLOURS[b % COLOURS.len()];
            let height = svg.y(0.0) - y;
            svg.add(&format!(
                r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#
            ));
            if bars.len() <= 2 {
                let middle = x + width / 2.0;
                svg.add(&format!(
                    r#"<text x="{middle:.1}" y="{:.1}" text-anchor="middle" font-size="10">{}</text>"#,
                    y - 3.0,
                    label(value)
                ));
            }
        }
    }
    for (b, one) in bars.iter().enumerate() {
        svg.legend(b, &one.name);
    }
    svg.finish()
}

struct Canvas(String);

impl Canvas {
    fn new(title: &str, y_unit: &str) -> Self {
        let mut canvas = Self(String::new());
        canvas.add(&format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" fill="{}">"#,
            "#222"
        ));
        canvas.add(&format!(r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##));
        canvas.add(&format!(r#"<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{}</text>"#, escaped(title)));
        canvas.add(&format!(r#"<text x="{LEFT}" y="30" text-anchor="end" dx="-6">{}</text>"#, escaped(y_unit)));
        canvas
    }

    fn x(&self, share: f64) -> f64 {
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, share: f64) -> f64 {
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn add(&mut self, element: &str) {
        self.0.push_str(element);
        self.0.push('\n');
    }

    fn y_tick(&mut self, share: f64, text: &str) {
        let (y, right) = (self.y(share), self.x(1.0));
        self.add(&format!(r##"<line x1="{LEFT}" x2="{right:.1}" y1="{y:.1}" y2="{y:.1}" stroke="#dddddd"/>"##));
        self.add(&format!(
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            y + 4.0,
            escaped(text)
        ));
    }

    fn x_label(&mut self, share: f64, text: &str) {
        let (x, y) = (self.x(share), HEIGHT - BOTTOM + 16.0);
        self.add(&format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle">{}</text>"#, escaped(text)));
    }

    fn legend(&mut self, at: usize, name: &str) {
        let (x, y) = (self.x(1.0) + 12.0, TOP + 16.0 * at as f64);
        let colour = COLOURS[at % COLOURS.len()];
        self.add(&format!(r#"<rect x="{x:.1}" y="{y:.1}" width="10" height="10" fill="{colour}"/>"#));
        self.add(&format!(r#"<text x="{:.1}" y="{:.1}">{}</text>"#, x + 15.0, y + 9.0, escaped(name)));
    }

    fn finish(mut self) -> String {
        let _infallible = writeln!(self.0, "</svg>");
        self.0
    }
}

/// The next round number, near enough that a plot is not half empty.
fn nice(value: f64) -> f64 {
    if value <= 0.0 || value.is_nan() {
        return 1.0;
    }
    let magnitude = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * magnitude).find(|&step| step >= value).unwrap_or(value)
}

fn label(value: f64) -> String {
    if value >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}").trim_end_matches('0').to_owned()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_well_formed_whatever_they_are_given() {
        let series = |points: &[(f64, f64)]| [Series { name: "a<b".to_owned(), points: points.to_vec() }];
        for svg in [
            lines("t", "s", "MiB", &series(&[])),
            lines("t", "s", "MiB", &series(&[(0.0, 0.0), (1.0, 5.0)])),
            bars("t", "ms", &["p50"], &[Bars { name: "none".to_owned(), values: vec![0.0] }]),
            bars("t", "ms", &["p50", "max"], &[Bars { name: "some".to_owned(), values: vec![0.2, 3_000.0] }]),
        ] {
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("a<b"), "{svg}");
        }
    }

    #[test]
    fn axes_end_at_round_numbers_just_above() {
        assert_eq!([0.0, 0.07, 10.1, 120.5, 999.0].map(nice), [1.0, 0.08, 12.0, 150.0, 1000.0]);
    }
}
