//! Application data: copied, shared, compared, never interpreted.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::value::RawValue;

use crate::limits::PAYLOAD_DEPTH_MAX;

/// A piece of application data that the protocol carries as it is.
///
/// In the JSON format it is the text of one JSON value; in protobuf it is any bytes. Cloning shares.
#[derive(Clone)]
pub struct Payload {
    bytes: Arc<[u8]>,
    /// Whether it came from where it need not be JSON.
    opaque: bool,
}

impl Payload {
    /// Wraps the text of exactly one JSON value. That it is one is not looked at; see [`Payload::from_json`] to check it, and
    /// [`Payload::opaque`] for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { bytes: Arc::from(bytes), opaque: false }
    }

    /// Wraps bytes of any kind, JSON or not.
    #[must_use]
    pub fn opaque(bytes: &[u8]) -> Self {
        Self { bytes: Arc::from(bytes), opaque: true }
    }

    /// Takes the text of one JSON value.
    ///
    /// # Errors
    /// When `text` is not exactly one well-formed JSON value.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Ok(Self::from_raw(raw))
    }

    /// Writes `value` as JSON.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON, as a map with keys that are not strings.
    pub fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self { bytes: serde_json::to_vec(value)?.into(), opaque: false })
    }

    pub(crate) fn from_raw(raw: &RawValue) -> Self {
        Self { bytes: Arc::from(on_one_line(raw.get().as_bytes())), opaque: false }
    }

    /// What stands for it inside a line of JSON: itself, if it is JSON that a reader can take, `null` for nothing, and for
    /// all other bytes a string with their base64 (RFC 4648, 4). So whatever one peer says in protobuf, another can be told in JSON.
    #[must_use]
    pub fn json(&self) -> Cow<'_, [u8]> {
        if self.is_empty() {
            Cow::Borrowed(b"null")
        } else if self.is_json() && !(self.opaque && self.is_too_deep()) {
            on_one_line(&self.bytes)
        } else {
            Cow::Owned(format!("\"{}\"", STANDARD.encode(&self.bytes)).into_bytes())
        }
    }

    /// Whether it is the text of one JSON value. Looked at only where it need not be.
    #[must_use]
    pub fn is_json(&self) -> bool {
        // In strings that it ignores serde takes whatever bytes there are.
        let is_value = |text| serde_json::from_str::<IgnoredAny>(text).is_ok();
        !self.opaque || simdutf8::basic::from_utf8(&self.bytes).is_ok_and(is_value)
    }

    /// Whether it came from where it need not be JSON.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// The bytes, as they travel.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it. An empty payload is not a JSON value: only protobuf has it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether its JSON is nested deeper than [`PAYLOAD_DEPTH_MAX`].
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        // With so few brackets it can not be, and nearly every payload has so few.
        let in_piece = |piece: &[u8]| piece.iter().map(|&byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
        // Counted in a byte, as far as one goes: so the compiler takes many bytes at once.
        let brackets: usize = self.bytes.chunks(usize::from(u8::MAX)).map(|piece| usize::from(in_piece(piece))).sum();
        brackets > PAYLOAD_DEPTH_MAX && depth(&self.bytes) > PAYLOAD_DEPTH_MAX
    }

    /// Reads the payload as a JSON value of type `T`.
    ///
    /// # Errors
    /// When the bytes are not JSON, or not of that shape.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }
}

/// A newline separates messages on the wire. Inside a JSON value it can only be white space between tokens (strings
/// escape theirs), so a blank in its place changes nothing.
fn on_one_line(json: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\n', b'\r', json).is_some() {
        Cow::Owned(json.iter().map(|&b| if b == b'\n' || b == b'\r' { b' ' } else { b }).collect())
    } else {
        Cow::Borrowed(json)
    }
}

/// How deep the arrays and objects of a JSON text are nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Goes on behind the string whose first quote was just read.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Payload {}

impl Hash for Payload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if text.len() <= 200 => write!(f, "Payload({text})"),
            _ => write!(f, "Payload({} bytes)", self.bytes.len()),
        }
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What calls itself JSON is taken by its word nowhere but on the hot path.
        let text = if self.opaque { self.json() } else { on_one_line(&self.bytes) };
        let text = std::str::from_utf8(&text).map_err(ser::Error::custom)?;
        let raw: &RawValue = serde_json::from_str(text).map_err(ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self::from_raw(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_between_tokens_does_not_reach_the_wire() {
        let payload = Payload::from_json("{\n\"a\":\r\n\"x\\ny\"}").unwrap();
        assert_eq!(payload.as_bytes(), b"{ \"a\":  \"x\\ny\"}");
    }

    #[test]
    fn what_no_subscriber_could_parse_is_too_deep() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let too_deep = |json: &str| Payload::from_json(json).unwrap().is_too_deep();
        assert!(!too_deep(&nested(PAYLOAD_DEPTH_MAX)) && too_deep(&nested(PAYLOAD_DEPTH_MAX + 1)));
        assert!(serde_json::from_str::<serde_json::Value>(&nested(PAYLOAD_DEPTH_MAX - 1)).is_ok());
        assert!(too_deep(&format!("{}1{}", r#"{"k":"#.repeat(129), "}".repeat(129))));
        // Wide is not deep, and a string is neither.
        assert!(!too_deep(&format!("[{}{{}}]", "[],".repeat(1000))));
        assert!(!too_deep(&format!(r#"["{}\"[[", "\\", []]"#, "[{".repeat(1000))));
    }

    #[test]
    fn two_values_are_not_one_payload() {
        assert!(Payload::from_json("1 2").is_err());
        assert!(Payload::from_json("").is_err());
    }
}
