//! One file per kind of claim; the rig they share is here.
//!
//! - `rules`: each sentence of RFC 6455 that a frame can break, kept and broken
//! - `memory`: what is kept, for how long, and never more
//! - `cuts`: the same is seen however a stream is cut, and garbage is refused within bounds
//! - `differential`: tungstenite reads what we write, writes what we read, refuses what we refuse
//! - `conversation`: legal conversations made up by chance, for the two above

mod conversation;
mod cuts;
mod differential;
mod memory;
mod rules;

use super::*;

/// An [`Event`] that outlives its input.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message { kind: MessageKind::Text, data } => {
                Self::Text(String::from_utf8(data.to_vec()).expect("text that is handed out is UTF-8"))
            }
            Event::Message { kind: MessageKind::Binary, data } => Self::Binary(data.to_vec()),
            Event::Ping(data) => Self::Ping(data.to_vec()),
            Event::Pong(data) => Self::Pong(data.to_vec()),
            Event::Close(frame) => Self::Close(frame.map(|frame| (frame.code, frame.reason.to_owned()))),
        }
    }
}

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const LIMIT: usize = 1 << 20;

/// The mask that the peer of this role has to use.
fn mask_of_peer(role: Role) -> Option<[u8; 4]> {
    match role {
        Role::Server => Some(KEY),
        Role::Client => None,
    }
}

/// A frame as the peer of a `role` sends it.
fn frame_to(role: Role, opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(opcode, payload, mask_of_peer(role), fin, &mut out);
    out
}

/// Feeds one chunk to the end, noting what is seen.
fn feed(decoder: &mut Decoder, chunk: &[u8], seen: &mut Vec<Seen>) -> Result<(), Violation> {
    let mut input = chunk.to_vec();
    let mut at = 0;
    loop {
        let decoded = decoder.decode(&mut input[at..])?;
        at += decoded.consumed;
        match decoded.event {
            Some(event) => seen.push(event.into()),
            None => {
                assert_eq!(at, input.len(), "no event, so all of the input is consumed");
                return Ok(());
            }
        }
    }
}

/// What a fresh decoder sees in these chunks, up to the first violation.
fn decode_chunks<'a>(
    role: Role,
    limit: usize,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Option<Violation>) {
    let mut decoder = Decoder::new(role, limit);
    let mut seen = Vec::new();
    for chunk in chunks {
        if let Err(violation) = feed(&mut decoder, chunk, &mut seen) {
            return (seen, Some(violation));
        }
    }
    (seen, None)
}

/// The same, in one piece and byte by byte; which must not differ.
fn decode_both_ways(role: Role, limit: usize, bytes: &[u8]) -> (Vec<Seen>, Option<Violation>) {
    let whole = decode_chunks(role, limit, [bytes]);
    let bytewise = decode_chunks(role, limit, bytes.chunks(1));
    assert_eq!(whole, bytewise, "in one piece, and byte by byte");
    whole
}
