//! What a thread, or this process, has allocated and not given back, as the allocator counts it (the server's own, jemalloc).
//!
//! Resident memory has pages that were given back late and pages shared with nobody knows whom. Where server, clients and lab live on
//! one thread and a whole day has to be level, that is not good enough: [`live_bytes`] is of one thread, to the byte.

use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};
use tikv_jemalloc_ctl::{epoch, stats};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

thread_local! {
    static COUNTERS: [ThreadLocal<u64>; 2] =
        [allocatedp::read(), deallocatedp::read()].map(|counter| counter.expect("our jemalloc is built to count"));
}

/// Bytes that this thread has allocated, without those that it has given back.
#[must_use]
pub fn live_bytes() -> u64 {
    let [allocated, given_back] = COUNTERS.with(|counters| [counters[0].get(), counters[1].get()]);
    // It may give back what another has allocated.
    allocated.saturating_sub(given_back)
}

/// Bytes that all threads of this process together have allocated, without those that they have given back.
#[must_use]
pub fn live_bytes_of_all() -> Option<u64> {
    epoch::advance().ok()?;
    stats::allocated::read().ok().map(|bytes| bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_thread_takes_is_counted_for_the_process() {
        let before = live_bytes_of_all().unwrap();
        let taken = std::thread::spawn(|| Vec::<u8>::with_capacity(1 << 28)).join().unwrap();
        // Other tests take and give back meanwhile, but not as much.
        assert!(live_bytes_of_all().unwrap() > before + (1 << 27));
        drop(taken);
        assert!(live_bytes_of_all().unwrap() < before + (1 << 27));
    }

    #[test]
    fn what_is_taken_counts_until_it_is_given_back() {
        let before = live_bytes();
        let taken: Vec<u8> = Vec::with_capacity(1 << 20);
        assert_eq!(live_bytes() - before, 1 << 20);
        let elsewhere = std::thread::spawn(|| Vec::<u8>::with_capacity(1 << 22)).join();
        assert!(live_bytes() - before < 1 << 21, "what another thread takes is none of ours");
        drop(elsewhere);
        drop(taken);
        assert!(live_bytes() <= before + (1 << 10));
    }
}
