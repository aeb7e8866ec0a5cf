//! The bounded history of one channel. Pure: time comes in, nothing waits.
//!
//! A stream has two lives. Its *publications* are bounded by number and by the time since the last one
//! (`history_size`, `history_ttl`). Its *position*, epoch and top offset, outlives them (`history_meta_ttl`):
//! a subscriber that comes back to an empty history still learns truthfully whether it missed anything.

use std::collections::VecDeque;
use std::time::Duration;

use pubsub_protocol::{Publication, StreamPosition};
use tokio::time::Instant;

use crate::planted::{self, Bug};

/// The bounds of a channel's stream, from its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Publications kept at most.
    pub size: usize,
    /// How long they are kept after the last publish.
    pub ttl: Duration,
    /// How long epoch and top offset are kept after the last publish.
    pub meta_ttl: Duration,
}

/// Which part of a stream is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only what lies after this position (before it, in reverse). The epoch is not compared here.
    pub since: Option<StreamPosition>,
    /// Publications at most; `None`: all that are kept.
    pub limit: Option<usize>,
    /// Newest first.
    pub reverse: bool,
}

impl HistoryQuery {
    /// No publications, only the position.
    pub const POSITION: Self = Self { since: None, limit: Some(0), reverse: false };
}

/// A stretch of a stream, and the position of its top at the same moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage {
    /// What was asked for, in the order asked for.
    pub publications: Vec<Publication>,
    /// The newest publication's position.
    pub top: StreamPosition,
}

/// A channel's stream.
#[derive(Debug)]
pub struct Stream {
    epoch: Box<str>,
    top: u64,
    publications: VecDeque<Publication>,
    publications_until: Instant,
    position_until: Instant,
    meta_ttl: Duration,
    version: u64,
    version_epoch: Box<str>,
}

impl Stream {
    /// A stream that begins now, under a name of its own.
    pub fn new(epoch: &str, retention: &Retention, now: Instant) -> Self {
        Self {
            epoch: epoch.into(),
            top: 0,
            publications: VecDeque::new(),
            publications_until: now + retention.ttl,
            position_until: now + retention.meta_ttl,
            meta_ttl: retention.meta_ttl,
            version: 0,
            version_epoch: "".into(),
        }
    }

    /// Where the stream stands.
    pub fn position(&self) -> StreamPosition {
        StreamPosition::new(self.top, &*self.epoch)
    }

    /// Gives `publication` the next offset and keeps it.
    pub fn append(&mut self, mut publication: Publication, retention: &Retention, now: Instant) -> Publication {
        self.expire(now);
        self.top += 1;
        publication.offset = self.top;
        // Only the live copy of a stream's first publication names the epoch; a kept one does not.
        if !(planted::is(Bug::HoleInHistory) && self.top.is_multiple_of(16)) {
            self.publications.push_back(Publication { epoch: String::new(), ..publication.clone() });
        }
        let size = retention.size - usize::from(planted::is(Bug::TrimmedOneTooMany));
        while self.publications.len() > size {
            self.publications.pop_front();
        }
        self.publications_until = now + retention.ttl;
        self.renew_position(retention, now);
        if self.top == 1 {
            publication.epoch = self.epoch.to_string();
        }
        publication
    }

    /// Notes `version` and tells whether it is newer than all before it under the same `version_epoch`, or under the last one
    /// if none is named.
    pub fn advance_version(&mut self, version: u64, version_epoch: &str) -> bool {
        let compared = version_epoch.is_empty() || *self.version_epoch == *version_epoch;
        if compared && version <= self.version {
            return false;
        }
        self.version = version;
        if *self.version_epoch != *version_epoch {
            self.version_epoch = version_epoch.into();
        }
        true
    }

    /// Reads.
    pub fn page(&mut self, query: &HistoryQuery, now: Instant) -> HistoryPage {
        self.expire(now);
        let limit = query.limit.unwrap_or(usize::MAX);
        let since = query.since.as_ref().map(|position| position.offset);
        let publications = if query.reverse {
            let before = since.unwrap_or(u64::MAX);
            self.publications.iter().rev().filter(|p| p.offset < before).take(limit).cloned().collect()
        } else {
            // Offsets have no holes: the first that is wanted can be counted out.
            let first = self.publications.front().map_or(0, |p| p.offset);
            let next = u64::from(!planted::is(Bug::RecoveryOffByOne));
            let skip = since.map_or(0, |after| (after.saturating_add(next)).saturating_sub(first));
            let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(self.publications.len());
            self.publications.range(skip..).take(limit).cloned().collect()
        };
        HistoryPage { publications, top: self.position() }
    }

    /// Drops all publications; the position stays.
    pub fn clear(&mut self) {
        self.publications = VecDeque::new();
    }

    /// Drops the publications if they are past their time. Returns whether the position is not, and the stream lives on.
    pub fn expire(&mut self, now: Instant) -> bool {
        if now >= self.publications_until && !self.publications.is_empty() {
            self.clear();
            if planted::is(Bug::OffsetResetOnExpiry) {
                self.top = 0;
            }
        }
        now < self.position_until
    }

    /// Somebody was told the position: it is kept as if something had been published.
    pub fn renew_position(&mut self, retention: &Retention, now: Instant) {
        self.meta_ttl = retention.meta_ttl;
        self.position_until = now + self.meta_ttl;
    }

