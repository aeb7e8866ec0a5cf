//! Protobuf's fields, one after the other.
//!
//! A message stands behind its length, so that it is counted before it is written: what writes its fields runs twice, once for
//! the count alone. Nothing is put together elsewhere and copied, and a batch that is sent from elsewhere is counted like what
//! stands here.

use super::{BTreeMap, Batch, Lay, Payload, encode_publication};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Writes the fields of one message, or counts the bytes they take.
pub(super) struct Fields<'w> {
    bytes: usize,
    to: Option<(&'w mut Vec<u8>, Lay<'w>)>,
}

impl<'w> Fields<'w> {
    /// Appends fields to `out`, and hands batches to `lay`.
    pub(super) fn to(out: &'w mut Vec<u8>, lay: Lay<'w>) -> Self {
        Self { bytes: 0, to: Some((out, lay)) }
    }

    /// Appends a message behind its length.
    pub(super) fn write(out: &'w mut Vec<u8>, lay: Lay<'w>, body: impl Fn(&mut Fields<'_>)) {
        encode_varint(Self::count(&body), out);
        body(&mut Self::to(out, lay));
    }

    fn count(body: impl Fn(&mut Fields<'_>)) -> u64 {
        let mut counted = Fields { bytes: 0, to: None };
        body(&mut counted);
        counted.bytes as u64
    }

    /// A field that is a message, be it an empty one.
    pub(super) fn message(&mut self, number: u32, body: impl Fn(&mut Fields<'_>)) {
        if let Some((out, lay)) = &mut self.to {
            encode_key(number, WireType::LengthDelimited, *out);
            Fields::write(out, *lay, body);
        } else {
            let bytes = Self::count(body);
            self.bytes += key_len(number) + encoded_len_varint(bytes) + usize::try_from(bytes).unwrap_or(usize::MAX);
        }
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some((out, _)) = &mut self.to {
            encode_key(number, WireType::LengthDelimited, *out);
            encode_varint(bytes.len() as u64, *out);
            out.extend_from_slice(bytes);
        } else {
            self.bytes += key_len(number) + encoded_len_varint(bytes.len() as u64) + bytes.len();
        }
    }

    pub(super) fn string(&mut self, number: u32, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    pub(super) fn payload(&mut self, number: u32, payload: Option<&Payload>) {
        self.bytes(number, payload.map_or(&[], Payload::as_bytes));
    }

    pub(super) fn number(&mut self, number: u32, value: u64) {
        if value == 0 {
            return;
        }
        if let Some((out, _)) = &mut self.to {
            encode_key(number, WireType::Varint, *out);
            encode_varint(value, *out);
        } else {
            self.bytes += key_len(number) + encoded_len_varint(value);
        }
    }

    /// `int32` and `int64`: a negative one takes ten bytes.
    pub(super) fn signed(&mut self, number: u32, value: i64) {
        self.number(number, value.cast_unsigned());
    }

    pub(super) fn flag(&mut self, number: u32, value: bool) {
        self.number(number, u64::from(value));
    }

    /// An entry of a map is a message of a key and a value.
    pub(super) fn entry(&mut self, number: u32, key: &str, value: impl Fn(&mut Fields<'_>)) {
        self.message(number, |entry| {
            entry.string(1, key);
            entry.message(2, &value);
        });
    }

    pub(super) fn map<T>(&mut self, number: u32, map: &BTreeMap<String, T>, value: impl Fn(&T, &mut Fields<'_>)) {
        for (key, entry) in map {
            self.entry(number, key, |fields| value(entry, fields));
        }
    }

    pub(super) fn strings(&mut self, number: u32, map: &BTreeMap<String, String>) {
        for (key, value) in map {
            self.message(number, |entry| {
                entry.string(1, key);
                entry.string(2, value);
            });
        }
    }

    pub(super) fn batch(&mut self, batch: Batch<'_>) {
        if batch.publications.is_empty() {
            return;
        }
        if let Some((out, lay)) = &mut self.to {
            lay(out, batch);
        } else {
            for publication in batch.publications {
                self.message(batch.field, |fields| encode_publication(publication, fields));
            }
        }
    }
}
