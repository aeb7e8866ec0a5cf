//! Which processor a thread runs on.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread on one of the processors that it may use, the one with this number among them; past the last
/// it begins again with the first.
///
/// # Errors
/// What the operating system says.
pub(crate) fn pin(number: usize) -> std::io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut processors = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)).cycle();
    let mut only = CpuSet::new();
    if let Some(processor) = processors.nth(number) {
        only.set(processor);
    }
    Ok(sched_setaffinity(None, &only)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_dealt_out_to_the_processors_that_the_process_may_use() {
        let allowed = sched_getaffinity(None).unwrap();
        let count = allowed.count() as usize;
        let pinned = |number| {
            let thread = std::thread::spawn(move || {
                pin(number).unwrap();
                sched_getaffinity(None).unwrap()
            });
            thread.join().unwrap()
        };
        let all: Vec<CpuSet> = (0..count).map(pinned).collect();
        for processor in 0..CpuSet::MAX_CPU {
            let here = all.iter().filter(|set| set.is_set(processor)).count();
            assert_eq!(here, usize::from(allowed.is_set(processor)), "on processor {processor}");
        }
        assert_eq!(pinned(count), all[0]);
    }
}
