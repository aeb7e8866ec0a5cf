//! What the lab publishes: content that says who it is and can be checked without keeping a copy.
//!
//! The body is a function of (seed, id, length), so whoever receives it can make it again and compare every byte; the header
//! says which publication it is, when it was due and when it was sent, how long the body is, and what all that sums up to. The
//! whole is one JSON object on one line, since that is what the wire carries, of two strings: there is little in it to parse.

use std::collections::VecDeque;
use std::fmt;
use std::iter::zip;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pubsub_protocol::Payload;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::chance::Seed;

/// Names a publication: the `n`-th (from 1) of a publisher in a run. A publisher publishes to one channel only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublicationId {
    /// Which run: traffic of another one is nobody's business.
    pub run: u32,
    /// Who.
    pub publisher: u32,
    /// Which of theirs, from 1.
    pub n: u64,
}

impl fmt::Display for PublicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}-{}", self.run, self.publisher, self.n)
    }
}

impl PublicationId {
    /// The id that this begins with, and what follows it.
    fn read(text: &[u8]) -> Option<(Self, &[u8])> {
        let (run, rest) = number(text)?;
        let (publisher, rest) = number(rest.strip_prefix(b"-")?)?;
        let (n, rest) = number(rest.strip_prefix(b"-")?)?;
        Some((Self { run: u32::try_from(run).ok()?, publisher: u32::try_from(publisher).ok()?, n }, rest))
    }
}

/// The header of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which publication.
    pub id: PublicationId,
    /// When it was planned to be sent, since the run began: latency counts from here.
    pub due: Duration,
    /// When it was sent.
    pub sent: Duration,
    /// Bytes of the body.
    pub length: usize,
}

/// Why a payload is not what was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Not one of ours at all.
    #[error("the payload has no readable header")]
    Header,
    /// The body is longer or shorter than the header says.
    #[error("the payload is not as long as its header says")]
    Length,
    /// The header's numbers are not those that were written.
    #[error("the payload's checksum is wrong")]
    Checksum,
    /// The body is not the one of this publication.
    #[error("the payload's body belongs to another publication, or to none")]
    Body,
}

/// A payload as it stands on the wire.
struct Wire<'a> {
    id: PublicationId,
    due: u64,
    sent: u64,
    len: usize,
    sum: u64,
    body: &'a [u8],
}

