//! Numbers for people: as many digits as they deserve, and a unit that fits.

/// With separators, for counts.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three digits that mean something; whole numbers stay whole.
#[must_use]
pub fn short(number: f64) -> String {
    if !number.is_finite() {
        return "not a number".to_owned();
    }
    if number == number.trunc() && number.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and small enough")]
        let whole = count(number.abs() as u64);
        return if number < 0.0 { format!("-{whole}") } else { whole };
    }
    match number.abs() {
        size if size >= 1_000.0 => short(number.round()),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 0.1 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

/// With a unit, if there is one.
#[must_use]
pub fn with_unit(number: f64, unit: &str) -> String {
    let number = short(number);
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// Milliseconds, as seconds where those are easier to read.
#[must_use]
pub fn millis(ms: f64) -> String {
    if ms >= 1_000.0 { with_unit(ms / 1_000.0, "s") } else { with_unit(ms, "ms") }
}

/// Seconds, as minutes where those are easier to read.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of seconds")]
    let whole = seconds.max(0.0).round() as u64;
    if whole >= 60 { format!("{} min {} s", whole / 60, whole % 60) } else { with_unit(seconds, "s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_mean_something() {
        let shown = [0.0, 7.0, 1_234_567.0, -1_000.0, 0.01234, 0.5, 12.34, 123.4, 12_345.6, f64::NAN].map(short);
        assert_eq!(shown, ["0", "7", "1,234,567", "-1,000", "0.0123", "0.50", "12.3", "123", "12,346", "not a number"]);
        assert_eq!([812.0, 1_250.0].map(millis), ["812 ms", "1.25 s"]);
        assert_eq!([4.25, 843.2].map(seconds), ["4.25 s", "14 min 3 s"]);
        assert_eq!(with_unit(3.0, ""), "3");
    }
}
