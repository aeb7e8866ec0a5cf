//! Held, broken or inconclusive: three words, three exit codes.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// What came of a claim. Ordered by how much it matters for a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It held.
    Held,
    /// Nothing was shown either way: a fault that never bit, a load that was not offered, an empty ledger.
    Inconclusive,
    /// It did not hold.
    Broken,
}

impl Verdict {
    /// For the shell: 0 held, 1 broken, 2 inconclusive.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Broken => 1,
            Self::Inconclusive => 2,
        }
    }

    /// That of a run of several: broken if one is, else inconclusive if one is, or if there are none at all.
    #[must_use]
    pub fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().max().unwrap_or(Self::Inconclusive)
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(verdict.code())
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Held => "held",
            Self::Broken => "broken",
            Self::Inconclusive => "inconclusive",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Broken, Held, Inconclusive};
    use super::*;

    #[test]
    fn a_run_is_as_good_as_its_worst_and_nothing_proves_nothing() {
        assert_eq!(Verdict::of_all([Held, Held]), Held);
        assert_eq!(Verdict::of_all([Held, Inconclusive]), Inconclusive);
        assert_eq!(Verdict::of_all([Inconclusive, Broken, Held]), Broken);
        assert_eq!(Verdict::of_all([]), Inconclusive);
        assert_eq!([Held, Broken, Inconclusive].map(Verdict::code), [0, 1, 2]);
    }
}
