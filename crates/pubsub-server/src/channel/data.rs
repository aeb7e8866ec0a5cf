//! What a publication may hold: `publication_data_format`, and no JSON so deep that subscribers could not parse it.

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
