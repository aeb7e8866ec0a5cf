//! Planted transport bugs (the oracle's tests): whole frames dropped, doubled, swapped, replayed, cut or astray.
//!
//! A TCP stream never does any of this. That is why the oracle has to catch it: a server or client that
//! behaves as if it did must not pass.

use std::collections::VecDeque;

use crate::fault::plan::Mutation;

/// What becomes of the frames of one direction; carries what has to wait for a later one.
#[derive(Debug, Default)]
pub(crate) struct Mutator {
    /// A frame that goes out after the next.
    swapped: Option<Vec<u8>>,
    /// Frames that go out again after so many more.
    replays: VecDeque<(u32, Vec<u8>)>,
    /// Frames with publications vanish.
    silent: bool,
}

/// What to do with a frame besides sending what is left of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Astray {
    /// Nothing.
    No,
    /// This frame belongs to the next connection.
    ToNext(Vec<u8>),
}

impl Mutator {
    /// Whether it has to see the frames: a mutation is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.silent || self.swapped.is_some() || !self.replays.is_empty()
    }

    /// Lets `frame` pass as `mutation` (if one strikes it) has it. `out` gets what arrives, in order.
    pub(crate) fn pass(
        &mut self,
        mutation: Option<Mutation>,
        header_bytes: usize,
        has_publication: bool,
        frame: Vec<u8>,
        out: &mut Vec<Vec<u8>>,
    ) -> Astray {
        for (left, _) in &mut self.replays {
            *left = left.saturating_sub(1);
        }
        let mut astray = Astray::No;
        match mutation {
            _ if self.silent && has_publication => {}
            None => out.push(frame),
            Some(Mutation::Drop) => {}
            Some(Mutation::Duplicate) => out.extend([frame.clone(), frame]),
            Some(Mutation::Swap) => {
                // The frame waits; one that waited already has found its partner.
                out.extend(self.swapped.replace(frame));
                return astray;
            }
            Some(Mutation::Replay(after)) => {
                self.replays.push_back((after.max(1), frame.clone()));
                out.push(frame);
            }
            Some(Mutation::LoseBytes) => out.push(frame[header_bytes + (frame.len() - header_bytes) / 2..].to_vec()),
            Some(Mutation::WrongSocket) => astray = Astray::ToNext(frame),
            Some(Mutation::SilentStall) => self.silent = true,
        }
        if !out.is_empty() {
            out.extend(self.swapped.take());
        }
        while self.replays.front().is_some_and(|(left, _)| *left == 0) {
            out.extend(self.replays.pop_front().map(|(_, frame)| frame));
        }
        astray
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives of frames `0..5` when `mutation` strikes frame 1; each frame is a header byte and its number twice.
    fn arrive(mutation: Mutation) -> (Vec<Vec<u8>>, Astray) {
        let (mut mutator, mut out, mut astray) = (Mutator::default(), Vec::new(), Astray::No);
        for n in 0..5u8 {
            let mut now = Vec::new();
            let struck = (n == 1).then_some(mutation);
            match mutator.pass(struck, 1, true, vec![b'h', n, n], &mut now) {
                Astray::No => {}
                found @ Astray::ToNext(_) => astray = found,
            }
            out.extend(now);
        }
        (out, astray)
    }

    fn numbers(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().map(|frame| *frame.last().unwrap()).collect()
    }

    #[test]
    fn each_mutation_does_what_it_names() {
        for (mutation, expected) in [
            (Mutation::Drop, vec![0, 2, 3, 4]),
            (Mutation::Duplicate, vec![0, 1, 1, 2, 3, 4]),
            (Mutation::Swap, vec![0, 2, 1, 3, 4]),
            (Mutation::Replay(2), vec![0, 1, 2, 3, 1, 4]),
            (Mutation::LoseBytes, vec![0, 1, 2, 3, 4]),
            (Mutation::WrongSocket, vec![0, 2, 3, 4]),
            (Mutation::SilentStall, vec![0]),
        ] {
            let (frames, astray) = arrive(mutation);
            assert_eq!(numbers(&frames), expected, "{mutation:?}");
            assert_eq!(astray != Astray::No, mutation == Mutation::WrongSocket);
        }
        assert_eq!(arrive(Mutation::LoseBytes).0[1], [1], "the header and half the payload are gone");
    }
}