impl<'a> Wire<'a> {
    /// Takes apart what [`Header::encode`] has put together. It is JSON for those on its way; here it is these bytes in this
    /// order, and whatever looks otherwise is damaged. The order is that of the names, in which a library that reads any JSON
    /// writes it again.
    fn read(payload: &'a [u8]) -> Option<Self> {
        let rest = payload.strip_prefix(br#"{"body":""#)?;
        let (body, rest) = rest.split_at(memchr::memchr(b'"', rest)?);
        let (id, rest) = PublicationId::read(rest.strip_prefix(br#"","head":""#)?)?;
        let (due, rest) = number(rest.strip_prefix(b" ")?)?;
        let (sent, rest) = number(rest.strip_prefix(b" ")?)?;
        let (len, rest) = number(rest.strip_prefix(b" ")?)?;
        let (sum, rest) = number(rest.strip_prefix(b" ")?)?;
        (rest == br#""}"#).then_some(Self { id, due, sent, len: usize::try_from(len).ok()?, sum, body })
    }
}

/// The number that this begins with, as it is written (no sign, no zero in front), and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut digits) = (0_u64, 0);
    while let Some(digit) = text.get(digits).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
        digits += 1;
    }
    let plain = digits > 0 && (digits == 1 || text[0] != b'0');
    plain.then_some((number, &text[digits..]))
}

/// Letters made of one 64-bit value, four bits each: small ones from `a` to `p`, none of which JSON escapes.
const LETTERS_PER_VALUE: usize = 16;

/// Half the letters of a value, made all at once.
fn letters(bits: u32) -> [u8; 8] {
    let pairs = u64::from(bits);
    let fours = (pairs | pairs << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (fours | fours << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes | bytes << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    (nibbles + u64::from_ne_bytes([b'a'; 8])).to_le_bytes()
}

impl Header {
    /// Writes the payload, about `size` bytes of JSON altogether (never less than its header).
    #[must_use]
    pub fn encode(seed: Seed, id: PublicationId, due: Duration, sent: Duration, size: usize) -> String {
        const ENVELOPE_BYTES: usize = 90;
        let length = size.saturating_sub(ENVELOPE_BYTES);
        let header = Self { id, due: micros(due), sent: micros(sent), length };
        // Its numbers take more than the envelope at times.
        let mut text = Vec::with_capacity(2 * ENVELOPE_BYTES + length);
        text.extend_from_slice(br#"{"body":""#);
        body(seed, id, length, |letters| {
            text.extend_from_slice(letters);
            true
        });
        text.extend_from_slice(br#"","head":"#);
        let (due, sent) = (header.due.as_micros() as u64, header.sent.as_micros() as u64);
        let run = u64::from(id.run);
        let numbers = [run, u64::from(id.publisher), id.n, due, sent, length as u64, header.checksum()];
        for (sign, number) in zip(*b"\"--    ", numbers) {
            text.push(sign);
            text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        text.extend_from_slice(br#""}"#);
        String::from_utf8(text).expect("all of it is ASCII")
    }

    /// Reads a payload and checks every byte of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(seed: Seed, payload: &[u8]) -> Result<Self, Damage> {
        let wire = Wire::read(payload).ok_or(Damage::Header)?;
        let header = Self {
            id: wire.id,
            due: Duration::from_micros(wire.due),
            sent: Duration::from_micros(wire.sent),
            length: wire.len,
        };
        if header.checksum() != wire.sum {
            return Err(Damage::Checksum);
        }
        if wire.body.len() != wire.len {
            return Err(Damage::Length);
        }
        let mut rest = wire.body;
        let is_whole = body(seed, header.id, wire.len, |letters| match rest.strip_prefix(letters) {
            Some(behind) => {
                rest = behind;
                true
            }
            None => false,
        });
        if is_whole { Ok(header) } else { Err(Damage::Body) }
    }

    fn checksum(&self) -> u64 {
        let mut bytes = [0u8; 40];
        let numbers = [
            (u64::from(self.id.run) << 32) | u64::from(self.id.publisher),
            self.id.n,
            self.due.as_micros() as u64,
            self.sent.as_micros() as u64,
            self.length as u64,
        ];
        for (slot, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        xxh3_64(&bytes)
    }
}

/// Large payloads that were verified a moment ago. What a hundred subscribers get is the same bytes: making them anew
/// from the seed for each would cost more than all the rest of the lab, and comparing them is as strict.
#[derive(Debug, Default)]
pub struct Verified(VecDeque<(Payload, Header)>);

/// Payloads below this are verified each time: that is as quick.
const REMEMBERED_BYTES_MIN: usize = 4 << 10;
/// How many are remembered: more than are under way at one time.
const REMEMBERED_MAX: usize = 32;

impl Verified {
    /// As [`Header::verify`]: from the seed, or equal to the last byte to one that was.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(memory: &Mutex<Self>, seed: Seed, payload: &Payload) -> Result<Header, Damage> {
        if payload.len() < REMEMBERED_BYTES_MIN {
            return Header::verify(seed, payload.as_bytes());
        }
        let known: Vec<(Payload, Header)> = {
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            // The body follows from the id, and begins with it: one candidate, or none.
            let alike = |known: &&(Payload, Header)| known.0.as_bytes()[..64] == payload.as_bytes()[..64];
            memory.0.iter().filter(alike).cloned().collect()
        };
        if let Some((_, header)) = known.iter().find(|(known, _)| known == payload) {
            return Ok(*header);
        }
        let header = Header::verify(seed, payload.as_bytes())?;
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.0.len() == REMEMBERED_MAX {
            memory.0.pop_front();
        }
        memory.0.push_back((payload.clone(), header));
        Ok(header)
    }
}

fn micros(duration: Duration) -> Duration {
    Duration::from_micros(duration.as_micros() as u64)
}

/// Gives the letters of a body a few at a time, as long as they are wanted; returns whether all were.
fn body(seed: Seed, id: PublicationId, length: usize, mut take: impl FnMut(&[u8]) -> bool) -> bool {
    let entity = (u64::from(id.run) << 32) | u64::from(id.publisher);
    let mut chance = Seed(seed.value(entity, "payload", id.n)).chance(entity, "body");
    let mut left = length;
    while left > 0 {
        let bits = chance.bits();
        let (first, second) = (letters(bits as u32), letters((bits >> 32) as u32));
        let mut both = [0; LETTERS_PER_VALUE];
        both[..8].copy_from_slice(&first);
        both[8..].copy_from_slice(&second);
        let wanted = LETTERS_PER_VALUE.min(left);
        if !take(&both[..wanted]) {
            return false;
        }
        left -= wanted;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PublicationId = PublicationId { run: 0xbeef, publisher: 3, n: 17 };

    fn sample(size: usize) -> String {
        Header::encode(Seed(9), ID, Duration::from_millis(5), Duration::from_millis(6), size)
    }

    #[test]
    fn what_was_written_is_read_and_has_about_the_size_asked_for() {
        for size in [0, 128, 1_000, 100_000] {
            let text = sample(size);
            let header = Header::verify(Seed(9), text.as_bytes()).unwrap();
            assert_eq!((header.id, header.due, header.sent), (ID, Duration::from_millis(5), Duration::from_millis(6)));
            assert!(text.len() <= size.max(110) + 20 && text.len() + 30 >= size, "{} for {size}", text.len());
            assert!(!text.contains(['\n', '\\']));
        }
    }

    #[test]
    fn every_single_byte_counts() {
        let good = sample(160).into_bytes();
        for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(
                Header::verify(Seed(9), &bad).is_err(),
                "bit {bit} of byte {at} of {}",
                String::from_utf8_lossy(&good)
            );
        }
        assert!(Header::verify(Seed(9), &good[..good.len() - 3]).is_err());
        let text = String::from_utf8(good).unwrap();
        for (from, to) in [
            (" 5000", " 05000"),
            (" 5000", " +5000"),
            ("-3-", "-+3-"),
            ("48879-", "048879-"),
            ("48879-", " 48879-"),
            (",\"head", ", \"head"),
        ] {
            assert!(text.contains(from));
            assert!(Header::verify(Seed(9), text.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn a_large_payload_once_verified_is_compared_to_the_last_byte() {
        let memory = Mutex::default();
        let good = sample(100_000).into_bytes();
        let verify = |bytes: &[u8]| Verified::verify(&memory, Seed(9), &Payload::from_bytes(bytes));
        assert_eq!(verify(&good).unwrap().id, ID);
        assert_eq!(verify(&good).unwrap().id, ID);
        assert_eq!(memory.lock().unwrap().0.len(), 1);
        for at in [0, 40, 99, 50_000, good.len() - 3] {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            assert!(verify(&bad).is_err(), "byte {at}");
        }
        assert!(verify(&good[..good.len() - 3]).is_err());
    }

    #[test]
    fn another_publications_body_is_noticed() {
        let other = Header::encode(Seed(8), ID, Duration::ZERO, Duration::ZERO, 200);
        assert_eq!(Header::verify(Seed(9), other.as_bytes()), Err(Damage::Body));
        assert_eq!(Header::verify(Seed(9), b"{}"), Err(Damage::Header));
    }
}
