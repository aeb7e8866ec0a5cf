//! Why a call failed.

use std::fmt;

use pubsub_protocol::ErrorCode;
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Why a call failed: the protocol's code, and in words what was wrong where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The code that callers go by.
    pub code: ErrorCode,
    /// What was wrong, for people. Empty: the code says it all.
    pub detail: String,
}

impl ApiError {
    /// A failure with its particulars.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// The caller's own mistake.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, detail)
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, "")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() { self.code.fmt(f) } else { write!(f, "{}: {}", self.code, self.detail) }
    }
}

impl std::error::Error for ApiError {}

/// `{"code":107,"message":"bad request","detail":"channel is missing"}`: libraries for the API know `code` and
/// `message`, whose texts are fixed; `detail` is for whoever reads it.
impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut error = serializer.serialize_struct("ApiError", 3)?;
        error.serialize_field("code", &self.code.code())?;
        error.serialize_field("message", self.code.message())?;
        if self.detail.is_empty() {
            error.skip_field("detail")?;
        } else {
            error.serialize_field("detail", &self.detail)?;
        }
        error.end()
    }
}
