//! The laws, and what breaking them is called.

use serde::{Deserialize, Serialize};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "`statement` says what each means")]
pub enum Law {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
    I12,
    I13,
    I14,
    I15,
    I16,
    I17,
    I18,
    I19,
}

impl Law {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I14,
        Self::I15,
        Self::I16,
        Self::I17,
        Self::I18,
        Self::I19,
    ];

    /// In a sentence.
    #[must_use]
    pub fn statement(self) -> &'static str {
        match self {
            Self::I1 => "what arrives was published, there, undamaged, and not refused",
            Self::I2 => "one place in a stream holds one publication, whoever tells of it",
            Self::I3 => "one publication has one place",
            Self::I4 => "inside a span each offset follows the last",
            Self::I5 => "recovered means: same epoch, from the asked offset on, whole, joining live",
            Self::I6 => "what could be recovered was recovered",
            Self::I7 => "every break is announced before the next publication",
            Self::I8 => "after the quiet point every subscription reaches the top",
            Self::I9 => "what was acknowledged is there",
            Self::I10 => "acknowledged before another was begun means earlier in the stream",
            Self::I11 => "nothing arrives before it was published",
            Self::I12 => "nothing arrives after an unsubscribe or on a closed connection",
            Self::I13 => "connections outside the plan feel nothing",
            Self::I14 => "the server's statistics equal the ledger",
            Self::I15 => "what was taken is given back",
            Self::I16 => "frames and codes are those of the protocol",
            Self::I17 => "each request completes exactly once",
            Self::I18 => "presence tells who is there",
            Self::I19 => "nothing panics, hangs or spins",
        }
    }
}

/// What a broken law is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each belongs to the law that `law` names")]
pub enum Class {
    Corruption,
    Phantom,
    Misroute,
    Aborted,
    Disagreement,
    DuplicateAppend,
    Loss,
    Duplicate,
    Reorder,
    Regression,
    FalseRecovery,
    NeedlessFailure,
    SilentGap,
    Stuck,
    AckedThenLost,
    Inversion,
    HarnessFault,
    Ghost,
    Cascade,
    Drift,
    Leak,
    Protocol,
    LostCompletion,
    PresenceDrift,
    Crash,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::Corruption,
        Self::Phantom,
        Self::Misroute,
        Self::Aborted,
        Self::Disagreement,
        Self::DuplicateAppend,
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Regression,
        Self::FalseRecovery,
        Self::NeedlessFailure,
        Self::SilentGap,
        Self::Stuck,
        Self::AckedThenLost,
        Self::Inversion,
        Self::HarnessFault,
        Self::Ghost,
        Self::Cascade,
        Self::Drift,
        Self::Leak,
        Self::Protocol,
        Self::LostCompletion,
        Self::PresenceDrift,
        Self::Crash,
    ];

    /// The law it breaks.
    #[must_use]
    pub fn law(self) -> Law {
        match self {
            Self::Corruption | Self::Phantom | Self::Misroute | Self::Aborted => Law::I1,
            Self::Disagreement => Law::I2,
            Self::DuplicateAppend => Law::I3,
            Self::Loss | Self::Duplicate | Self::Reorder | Self::Regression => Law::I4,
            Self::FalseRecovery => Law::I5,
            Self::NeedlessFailure => Law::I6,
            Self::SilentGap => Law::I7,
            Self::Stuck => Law::I8,
            Self::AckedThenLost => Law::I9,
            Self::Inversion => Law::I10,
            Self::HarnessFault => Law::I11,
            Self::Ghost => Law::I12,
            Self::Cascade => Law::I13,
            Self::Drift => Law::I14,
            Self::Leak => Law::I15,
            Self::Protocol => Law::I16,
            Self::LostCompletion => Law::I17,
            Self::PresenceDrift => Law::I18,
            Self::Crash => Law::I19,
        }
    }

    /// The class of a number that is not what a law asks for.
    #[must_use]
    pub fn of_measure(law: Law) -> Self {
        match law {
            Law::I8 => Self::Stuck,
            Law::I13 => Self::Cascade,
            Law::I14 => Self::Drift,
            Law::I15 => Self::Leak,
            Law::I16 => Self::Protocol,
            Law::I17 => Self::LostCompletion,
            Law::I18 => Self::PresenceDrift,
            Law::I19 => Self::Crash,
            _ => Self::HarnessFault,
        }
    }
}

/// Whom a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "a kind and its number")]
pub enum Subject {
    Channel(u32),
    Subscription(u32),
    Run,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channel(channel) => write!(f, "channel {channel}"),
            Self::Subscription(sub) => write!(f, "subscription {sub}"),
            Self::Run => f.write_str("run"),
        }
    }
}
