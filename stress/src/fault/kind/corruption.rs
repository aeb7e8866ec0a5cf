//! F16: one bit of a frame is not what it was.

use crate::fault::frames::FrameHeader;
use crate::fault::plan::Corruption;

/// Changes a whole frame in place. False if it has no such place (an empty payload).
#[must_use]
pub fn corrupt(kind: Corruption, header: &FrameHeader, frame: &mut [u8]) -> bool {
    let middle = header.header_bytes + (frame.len() - header.header_bytes) / 2;
    match kind {
        // The highest bit of the 7-bit length: the receiver waits for bytes that never come, or reads on inside the payload.
        Corruption::Length => frame[1] ^= 0x40,
        // 1, 2 and 0 become the reserved 3; 8, 9 and 10 become the reserved 11.
        Corruption::Opcode => frame[0] |= 0x03,
        Corruption::Rsv => frame[0] ^= 0x40,
        Corruption::Mask => frame[1] ^= 0x80,
        Corruption::Utf8 | Corruption::Payload if middle >= frame.len() => return false,
        Corruption::Utf8 => {
            let mask = header.mask.map_or(0, |mask| mask[(middle - header.header_bytes) % 4]);
            frame[middle] = 0xff ^ mask;
        }
        Corruption::Payload => frame[middle] ^= 0x01,
        Corruption::Byte => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::frames::tests::frame;
    use crate::fault::frames::{FrameCursor, Unit, payload};

    #[test]
    fn each_kind_changes_exactly_what_it_names() {
        let good = frame(0x81, Some([5, 6, 7, 8]), b"{\"id\":1}");
        let Some(Unit::Frame(header)) = FrameCursor::after_handshake().step(&good).complete else { panic!() };
        let bad = |kind| {
            let mut bytes = good.clone();
            assert!(corrupt(kind, &header, &mut bytes));
            bytes
        };
        assert_eq!(bad(Corruption::Opcode)[0], 0x83);
        assert_eq!(bad(Corruption::Rsv)[0], 0xc1);
        assert_eq!(bad(Corruption::Mask)[1] & 0x80, 0);
        assert_ne!(bad(Corruption::Length)[1] & 0x7f, good[1] & 0x7f);
        assert!(std::str::from_utf8(&payload(&header, &bad(Corruption::Utf8))).is_err());
        let flipped = payload(&header, &bad(Corruption::Payload));
        assert_eq!(flipped.iter().zip(b"{\"id\":1}").filter(|(a, b)| a != b).count(), 1);
    }
}
