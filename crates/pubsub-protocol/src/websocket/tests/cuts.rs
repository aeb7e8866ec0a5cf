//! However a stream is cut on its way, the same is seen; and garbage is refused within bounds.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::conversation::{Said, conversations, cut, cuts, encode, expected, roles};
use super::memory::KEPT_BYTES;
use super::*;

/// Every kind of frame, fragments cut inside a character, control frames between and around them.
fn all_kinds(role: Role) -> (Vec<u8>, Vec<Seen>) {
    let frames = [
        frame_to(role, Opcode::Text, true, "ß".as_bytes()),
        frame_to(role, Opcode::Binary, false, b"\xff"),
        frame_to(role, Opcode::Ping, true, b"pi"),
        frame_to(role, Opcode::Continuation, true, b""),
        frame_to(role, Opcode::Pong, true, b""),
        frame_to(role, Opcode::Text, false, &"–".as_bytes()[..1]),
        frame_to(role, Opcode::Continuation, false, &"–".as_bytes()[1..2]),
        frame_to(role, Opcode::Continuation, true, &"–".as_bytes()[2..]),
        frame_to(role, Opcode::Binary, true, &[9; 126]),
        frame_to(role, Opcode::Close, true, &close_payload(1000, "ö")),
    ];
    let seen = vec![
        Seen::Text("ß".to_owned()),
        Seen::Ping(b"pi".to_vec()),
        Seen::Binary(vec![0xff]),
        Seen::Pong(vec![]),
        Seen::Text("–".to_owned()),
        Seen::Binary(vec![9; 126]),
        Seen::Close(Some((1000, "ö".to_owned()))),
    ];
    (frames.concat(), seen)
}

#[test]
fn every_pair_of_cuts_shows_the_same() {
    for role in [Role::Server, Role::Client] {
        let (bytes, expected) = all_kinds(role);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let (seen, violation) = decode_chunks(role, LIMIT, chunks);
                assert_eq!((&seen, violation), (&expected, None), "{role:?}, cut at {first} and {second}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_conversation_cut_anyhow_shows_what_was_said(
        role in roles(), conversation in conversations(), cuts in cuts(),
    ) {
        let bytes = encode(&conversation, role);
        let mut decoder = Decoder::new(role, LIMIT);
        let mut seen = vec![];
        for chunk in cut(&bytes, &cuts) {
            feed(&mut decoder, chunk, &mut seen).unwrap();
        }
        prop_assert_eq!(seen, expected(&conversation));
        prop_assert_eq!(decoder.heap_bytes(), 0);
        prop_assert!(!decoder.is_mid_message());
    }

    #[test]
    fn a_conversation_gone_bad_is_judged_the_same_however_it_is_cut(
        role in roles(), conversation in conversations(), damage in damage(), cuts in cuts(),
    ) {
        judged_the_same_within_bounds(role, &damage.done_to(&conversation, role), &cuts)?;
    }

    #[test]
    fn garbage_is_judged_the_same_however_it_is_cut(
        role in roles(), bytes in vec(any::<u8>(), 0..500), cuts in cuts(),
    ) {
        judged_the_same_within_bounds(role, &bytes, &cuts)?;
    }
}

fn judged_the_same_within_bounds(role: Role, bytes: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    // Below the longest messages that are sent, so that the limit is met as well.
    let limit = 60_000;
    let whole = decode_chunks(role, limit, [bytes]);

    let mut decoder = Decoder::new(role, limit);
    let mut seen = vec![];
    let mut violation = None;
    let mut came = 0;
    for chunk in cut(bytes, cuts) {
        violation = feed(&mut decoder, chunk, &mut seen).err();
        came += chunk.len();
        let heap = decoder.heap_bytes();
        prop_assert!(heap <= KEPT_BYTES + limit + 125, "{heap} bytes, with a limit of {limit}");
        prop_assert!(heap <= KEPT_BYTES + 2 * came, "{heap} bytes, of {came} that came");
        if violation.is_some() {
            break;
        }
    }
    prop_assert_eq!((seen, violation), whole);
    Ok(())
}

/// What the network, or an enemy, does to a stream: most often near the beginning of a frame, where the rules are.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    frame: Index,
    offset: usize,
    kind: DamageKind,
}

#[derive(Clone, Debug)]
enum DamageKind {
    FlipBits(u8),
    Insert(Vec<u8>),
    Remove(usize),
}

pub(super) fn damage() -> impl Strategy<Value = Damage> {
    let kind = prop_oneof![
        4 => (1..=255_u8).prop_map(DamageKind::FlipBits),
        1 => vec(any::<u8>(), 1..9).prop_map(DamageKind::Insert),
        1 => (1..9_usize).prop_map(DamageKind::Remove),
    ];
    let offset = prop_oneof![4 => 0..2_usize, 2 => 2..14_usize, 1 => 0..500_usize];
    (any::<Index>(), offset, kind).prop_map(|(frame, offset, kind)| Damage { frame, offset, kind })
}

impl Damage {
    /// The conversation's bytes, damaged.
    pub(super) fn done_to(&self, conversation: &[Said], role: Role) -> Vec<u8> {
        let mut stream = encode(conversation, role);
        if stream.is_empty() {
            return stream;
        }
        let frame = encode(&conversation[..self.frame.index(conversation.len())], role).len();
        let at = (frame + self.offset).min(stream.len() - 1);
        match &self.kind {
            DamageKind::FlipBits(bits) => stream[at] ^= bits,
            DamageKind::Insert(bytes) => drop(stream.splice(at..at, bytes.iter().copied())),
            DamageKind::Remove(len) => drop(stream.drain(at..stream.len().min(at + len))),
        }
        stream
    }
}
