//! RFC 6455 on a real socket, byte for byte: what a fuzzing client of the kind that certifies WebSocket libraries
//! would look for, in its own sections. Nothing of our codec is used on this side of the wire, so that no mistake can
//! hide by being made twice.
//!
//! A [`Case`](case::Case) is data: what is sent, what has to come back, how it has to end. Each is sent in one piece,
//! frame by frame, and in small cuts ([`wire`]). Against `/echo`, which sends back every message; and, where nothing is
//! to be echoed, against the endpoint of the client protocol too.
//!
//! The certifying suites (Autobahn's is the one that most libraries quote) number their cases by family. What covers each:
//!
//! | family | about | here |
//! |---|---|---|
//! | 1 | messages of 0 to 65,536 bytes, whole and chopped | `framing.rs`; every case is also sent frame by frame and in cuts of 1 and 3 bytes |
//! | 2 | pings and pongs, with payloads up to 125 bytes and beyond, unasked pongs, ten pings at once | `control.rs` |
//! | 3 | reserved bits: each combination, in each opcode, between good messages, in continuations | `control.rs` |
//! | 4 | reserved opcodes 3 to 7 and 11 to 15, empty and not, between messages and fragments | `control.rs` |
//! | 5 | fragments: empty ones, control frames in between, continuations of nothing, messages inside of messages | `fragments.rs` |
//! | 6 | UTF-8: boundaries, overlong forms, surrogates, non-characters, cut anywhere, refused at the first byte that can not be right | `utf8.rs` |
//! | 7 | closing: codes that may be sent and codes that may not, reasons, half a code, what comes behind a close frame | `closing.rs` |
//! | 9 | messages to 16 MiB, in fragments from 64 bytes, in writes from 64 bytes; thousands back to back | `limits.rs`, `framing.rs` |
//! | 10 | fragments of a size that fits no buffer | `fragments.rs` |
//! | 12, 13 | compression | not spoken: no offer is accepted, a compressed frame is 1002 (`handshake.rs`) |
//!
//! Not among those families: masks and lengths in their only form (`control.rs`), deadlines of the closing handshake
//! (`closing.rs`), the limit to the byte (`limits.rs`), the upgrade itself, extensions and subprotocols (`handshake.rs`).

#![allow(clippy::unwrap_used, reason = "clippy takes the rig of a test for something else than a test")]

mod case;
mod closing;
mod control;
mod fragments;
mod frame;
mod framing;
mod handshake;
mod limits;
mod utf8;
mod wire;
