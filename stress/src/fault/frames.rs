//! Where the HTTP head and the WebSocket frames of one direction begin and end, from the bytes alone.
//!
//! The lab keeps its own scanner instead of asking the codec of the protocol crate: that codec is what is being tested.
//! It reads headers only; payloads are skipped in one step, so it can stay on for every connection, and a fault that
//! begins in the middle of a conversation still knows where the next frame begins.

use super::conduct::Conduct;

/// Where the status of an HTTP answer is, and that of one that changes to frames.
const STATUS: std::ops::Range<u64> = 9..12;
const SWITCHES: [u8; 3] = *b"101";
/// The longest header: 2 bytes, 8 of length, 4 of mask.
const HEADER_BYTES_MAX: usize = 14;

/// A piece of a direction that belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The HTTP request or response head, its empty line included.
    Head,
    /// A frame.
    Frame(FrameHeader),
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Counted from 0 after the handshake.
    pub index: u64,
    /// The first byte: FIN, reserved bits, opcode.
    pub first: u8,
    /// The mask, if there is one.
    pub mask: Option<[u8; 4]>,
    /// Bytes of the header.
    pub header_bytes: usize,
    /// Bytes of the payload.
    pub payload_bytes: u64,
}

impl FrameHeader {
    /// The opcode: 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// Whether application data is in it, and a message ends with it.
    #[must_use]
    pub fn is_whole_data(&self) -> bool {
        self.first & 0x80 != 0 && matches!(self.opcode(), 1 | 2)
    }
}

/// How far [`FrameCursor::step`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes that belong to the unit under way.
    pub used: usize,
    /// The unit, if these bytes completed it.
    pub complete: Option<Unit>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In the HTTP head; so many bytes of the closing `\r\n\r\n` have just been seen.
    Head { matched: u8 },
    /// In a header of which so many bytes are known.
    Header { bytes: [u8; HEADER_BYTES_MAX], have: usize },
    /// In a payload.
    Payload { header: FrameHeader, left: u64 },
}

/// Follows one direction from its first byte.
#[derive(Clone, Copy, Debug)]
pub struct FrameCursor {
    state: State,
    frames: u64,
    seen: u64,
    /// What the head says where an answer has its status.
    status: [u8; 3],
    conduct: Conduct,
}

impl Default for FrameCursor {
    fn default() -> Self {
        let (frames, seen, status, conduct) = Default::default();
        Self { state: State::Head { matched: 0 }, frames, seen, status, conduct }
    }
}

impl FrameCursor {
    /// For a stream that begins with frames, without a handshake.
    #[must_use]
    pub fn after_handshake() -> Self {
        Self { state: Self::NEW_HEADER, status: SWITCHES, ..Self::default() }
    }

    const NEW_HEADER: State = State::Header { bytes: [0; HEADER_BYTES_MAX], have: 0 };

    /// Whether the next byte begins a frame.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }

    /// How many bytes have been seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How a server has behaved after its 101. `None`: there was none.
    #[must_use]
    pub fn conduct(&self) -> Option<&Conduct> {
        (self.status == SWITCHES).then_some(&self.conduct)
    }

    /// Reads on to the end of the current unit, or of `bytes`.
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        let step = self.walk(bytes);
        self.seen += step.used as u64;
        step
    }

    fn walk(&mut self, bytes: &[u8]) -> Step {
        let mut used = 0;
        while used < bytes.len() {
            match &mut self.state {
                State::Head { matched } => {
                    let expected = b"\r\n\r\n"[usize::from(*matched)];
                    let byte = bytes[used];
                    let at = self.seen + used as u64;
                    if STATUS.contains(&at) {
                        self.status[usize::try_from(at - STATUS.start).unwrap_or(0)] = byte;
                    }
                    used += 1;
                    *matched = match byte {
                        _ if byte == expected => *matched + 1,
                        b'\r' => 1,
                        _ => 0,
                    };
                    if *matched == 4 {
                        self.state = Self::NEW_HEADER;
                        return Step { used, complete: Some(Unit::Head) };
                    }
                }
                State::Header { bytes: header, have } => {
                    header[*have] = bytes[used];
                    *have += 1;
                    used += 1;
                    if *have < 2 || *have < header_bytes(header) {
                        continue;
                    }
                    let header = parse(header, self.frames);
                    if header.payload_bytes > 0 {
                        self.state = State::Payload { header, left: header.payload_bytes };
                        continue;
                    }
                    return self.finish(header, used);
                }
                State::Payload { header, left } => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - used);
                    *left -= here as u64;
                    used += here;
                    if *left == 0 {
                        let header = *header;
                        return self.finish(header, used);
                    }
                }
            }
        }
        Step { used, complete: None }
    }

    fn finish(&mut self, header: FrameHeader, used: usize) -> Step {
        self.frames += 1;
        self.conduct.frame(&header);
        self.state = Self::NEW_HEADER;
        Step { used, complete: Some(Unit::Frame(header)) }
    }
}

