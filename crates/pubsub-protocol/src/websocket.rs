//! RFC 6455 frames for either role: bytes to events, payloads to frames. No socket, no handshake, no clock.
//!
//! The law of this room: **an idle connection holds no memory here, and nothing is allocated on the word of a
//! header**. A frame that came whole is unmasked where it lies and handed out as a slice of the caller's buffer; only
//! bytes that really came, and can not be handed out yet, are kept, and they are given back with the message they
//! belong to.
//!
//! `permessage-deflate` is not spoken: a handshake must not accept it, and reserved bits are refused.
//!
//! - `header`: the 2 to 14 bytes before a payload, and every rule that they can break
//! - `decoder`: bytes to [`Event`]s; keeps what is unfinished
//! - `close`: what a close frame may say
//! - `encode`: payloads to frames, and a frame's header in front of a payload that is already written
//! - `mask`: the XOR, eight bytes at a time
//! - `violation`: each way in which a peer can break the rules, and the close code that tells it so

mod close;
mod decoder;
mod encode;
mod header;
mod mask;
mod violation;

pub use close::{CloseFrame, close_payload, is_valid_close_code};
pub use decoder::{Decoded, Decoder, Event};
pub use encode::{FrameBuilder, FrameHeader, encode_frame, frame_header, server_header};
pub use violation::Violation;

/// The longest header: two bytes, eight of length, four of mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest header that a server sends: it masks nothing.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;

/// Who *we* are. A server takes masked frames only and sends them unmasked; a client the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We opened the connection.
    Client,
}

/// What kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that a [`Opcode::Text`] or [`Opcode::Binary`] frame began.
    Continuation = 0x0,
    /// UTF-8 text, or the beginning of it.
    Text = 0x1,
    /// Any bytes, or the beginning of them.
    Binary = 0x2,
    /// The last frame of its sender.
    Close = 0x8,
    /// "Are you there?"
    Ping = 0x9,
    /// The answer, with the ping's payload.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode with these four bits, unless they are reserved.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// Its four bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// Whether it is about the connection (close, ping, pong): never fragmented, and short.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }
}

/// What kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl MessageKind {
    /// The opcode of the first (or only) frame of such a message.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

#[cfg(test)]
mod tests;
