//! The 2 to 14 bytes before a payload, and every rule that they can break.
//!
//! Rules are checked in the order of the bytes they stand in, each as soon as its byte is there. So a violation is the
//! same however the bytes were cut on their way, and it is found before the payload, or even the mask, came.

use super::{Opcode, Role, Violation};
use crate::limits::CONTROL_PAYLOAD_BYTES_MAX;

/// What a header says that a decoder has to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// All zero without a mask: then unmasking changes nothing and is left out.
    pub(super) mask: [u8; 4],
    pub(super) payload_bytes: u32,
}

/// What decides whether a header is right, besides itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) role: Role,
    /// Bytes of the fragmented message that is under way, if one is.
    pub(super) message_bytes: Option<u32>,
    pub(super) message_bytes_max: u32,
}

impl Header {
    /// Reads the header at the front of `bytes`, with its own length. None: there is more of it to come.
    pub(super) fn parse(bytes: &[u8], context: Context) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (opcode, fin) = first_byte(first, context.message_bytes.is_some())?;

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let masked = second & 0x80 != 0;
        match context.role {
            Role::Server if !masked => return Err(Violation::Unmasked),
            Role::Client if masked => return Err(Violation::Masked),
            _ => {}
        }
        let short = second & 0x7F;
        if opcode.is_control() && usize::from(short) > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(Violation::OversizeControl);
        }

        let rest = &bytes[2..];
        let Some((length, rest)) = length(short, rest)? else { return Ok(None) };
        let payload_bytes = match u32::try_from(length) {
            Ok(payload_bytes) if opcode.is_control() || payload_bytes <= context.room() => payload_bytes,
            _ => return Err(context.too_big(length)),
        };

        let (mask, rest) = if masked {
            let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (*mask, rest)
        } else {
            ([0; 4], rest)
        };
        Ok(Some((Self { opcode, fin, mask, payload_bytes }, bytes.len() - rest.len())))
    }
}

fn first_byte(first: u8, inside_message: bool) -> Result<(Opcode, bool), Violation> {
    let reserved = first >> 4 & 0b111;
    if reserved != 0 {
        return Err(Violation::ReservedBits(reserved));
    }
    let bits = first & 0x0F;
    let opcode = Opcode::from_bits(bits).ok_or(Violation::ReservedOpcode(bits))?;
    let fin = first & 0x80 != 0;
    match opcode {
        Opcode::Continuation if !inside_message => Err(Violation::UnexpectedContinuation),
        Opcode::Text | Opcode::Binary if inside_message => Err(Violation::InterruptedMessage),
        Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => Err(Violation::FragmentedControl),
        _ => Ok((opcode, fin)),
    }
}

/// The payload's length: `short`, or what stands at the front of `rest` in its place; and what comes after it.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (length, rest, length_min) = match short {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), rest, 126)
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), rest, 1 << 16)
        }
        _ => return Ok(Some((u64::from(short), rest))),
    };
    if length >> 63 != 0 {
        Err(Violation::LengthTopBit)
    } else if length < length_min {
        Err(Violation::LengthNotMinimal(length))
    } else {
        Ok(Some((length, rest)))
    }
}

impl Context {
    /// How many bytes the message may still grow by.
    fn room(self) -> u32 {
        self.message_bytes_max - self.message_bytes.unwrap_or(0)
    }

    fn too_big(self, payload_bytes: u64) -> Violation {
        let bytes = payload_bytes.saturating_add(self.message_bytes.unwrap_or(0).into());
        Violation::MessageTooBig { bytes, bytes_max: self.message_bytes_max }
    }
}