fn header_bytes(header: &[u8; HEADER_BYTES_MAX]) -> usize {
    let length = match header[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if header[1] & 0x80 != 0 { 4 } else { 0 }
}

fn parse(header: &[u8; HEADER_BYTES_MAX], index: u64) -> FrameHeader {
    let bytes = header_bytes(header);
    let payload_bytes = match header[1] & 0x7f {
        126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
        127 => {
            u64::from_be_bytes([header[2], header[3], header[4], header[5], header[6], header[7], header[8], header[9]])
        }
        short => u64::from(short),
    };
    let mask =
        (header[1] & 0x80 != 0).then(|| [header[bytes - 4], header[bytes - 3], header[bytes - 2], header[bytes - 1]]);
    FrameHeader { index, first: header[0], mask, header_bytes: bytes, payload_bytes }
}

/// The payload of a whole frame, its mask taken off.
#[must_use]
pub fn payload(header: &FrameHeader, frame: &[u8]) -> Vec<u8> {
    let mut payload = frame[header.header_bytes..].to_vec();
    if let Some(mask) = header.mask {
        for (i, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[i % 4];
        }
    }
    payload
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame as either side would send it, for the tests of the neighbours too.
    pub(crate) fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![first];
        match payload.len() {
            short @ 0..=125 => out.push(bit | short as u8),
            medium @ 126..=65_535 => {
                out.push(bit | 126);
                out.extend((medium as u16).to_be_bytes());
            }
            long => {
                out.push(bit | 127);
                out.extend((long as u64).to_be_bytes());
            }
        }
        out.extend(mask.iter().flatten());
        out.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask.map_or(0, |m| m[i % 4])));
        out
    }

    fn units(bytes: &[u8], piece: usize) -> Vec<(Unit, usize)> {
        let mut cursor = FrameCursor::default();
        let (mut found, mut length) = (Vec::new(), 0);
        for chunk in bytes.chunks(piece) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let step = cursor.step(rest);
                length += step.used;
                rest = &rest[step.used..];
                if let Some(unit) = step.complete {
                    found.push((unit, length));
                    length = 0;
                }
            }
        }
        found
    }

    #[test]
    fn units_are_found_alike_however_the_bytes_are_cut() {
        let mut bytes = b"GET / HTTP/1.1\r\nA: \r\r\n\r\n".to_vec();
        let frames = [
            frame(0x81, Some([1, 2, 3, 4]), b"{\"id\":1}"),
            frame(0x81, None, &[b'x'; 300]),
            frame(0x82, Some([9, 8, 7, 6]), &[7; 70_000]),
            frame(0x89, None, b""),
            frame(0x88, None, &[3, 232]),
        ];
        for frame in &frames {
            bytes.extend(frame);
        }
        let whole = units(&bytes, bytes.len());
        assert_eq!(whole.len(), 6);
        assert_eq!(whole[0], (Unit::Head, 24));
        for (i, frame) in frames.iter().enumerate() {
            let (Unit::Frame(header), length) = whole[i + 1] else { panic!("{:?}", whole[i + 1]) };
            assert_eq!((header.index, length), (i as u64, frame.len()));
            assert_eq!(header.header_bytes as u64 + header.payload_bytes, frame.len() as u64);
        }
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(units(&bytes, piece), whole, "cut into {piece}");
        }
    }

    #[test]
    fn the_body_of_a_refusal_is_no_conduct() {
        for (status, judged) in [("101 Switching Protocols", true), ("503 Service Unavailable", false)] {
            let mut cursor = FrameCursor::default();
            let mut bytes = format!("HTTP/1.1 {status}\r\nA: b\r\n\r\n").into_bytes();
            bytes.extend(frame(0x81, Some([1; 4]), b"{}"));
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                rest = &rest[cursor.step(rest).used..];
            }
            assert_eq!(cursor.conduct().and_then(Conduct::wrong).is_some(), judged, "{status}");
        }
    }

    #[test]
    fn the_payload_comes_out_unmasked() {
        let frame = frame(0x81, Some([1, 2, 3, 4]), b"hello");
        let step = FrameCursor::after_handshake().step(&frame);
        let Some(Unit::Frame(header)) = step.complete else { panic!("{step:?}") };
        assert!(header.is_whole_data());
        assert_eq!(payload(&header, &frame), b"hello");
    }
}
