//! What is allocated in this process now, to the byte: a counter around the allocator, which is the server's.
//!
//! Resident memory, which [`monitor`](crate::monitor) reads, has pages that were given back late and pages shared with nobody
//! knows whom. Where server, clients and lab live in one process and a whole day has to be level, that is not
//! good enough.

use cap::Cap;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Cap<Jemalloc> = Cap::new(Jemalloc, usize::MAX);

/// Bytes that are allocated and not yet given back.
#[must_use]
pub fn live_bytes() -> u64 {
    ALLOCATOR.allocated() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_until_it_is_given_back() {
        const BYTES: u64 = 1 << 30;
        let before = live_bytes();
        // Other tests allocate meanwhile, but nothing like this.
        let taken: Vec<u8> = Vec::with_capacity(1 << 30);
        assert!(live_bytes() > before + BYTES / 2);
        drop(taken);
        assert!(live_bytes() < before + BYTES / 2);
    }
}
