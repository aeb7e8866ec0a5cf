//! The stress lab: breaks the server on purpose and judges every delivery.
//!
//! It trusts nobody. The server runs as a process of its own (or, in virtual time, through its public API), is watched from
//! outside, and its counters are among the things that are checked. What was lost is decided by the lab's own
//! ledger, by identity, tail included. In reading order:
//!
//! - [`chance`]: all randomness, counted from one seed
//! - [`fault`]: what is done to streams and operations; plans of it, and what each fault counted
//! - [`payload`]: what is published; [`ledger`]: what happened; [`oracle`]: the judgement over it
//! - [`monitor`]: what a process uses, from outside; [`live_bytes`]: what ours has allocated; [`trend`]: whether it grows; [`histogram`]: latencies
//! - [`timeline`]: how a run went; [`mod@machine`]: where it did; [`mod@commit`]: with which source
//! - [`threshold`], [`verdict`]: a number with its limit and source; held, broken or inconclusive
//! - [`server`]: the server as a child; [`proxy`]: a hop before it; [`fleet`]: its clients; [`raw`]: a peer that hides nothing; [`budget`]: what the machine lets us have
//! - [`virtual_time`]: the same in one thread, where waiting costs nothing; [`explore`]: many short runs of it
//! - [`hunt`]: the oracle on trial, with bugs planted in server and client
//! - [`mod@bench`]: what a connection and a delivery cost, beside a floor and peers
//! - [`scenario`]: the claims; [`limits`]: where it ends; [`report`]: what came of them; [`progress`], [`cli`]: for whoever watches

pub mod bench;
pub mod budget;
pub mod chance;
pub mod cli;
pub mod commit;
pub mod explore;
pub mod fault;
pub mod fleet;
pub mod histogram;
pub mod hunt;
pub mod ledger;
pub mod limits;
pub mod live_bytes;
pub mod machine;
pub mod monitor;
pub mod oracle;
pub mod payload;
pub mod progress;
pub mod proxy;
pub mod raw;
pub mod report;
pub mod scenario;
pub mod server;
pub mod threshold;
pub mod timeline;
pub mod trend;
pub mod verdict;
pub mod virtual_time;

pub use chance::{Chance, Seed};
pub use fault::{
    Aim, Direction, FailureInjector, Fault, FaultGuard, Faults, FaultyStream, Kind, LatencySimulator, Operation, Plan,
    Target,
};
pub use histogram::Latencies;
pub use ledger::{Event, Ledger};
pub use monitor::ResourceMonitor;
pub use oracle::{Class, Judgement, Law, Oracle};
pub use payload::PublicationId;
pub use threshold::Threshold;
pub use verdict::Verdict;
