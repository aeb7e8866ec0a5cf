//! Bytes to events. What is whole is handed out from where it lies; what is not is kept, in one box, until it is.

use std::ops::Range;

use super::header::{Context, Header};
use super::{CloseFrame, HEADER_BYTES_MAX, MessageKind, Opcode, Role, Violation, mask};

/// Reads the frames of one connection.
///
/// Sixteen bytes while nothing is unfinished. The loop to drive it with ends when [`Decoded::event`] is none, not when
/// the input is empty: that last call, even with no bytes at all, is what gives back the memory of a message that had
/// been kept.
///
/// ```
/// # use pubsub_protocol::websocket::{Decoder, Role, Violation};
/// # fn read(decoder: &mut Decoder, input: &mut [u8]) -> Result<(), Violation> {
/// let mut at = 0;
/// loop {
///     let decoded = decoder.decode(&mut input[at..])?;
///     at += decoded.consumed;
///     let Some(event) = decoded.event else { break };
///     // … `event` …
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Decoder {
    kept: Option<Box<Kept>>,
    message_bytes_max: u32,
    role: Role,
    /// After a close frame, or a violation, nothing counts any more.
    ended: bool,
}

/// What [`Decoder::decode`] made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// None: all of the input is consumed, and more is needed.
    pub event: Option<Event<'a>>,
}

