//! A threshold is data: a number, its unit and where it comes from, printed beside what was measured.

use serde::{Deserialize, Serialize};

/// On which side of the limit it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Measured must be at most the limit.
    AtMost,
    /// Measured must be at least the limit.
    AtLeast,
    /// Measured must be the limit.
    Exactly,
}

/// What has to be measured and within what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// What is measured.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Which side.
    pub side: Side,
    /// The limit.
    pub limit: f64,
    /// Where the limit comes from: an issue, a paper, a measurement.
    pub source: String,
    /// What was measured. `None`: nothing, and then it has not held.
    pub measured: Option<f64>,
    /// Whether it held.
    pub held: bool,
    /// Whether it counts for the verdict, or is a goal that is only shown.
    pub binding: bool,
}

impl Threshold {
    fn new(name: &str, unit: &str, side: Side, limit: f64, source: &str) -> Self {
        let (name, unit, source) = (name.to_owned(), unit.to_owned(), source.to_owned());
        Self { name, unit, side, limit, source, measured: None, held: false, binding: true }
    }

    /// At most so much.
    #[must_use]
    pub fn at_most(name: &str, limit: f64, unit: &str, source: &str) -> Self {
        Self::new(name, unit, Side::AtMost, limit, source)
    }

    /// At least so much.
    #[must_use]
    pub fn at_least(name: &str, limit: f64, unit: &str, source: &str) -> Self {
        Self::new(name, unit, Side::AtLeast, limit, source)
    }

    /// Exactly so much.
    #[must_use]
    pub fn exactly(name: &str, limit: f64, unit: &str, source: &str) -> Self {
        Self::new(name, unit, Side::Exactly, limit, source)
    }

    /// A goal: shown, and no reason to fail.
    #[must_use]
    pub fn goal(mut self) -> Self {
        self.binding = false;
        self
    }

    /// With what was measured.
    #[must_use]
    pub fn measured(mut self, measured: f64) -> Self {
        self.measured = Some(measured);
        // A comparison with "not a number" is false on either side: what could not be computed has not held.
        self.held = match self.side {
            Side::AtMost => measured <= self.limit,
            Side::AtLeast => measured >= self.limit,
            Side::Exactly => measured == self.limit,
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_holds_on_its_side_and_nothing_holds_unmeasured() {
        let held = |threshold: Threshold, values: [f64; 3]| values.map(|value| threshold.clone().measured(value).held);
        let values = [9.0, 10.0, 11.0];
        assert_eq!(held(Threshold::at_most("a", 10.0, "s", "issue 4"), values), [true, true, false]);
        assert_eq!(held(Threshold::at_least("a", 10.0, "s", "issue 4"), values), [false, true, true]);
        assert_eq!(held(Threshold::exactly("a", 10.0, "s", "issue 4"), values), [false, true, false]);
        assert!(!Threshold::at_most("a", 10.0, "s", "issue 4").held);
        assert!(!Threshold::at_most("a", 10.0, "s", "issue 4").measured(f64::NAN).held);
    }
}
