//! Any bytes as the frames of a peer: whole and byte by byte the decoder sees the same, within bounds.

use pubsub_protocol::websocket::{Decoder, Event, Role, Violation};

const LIMIT: usize = 4096;

/// `data`: one byte for the role, the rest as it comes from the wire.
pub fn check(data: &[u8]) {
    let Some((role, bytes)) = data.split_first() else { return };
    let role = if role & 1 == 0 { Role::Server } else { Role::Client };
    let whole = decode(role, bytes, bytes.len().max(1));
    assert_eq!(whole, decode(role, bytes, 1), "in one piece, and byte by byte");
    assert_eq!(whole, decode(role, bytes, 7), "in one piece, and in sevens");
}

fn decode(role: Role, bytes: &[u8], cut: usize) -> (Vec<String>, Option<Violation>) {
    let mut decoder = Decoder::new(role, LIMIT);
    let mut seen = Vec::new();
    for chunk in bytes.chunks(cut) {
        let mut input = chunk.to_vec();
        let mut at = 0;
        loop {
            let decoded = match decoder.decode(&mut input[at..]) {
                Ok(decoded) => decoded,
                Err(violation) => return (seen, Some(violation)),
            };
            at += decoded.consumed;
            let Some(event) = decoded.event else { break };
            if let Event::Message { data, .. } = event {
                assert!(data.len() <= LIMIT);
            }
            seen.push(format!("{event:?}"));
        }
        assert_eq!(at, input.len());
        // A message, a control frame in the middle of it, and what a vector grows by.
        assert!(decoder.heap_bytes() <= 2 * (LIMIT + 125) + 256, "{} bytes are kept", decoder.heap_bytes());
    }
    (seen, None)
}
