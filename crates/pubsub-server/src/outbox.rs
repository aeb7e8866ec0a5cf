//! What one connection has yet to be sent: encoded frames, shared where they go to many, bounded in bytes.
//!
//! What a client asked for (answers) and what it did not (pushes) are counted apart. Pushes are bounded by
//! `queue_max_size`: whoever lets more than that pile up reads too slowly and is cut with the slow code.
//! Answers are not a reason to cut anyone, since a recovery can be larger than the bound by right; they are
//! bounded because no further command is read from a connection whose answers pile up.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Weak};

use crate::planted::{self, Bug};

/// Frames given to one vectored write at most: past this the kernel gains nothing from more.
const SLICES_MAX: usize = 64;

/// An encoded WebSocket frame or a piece of one, cheap to clone: a publication is encoded once and shared by all subscribers.
#[derive(Clone, Debug)]
pub struct Frame(Arc<FrameBytes>);

/// A frame that others may still hold.
#[derive(Debug)]
pub struct WeakFrame(Weak<FrameBytes>);

impl WeakFrame {
    /// The frame, if anybody holds it.
    pub fn upgrade(&self) -> Option<Frame> {
        self.0.upgrade().map(Frame)
    }

    /// Whether anybody holds it.
    pub fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

#[derive(Debug)]
struct FrameBytes {
    bytes: Vec<u8>,
    /// Where the frame begins: in front of it lies head room that the header did not need.
    start: usize,
}

impl Frame {
    /// Takes an encoded frame that begins at `start` of `bytes`.
    pub fn new(bytes: Vec<u8>, start: usize) -> Self {
        Self(Arc::new(FrameBytes { bytes, start }))
    }

    /// The frame, header and payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes[self.0.start..]
    }

    /// How many bytes.
    pub fn size(&self) -> usize {
        self.0.bytes.len() - self.0.start
    }

    /// To find it again for as long as somebody holds it.
    pub fn downgrade(&self) -> WeakFrame {
        WeakFrame(Arc::downgrade(&self.0))
    }

    /// The same frame in memory of its own: what two threads refer to, they count with the same cache line.
    #[must_use]
    pub fn unshared(&self) -> Self {
        Self::new(self.as_bytes().to_vec(), 0)
    }
}

/// Why a frame waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client asked for it.
    Answer,
    /// It belongs to the answer that stands in front of it.
    Piece,
    /// It did not.
    Push,
    /// It is to say that it is there.
    Ping,
}

/// The frames of one connection that were not written yet.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The frame to be written next. Nearly always there is no other: it costs no memory beside the connection's own.
    first: Option<(Frame, Kind)>,
    /// Those behind it.
    #[allow(clippy::box_collection, reason = "nearly always absent: 8 bytes instead of 32, in every connection")]
    more: Option<Box<VecDeque<(Frame, Kind)>>>,
    /// Bytes of the first frame that are written already.
    written: usize,
    answers: u32,
    pings: u32,
    answer_bytes: usize,
    push_bytes: usize,
}

