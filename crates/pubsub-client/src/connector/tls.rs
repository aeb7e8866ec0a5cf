//! TLS through rustls, and the choice between it and plain TCP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::{Connector, Target, TcpConnector};

/// TLS over the streams of another connector.
///
/// ```no_run
/// use pubsub_client::{TcpConnector, TlsConnector};
///
/// let connector = TlsConnector::with_root_file(TcpConnector::default(), "ca.pem".as_ref())?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct TlsConnector<C> {
    inner: C,
    tls: tokio_rustls::TlsConnector,
}

impl<C> TlsConnector<C> {
    /// With settings of your own: other roots, client certificates, session tickets.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pubsub_client::{TcpConnector, TlsConnector};
    /// # fn example(with_client_certificate: rustls::ClientConfig) {
    /// let connector = TlsConnector::new(TcpConnector::default(), Arc::new(with_client_certificate));
    /// # let _ = connector;
    /// # }
    /// ```
    pub fn new(inner: C, config: Arc<ClientConfig>) -> Self {
        Self { inner, tls: config.into() }
    }

    /// Trusts the certificates in a PEM file and nothing else.
    ///
    /// ```no_run
    /// use std::path::Path;
    /// use pubsub_client::{AnyConnector, TcpConnector, TlsConnector};
    ///
    /// let tls = TlsConnector::with_root_file(TcpConnector::default(), Path::new("/etc/ssl/certs/ca-certificates.crt"))?;
    /// # let _ = (AnyConnector::<TcpConnector>::default(), tls);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the file cannot be read, or holds no certificate.
    pub fn with_root_file(inner: C, pem_file: &std::path::Path) -> io::Result<Self> {
        let wrong =
            |problem: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {problem}", pem_file.display()));
        let certificates: Vec<_> = CertificateDer::pem_file_iter(pem_file)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(error.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("no certificate in it".to_owned()));
        }
        Self::with_roots(inner, certificates)
    }

    /// Trusts these certificates and nothing else.
    ///
    /// ```
    /// # use pubsub_client::{TcpConnector, TlsConnector};
    /// # fn example(own_authority: rustls_pki_types::CertificateDer<'static>) -> std::io::Result<()> {
    /// let connector = TlsConnector::with_roots(TcpConnector::default(), [own_authority])?;
    /// # let _ = connector;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When one of them is not a certificate.
    pub fn with_roots(inner: C, roots: impl IntoIterator<Item = CertificateDer<'static>>) -> io::Result<Self> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        // Named rather than left to the process-wide default, which panics where a program links two backends.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self::new(inner, Arc::new(config)))
    }
}

impl<C: Connector> Connector for TlsConnector<C> {
    type Stream = TlsStream<C::Stream>;

    async fn connect(&self, target: &Target, attempt: u64) -> io::Result<Self::Stream> {
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = self.inner.connect(target, attempt).await?;
        self.tls.connect(name, stream).await
    }
}

/// TLS for `wss`, plain for `ws`.
///
/// ```
/// use pubsub_client::{AnyConnector, TcpConnector};
///
/// let for_ws_addresses_only = AnyConnector::plain(TcpConnector::default());
/// # let _ = for_ws_addresses_only;
/// ```
#[derive(Clone)]
pub struct AnyConnector<C = TcpConnector> {
    plain: C,
    tls: Option<TlsConnector<C>>,
}

impl<C: Clone> AnyConnector<C> {
    /// `wss` is refused with an error: no roots are known. (The operating system's are not read; name a file with
    /// [`TlsConnector::with_root_file`], on most systems `/etc/ssl/certs/ca-certificates.crt`.)
    ///
    /// ```
    /// # use pubsub_client::{AnyConnector, TcpConnector};
    /// let connector = AnyConnector::plain(TcpConnector::default().receive_buffer_bytes(8 * 1024));
    /// # let _ = connector;
    /// ```
    pub fn plain(plain: C) -> Self {
        Self { plain, tls: None }
    }

    /// `wss` goes through `tls`.
    ///
    /// ```no_run
    /// use std::path::Path;
    /// use pubsub_client::{AnyConnector, TcpConnector, TlsConnector};
    ///
    /// let tls = TlsConnector::with_root_file(TcpConnector::default(), Path::new("/etc/ssl/certs/ca-certificates.crt"))?;
    /// let connector = AnyConnector::with_tls(TcpConnector::default(), tls);
    /// # let _ = connector;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_tls(plain: C, tls: TlsConnector<C>) -> Self {
        Self { plain, tls: Some(tls) }
    }
}

impl Default for AnyConnector {
    fn default() -> Self {
        Self::plain(TcpConnector::default())
    }
}

impl<C: Connector> Connector for AnyConnector<C> {
    type Stream = AnyStream<C::Stream>;

    async fn connect(&self, target: &Target, attempt: u64) -> io::Result<Self::Stream> {
        match &self.tls {
            _ if !target.tls => Ok(AnyStream::Plain(self.plain.connect(target, attempt).await?)),
            Some(tls) => Ok(AnyStream::Tls(Box::new(tls.connect(target, attempt).await?))),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a wss:// address needs the certificates to trust: use AnyConnector::with_tls",
            )),
        }
    }
}

/// A stream of [`AnyConnector`].
///
/// ```
/// use pubsub_client::connector::AnyStream;
/// use tokio::net::TcpStream;
///
/// fn is_encrypted(stream: &AnyStream<TcpStream>) -> bool {
///     matches!(stream, AnyStream::Tls(_))
/// }
/// # let _ = is_encrypted;
/// ```
#[derive(Debug)]
pub enum AnyStream<S> {
    /// As it is.
    Plain(S),
    /// Encrypted.
    Tls(Box<TlsStream<S>>),
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            AnyStream::Plain($stream) => $call,
            AnyStream::Tls($stream) => $call,
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for AnyStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AnyStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
