//! Answers with many publications: what several are given is encoded once, and held once.
//!
//! Who comes back is given what it missed. A crowd that comes back at once is given nearly the same a thousand times over,
//! and those of it who read slowly have their answers wait here. So an answer is laid out in pieces: its own words, which
//! are the connection's alone, and between them *runs* of publications, which are shared by all answers that wait. Streams
//! are parted into runs at the same places whatever an answer begins with, so that answers from different positions
//! share what they have in common. A run is gone with the last answer it stands in.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pubsub_protocol::codec::Batch;
use pubsub_protocol::{Format, Publication, Reply};

use crate::hub::epoch_tag;
use crate::outbox::{Frame, WeakFrame};
use crate::transport::frame::encode_reply_in_pieces;

/// Publications of a run at most. It ends in front of an offset that is a multiple of this.
const RUN: u64 = 16;

/// A publication as large as this is a run by itself.
const LARGE_BYTES: usize = 4 * 1024;

/// A batch with less data than this is copied into each answer: pieces would cost as much as they spare.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// The runs of all answers that wait to be written, in whatever shard.
#[derive(Debug, Default)]
pub struct Batches(Mutex<BTreeMap<Run, WeakFrame>>);

/// Which publications, and how they are written.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    channel: Arc<str>,
    epoch: u64,
    first: u64,
    last: u64,
    /// Whether others stand in front of it, from which it is set apart.
    follows: bool,
    format: Format,
}

impl Batches {
    /// Encodes a reply about `channel`, or about channels that it names itself: one frame, in as many pieces as it takes.
    pub fn encode(&self, format: Format, reply: &Reply, channel: Option<&str>) -> Vec<Frame> {
        encode_reply_in_pieces(format, reply, |own, batch| {
            let channel = batch.channel.or(channel);
            let bytes: usize = batch.publications.iter().map(|publication| publication.data.len()).sum();
            match channel.filter(|_| bytes >= SHARED_BYTES_MIN) {
                Some(channel) => self.runs(format, channel, &batch),
                None => {
                    format.encode_publications(batch.publications, false, own);
                    Vec::new()
                }
            }
        })
    }

    fn runs(&self, format: Format, channel: &str, batch: &Batch<'_>) -> Vec<Frame> {
        let (channel, epoch) = (Arc::from(channel), epoch_tag(batch.epoch));
        let runs = batch.publications.chunk_by(share_a_run).enumerate();
        let frame = |(n, publications): (usize, &[Publication])| {
            let (first, last) = (publications[0].offset, publications[publications.len() - 1].offset);
            let follows = n > 0;
            let run = Run { channel: Arc::clone(&channel), epoch, first, last, follows, format };
            self.run(run, publications)
        };
        runs.map(frame).collect()
    }

    fn run(&self, run: Run, publications: &[Publication]) -> Frame {
        let found = |runs: &BTreeMap<Run, WeakFrame>| runs.get(&run).and_then(WeakFrame::upgrade);
        if let Some(frame) = found(&self.0.lock()) {
            return frame;
        }
        // It takes a while, and nobody waits for it.
        let mut bytes = Vec::new();
        run.format.encode_publications(publications, run.follows, &mut bytes);
        bytes.shrink_to_fit();
        let mut runs = self.0.lock();
        found(&runs).unwrap_or_else(|| {
            let frame = Frame::new(bytes, 0);
            runs.insert(run, frame.downgrade());
            frame
        })
    }

    /// Forgets runs that are gone.
    pub fn sweep(&self) {
        self.0.lock().retain(|_, run| run.is_held());
    }
}