/// The outbox already holds more pushes than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Outbox {
    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.answer_bytes + self.push_bytes
    }

    /// Bytes of pushes that wait, pings among them.
    pub fn push_bytes(&self) -> usize {
        self.push_bytes
    }

    /// Bytes of answers that wait.
    pub fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// How many answers wait. A pong of two bytes takes fifty times that here, so bytes alone do not bound memory.
    pub fn answers(&self) -> usize {
        self.answers as usize
    }

    /// Adds an answer.
    pub fn answer(&mut self, frame: Frame) {
        self.answers += 1;
        self.answer_bytes += frame.size();
        self.put(frame, Kind::Answer);
    }

    /// Adds an answer that is one frame in several pieces.
    pub fn answer_in_pieces(&mut self, pieces: impl IntoIterator<Item = Frame>) {
        self.answers += 1;
        let mut kind = Kind::Answer;
        for piece in pieces {
            self.answer_bytes += piece.size();
            self.put(piece, std::mem::replace(&mut kind, Kind::Piece));
        }
    }

    /// Adds a push, unless more than `bytes_max` bytes of pushes wait already. The bound is looked at before
    /// the frame is added, so that one frame larger than the bound still passes: what waits never exceeds
    /// the bound by more than one frame.
    ///
    /// # Errors
    /// [`Full`] when the connection is too slow.
    pub fn push(&mut self, frame: Frame, bytes_max: usize) -> Result<(), Full> {
        if planted::is(Bug::OldestDropped) && self.push_bytes > bytes_max {
            self.drop_oldest();
        } else if self.push_bytes > bytes_max && !planted::is(Bug::OutboxUnbounded) {
            return Err(Full);
        }
        self.push_bytes += frame.size();
        self.put(frame, Kind::Push);
        Ok(())
    }

    /// Adds a ping. It has room always: there is one per period, and whether its peer is too slow is for pushes to say. A large
    /// frame on its way would otherwise cost everybody the connection whose ping comes meanwhile.
    pub fn ping(&mut self, frame: Frame) {
        self.pings += 1;
        self.push_bytes += frame.size();
        self.put(frame, Kind::Ping);
    }

    /// Whether a ping has yet to leave.
    pub fn has_ping(&self) -> bool {
        self.pings > 0
    }

    fn put(&mut self, frame: Frame, kind: Kind) {
        match self.first {
            None => self.first = Some((frame, kind)),
            Some(_) => self.more.get_or_insert_default().push_back((frame, kind)),
        }
    }

    /// The first frame is done with.
    fn next(&mut self) {
        self.first = self.more.as_mut().and_then(|more| more.pop_front());
    }

    /// Drops the oldest push of which nothing was written yet: a planted bug.
    fn drop_oldest(&mut self) {
        if self.written == 0 && matches!(self.first, Some((_, Kind::Push))) {
            self.forget(Kind::Push, self.first.as_ref().map_or(0, |(frame, _)| frame.size()));
            return self.next();
        }
        let Some(more) = &mut self.more else { return };
        let oldest = more.iter().position(|(_, kind)| *kind == Kind::Push);
        if let Some((frame, kind)) = oldest.and_then(|oldest| more.remove(oldest)) {
            self.forget(kind, frame.size());
        }
    }

    /// Drops all frames of which nothing was written yet: what follows is a last word.
    pub fn discard(&mut self) {
        let is_begun = self.written > 0 || matches!(self.first, Some((_, Kind::Piece)));
        let mut kept = VecDeque::from_iter(self.first.take_if(|_| is_begun));
        let mut rest =
            self.first.take().into_iter().chain(self.more.take().into_iter().flat_map(|more| *more)).peekable();
        while is_begun && let Some(piece) = rest.next_if(|(_, kind)| *kind == Kind::Piece) {
            kept.push_back(piece);
        }
        for (frame, kind) in rest {
            self.forget(kind, frame.size());
        }
        self.first = kept.pop_front();
        self.more = (!kept.is_empty()).then(|| Box::new(kept));
    }

    /// What to write next, if that is one frame: a plain write costs less than a vectored one.
    pub fn single(&self) -> Option<&[u8]> {
        let alone = self.more.as_ref().is_none_or(|more| more.is_empty());
        self.first.as_ref().filter(|_| alone).map(|(frame, _)| &frame.as_bytes()[self.written..])
    }

    /// What to write next, as slices for one vectored write. Returns how many slices were filled.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut filled = 0;
        let mut skip = self.written;
        let more = self.more.iter().flat_map(|more| more.iter());
        for ((frame, _), slice) in self.first.iter().chain(more).zip(slices.iter_mut()) {
            *slice = IoSlice::new(&frame.as_bytes()[skip..]);
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// An array to [`fill`](Self::fill).
    pub fn slices<'a>() -> [IoSlice<'a>; SLICES_MAX] {
        [IoSlice::new(&[]); SLICES_MAX]
    }

    /// Notes that the first `n` of the bytes that wait are written.
    pub fn advance(&mut self, mut n: usize) {
        while let Some((frame, kind)) = &self.first {
            let (size, kind) = (frame.size(), *kind);
            let left = size - self.written;
            if n < left {
                self.written += n;
                return;
            }
            n -= left;
            self.written = 0;
            self.forget(kind, size);
            self.next();
        }
        debug_assert_eq!(n, 0, "more was written than waited");
        // An idle connection keeps no room for a burst that is over.
        self.more = None;
    }

    fn forget(&mut self, kind: Kind, size: usize) {
        match kind {
            Kind::Answer => {
                self.answers -= 1;
                self.answer_bytes -= size;
            }
            Kind::Piece => self.answer_bytes -= size,
            Kind::Push => self.push_bytes -= size,
            Kind::Ping => {
                self.pings -= 1;
                self.push_bytes -= size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(bytes: &[u8]) -> Frame {
        Frame::new(bytes.to_vec(), 0)
    }

    fn waiting(outbox: &Outbox) -> Vec<u8> {
        let mut slices = Outbox::slices();
        let filled = outbox.fill(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn a_push_is_refused_only_past_the_bound() {
        let mut outbox = Outbox::default();
        outbox.push(frame(&[0; 11]), 10).unwrap();
        assert_eq!(outbox.push(frame(&[0]), 10), Err(Full));
        outbox.advance(1);
        assert_eq!(outbox.push(frame(&[0]), 10), Err(Full), "a frame counts until it is written whole");
        outbox.advance(10);
        outbox.push(frame(&[0]), 10).unwrap();
    }

    /// A payload of several times the bound was on its way when the ping came, and readers without fault were cut as slow.
    #[test]
    fn a_ping_has_room_behind_a_frame_larger_than_the_bound() {
        let mut outbox = Outbox::default();
        outbox.push(frame(&[0; 11]), 10).unwrap();
        outbox.ping(frame(&[1, 2]));
        assert_eq!((outbox.bytes(), outbox.push(frame(&[0]), 10)), (13, Err(Full)));
        outbox.advance(11);
        assert_eq!((waiting(&outbox), outbox.bytes()), (vec![1, 2], 2));
    }

    #[test]
    fn answers_do_not_fill_it() {
        let mut outbox = Outbox::default();
        outbox.answer(frame(&[0; 100]));
        outbox.push(frame(&[1]), 0).unwrap();
        assert_eq!((outbox.bytes(), outbox.answer_bytes()), (101, 100));
    }

    #[test]
    fn discarding_keeps_the_frame_that_was_begun() {
        let mut outbox = Outbox::default();
        outbox.push(frame(b"abc"), 100).unwrap();
        outbox.answer(frame(b"def"));
        outbox.advance(1);
        outbox.discard();
        assert_eq!((outbox.answers(), outbox.answer_bytes()), (0, 0));
        outbox.answer(frame(b"!"));
        assert_eq!(waiting(&outbox), b"bc!");
        outbox.advance(3);
        assert_eq!((outbox.bytes(), outbox.answers(), outbox.is_empty()), (0, 0, true));
    }

    /// Half of an answer would be the beginning of whatever comes next.
    #[test]
    fn discarding_keeps_all_pieces_of_an_answer_that_was_begun() {
        for written in 0..=6 {
            let mut outbox = Outbox::default();
            outbox.answer_in_pieces([frame(b"ab"), frame(b"cd"), frame(b"ef")]);
            outbox.answer_in_pieces([frame(b"gh"), frame(b"ij")]);
            outbox.push(frame(b"kl"), 100).unwrap();
            outbox.advance(written);
            outbox.discard();
            let kept = if written == 0 { &b""[..] } else { &b"abcdef"[written..] };
            assert_eq!(waiting(&outbox), kept, "{written} bytes were written");
            assert_eq!(outbox.bytes(), if kept.is_empty() { 0 } else { kept.len().next_multiple_of(2) });
            outbox.answer(frame(b"!"));
            outbox.advance(kept.len() + 1);
            assert_eq!((outbox.bytes(), outbox.answers(), outbox.is_empty()), (0, 0, true));
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in_however_it_is_written(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..100),
            writes in prop::collection::vec(1usize..50, 1..200),
        ) {
            let mut outbox = Outbox::default();
            for (i, bytes) in frames.iter().enumerate() {
                match i % 3 {
                    0 => outbox.answer(frame(bytes)),
                    1 => outbox.answer_in_pieces(bytes.chunks(7).map(frame)),
                    _ => outbox.push(frame(bytes), usize::MAX).unwrap(),
                }
            }
            let expected: Vec<u8> = frames.concat();
            let mut written = Vec::new();
            for n in writes.into_iter().cycle() {
                let next = waiting(&outbox);
                if next.is_empty() { break }
                let n = n.min(next.len());
                written.extend_from_slice(&next[..n]);
                outbox.advance(n);
                prop_assert!(outbox.bytes() >= expected.len() - written.len());
            }
            prop_assert_eq!(written, expected);
            prop_assert_eq!((outbox.bytes(), outbox.answers()), (0, 0));
        }
    }
}
