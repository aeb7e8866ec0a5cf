//! Payloads to frames.

use super::{HEADER_BYTES_MAX, Opcode, SERVER_HEADER_BYTES_MAX, mask};

/// Appends a whole frame to `out`. Clients give a `mask`, fresh from a generator for each frame; servers none.
pub fn encode_frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, fin: bool, out: &mut Vec<u8>) {
    let header = frame_header(opcode, fin, payload.len(), mask);
    out.reserve(header.as_bytes().len() + payload.len());
    out.extend_from_slice(header.as_bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        mask::apply(&mut out[start..], key);
    }
}

/// The header of a whole, unmasked frame: what a server writes in front of a payload it shares.
#[must_use]
pub fn server_header(opcode: Opcode, payload_bytes: usize) -> FrameHeader {
    frame_header(opcode, true, payload_bytes, None)
}

/// The header of any frame.
#[must_use]
pub fn frame_header(opcode: Opcode, fin: bool, payload_bytes: usize, mask: Option<[u8; 4]>) -> FrameHeader {
    let mut header = FrameHeader { bytes: [0; HEADER_BYTES_MAX], len: 0 };
    let masked = if mask.is_some() { 0x80 } else { 0 };
    header.push(&[if fin { 0x80 } else { 0 } | opcode.bits()]);
    match payload_bytes {
        0..126 => header.push(&[masked | payload_bytes as u8]),
        126..0x1_0000 => {
            header.push(&[masked | 126]);
            header.push(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            header.push(&[masked | 127]);
            header.push(&(payload_bytes as u64).to_be_bytes());
        }
    }
    if let Some(key) = mask {
        header.push(&key);
    }
    header
}

/// An encoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl FrameHeader {
    fn push(&mut self, bytes: &[u8]) {
        let len = usize::from(self.len);
        self.bytes[len..len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Builds a server's frame in one piece of memory: the payload is written first, its header then put in front of it.
///
/// A header's length depends on the payload's, so head room for the longest one is left free; what is not used of it
/// stays in front of the frame, and [`FrameBuilder::finish`] says where the frame begins.
#[derive(Debug)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// Begins a frame with space for a payload of `payload_bytes`. It may become longer.
    #[must_use]
    pub fn with_capacity(payload_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(SERVER_HEADER_BYTES_MAX + payload_bytes);
        bytes.resize(SERVER_HEADER_BYTES_MAX, 0);
        Self { bytes }
    }

    /// Where to *append* the payload. What stands in it already is the head room and has to stay.
    pub fn payload_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many bytes of payload there are so far.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len().checked_sub(SERVER_HEADER_BYTES_MAX).expect("a payload is appended behind the head room")
    }

    /// Writes the header. The frame is `bytes[start..]` of the pair that is returned.
    #[must_use]
    pub fn finish(self, opcode: Opcode) -> (Vec<u8>, usize) {
        self.finish_with(opcode, 0)
    }

    /// The same for a payload of which so many bytes are elsewhere, to be sent between those that are here.
    #[must_use]
    pub fn finish_with(mut self, opcode: Opcode, elsewhere: usize) -> (Vec<u8>, usize) {
        let header = server_header(opcode, self.payload_bytes() + elsewhere);
        let start = SERVER_HEADER_BYTES_MAX - header.as_bytes().len();
        self.bytes[start..SERVER_HEADER_BYTES_MAX].copy_from_slice(header.as_bytes());
        (self.bytes, start)
    }
}
