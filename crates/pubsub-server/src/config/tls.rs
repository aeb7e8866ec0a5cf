//! Certificate and key: where they are read from, and whether they belong together.

use std::path::Path;

use base64::Engine as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::http::TlsConfig;
use super::report::Report;

/// A certificate chain and its key.
#[derive(Debug)]
pub struct KeyPair {
    /// The chain, the server's own certificate first.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The key of that certificate.
    pub key: PrivateKeyDer<'static>,
}

impl TlsConfig {
    /// Reads certificate and key, and sees that they belong together.
    ///
    /// # Errors
    /// One entry for each key of the configuration that is no good: its name in this section, and what is wrong.
    pub fn key_pair(&self) -> Result<KeyPair, Vec<(&'static str, String)>> {
        let certificate = source("cert_pem_file", &self.cert_pem_file, "cert_pem", self.cert_pem.as_deref());
        let key = source("key_pem_file", &self.key_pem_file, "key_pem", self.key_pem.as_ref().map(|key| key.expose()));
        let certificates = certificate.and_then(|(name, pem)| {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            match certificates {
                Ok(certificates) if !certificates.is_empty() => Ok(certificates),
                Ok(_) => Err((name, "expected a certificate in PEM, found none".to_owned())),
                Err(error) => Err((name, format!("expected a certificate in PEM: {error}"))),
            }
        });
        let key = key.and_then(|(name, pem)| {
            let key = PrivateKeyDer::from_pem_slice(&pem);
            key.map(|key| (name, key)).map_err(|error| (name, format!("expected a private key in PEM: {error}")))
        });
        match (certificates, key) {
            (Ok(certificates), Ok((name, key))) => {
                let provider = rustls::crypto::aws_lc_rs::default_provider();
                rustls::sign::CertifiedKey::from_der(certificates.clone(), key.clone_key(), &provider)
                    .map_err(|error| vec![(name, format!("does not go with the certificate: {error}"))])?;
                Ok(KeyPair { certificates, key })
            }
            (certificates, key) => Err([certificates.err(), key.err()].into_iter().flatten().collect()),
        }
    }
}

type Wrong = (&'static str, String);

/// The PEM, and the key of the configuration that it came from.
fn source(
    file_name: &'static str,
    file: &Option<std::path::PathBuf>,
    name: &'static str,
    text: Option<&str>,
) -> Result<(&'static str, Vec<u8>), Wrong> {
    match (file, text) {
        (Some(_), Some(_)) => {
            Err((file_name, format!("http_server.tls.{name} is set too, and only one of them may be")))
        }
        (Some(file), None) => read(file).map(|pem| (file_name, pem)).map_err(|what| (file_name, what)),
        (None, Some(text)) => inline(text).map(|pem| (name, pem)).map_err(|what| (name, what)),
        (None, None) => Err((file_name, "must be set while http_server.tls.enabled is true".to_owned())),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

/// Centrifugo's way: the PEM itself, or in base64, or the path of a file. The text may be a secret and is not repeated.
fn inline(text: &str) -> Result<Vec<u8>, String> {
    if text.contains("-----BEGIN") {
        return Ok(text.as_bytes().to_vec());
    }
    let path = Path::new(text.trim());
    if path.is_file() {
        return read(path);
    }
    base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .ok()
        .filter(|pem| pem.windows(10).any(|window| window == b"-----BEGIN"))
        .ok_or_else(|| "expected a PEM, a PEM in base64, or the path of a file that can be read".to_owned())
}

/// Reports what is wrong with the section.
pub(crate) fn check(tls: &TlsConfig, report: &mut Report) {
    if tls.enabled {
        for (name, what) in tls.key_pair().err().unwrap_or_default() {
            report.conflict(&[&format!("http_server.tls.{name}")], what);
        }
    } else if tls.cert_pem_file.is_some() || tls.cert_pem.is_some() {
        report.doubt(
            &["http_server.tls.enabled"],
            "is not true, so the certificate is not used and connections are in the clear".to_owned(),
        );
    }
}
