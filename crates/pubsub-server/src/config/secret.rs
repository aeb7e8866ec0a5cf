//! Strings that are kept out of logs and reports.

use std::fmt;
use std::path::Path;

use super::Config;
use super::problem::Problem;
use super::raw::Raw;
use super::report::Report;
use super::section::Meta;
use super::value::{Scalar, expected};

/// A string that must not be seen: `Debug` and every report leave it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a string.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The string itself; not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Scalar for Secret {
    const SECRET: bool = true;

    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        String::parse(raw, meta).map(Self).map_err(|_| expected::<Self>(raw, meta))
    }

    fn show(&self) -> Raw {
        Raw::from("<secret>")
    }

    fn allowed(_: &Meta) -> String {
        "a string".to_owned()
    }
}

/// Reads the secrets that the configuration keeps in files of their own.
pub(crate) fn read_files(config: &mut Config, report: &mut Report) {
    let client = &mut config.client;
    let places = [
        ("http_api.key", &mut config.http_api.key, &config.http_api.key_file),
        ("client.token.hmac_secret_key", &mut client.token.hmac_secret_key, &client.token.hmac_secret_key_file),
        (
            "client.token.hmac_previous_secret_key",
            &mut client.token.hmac_previous_secret_key,
            &client.token.hmac_previous_secret_key_file,
        ),
        (
            "client.subscription_token.hmac_secret_key",
            &mut client.subscription_token.token.hmac_secret_key,
            &client.subscription_token.token.hmac_secret_key_file,
        ),
        (
            "client.subscription_token.hmac_previous_secret_key",
            &mut client.subscription_token.token.hmac_previous_secret_key,
            &client.subscription_token.token.hmac_previous_secret_key_file,
        ),
    ];
    for (key, secret, file) in places {
        let Some(file) = file else { continue };
        let file_key = format!("{key}_file");
        let read =
            if secret.is_some() { Err(format!("{key} is set too, and only one of them may be")) } else { read(file) };
        match read {
            Ok(read) => *secret = Some(read),
            Err(what) => report.error(Problem { origin: report.origin(&file_key), key: file_key, what }),
        }
    }
}

fn read(file: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(format!("{} is empty", file.display())) } else { Ok(Secret::new(text)) }
}
