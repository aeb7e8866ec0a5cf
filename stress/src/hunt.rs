//! The oracle on trial: bugs planted in server and client, each hunted through virtual worlds until a finding names it.
//!
//! The same seeds without a bug are the control: nothing may be found there, so that whatever is found with a bug is the
//! bug's. Which class a bug has to be found as, and why, is said beforehand ([`sign`]).
//!
//! - [`sign`]: what each bug shows as
//! - [`matrix`]: what came of the hunts, as a file and as a page
//! - `chase`: the hunts themselves, only with the feature `planted-bugs`

#[cfg(feature = "planted-bugs")]
pub mod chase;
pub mod matrix;
pub mod sign;

pub use matrix::{Control, Hunt, Matrix};

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bug {
    /// In the server.
    Server(pubsub_server::planted::Bug),
    /// In the client.
    Client(pubsub_client::planted::Bug),
}

impl Bug {
    /// All of them, the server's first.
    pub fn all() -> impl Iterator<Item = Self> {
        let server = pubsub_server::planted::Bug::ALL.iter().copied().map(Self::Server);
        server.chain(pubsub_client::planted::Bug::ALL.iter().copied().map(Self::Client))
    }

    /// Where it is planted.
    #[must_use]
    pub fn side(self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Client(_) => "client",
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Server(bug) => format!("{bug:?}"),
            Self::Client(bug) => format!("{bug:?}"),
        }
    }

    /// What it does.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Server(bug) => bug.what(),
            Self::Client(bug) => bug.what(),
        }
    }
}
