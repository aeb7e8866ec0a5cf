//! Bugs planted on purpose, to find out whether the stress lab's oracle notices them.
//!
//! Each bug is one line at the place where it could have been made by mistake, and asks [`is`]. Without the feature
//! `planted-bugs` that is a constant `false`, and the line compiles to nothing. With it, a thread chooses one bug for the
//! worlds that run on it (`plant`); servers with threads of their own ([`crate::server::Server`] by default) have none.
//! No build that serves anybody has the feature: it is no default, and no other crate's dependency turns it on.

macro_rules! bugs {
    ($(#[doc = $what:literal] $bug:ident,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Bug {
            $(#[doc = $what] $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)+];

            /// What it does, in a sentence.
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$bug => $what.trim_ascii(),)+
                }
            }
        }
    };
}

bugs! {
    /// A read of history after an offset begins with that offset: `>=` for `>`.
    RecoveryOffByOne,
    /// A subscription reads history first and enters the hub second.
    HistoryBeforeRegistration,
    /// What is both in the answer and held back for it is given twice.
    NoDeduplication,
    /// More was held back for an answer than may be, and the subscription goes on as if it had been nothing.
    LagSwallowed,
    /// A recovery that begins behind the oldest publication kept is called recovered.
    TrimmedYetRecovered,
    /// A restarted server gives its new streams the epoch that the old ones had.
    EpochKeptOverRestart,
    /// Each subscription is told an epoch of its own.
    EpochRenewedPerSubscribe,
    /// Append and fan-out are not one step: of those that wait for a shard, the last is first.
    FanOutOvertaken,
    /// A full outbox drops its oldest publication and tells nobody.
    OldestDropped,
    /// A connection that is cut for reading too slowly stays in the hub.
    SlowKeptInHub,
    /// An unsubscribe is answered, and the publications go on.
    PushAfterUnsubscribe,
    /// A connection that ends by a reset is counted twice.
    CountedTwiceOnReset,
    /// The second publish with an idempotency key is published as well.
    IdempotencyIgnored,
    /// A stream whose publications expired counts from 1 again, under the same epoch.
    OffsetResetOnExpiry,
    /// The outbox has no bound.
    OutboxUnbounded,
    /// A connection that is closed for want of a pong stays in its channels' presence.
    PresenceKeptOnNoPong,
    /// A missing pong closes no connection.
    HalfOpenKept,
    /// The accept loop ends with the first connection that can not be accepted.
    AcceptLoopDies,
    /// What was missed is given newest first.
    BatchReversed,
    /// What was missed is cut to the limit of a recovery, and called recovered.
    BatchCapped,
    /// Two channels fall into one place: members of the one get publications of the other as well.
    HubCollision,
    /// Live publications begin one too late behind the answer.
    LiveBeginsLate,
    /// Who takes over the place of a member that left is not told of it.
    MovedMemberForgotten,
    /// History keeps one publication less than it is said to.
    TrimmedOneTooMany,
    /// Every sixteenth publication is acknowledged and sent, and not kept.
    HoleInHistory,
    /// The rest of a frame that comes in parts is read as a frame of its own.
    PartialFrameParsed,
    /// What was held back for a subscription goes out before its answer.
    AnswerOvertaken,
    /// Publications that run out a second time are gone, and stay in memory as long as their stream's position.
    RanOutUnseen,
}

/// Whether this bug is planted on this thread.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub(crate) use chosen::is;
#[cfg(feature = "planted-bugs")]
pub use chosen::{Planted, plant};

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Keeps a bug planted on this thread until it is dropped.
    #[derive(Debug)]
    #[must_use = "dropping it removes the bug"]
    pub struct Planted(());

    /// Plants a bug on this thread, in place of the one before.
    pub fn plant(bug: Bug) -> Planted {
        PLANTED.set(Some(bug));
        Planted(())
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    /// Whether this bug is planted on this thread.
    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
