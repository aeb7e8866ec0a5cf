//! What threads meet at, run by a model checker through every order in which they can get there.
//!
//! These are the server's own files, compiled once more over [`sync`]: what the checker brings instead of the
//! operating system's locks and the processor's memory. A wake-up that is lost shows as a deadlock. What of the server
//! would draw in all the rest has a twin here; unit tests that stand in the files run once more with them.
//!
//! - [`wakes`]: shards that sleep, publishers that wait for room
//! - [`delivery`]: inbox and outbox, and a peer that reads
//! - [`order`]: hub, engine and node: publish against subscribe

#![allow(clippy::unwrap_used, reason = "clippy takes the rig of a test for something else than a test")]

mod delivery;
mod order;
mod sync;
mod wakes;

/// The server's own files.
#[path = "../../src"]
#[allow(dead_code, unreachable_pub, unused_qualifications, missing_docs, reason = "the files belong to the server")]
mod server {
    pub(crate) mod clock;
    pub(crate) mod engine;
    pub(crate) mod hub;
    pub(crate) mod node;
    pub(crate) mod outbox;
    pub(crate) mod planted;
    pub(crate) mod recovery;
    pub(crate) mod sparse;
    pub(crate) mod stream;
    pub(crate) mod users;

    pub(crate) mod session {
        pub(crate) mod id;
        pub(crate) mod operation;

        /// As much of the configuration as a node looks at.
        pub(crate) mod rules {
            pub struct Rules {
                pub client: Client,
            }

            pub struct Client {
                pub subscribe_to_user_personal_channel: Personal,
            }

            pub struct Personal;

            impl Personal {
                pub fn is_single_connection(&self) -> bool {
                    false
                }
            }
        }

        /// Nothing is asked of connections in a model.
        pub(crate) mod control {
            pub enum Action {}
        }
    }

    pub(crate) mod shard {
        pub(crate) mod control;
        pub(crate) mod inbox;
        pub(crate) mod wake;
    }

    pub(crate) mod transport {
        pub(crate) mod frame;
    }
}

use server::{clock, engine, hub, node, outbox, planted, recovery, session, shard, sparse, stream, transport, users};

/// For three threads and more: every schedule in which at most twice a thread is interrupted where nothing makes it wait.
/// Unbounded these take hours; mistakes of this kind show with one or two.
fn bounded(check: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(check);
}
