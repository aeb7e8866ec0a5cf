//! What a returning subscriber gets: the decision whether its gap can be closed, and with what. Pure.
//!
//! The law: `recovered` means that the publications given, followed by the live ones, are *all* that came
//! after the position the subscriber asked from. When that can not be said, none are given.

use pubsub_protocol::{Publication, StreamPosition};

use crate::planted::{self, Bug};
use crate::stream::{HistoryPage, HistoryQuery};

/// How a channel recovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every publication since the position.
    Stream {
        /// Publications handed over at most; a larger gap is not recovered.
        publications_max: usize,
    },
    /// Only the newest publication matters.
    Cache,
}

/// What to answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// Whether the gap is closed.
    pub recovered: bool,
    /// What was missed, oldest first; empty unless `recovered`.
    pub publications: Vec<Publication>,
}

const NOT_RECOVERED: Recovery = Recovery { recovered: false, publications: Vec::new() };

impl Mode {
    /// What to read from the stream for a subscriber that stands at `position`.
    pub fn query(self, position: &StreamPosition) -> HistoryQuery {
        match self {
            // One more than may be handed over shows that there is more than that.
            Self::Stream { publications_max } => HistoryQuery {
                since: Some(position.clone()),
                limit: Some(publications_max.saturating_add(1)),
                reverse: false,
            },
            Self::Cache => HistoryQuery { since: None, limit: Some(1), reverse: true },
        }
    }

    /// Decides, given what [`Mode::query`] brought.
    pub fn recover(self, position: &StreamPosition, page: HistoryPage) -> Recovery {
        match self {
            Self::Stream { publications_max } => stream(position, page, publications_max),
            Self::Cache => cache(position, page),
        }
    }
}

fn stream(position: &StreamPosition, mut page: HistoryPage, publications_max: usize) -> Recovery {
    if !position.epoch.is_empty() && position.epoch != page.top.epoch {
        return NOT_RECOVERED;
    }
    let whole = match (page.publications.first(), page.publications.last()) {
        (Some(first), Some(last)) => {
            (planted::is(Bug::TrimmedYetRecovered) || Some(first.offset) == position.offset.checked_add(1))
                && (planted::is(Bug::BatchCapped)
                    || last.offset == page.top.offset && page.publications.len() <= publications_max)
        }
        _ => position.offset == page.top.offset,
    };
    if planted::is(Bug::BatchReversed) {
        page.publications.reverse();
    }
    if whole { Recovery { recovered: true, publications: page.publications } } else { NOT_RECOVERED }
}

/// A subscriber without an epoch has nothing yet: it is given the newest publication, and where there is none, it is not
/// told that it has what there is.
fn cache(position: &StreamPosition, page: HistoryPage) -> Recovery {
    match page.publications.into_iter().next() {
        _ if *position == page.top => Recovery { recovered: true, publications: Vec::new() },
        Some(newest) => Recovery { recovered: true, publications: vec![newest] },
        None => NOT_RECOVERED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pubsub_protocol::Payload;
    use std::collections::BTreeMap;
    use std::ops::Range;

    const MAX: usize = 3;

    /// Nothing is kept.
    const NONE: Range<u64> = 1..1;

    fn publication(offset: u64) -> Publication {
        Publication { data: Payload::from_bytes(b"1"), info: None, offset, tags: BTreeMap::new(), epoch: String::new() }
    }

    /// A stream that holds `kept`, with its top at `top`, asked by somebody at `offset` of `epoch`.
    fn ask(mode: Mode, kept: Range<u64>, top: u64, offset: u64, epoch: &str) -> Option<Vec<u64>> {
        let position = StreamPosition::new(offset, epoch);
        let query = mode.query(&position);
        let mut publications: Vec<_> = kept.map(publication).collect();
        if query.reverse {
            publications.reverse();
        }
        if let Some(since) = query.since {
            publications.retain(|p| p.offset > since.offset);
        }
        publications.truncate(query.limit.unwrap());
        let page = HistoryPage { publications, top: StreamPosition::new(top, "e") };
        let recovery = mode.recover(&position, page);
        assert!(recovery.recovered || recovery.publications.is_empty(), "not recovered carries nothing");
        recovery.recovered.then(|| recovery.publications.iter().map(|p| p.offset).collect())
    }

    #[test]
    fn a_stream_recovers_exactly_when_nothing_is_missing() {
        let mode = Mode::Stream { publications_max: MAX };
        for (kept, top, offset, epoch, expected) in [
            (3..6, 5, 2, "e", Some(vec![3, 4, 5])),
            (3..6, 5, 2, "", Some(vec![3, 4, 5])),
            (3..6, 5, 4, "e", Some(vec![5])),
            (3..6, 5, 5, "e", Some(vec![])),
            (3..6, 5, 1, "e", None),
            (3..6, 5, 6, "e", None),
            (3..6, 5, 2, "other", None),
            (3..6, 5, 5, "other", None),
            (1..6, 5, 1, "e", None),
            (1..5, 4, 1, "e", Some(vec![2, 3, 4])),
            (NONE, 5, 5, "e", Some(vec![])),
            (NONE, 5, 4, "e", None),
            (NONE, 0, 0, "e", Some(vec![])),
            (NONE, 0, 0, "", Some(vec![])),
            (NONE, 0, 3, "e", None),
            (3..6, 5, u64::MAX, "e", None),
        ] {
            assert_eq!(ask(mode, kept.clone(), top, offset, epoch), expected, "{kept:?} top {top}, {offset}@{epoch}");
        }
    }

    #[test]
    fn a_cache_gives_the_newest_unless_the_subscriber_has_it() {
        for (kept, top, offset, epoch, expected) in [
            (3..6, 5, 1, "e", Some(vec![5])),
            (3..6, 5, 5, "e", Some(vec![])),
            (3..6, 5, 5, "other", Some(vec![5])),
            (3..6, 5, 0, "", Some(vec![5])),
            (NONE, 5, 5, "e", Some(vec![])),
            (NONE, 5, 4, "e", None),
            (NONE, 5, 5, "", None),
            (NONE, 0, 0, "e", Some(vec![])),
            (NONE, 0, 0, "", None),
            (3..6, 5, 5, "", Some(vec![5])),
        ] {
            assert_eq!(
                ask(Mode::Cache, kept.clone(), top, offset, epoch),
                expected,
                "{kept:?} top {top}, {offset}@{epoch}"
            );
        }
    }
}
