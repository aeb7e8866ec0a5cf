//! Lines on two logarithmic axes: there a power is a straight line, and its exponent the slope.

use super::{COLOURS, Canvas, Series, label};

/// Lines over x, both axes logarithmic. Points that are not above zero are left out. Each point is marked.
#[must_use]
pub fn log_lines(title: &str, x_unit: &str, y_unit: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points).filter(|p| p.0 > 0.0 && p.1 > 0.0);
    let (x_low, x_high) = decades(points().map(|p| p.0));
    let (y_low, y_high) = decades(points().map(|p| p.1));
    let mut svg = Canvas::new(title, y_unit);
    let mut tick = x_low;
    while tick <= x_high {
        let unit = if tick == x_high { format!(" {x_unit}") } else { String::new() };
        svg.x_label((tick - x_low) / (x_high - x_low), &format!("{}{unit}", short(10f64.powf(tick))));
        tick += 1.0;
    }
    let mut tick = y_low;
    while tick <= y_high {
        svg.y_tick((tick - y_low) / (y_high - y_low), &short(10f64.powf(tick)));
        tick += 1.0;
    }
    for (at, series) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let place = |&&(x, y): &&(f64, f64)| (x > 0.0 && y > 0.0).then_some((x.log10(), y.log10()));
        let places: Vec<(f64, f64)> = series.points.iter().filter_map(|point| place(&point)).collect();
        let places: Vec<(f64, f64)> = places
            .into_iter()
            .map(|(x, y)| (svg.x((x - x_low) / (x_high - x_low)), svg.y((y - y_low) / (y_high - y_low))))
            .collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg.add(&format!(
            r#"<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{}"/>"#,
            path.join(" ")
        ));
        for (x, y) in places {
            svg.add(&format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#));
        }
        svg.legend(at, &series.name);
    }
    svg.finish()
}

/// The powers of ten around all values, at least one apart.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    if high <= 0.0 {
        return (0.0, 1.0);
    }
    let low = low.log10().floor();
    (low, high.log10().ceil().max(low + 1.0))
}

fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", label(value / 1e6)),
        1e3.. => format!("{}k", label(value / 1e3)),
        _ => label(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_well_formed_whatever_they_are_given() {
        let with = |points: &[(f64, f64)]| [Series { name: "a<b".to_owned(), points: points.to_vec() }];
        for points in [&[][..], &[(0.0, 1.0)], &[(1.0, 1.0)], &[(10.0, 0.002), (1e6, 3e3)]] {
            let svg = log_lines("t", "bytes", "µs", &with(points));
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("a<b"), "{svg}");
        }
    }

    #[test]
    fn axes_end_at_powers_of_ten() {
        assert_eq!(decades([3.0, 20_000.0].into_iter()), (0.0, 5.0));
        assert_eq!(decades([5.0, 6.0].into_iter()), (0.0, 1.0));
    }
}
