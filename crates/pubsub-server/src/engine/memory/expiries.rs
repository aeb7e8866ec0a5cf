//! Channels to be looked at, by the second in which they are due, and once it is over.
//!
//! What has run out is gone for whoever asks for it, looked at or not: it is only memory that waits a second longer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

/// See the module.
pub(super) struct Expiries {
    began: Instant,
    due: BTreeMap<u64, Vec<Arc<str>>>,
}

impl Expiries {
    /// None yet.
    pub(super) fn new(began: Instant) -> Self {
        Self { began, due: BTreeMap::new() }
    }

    fn second(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began).as_secs()
    }

    pub(super) fn add(&mut self, due: Instant, channel: Arc<str>) {
        self.due.entry(self.second(due)).or_default().push(channel);
    }

    pub(super) fn len(&self) -> usize {
        self.due.values().map(Vec::len).sum()
    }

    /// So many of those that are due first, or all there are.
    pub(super) fn take_first(&mut self, count: usize) -> Vec<Arc<str>> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(mut second) = self.due.first_entry()
        {
            let channels = second.get_mut();
            let few = channels.len().min(count - taken.len());
            taken.extend(channels.drain(..few));
            if channels.is_empty() {
                second.remove();
            }
        }
        taken
    }

    /// Those of the seconds that are over.
    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = Arc<str>> + use<> {
        let later = self.due.split_off(&self.second(now));
        std::mem::replace(&mut self.due, later).into_values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_are_taken_due_or_not() {
        let began = Instant::now();
        let mut expiries = Expiries::new(began);
        for (due, channel) in [(3, "d"), (1, "a"), (2, "b"), (2, "c")] {
            expiries.add(began + Duration::from_secs(due), channel.into());
        }
        let mut taken = |count| expiries.take_first(count).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(taken(0), [""; 0]);
        assert_eq!(taken(2), ["a", "b"]);
        assert_eq!(taken(9), ["c", "d"]);
        assert_eq!(expiries.len(), 0);
    }

    #[test]
    fn a_channel_is_taken_once_when_its_second_is_over() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut expiries = Expiries::new(began);
        for (due, channel) in [(1_999, "b"), (500, "a"), (2_000, "c"), (1_000, "d")] {
            expiries.add(at(due), channel.into());
        }
        let mut taken = |now| expiries.take(at(now)).map(|channel| channel.to_string()).collect::<Vec<_>>();
        assert!(taken(999).is_empty());
        assert_eq!(taken(1_000), ["a"]);
        assert!(taken(1_999).is_empty());
        assert_eq!(taken(60_000), ["b", "d", "c"]);
        assert!(taken(60_000).is_empty());
    }
}