/// Something that the peer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message. Text has been found to be UTF-8.
    Message {
        /// Text or binary.
        kind: MessageKind,
        /// Its payload, of all its fragments.
        data: &'a [u8],
    },
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// The answer to a ping, or a sign of life that nobody asked for.
    Pong(&'a [u8]),
    /// The last thing the peer says. Whatever it sends after this is dropped.
    Close(Option<CloseFrame<'a>>),
}

/// The unfinished.
#[derive(Debug, Default)]
struct Kept {
    stage: Stage,
    /// The message under way, if one is: all of its first frame has not come, or more frames are to follow.
    message: Option<MessageKind>,
    /// How much of `bytes` belongs to that message. What comes after it is a control frame between its fragments.
    message_bytes: u32,
    /// How much of the message is known to be UTF-8. What comes after it is the beginning of one character.
    utf8_bytes: u32,
    bytes: Vec<u8>,
}

/// Where in a frame the input ended.
#[derive(Debug)]
enum Stage {
    /// Inside a header, or (with `len` 0) between two fragments.
    Header { bytes: [u8; HEADER_BYTES_MAX], len: u8 },
    /// Inside a payload, with so many bytes of it missing.
    Payload { header: Header, missing: u32 },
    /// The last call handed out a slice of `bytes`; the next one lets go of it.
    HandedOut,
}

/// A whole message or control frame, and where its bytes are.
struct Found {
    opcode: Opcode,
    place: Place,
}

enum Place {
    Input(Range<usize>),
    Kept(Range<usize>),
}

impl Decoder {
    /// A decoder for the frames that *we*, in this role, receive. Messages above the limit, which is taken as at most
    /// 4 GiB, are refused.
    #[must_use]
    pub fn new(role: Role, message_bytes_max: usize) -> Self {
        let message_bytes_max = u32::try_from(message_bytes_max).unwrap_or(u32::MAX);
        Self { kept: None, message_bytes_max, role, ended: false }
    }

    /// Decodes at most one event from the front of `input`, which is unmasked in place. Call again with
    /// `input[consumed..]` until there is no event.
    ///
    /// # Errors
    /// When the peer breaks the rules. Nothing more can be read from it; further input is dropped.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<Decoded<'a>, Violation> {
        let (consumed, found) = match self.advance(input) {
            Ok(advanced) => advanced,
            Err(violation) => {
                self.end();
                return Err(violation);
            }
        };
        let Some(Found { opcode, place }) = found else { return Ok(Decoded { consumed, event: None }) };
        let data: &'a [u8] = match place {
            Place::Input(range) => &input[range],
            Place::Kept(range) => &self.kept.as_ref().expect("what was found in the box is still in it").bytes[range],
        };
        let event = match opcode {
            Opcode::Text => Event::Message { kind: MessageKind::Text, data },
            Opcode::Binary => Event::Message { kind: MessageKind::Binary, data },
            Opcode::Ping => Event::Ping(data),
            Opcode::Pong => Event::Pong(data),
            Opcode::Close => {
                self.ended = true;
                Event::Close(CloseFrame::parse(data)?)
            }
            Opcode::Continuation => unreachable!("a message is found under the opcode of its first frame"),
        };
        Ok(Decoded { consumed, event: Some(event) })
    }

    /// Bytes of heap in use. Zero when nothing is unfinished and the last event has been let go of.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| size_of::<Kept>() + kept.bytes.capacity())
    }

    /// Whether the peer is in the middle of a frame or of a fragmented message: a connection that ends now ends early.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.message.is_some() || !matches!(kept.stage, Stage::HandedOut))
    }

    fn end(&mut self) {
        self.ended = true;
        self.kept = None;
    }

    /// Goes on until something is whole or the input is used up. Says how much of it is.
    fn advance(&mut self, input: &mut [u8]) -> Result<(usize, Option<Found>), Violation> {
        self.let_go();
        if self.ended {
            self.kept = None;
            return Ok((input.len(), None));
        }
        let mut at = 0;
        loop {
            let (header, missing) = match self.unfinished_frame() {
                Some(unfinished) => unfinished,
                None => {
                    let (header, header_bytes) = self.read_header(&input[at..])?;
                    at += header_bytes;
                    let Some(header) = header else { return Ok((at, None)) };
                    let payload_bytes = header.payload_bytes as usize;
                    if payload_bytes <= input.len() - at && is_whole_by_itself(header) {
                        let end = at + payload_bytes;
                        self.read_in_place(header, &mut input[at..end])?;
                        return Ok((end, Some(Found { opcode: header.opcode, place: Place::Input(at..end) })));
                    }
                    (header, header.payload_bytes)
                }
            };
            let here = (missing as usize).min(input.len() - at);
            let kept = self.kept.get_or_insert_default();
            let found = kept.read_payload(header, missing, &input[at..at + here], self.message_bytes_max)?;
            at += here;
            if found.is_some() || at == input.len() {
                return Ok((at, found));
            }
        }
    }

    /// Frees what the last call handed out a slice of.
    fn let_go(&mut self) {
        if let Some(kept) = &mut self.kept
            && matches!(kept.stage, Stage::HandedOut)
        {
            if kept.message.is_some() {
                kept.bytes.truncate(kept.message_bytes as usize);
                kept.stage = Stage::default();
            } else {
                self.kept = None;
            }
        }
    }

    fn unfinished_frame(&self) -> Option<(Header, u32)> {
        match self.kept.as_ref()?.stage {
            Stage::Payload { header, missing } => Some((header, missing)),
            Stage::Header { .. } | Stage::HandedOut => None,
        }
    }

    /// Reads a header, the first bytes of which may have come before. Without one, all of `input` is kept.
    fn read_header(&mut self, input: &[u8]) -> Result<(Option<Header>, usize), Violation> {
        let context = Context {
            role: self.role,
            message_bytes: self.kept.as_ref().and_then(|kept| kept.message.map(|_| kept.message_bytes)),
            message_bytes_max: self.message_bytes_max,
        };
        if let Some(kept) = &mut self.kept
            && let Stage::Header { bytes, len } = &mut kept.stage
            && *len > 0
        {
            let before = usize::from(*len);
            let new = input.len().min(HEADER_BYTES_MAX - before);
            bytes[before..before + new].copy_from_slice(&input[..new]);
            let Some((header, header_bytes)) = Header::parse(&bytes[..before + new], context)? else {
                *len += new as u8;
                return Ok((None, new));
            };
            kept.stage = Stage::default();
            return Ok((Some(header), header_bytes - before));
        }
        if let Some((header, header_bytes)) = Header::parse(input, context)? {
            return Ok((Some(header), header_bytes));
        }
        if !input.is_empty() {
            let mut bytes = [0; HEADER_BYTES_MAX];
            bytes[..input.len()].copy_from_slice(input);
            self.kept.get_or_insert_default().stage = Stage::Header { bytes, len: input.len() as u8 };
        }
        Ok((None, input.len()))
    }

    fn read_in_place(&mut self, header: Header, payload: &mut [u8]) -> Result<(), Violation> {
        if header.mask != [0; 4] {
            mask::apply(payload, header.mask);
        }
        if header.opcode == Opcode::Text && simdutf8::basic::from_utf8(payload).is_err() {
            return Err(Violation::TextNotUtf8);
        }
        // Nothing but this frame's header may have been kept.
        if self.kept.as_ref().is_some_and(|kept| kept.message.is_none()) {
            self.kept = None;
        }
        Ok(())
    }
}