fn share_a_run(a: &Publication, b: &Publication) -> bool {
    let is_next = a.offset.checked_add(1) == Some(b.offset);
    is_next && a.offset / RUN == b.offset / RUN && a.data.len().max(b.data.len()) < LARGE_BYTES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use pubsub_protocol::Payload;
    use pubsub_protocol::reply::{Answer, ConnectResult, HistoryResult, SubscribeResult};

    use super::*;
    use crate::transport::frame::encode_reply;

    fn publication(offset: u64, bytes: usize) -> Publication {
        let data = Payload::from_bytes(&[b'1'].repeat(bytes.max(1)));
        Publication { data, info: None, offset, tags: BTreeMap::new(), epoch: String::new() }
    }

    fn subscribed(epoch: &str, publications: Vec<Publication>) -> SubscribeResult {
        SubscribeResult { epoch: epoch.to_owned(), publications, recovered: true, ..SubscribeResult::default() }
    }

    fn answer(result: SubscribeResult) -> Reply {
        Reply::Answer { id: 7, outcome: Ok(Answer::Subscribe(result)) }
    }

    fn text(pieces: &[Frame]) -> Vec<u8> {
        pieces.iter().flat_map(Frame::as_bytes).copied().collect()
    }

    /// Bytes that these take in memory together.
    fn held(answers: &[Vec<Frame>]) -> usize {
        let pieces = answers.iter().flatten().map(|piece| (piece.as_bytes().as_ptr(), piece.size()));
        pieces.collect::<BTreeMap<_, _>>().values().sum()
    }

    proptest! {
        #[test]
        fn pieces_are_the_frame_that_there_would_be_without(
            sizes in prop::collection::vec(prop_oneof![1usize..3_000, 4_000usize..9_000], 0..60),
            first in 1u64..100,
            reverse in any::<bool>(),
            kind in 0..3,
        ) {
            let mut publications: Vec<_> = (first..).zip(sizes).map(|(n, bytes)| publication(n, bytes)).collect();
            if reverse {
                publications.reverse();
            }
            let result = subscribed("epoch", publications.clone());
            let answer = match kind {
                0 => Answer::Subscribe(result),
                1 => Answer::History(HistoryResult { publications, epoch: "epoch".to_owned(), offset: 9 }),
                _ => {
                    let subs = ["a", "b", "c"].map(|channel| (channel.to_owned(), result.clone()));
                    Answer::Connect(ConnectResult { subs: subs.into(), ..ConnectResult::default() })
                }
            };
            let reply = Reply::Answer { id: 7, outcome: Ok(answer) };
            let (whole, batches) = (encode_reply(Format::Json, &reply), Batches::default());
            // The first lays them down, and the second finds them.
            for _ in 0..2 {
                let pieces = batches.encode(Format::Json, &reply, Some("channel"));
                prop_assert_eq!(text(&pieces), whole.as_bytes());
            }
        }
    }

    #[test]
    fn a_crowd_that_comes_back_is_given_one_copy_between_them() {
        let stream: Vec<_> = (1..=10_000).map(|offset| publication(offset, 1_000)).collect();
        let batches = Batches::default();
        let missed = |since: usize| answer(subscribed("e", stream[since..].to_vec()));
        let answers: Vec<_> =
            (0..100).map(|n| batches.encode(Format::Json, &missed(37 * n), Some("channel"))).collect();
        let (one, all) = (held(&answers[..1]), held(&answers));
        assert!(one > 10_000_000 && all < one + one / 5, "{all} bytes for a hundred, {one} for one");
    }

    #[test]
    fn one_large_publication_is_shared_by_all_who_are_given_it() {
        let batches = Batches::default();
        let newest = answer(subscribed("e", vec![publication(5, 1_000_000)]));
        let answers: Vec<_> = (0..100).map(|_| batches.encode(Format::Json, &newest, Some("channel"))).collect();
        assert!(held(&answers) < 1_100_000, "{}", held(&answers));
    }

    #[test]
    fn channels_and_epochs_share_nothing() {
        let batches = Batches::default();
        let with = |channel, epoch, byte: u8| {
            let data = Payload::from_bytes(&[byte].repeat(SHARED_BYTES_MIN));
            let reply = answer(subscribed(epoch, vec![Publication { data, ..publication(1, 1) }]));
            let pieces = batches.encode(Format::Json, &reply, Some(channel));
            assert_eq!(text(&pieces), encode_reply(Format::Json, &reply).as_bytes());
            pieces
        };
        let _held = [with("a", "e", b'1'), with("b", "e", b'2'), with("a", "f", b'3')];
    }

    #[test]
    fn a_run_is_gone_with_the_last_answer_it_stands_in() {
        let batches = Batches::default();
        let missed = answer(subscribed("e", (1..=100).map(|offset| publication(offset, 1_000)).collect()));
        let waits = batches.encode(Format::Json, &missed, Some("channel"));
        batches.sweep();
        assert_eq!(batches.0.lock().len(), 7, "100 in runs that end in front of multiples of 16");
        drop(waits);
        assert!(batches.0.lock().values().all(|run| run.upgrade().is_none()));
        batches.sweep();
        assert!(batches.0.lock().is_empty());
    }

    #[test]
    fn little_is_copied() {
        let batches = Batches::default();
        let missed = answer(subscribed("e", (1..=100).map(|offset| publication(offset, 100)).collect()));
        assert_eq!(batches.encode(Format::Json, &missed, Some("channel")).len(), 1);
        assert!(batches.0.lock().is_empty());
    }
}
