//! Answers with many publications: what several are given is encoded once, and held once.
//!
//! Who comes back is given what it missed. A crowd that comes back at once is given nearly the same a thousand times over,
//! and those of it who read slowly have their answers wait here. So an answer is laid out in pieces: its own words, which
//! are the connection's alone, and between them *runs* of publications, which are shared by all answers that wait. Streams
//! are parted into runs at the same places whatever an answer begins with, so that answers from different positions
//! share what they have in common. A run is gone with the last answer it stands in. It relies on the engine: a place in a
//! stream holds one publication for as long as the stream has its epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pubsub_protocol::codec::Batch;
use pubsub_protocol::{Format, Publication, Reply};

use crate::hub::epoch_tag;
use crate::outbox::{Frame, WeakFrame};
use crate::transport::frame::{encode_reply_in_pieces, size_of_info};

/// Publications of a run at most. Upwards it ends in front of an offset that is a multiple of this, downwards with one.
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
    format: Format,
    /// See [`Batch::field`].
    field: u32,
    /// Whether others stand in front of it, from which it is set apart.
    follows: bool,
}

impl Batches {
    /// Encodes a reply about `channel`, or about channels that it names itself: one frame, in as many pieces as it takes.
    pub fn encode(&self, format: Format, reply: &Reply, channel: Option<&str>) -> Vec<Frame> {
        encode_reply_in_pieces(format, reply, |own, batch| {
            let channel = batch.channel.or(channel);
            let bytes: usize = batch.publications.iter().map(size).sum();
            match channel.filter(|_| bytes >= SHARED_BYTES_MIN) {
                Some(channel) => self.runs(format, channel, &batch),
                None => {
                    format.encode_publications(batch, false, own);
                    Vec::new()
                }
            }
        })
    }

    fn runs(&self, format: Format, channel: &str, batch: &Batch<'_>) -> Vec<Frame> {
        let (channel, epoch) = (Arc::from(channel), epoch_tag(batch.epoch));
        let ends = [batch.publications.first(), batch.publications.last()];
        let [first, last] = ends.map(|publication| publication.map_or(0, |publication| publication.offset));
        let runs =
            batch.publications.chunk_by(|a, b| if first <= last { follow(a, b) } else { follow(b, a) }).enumerate();
        let frame = |(n, publications): (usize, &[Publication])| {
            let (first, last) = (publications[0].offset, publications[publications.len() - 1].offset);
            let follows = n > 0;
            let run = Run { channel: Arc::clone(&channel), epoch, first, last, format, field: batch.field, follows };
            self.run(run, Batch { publications, ..*batch })
        };
        runs.map(frame).collect()
    }

    fn run(&self, run: Run, batch: Batch<'_>) -> Frame {
        let found = |runs: &BTreeMap<Run, WeakFrame>| runs.get(&run).and_then(WeakFrame::upgrade);
        if let Some(frame) = found(&self.0.lock()) {
            return frame;
        }
        // It takes a while, and nobody waits for it.
        let mut bytes = Vec::new();
        run.format.encode_publications(batch, run.follows, &mut bytes);
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

/// Whether the second comes right after the first in their stream, and both stand in one run.
fn follow(a: &Publication, b: &Publication) -> bool {
    a.offset.checked_add(1) == Some(b.offset) && a.offset / RUN == b.offset / RUN && size(a).max(size(b)) < LARGE_BYTES
}

/// About how many bytes it takes.
fn size(publication: &Publication) -> usize {
    let info = publication.info.as_deref().map_or(0, size_of_info);
    let tags: usize = publication.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
    publication.data.len() + info + tags
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use pubsub_protocol::reply::{Answer, ConnectResult, HistoryResult, SubscribeResult};
    use pubsub_protocol::{ClientInfo, Payload};

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
            format in prop_oneof![Just(Format::Json), Just(Format::Protobuf)],
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
            let (whole, batches) = (encode_reply(format, &reply), Batches::default());
            // The first lays them down, and the second finds them.
            for _ in 0..2 {
                let pieces = batches.encode(format, &reply, Some("channel"));
                prop_assert_eq!(text(&pieces), whole.as_bytes());
            }
        }
    }

    /// Whatever others were given before, whose answers still wait: each gets what it asked for and nothing else.
    #[test]
    fn every_stretch_of_a_stream_is_answered_as_if_it_were_the_only_one() {
        let named = |offset: u64| {
            let width = if offset.is_multiple_of(7) { LARGE_BYTES } else { 1_500 };
            let text = format!("\"{offset:0width$}\"");
            Publication { data: Payload::from_bytes(text.as_bytes()), ..publication(offset, 1) }
        };
        let stream: Vec<_> = (1..=50).map(named).collect();
        let (batches, mut waiting) = (Batches::default(), Vec::new());
        let asked = |publications: Vec<Publication>| {
            let history = HistoryResult { publications: publications.clone(), epoch: "e".to_owned(), offset: 50 };
            let history = Reply::Answer { id: 7, outcome: Ok(Answer::History(history)) };
            [answer(subscribed("e", publications)), history]
        };
        for from in 0..50 {
            for to in from + 1..=50 {
                for reverse in [false, true] {
                    let mut publications = stream[from..to].to_vec();
                    if reverse {
                        publications.reverse();
                    }
                    for (reply, format) in asked(publications)
                        .iter()
                        .flat_map(|reply| [Format::Json, Format::Protobuf].map(|format| (reply, format)))
                    {
                        let pieces = batches.encode(format, reply, Some("channel"));
                        assert!(text(&pieces) == encode_reply(format, reply).as_bytes(), "{from}..{to}, {format}");
                        waiting.push(pieces);
                    }
                }
            }
        }
        let shared = waiting.iter().flatten().map(Frame::size).sum::<usize>() / held(&waiting);
        // A tenth of it is in stretches too short to be shared.
        assert!(shared > 4, "{shared} times as much as there is");
    }

    #[test]
    fn who_published_counts_as_well_as_what() {
        let info = ClientInfo { conn_info: Some(Payload::from_bytes(&[b'1'; 2_000])), ..ClientInfo::default() };
        let info = Some(Arc::new(info));
        let stream = (1..=100).map(|offset| Publication { info: info.clone(), ..publication(offset, 50) }).collect();
        let (batches, missed) = (Batches::default(), answer(subscribed("e", stream)));
        let answers: Vec<_> = (0..10).map(|_| batches.encode(Format::Json, &missed, Some("channel"))).collect();
        assert!(held(&answers) < 2 * held(&answers[..1]), "{}", held(&answers));
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
