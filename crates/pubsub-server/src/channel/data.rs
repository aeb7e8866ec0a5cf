//! What a publication may hold: `publication_data_format`, and no JSON so deep that subscribers could not parse it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pubsub_protocol::{ErrorCode, Payload};
use serde::de::IgnoredAny;

use super::ResolvedChannel;
use crate::config::PublicationDataFormat;

/// Where a publication's data comes from, as far as it matters for checking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A JSON text of which it was a part: that it is one JSON value is known and not checked again.
    Json,
    /// Bytes of any kind: base64 or protobuf.
    Bytes,
}

impl ResolvedChannel<'_> {
    /// Whether the channel takes this data.
    ///
    /// # Errors
    /// [`ErrorCode::BadRequest`].
    pub fn check_data(&self, data: &Payload, source: Source) -> Result<(), ErrorCode> {
        let bytes = data.as_bytes();
        let good = match self.options.publication_data_format {
            PublicationDataFormat::Binary => true,
            PublicationDataFormat::Unset => !bytes.is_empty(),
            PublicationDataFormat::Json => is_json(bytes, source),
            PublicationDataFormat::JsonObject => begins_an_object(bytes) && is_json(bytes, source),
        };
        let opaque = matches!(
            self.options.publication_data_format,
            PublicationDataFormat::Binary | PublicationDataFormat::Unset if source == Source::Bytes
        );
        if good && (opaque || !data.is_too_deep()) { Ok(()) } else { Err(ErrorCode::BadRequest) }
    }
}

/// Reads application data that came in base64, in a token or a call of the server API. It must be JSON, the only format
/// that clients are spoken to in.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with its name.
pub fn json_from_base64(encoded: &str) -> Result<Payload, String> {
    let bytes = STANDARD.decode(encoded).map_err(|error| format!("is not base64: {error}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| format!("holds no JSON: {error}"))?;
    Payload::from_json(text).map_err(|error| format!("holds no JSON: {error}"))
}

fn is_json(bytes: &[u8], source: Source) -> bool {
    match source {
        Source::Json => !bytes.is_empty(),
        Source::Bytes => serde_json::from_slice::<IgnoredAny>(bytes).is_ok(),
    }
}

/// Of a JSON value the first letter tells its kind.
fn begins_an_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}