    /// The last who stood at the position has left, and may come back to it.
    pub fn vacated(&mut self, now: Instant) {
        self.position_until = self.position_until.max(now + self.meta_ttl);
    }

    /// How many publications are kept.
    pub fn len(&self) -> usize {
        self.publications.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    /// Until when publications are kept, if any are.
    pub fn publications_until(&self) -> Option<Instant> {
        (!self.publications.is_empty()).then_some(self.publications_until)
    }

    /// Until when the position is kept.
    pub fn position_until(&self) -> Instant {
        self.position_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pubsub_protocol::Payload;
    use std::collections::BTreeMap;

    const RETENTION: Retention =
        Retention { size: 3, ttl: Duration::from_secs(10), meta_ttl: Duration::from_secs(100) };

    fn publication() -> Publication {
        Publication {
            data: Payload::from_bytes(b"1"),
            info: None,
            offset: 0,
            tags: BTreeMap::new(),
            epoch: String::new(),
        }
    }

    fn filled(n: u64) -> (Stream, Instant) {
        let now = Instant::now();
        let mut stream = Stream::new("e", &RETENTION, now);
        for offset in 1..=n {
            assert_eq!(stream.append(publication(), &RETENTION, now).offset, offset);
        }
        (stream, now)
    }

    fn offsets(page: &HistoryPage) -> Vec<u64> {
        page.publications.iter().map(|p| p.offset).collect()
    }

    fn after(offset: u64) -> HistoryQuery {
        HistoryQuery { since: Some(StreamPosition::new(offset, "")), limit: None, reverse: false }
    }

    #[test]
    fn keeps_the_newest_and_the_position() {
        let (mut stream, now) = filled(5);
        let all = HistoryQuery { since: None, limit: None, reverse: false };
        assert_eq!(offsets(&stream.page(&all, now)), [3, 4, 5]);
        assert_eq!(stream.page(&HistoryQuery::POSITION, now).publications, []);
        assert_eq!(stream.position(), StreamPosition::new(5, "e"));
    }

    #[test]
    fn reads_after_any_offset_that_was_or_was_not_kept() {
        let (mut stream, now) = filled(5);
        for (since, expected) in [
            (0, vec![3, 4, 5]),
            (1, vec![3, 4, 5]),
            (2, vec![3, 4, 5]),
            (3, vec![4, 5]),
            (4, vec![5]),
            (5, vec![]),
            (6, vec![]),
            (u64::MAX, vec![]),
        ] {
            assert_eq!(offsets(&stream.page(&after(since), now)), expected, "after {since}");
        }
    }

    #[test]
    fn reads_backwards_from_the_top_or_from_before_an_offset() {
        let (mut stream, now) = filled(5);
        let reverse = |since: Option<u64>, limit| HistoryQuery {
            since: since.map(|offset| StreamPosition::new(offset, "")),
            limit,
            reverse: true,
        };
        assert_eq!(offsets(&stream.page(&reverse(None, Some(2)), now)), [5, 4]);
        assert_eq!(offsets(&stream.page(&reverse(Some(5), None), now)), [4, 3]);
        assert_eq!(offsets(&stream.page(&reverse(Some(3), None), now)), [0u64; 0]);
    }

    #[test]
    fn publications_expire_before_the_position_does() {
        let (mut stream, start) = filled(2);
        let just_before = start + RETENTION.ttl - Duration::from_millis(1);
        assert_eq!(offsets(&stream.page(&after(0), just_before)), [1, 2]);
        assert_eq!(offsets(&stream.page(&after(0), start + RETENTION.ttl)), [0u64; 0]);
        assert_eq!(stream.position().offset, 2);
        assert!(stream.expire(start + RETENTION.ttl));
        assert_eq!((stream.publications_until(), stream.position_until()), (None, start + RETENTION.meta_ttl));
        assert!(!stream.expire(start + RETENTION.meta_ttl));
    }

    #[test]
    fn a_publish_renews_both_times() {
        let (mut stream, start) = filled(1);
        let later = start + RETENTION.ttl - Duration::from_secs(1);
        stream.append(publication(), &RETENTION, later);
        assert_eq!(offsets(&stream.page(&after(0), start + RETENTION.ttl)), [1, 2]);
        assert!(stream.expire(later));
        assert_eq!(stream.publications_until(), Some(later + RETENTION.ttl));
    }

    #[test]
    fn only_the_live_copy_of_the_first_publication_names_the_epoch() {
        let (mut stream, now) = filled(0);
        assert_eq!(stream.append(publication(), &RETENTION, now).epoch, "e");
        assert_eq!(stream.append(publication(), &RETENTION, now).epoch, "");
        assert!(stream.page(&after(0), now).publications.iter().all(|p| p.epoch.is_empty()));
    }

    #[test]
    fn a_version_counts_once_per_version_epoch() {
        let (mut stream, _) = filled(0);
        assert!(stream.advance_version(5, ""));
        assert!(!stream.advance_version(5, ""));
        assert!(!stream.advance_version(4, ""));
        assert!(stream.advance_version(1, "next"));
        assert!(!stream.advance_version(1, "next"));
        assert!(stream.advance_version(2, "next"));
    }
}
