//! What a publication of the benchmark carries: where it belongs, its number, and when it was due, in sixteen letters.
//!
//! Letters only, so that it passes through JSON, NATS and MQTT unchanged, and few, so that payloads of 16 bytes can be measured.

use std::time::Duration;

/// The stamp of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its channel.
    pub channel: u32,
    /// Its number in the channel, from 1.
    pub number: u32,
    /// The moment it was due, since the run began, to the microsecond.
    pub due: Duration,
}

/// Begins every stamp, and occurs nowhere else in a message.
const MARK: u8 = b'@';

/// Digits of each part: 262,144 channels, a billion publications, 50 days.
const CHANNEL: usize = 3;
const NUMBER: usize = 5;
const DUE: usize = 7;

/// Bytes of a stamp, and of the shortest payload.
pub const BYTES: usize = 1 + CHANNEL + NUMBER + DUE;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-";

/// What each byte counts as a digit, 255 if it is none.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut at = 0;
    while at < 64 {
        values[DIGITS[at] as usize] = at as u8;
        at += 1;
    }
    values
};

impl Stamp {
    /// The body of a publication of `payload` bytes.
    #[must_use]
    pub fn body(&self, payload: usize) -> String {
        let mut body = String::with_capacity(payload.max(BYTES));
        body.push(char::from(MARK));
        let due = u64::try_from(self.due.as_micros()).unwrap_or(u64::MAX);
        for (value, digits) in [(u64::from(self.channel), CHANNEL), (u64::from(self.number), NUMBER), (due, DUE)] {
            for digit in (0..digits).rev() {
                body.push(char::from(DIGITS[(value >> (6 * digit) & 63) as usize]));
            }
        }
        body.extend(std::iter::repeat_n('x', payload.saturating_sub(BYTES)));
        body
    }

    /// The first stamp in `bytes`, and where it ends.
    #[must_use]
    pub fn find(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut at = 0;
        loop {
            at += bytes[at..].iter().position(|&byte| byte == MARK)?;
            let end = at + BYTES;
            if let Some(stamp) = Self::read(bytes.get(at + 1..end)?) {
                return Some((stamp, end));
            }
            at += 1;
        }
    }

    /// Where in `bytes` a stamp may begin whose end has not come yet.
    #[must_use]
    pub fn begun(bytes: &[u8]) -> Option<usize> {
        let from = bytes.len().saturating_sub(BYTES - 1);
        bytes[from..].iter().position(|&byte| byte == MARK).map(|at| from + at)
    }

    fn read(digits: &[u8]) -> Option<Self> {
        let number = |digits: &[u8]| {
            let mut value = 0u64;
            let mut all = 0;
            for &digit in digits {
                let digit = VALUES[usize::from(digit)];
                all |= digit;
                value = value << 6 | u64::from(digit & 63);
            }
            (all < 64).then_some(value)
        };
        let (channel, rest) = digits.split_at(CHANNEL);
        let (count, due) = rest.split_at(NUMBER);
        Some(Self {
            channel: u32::try_from(number(channel)?).ok()?,
            number: u32::try_from(number(count)?).ok()?,
            due: Duration::from_micros(number(due)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { channel: 49_999, number: 1_000_000, due: Duration::from_micros(123_456_789) };

    #[test]
    fn a_stamp_comes_back_out_of_what_is_around_it() {
        let body = STAMP.body(128);
        assert_eq!(body.len(), 128);
        let message = format!(r#"{{"at":"@home","data":"{body}"}}"#);
        let (stamp, end) = Stamp::find(message.as_bytes()).unwrap();
        assert_eq!((stamp, &message[end..end + 3]), (STAMP, "xxx"));
        assert_eq!(Stamp::find(&message.as_bytes()[end..]), None);
    }

    #[test]
    fn a_stamp_that_is_cut_off_is_no_stamp_yet() {
        let body = STAMP.body(0);
        assert_eq!(body.len(), BYTES);
        assert_eq!(Stamp::find(&body.as_bytes()[..BYTES - 1]), None);
        assert_eq!(Stamp::begun(format!("MSG {}", &body[..5]).as_bytes()), Some(4));
        assert_eq!(Stamp::begun(body.as_bytes()), None);
    }
}
