//! What a close frame may say (RFC 6455, 5.5.1 and 7.4).

use super::Violation;
use crate::limits::CLOSE_REASON_BYTES_MAX;

/// The payload of a close frame that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// Why, as a number.
    pub code: u16,
    /// Why, for people. Up to 123 bytes.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Reads a close frame's payload. None: it says nothing.
    pub(super) fn parse(payload: &'a [u8]) -> Result<Option<Self>, Violation> {
        if payload.is_empty() {
            return Ok(None);
        }
        let Some((code, reason)) = payload.split_first_chunk() else {
            return Err(Violation::CloseTruncated);
        };
        let code = u16::from_be_bytes(*code);
        if !is_valid_close_code(code) {
            return Err(Violation::CloseCodeInvalid(code));
        }
        let reason = simdutf8::basic::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// Whether a close frame may carry this code.
///
/// Below 3000 those that are registered with IANA, without the three that exist only inside programs (1005, 1006,
/// 1015) and 1004, which never got a meaning. 3000–3999 are registered by libraries, 4000–4999 private; beyond that
/// nothing is defined.
#[must_use]
pub const fn is_valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The payload of a close frame: `code`, then as much of `reason` as fits, cut between two characters.
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    debug_assert!(is_valid_close_code(code), "close code {code} must not be sent");
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    payload
}
