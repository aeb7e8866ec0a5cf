//! Who may use the API: whoever shows the key.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::Query;
use http::header::{AUTHORIZATION, ORIGIN};
use http::{HeaderMap, Uri};
use serde::Deserialize;

use crate::config::HttpApiConfig;

/// The header that holds the key.
const API_KEY: &str = "x-api-key";

/// Looks at the key that a request shows.
pub(super) enum Guard {
    /// Everyone is let in but web pages: a browser sends what any page tells it to, from behind every firewall, and says so.
    Open,
    /// No key exists, so that nobody can show it.
    Shut,
    /// Whoever has the key with this digest is let in. Digests are compared, since comparing the keys themselves would
    /// tell how long ours is.
    Key(Digest),
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No key was shown, or a wrong one.
    Key,
    /// A web page asks, and there is no key.
    Page,
}

#[derive(Deserialize)]
struct Shown {
    api_key: Option<String>,
}

impl Guard {
    pub(super) fn new(config: &HttpApiConfig) -> Self {
        match &config.key {
            _ if config.insecure => Self::Open,
            Some(key) if !key.expose().is_empty() => Self::Key(digest(&SHA256, key.expose().as_bytes())),
            _ => Self::Shut,
        }
    }

    pub(super) fn admits(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Denied> {
        match self {
            Self::Open if headers.contains_key(ORIGIN) => Err(Denied::Page),
            Self::Open => Ok(()),
            Self::Shut => Err(Denied::Key),
            Self::Key(key) => {
                let shown = shown(uri, headers).ok_or(Denied::Key)?;
                let same = verify_slices_are_equal(digest(&SHA256, shown.as_bytes()).as_ref(), key.as_ref());
                same.map_err(|_| Denied::Key)
            }
        }
    }
}

/// The key that a request shows; of several places the first counts.
fn shown(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(key) = headers.get(API_KEY) {
        return key.to_str().ok().map(str::to_owned);
    }
    if let Some(authorization) = headers.get(AUTHORIZATION) {
        let (scheme, key) = authorization.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("apikey").then(|| key.trim().to_owned());
    }
    Query::<Shown>::try_from_uri(uri).ok()?.0.api_key
}
