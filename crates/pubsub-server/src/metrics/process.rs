//! What the operating system knows of this process. Where it does not say, the metric is left out.

use std::sync::OnceLock;

use procfs::process::LimitValue;

/// The allocator is the choice of a program, not of a library: whoever chose it says how to ask it.
static HEAP: OnceLock<fn() -> Option<u64>> = OnceLock::new();

/// From now on `count` says how many bytes are allocated in this process. What was said first stands.
pub fn heap_counted_by(count: fn() -> Option<u64>) {
    let _said_before = HEAP.set(count);
}

/// Resources of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Memory that is really in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// Memory that is allocated and not given back, in bytes.
    pub heap_bytes: Option<u64>,
    /// Open descriptors; each connection is one.
    pub open_fds: Option<u64>,
    /// How many there may be.
    pub max_fds: Option<u64>,
}

impl Process {
    /// Asks. Some tens of microseconds: for a scrape, not for a loop.
    #[must_use]
    pub fn read() -> Self {
        let process = procfs::process::Process::myself().ok();
        let limits = process.as_ref().and_then(|process| process.limits().ok());
        Self {
            resident_bytes: memory_stats::memory_stats().map(|memory| memory.physical_mem as u64),
            heap_bytes: HEAP.get().and_then(|count| count()),
            open_fds: process.and_then(|process| process.fd_count().ok()).map(|count| count as u64),
            max_fds: limits.and_then(|limits| match limits.max_open_files.soft_limit {
                LimitValue::Value(limit) => Some(limit),
                LimitValue::Unlimited => None,
            }),
        }
    }
}
