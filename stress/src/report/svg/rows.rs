//! Bars that lie: one value for each of several names that are too long to stand under a bar.

use super::{COLOURS, escaped, label, nice};

const WIDTH: f64 = 800.0;
const NAMES: f64 = 250.0;
const VALUES: f64 = 90.0;
const ROW: f64 = 22.0;
const TOP: f64 = 30.0;

/// A bar for each name, from zero. The axis ends at ten times the median: what is longer is cut, and says so by an arrow.
#[must_use]
pub fn rows(title: &str, unit: &str, values: &[(&str, f64)]) -> String {
    let mut sorted: Vec<f64> = values.iter().map(|value| value.1).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0);
    let longest = sorted.last().copied().unwrap_or(1.0).min(median * 10.0);
    let full = nice(longest);
    let height = TOP + ROW * values.iter().fold(0.5, |rows, _| rows + 1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#222\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"13\" font-weight=\"bold\">{} ({})</text>\n",
        escaped(title),
        escaped(unit)
    );
    let mut y = TOP;
    for (at, &(name, value)) in values.iter().enumerate() {
        let cut = value > full;
        let width = (value.min(full) / full * (WIDTH - NAMES - VALUES)).max(1.0);
        let colour = COLOURS[if at == 0 { 6 } else { 0 }];
        let (middle, end) = (y + ROW / 2.0 + 4.0, NAMES + width + 6.0);
        svg.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{NAMES}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\n\
             <text x=\"{end:.1}\" y=\"{middle:.1}\">{}{}</text>\n",
            NAMES - 8.0,
            escaped(name),
            y + 3.0,
            ROW - 6.0,
            if cut { "→ " } else { "" },
            label((value * 100.0).round() / 100.0)
        ));
        y += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let svg = rows("t", "µs", &[("floor", 1.0), ("a<b", 2.0), ("heavy", 2_000.0)]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("a<b"));
        assert_eq!(svg.matches('→').count(), 1, "{svg}");
        assert!(!rows("t", "µs", &[]).contains("NaN"));
    }
}
