//! Legal conversations, made up by chance: frames, their bytes, and what a decoder has to see in them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// One frame and, once it is complete, what is seen.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) mask: [u8; 4],
    pub(super) payload: Vec<u8>,
    pub(super) seen: Option<Seen>,
}

impl Said {
    /// The frame's bytes, as the peer of a `role` sends them.
    pub(super) fn encode(&self, role: Role, out: &mut Vec<u8>) {
        let mask = (role == Role::Server).then_some(self.mask);
        encode_frame(self.opcode, &self.payload, mask, self.fin, out);
    }
}

pub(super) fn encode(conversation: &[Said], role: Role) -> Vec<u8> {
    let mut bytes = Vec::new();
    for said in conversation {
        said.encode(role, &mut bytes);
    }
    bytes
}

pub(super) fn expected(conversation: &[Said]) -> Vec<Seen> {
    conversation.iter().filter_map(|said| said.seen.clone()).collect()
}

pub(super) fn roles() -> impl Strategy<Value = Role> {
    select(vec![Role::Server, Role::Client])
}

/// Up to five messages and control frames, the messages in up to five fragments with control frames between them; and
/// at the end, perhaps, a close frame.
pub(super) fn conversations() -> impl Strategy<Value = Vec<Said>> {
    let turn = prop_oneof![3 => messages(), 1 => controls().prop_map(|said| vec![said])];
    (vec(turn, 0..5), proptest::option::of(closes())).prop_map(|(turns, close)| {
        let mut said = turns.concat();
        said.extend(close);
        said
    })
}

/// How to cut a stream: these lengths, over and over.
pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4_usize, 1..40_usize, 1..3000_usize], 1..8)
}

/// The stream in such chunks.
pub(super) fn cut<'a>(bytes: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    cuts.iter().cycle().map_while(move |&cut| {
        let (chunk, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn messages() -> impl Strategy<Value = Vec<Said>> {
    let between = vec(vec(controls(), 0..3), 4);
    (contents(), vec(any::<Index>(), 0..4), between, any::<[u8; 4]>()).prop_map(|(seen, cuts, between, mask)| {
        let (opcode, bytes) = match &seen {
            Seen::Text(text) => (Opcode::Text, text.as_bytes()),
            Seen::Binary(bytes) => (Opcode::Binary, &bytes[..]),
            _ => unreachable!("contents are text or binary"),
        };
        // Fragments end at any byte, in the middle of a character too, and may be empty.
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut said = Vec::new();
        let mut start = 0;
        for (i, end) in cuts.into_iter().enumerate() {
            let opcode = if i == 0 { opcode } else { Opcode::Continuation };
            said.push(Said { opcode, fin: false, mask, payload: bytes[start..end].to_vec(), seen: None });
            said.extend(between[i].clone());
            start = end;
        }
        let opcode = if said.is_empty() { opcode } else { Opcode::Continuation };
        said.push(Said { opcode, fin: true, mask, payload: bytes[start..].to_vec(), seen: Some(seen.clone()) });
        said
    })
}

fn contents() -> impl Strategy<Value = Seen> {
    prop_oneof![
        ".{0,60}".prop_map(Seen::Text),
        vec(any::<u8>(), 0..300).prop_map(Seen::Binary),
        // Around the lengths where a header grows, and long texts of characters that do not fit into a word evenly.
        (select(vec![125, 126, 65_535, 65_536]), any::<u8>()).prop_map(|(len, byte)| Seen::Binary(vec![byte; len])),
        (0..2000_usize).prop_map(|len| Seen::Text("a–𝄞ß".repeat(len))),
    ]
}

fn controls() -> impl Strategy<Value = Said> {
    (any::<bool>(), vec(any::<u8>(), 0..=125), any::<[u8; 4]>()).prop_map(|(ping, payload, mask)| {
        let (opcode, seen) = match ping {
            true => (Opcode::Ping, Seen::Ping(payload.clone())),
            false => (Opcode::Pong, Seen::Pong(payload.clone())),
        };
        Said { opcode, fin: true, mask, payload, seen: Some(seen) }
    })
}

fn closes() -> impl Strategy<Value = Said> {
    let code = select(vec![1000, 1001, 1003, 1007, 1011, 1013, 3000, 3501, 4999]);
    (proptest::option::of((code, ".{0,30}")), any::<[u8; 4]>()).prop_map(|(frame, mask)| {
        let payload = frame.as_ref().map_or(vec![], |(code, reason)| close_payload(*code, reason));
        Said { opcode: Opcode::Close, fin: true, mask, payload, seen: Some(Seen::Close(frame)) }
    })
}
