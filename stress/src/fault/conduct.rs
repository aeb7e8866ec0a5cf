//! Whether what a server sends keeps to RFC 6455 (I16), by the headers alone: of every connection under faults, and as it
//! came, before any fault of ours. What is in the frames is for the client and the ledger to judge.

use super::frames::FrameHeader;

/// Longest payload of a control frame.
const CONTROL_BYTES_MAX: u64 = 125;

/// What one direction of one connection has shown so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conduct {
    frames: u64,
    /// A message has begun and not ended.
    in_message: bool,
    closed: bool,
    wrong: Option<(u64, &'static str)>,
}

impl Conduct {
    /// A server's frame: without extensions, for nobody asks for one.
    pub fn frame(&mut self, header: &FrameHeader) {
        let wrong = self.look(header);
        self.wrong = self.wrong.or(wrong.map(|wrong| (header.index, wrong)));
        self.frames += 1;
    }

    fn look(&mut self, header: &FrameHeader) -> Option<&'static str> {
        let (ends, control) = (header.first & 0x80 != 0, header.opcode() >= 8);
        let was_closed = self.closed;
        self.closed |= header.opcode() == 8;
        let begun = self.in_message;
        if !control {
            self.in_message = !ends;
        }
        Some(match header.opcode() {
            _ if was_closed => "after the close frame",
            _ if header.mask.is_some() => "with a mask",
            _ if header.first & 0x70 != 0 => "with a reserved bit",
            3..=7 | 11..=15 => "with an opcode that there is not",
            0 if !begun => "that continues nothing",
            1 | 2 if begun => "inside a message",
            _ if control && !ends => "of control, in pieces",
            _ if control && header.payload_bytes > CONTROL_BYTES_MAX => "of control, too long",
            8 if header.payload_bytes == 1 => "of closing, with half a code",
            _ => return None,
        })
    }

    /// How many frames there were.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The first that was wrong, in words.
    #[must_use]
    pub fn wrong(&self) -> Option<String> {
        self.wrong.map(|(index, wrong)| format!("frame {index} came {wrong}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::frames::tests::frame;
    use crate::fault::frames::{FrameCursor, Unit};

    fn wrong(frames: &[Vec<u8>]) -> Option<String> {
        let (mut cursor, mut conduct) = (FrameCursor::after_handshake(), Conduct::default());
        for frame in frames {
            let Some(Unit::Frame(header)) = cursor.step(frame).complete else { panic!("a whole frame") };
            conduct.frame(&header);
        }
        assert_eq!(conduct.frames(), frames.len() as u64);
        conduct.wrong()
    }

    #[test]
    fn what_the_rfc_allows_passes() {
        let ping = frame(0x89, None, b"now");
        let close = frame(0x88, None, &[3, 232]);
        assert_eq!(
            wrong(&[frame(0x81, None, b"{}"), frame(0x01, None, b"{"), ping, frame(0x80, None, b"}"), close]),
            None
        );
    }

    #[test]
    fn what_it_forbids_is_told_with_its_number() {
        let (text, mask) = (frame(0x81, None, b"{}"), Some([1, 2, 3, 4]));
        for (bad, told) in [
            (vec![frame(0x88, None, &[3, 232]), text.clone()], "frame 1 came after the close"),
            (vec![text.clone(), frame(0x81, mask, b"{}")], "frame 1 came with a mask"),
            (vec![frame(0xc1, None, b"{}")], "reserved bit"),
            (vec![frame(0x83, None, b"")], "opcode"),
            (vec![frame(0x80, None, b"")], "continues nothing"),
            (vec![frame(0x01, None, b"{"), text], "inside a message"),
            (vec![frame(0x09, None, b"")], "in pieces"),
            (vec![frame(0x89, None, &[0; 126])], "too long"),
            (vec![frame(0x88, None, &[3])], "half a code"),
        ] {
            let found = wrong(&bad).unwrap_or_default();
            assert!(found.contains(told), "{found}: {told}");
        }
    }
}
