//! What threads meet at. A room that is built on these alone can be run by a model checker, which brings its own
//! (`tests/interleavings`).

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

pub(crate) use atomic_waker::AtomicWaker;
pub(crate) use dashmap::DashMap;
pub(crate) use dashmap::mapref::entry::Entry;
pub(crate) use parking_lot::Mutex;
