//! What a publication may hold: `publication_data_format`, and no JSON so deep that subscribers could not parse it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pubsub_protocol::{ErrorCode, Payload};

use super::ResolvedChannel;
use crate::config::PublicationDataFormat;

impl ResolvedChannel<'_> {
    /// Whether the channel takes this data.
    ///
    /// # Errors
    /// [`ErrorCode::BadRequest`].
    pub fn check_data(&self, data: &Payload) -> Result<(), ErrorCode> {
        let is_json = || !data.is_empty() && data.is_json();
        let (good, opaque) = match self.options.publication_data_format {
            PublicationDataFormat::Binary => (true, data.is_opaque()),
            PublicationDataFormat::Unset => (!data.is_empty(), data.is_opaque()),
            PublicationDataFormat::Json => (is_json(), false),
            PublicationDataFormat::JsonObject => (begins_an_object(data.as_bytes()) && is_json(), false),
        };
        // What need not be JSON reaches no parser that is too deep for it: see `Payload::json`.
        if good && (opaque || !data.is_too_deep()) { Ok(()) } else { Err(ErrorCode::BadRequest) }
    }
}

/// Reads application data that came in base64, in a token or a call of the server API: bytes of any kind, and JSON where they
/// are that.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with its name.
pub fn from_base64(encoded: &str) -> Result<Payload, String> {
    let bytes = STANDARD.decode(encoded).map_err(|error| format!("is not base64: {error}"))?;
    let json = std::str::from_utf8(&bytes).ok().and_then(|text| Payload::from_json(text).ok());
    Ok(json.unwrap_or_else(|| Payload::opaque(&bytes)))
}

/// Of a JSON value the first letter tells its kind.
fn begins_an_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}