impl Kept {
    /// Keeps `new`, the next bytes of a frame of which so many were `missing`.
    fn read_payload(
        &mut self,
        header: Header,
        missing: u32,
        new: &[u8],
        message_bytes_max: u32,
    ) -> Result<Option<Found>, Violation> {
        if let Some(kind) = header.opcode.begins() {
            self.message = Some(kind);
        }
        // A frame that is not the last one is followed by more, up to the limit.
        let expected = if header.fin { self.bytes.len() + missing as usize } else { message_bytes_max as usize };
        self.append(new, header, missing, expected);
        let missing = missing - new.len() as u32;

        let is_message = !header.opcode.is_control();
        if is_message {
            self.message_bytes += new.len() as u32;
            if self.message == Some(MessageKind::Text) {
                self.check_utf8(missing == 0 && header.fin)?;
            }
        }
        if missing > 0 {
            self.stage = Stage::Payload { header, missing };
            return Ok(None);
        }
        if !header.fin {
            self.stage = Stage::default();
            return Ok(None);
        }
        self.stage = Stage::HandedOut;
        let message_bytes = self.message_bytes as usize;
        Ok(Some(if is_message {
            let kind = self.message.take().expect("a continuation is refused when there is nothing to continue");
            Found { opcode: kind.opcode(), place: Place::Kept(0..message_bytes) }
        } else {
            Found { opcode: header.opcode, place: Place::Kept(message_bytes..self.bytes.len()) }
        }))
    }

    /// Appends and unmasks, doubling the space as bytes come, never past what is `expected`.
    fn append(&mut self, new: &[u8], header: Header, missing: u32, expected: usize) {
        let start = self.bytes.len();
        let needed = start + new.len();
        if needed > self.bytes.capacity() {
            let capacity = (2 * self.bytes.capacity()).min(expected).max(needed);
            self.bytes.reserve_exact(capacity - start);
        }
        self.bytes.extend_from_slice(new);
        if header.mask != [0; 4] {
            let key = mask::advanced(header.mask, (header.payload_bytes - missing) as usize);
            mask::apply(&mut self.bytes[start..], key);
        }
    }

    /// Fails as soon as the text can no longer become UTF-8, not only when it is complete.
    fn check_utf8(&mut self, complete: bool) -> Result<(), Violation> {
        match simdutf8::compat::from_utf8(&self.bytes[self.utf8_bytes as usize..]) {
            Ok(_) => self.utf8_bytes = self.message_bytes,
            Err(error) if complete || error.error_len().is_some() => return Err(Violation::TextNotUtf8),
            Err(error) => self.utf8_bytes += error.valid_up_to() as u32,
        }
        Ok(())
    }
}

/// Whether this frame, once it is here, is all there is to an event.
fn is_whole_by_itself(header: Header) -> bool {
    header.fin && header.opcode != Opcode::Continuation
}

impl Default for Stage {
    fn default() -> Self {
        Self::Header { bytes: [0; HEADER_BYTES_MAX], len: 0 }
    }
}

impl Opcode {
    /// The kind of message that a frame of this opcode begins.
    const fn begins(self) -> Option<MessageKind> {
        match self {
            Self::Text => Some(MessageKind::Text),
            Self::Binary => Some(MessageKind::Binary),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_known_to_be_utf8_is_not_looked_at_again() {
        // Otherwise a message of many small fragments, each ending inside a character, costs the square of its length.
        let mut decoder = Decoder::new(Role::Client, 100);
        decoder.decode(&mut [0x01, 5, b'a', b'b', b'c', b'd', 0xE2]).unwrap();
        assert_eq!(decoder.kept.as_ref().unwrap().utf8_bytes, 4);
        decoder.decode(&mut [0x00, 3, 0x80, 0x93, 0xE2]).unwrap();
        assert_eq!(decoder.kept.as_ref().unwrap().utf8_bytes, 7);
    }
}
