//! RFC 6455 on a real socket, byte for byte: what a fuzzing client of the kind that certifies WebSocket libraries
//! would look for, in its own sections. Nothing of our codec is used on this side of the wire, so that no mistake can
//! hide by being made twice.
//!
//! A [`Case`](case::Case) is data: what is sent, what has to come back, how it has to end. Each is sent in one piece,
//! frame by frame, and in small cuts ([`wire`]). Against `/echo`, which sends back every message; and, where nothing is
//! to be echoed, against the endpoint of the client protocol too.
//!
//! | section | file |
//! |---|---|
//! | messages of every length, whole and chopped | `framing.rs` |
//! | pings and pongs, reserved bits, reserved opcodes, masks, lengths | `control.rs` |
//! | fragments, with control frames in between | `fragments.rs` |
//! | UTF-8, whole, across fragments, and refused as soon as it can not be right any more | `utf8.rs` |
//! | every close code, reasons, what follows a close frame, deadlines | `closing.rs` |
//! | large messages, and the limit | `limits.rs` |
//! | the upgrade itself, extensions and subprotocols | `handshake.rs` |

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
