//! Bugs planted on purpose, to find out whether the stress lab's oracle notices them.
//!
//! Each bug is one line at the place where it could have been made by mistake, and asks [`is`]. Without the feature
//! `planted-bugs` that is a constant `false`, and the line compiles to nothing. With it, a thread chooses one bug for the
//! clients whose tasks run on it (`plant`). No build that serves anybody has the feature: it is no default, and no other
//! crate's dependency turns it on.

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
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$bug => $what.trim_ascii(),)+
                }
            }
        }
    };
}

bugs! {
    /// What a full mailbox has no room for is dropped, and the position moves on.
    LagSwallowed,
    /// What was not read yet when the connection is lost is dropped, and the position stays.
    TailLostOnClose,
    /// The deadline for the server's next ping outlives its connection.
    PingTimerOutlivesConnection,
    /// After a reconnect every third topic is not subscribed again, and nobody is told.
    ResubscribeFailsSilently,
    /// The position moves to the top before what was recovered is handed out.
    PositionAdoptedEarly,
    /// A recovery is asked for from one offset too far on.
    ResumedOnePast,
    /// A new stream's offset is adopted, and its epoch is not.
    OldEpochKept,
    /// Whatever the server says, the gap counts as closed.
    RecoveryTakenForGranted,
    /// A request whose answer was lost is sent again, repeatable or not.
    SentAgain,
    /// Who was cut for reading too slowly does not come back.
    StaysAwayAfterSlow,
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
