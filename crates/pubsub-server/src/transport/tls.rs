//! TLS by rustls, on the same listener as everything else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::config::tls::KeyPair;

/// Accepts TLS with the certificate of the moment: it can be changed while the server runs.
#[derive(Clone)]
pub struct TlsAcceptor(Arc<RwLock<Arc<rustls::ServerConfig>>>);

impl TlsAcceptor {
    /// Accepts with this certificate and key.
    ///
    /// # Errors
    /// When rustls finds that they do not go together.
    pub fn new(pair: KeyPair) -> Result<Self, rustls::Error> {
        Ok(Self(Arc::new(RwLock::new(server_config(pair)?))))
    }

    /// Takes another certificate for the connections to come. After an error the old one stays.
    ///
    /// # Errors
    /// When rustls finds that certificate and key do not go together.
    pub fn replace(&self, pair: KeyPair) -> Result<(), rustls::Error> {
        *self.0.write() = server_config(pair)?;
        Ok(())
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<MaybeTls> {
        let config = self.0.read().clone();
        let stream = tokio_rustls::TlsAcceptor::from(config).accept(stream).await?;
        Ok(MaybeTls::Tls(Box::new(stream)))
    }
}

fn server_config(KeyPair { certificates, key }: KeyPair) -> Result<Arc<rustls::ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    Ok(Arc::new(config))
}

/// TCP, with TLS or without.
pub enum MaybeTls {
    /// Without.
    Plain(TcpStream),
    /// With. Boxed: a connection without TLS does not pay for it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for MaybeTls {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
