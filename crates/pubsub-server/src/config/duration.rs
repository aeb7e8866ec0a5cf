//! Durations as Go writes them, since that is what people's files hold: `25s`, `1m30s`, `1.5h`, `300ms`.

use std::time::Duration;

/// Units, longest first, in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// Reads a duration: one or more numbers, each followed by its unit. `0` needs none; `-1` is how Centrifugo says "off" and reads as
/// zero, like any other way to write minus one of something.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    if matches!(text, "0" | "-1" | "-1s" | "-1ms" | "-1ns") {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|len| *len > 0)?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(scaled(number, *scale)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(nanos))
}

/// A decimal number times a unit, without a detour over floating point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.bytes() {
        unit /= 10;
        nanos = nanos.checked_add(unit * u64::from(digit - b'0'))?;
    }
    Some(nanos)
}

/// The shortest way to write it: `1m30s`, `720h`, `300ms`, `0s`.
pub(crate) fn show(duration: Duration) -> String {
    let mut nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, scale) in UNITS {
        let count = nanos / scale;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            nanos %= scale;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        let cases = [
            ("25s", 25_000),
            ("1m30s", 90_000),
            ("720h", 720 * 3_600_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1000ms", 1000),
            ("1h0m0.25s", 3_600_250),
            ("0", 0),
            ("0s", 0),
            ("-1", 0),
            ("-1ns", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("3µs4ns"), Some(Duration::from_nanos(3004)));
    }

    #[test]
    fn refuses_what_has_no_unit_or_no_number() {
        for text in
            ["", "25", "s", "25 s", "25sec", "1d", "1m30", "-5s", ".s", "1.2.3s", "99999999999999h", "1h-1s", "²s"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn shows_what_it_reads_back(nanos in any::<u64>()) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn garbage_never_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
