//! The seam where bytes come from.
//!
//! A [`Connector`] opens a stream of bytes; everything above it neither knows nor cares what that is. Shipped are
//! [`TcpConnector`], [`TlsConnector`], [`AnyConnector`] (which of the two the URL says) and [`PipeConnector`] (in
//! memory). To put faults, counters or a proxy in between, wrap one: see [`Connector`] for how.

mod pipe;
mod tcp;
mod tls;

use std::fmt;
use std::future::Future;
use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

pub use pipe::{PipeAcceptor, PipeConnector};
pub use tcp::TcpConnector;
pub use tls::{AnyConnector, AnyStream, TlsConnector};

/// Opens streams to a target.
///
/// Dropping the future gives the attempt up; nothing may stay behind. Many clients may share a connector.
///
/// A connector around another, here one that counts attempts:
///
/// ```
/// use std::io;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use pubsub_client::{Connector, Target};
///
/// struct Counting<C> {
///     inner: C,
///     attempts: AtomicU32,
/// }
///
/// impl<C: Connector> Connector for Counting<C> {
///     // Or a type of your own around it.
///     type Stream = C::Stream;
///
///     async fn connect(&self, target: &Target, attempt: u64) -> io::Result<Self::Stream> {
///         self.attempts.fetch_add(1, Ordering::Relaxed);
///         self.inner.connect(target, attempt).await
///     }
/// }
/// ```
pub trait Connector: Send + Sync + 'static {
    /// What it opens.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens a stream. `attempt` counts all attempts in the client's life, from 1: a seeded wrapper draws by it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use pubsub_client::{Connector, Target, TcpConnector};
    ///
    /// let target = Target::parse("ws://127.0.0.1:8000/connection/websocket").unwrap();
    /// match TcpConnector::default().connect(&target, 1).await {
    ///     Ok(stream) => println!("connected to {:?}", stream.peer_addr()),
    ///     Err(error) => println!("cannot reach {target}: {error}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Whatever the transport says. The client tries again, with back-off.
    fn connect(&self, target: &Target, attempt: u64) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl<C: Connector> Connector for std::sync::Arc<C> {
    type Stream = C::Stream;

    fn connect(&self, target: &Target, attempt: u64) -> impl Future<Output = io::Result<Self::Stream>> + Send {
        C::connect(self, target, attempt)
    }
}

/// Where to, taken apart.
///
/// ```
/// use pubsub_client::Target;
///
/// assert_eq!(Target::parse("ws://127.0.0.1:8000/connection/websocket")?.to_string(), "127.0.0.1:8000");
/// # Ok::<(), pubsub_client::TargetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// `wss`
    pub tls: bool,
    /// Name or address, an IPv6 one without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
}

/// A URL that no connection can be made to.
///
/// ```
/// use pubsub_client::{Target, TargetError};
///
/// assert_eq!(Target::parse("http://localhost"), Err(TargetError::Scheme));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Not a URL at all.
    #[error("not a URL: {0}")]
    Unreadable(String),
    /// Neither `ws://` nor `wss://`.
    #[error("must begin with ws:// or wss://")]
    Scheme,
    /// No host.
    #[error("names no host")]
    Host,
}

impl Target {
    /// Reads a URL.
    ///
    /// ```
    /// use pubsub_client::Target;
    ///
    /// let target = Target::parse("wss://[::1]/connection/websocket?format=json")?;
    /// assert_eq!((target.tls, target.host.as_str(), target.port), (true, "::1", 443));
    /// assert_eq!(target.path, "/connection/websocket?format=json");
    /// # Ok::<(), pubsub_client::TargetError>(())
    /// ```
    ///
    /// # Errors
    /// When it is no URL, has another scheme, or no host.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let uri: http::Uri =
            url.parse().map_err(|error: http::uri::InvalidUri| TargetError::Unreadable(error.to_string()))?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(TargetError::Scheme),
        };
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(TargetError::Host);
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        // `ws://host?query` has a query and no path.
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { tls, host: host.to_owned(), port, path: format!("{slash}{path}") })
    }

    /// The value of the `Host` header: the port only where it is not the scheme's own.
    ///
    /// ```
    /// # use pubsub_client::Target;
    /// assert_eq!(Target::parse("ws://[::1]:8000/")?.host_header(), "[::1]:8000");
    /// assert_eq!(Target::parse("wss://example.org/")?.host_header(), "example.org");
    /// # Ok::<(), pubsub_client::TargetError>(())
    /// ```
    #[must_use]
    pub fn host_header(&self) -> String {
        let bracketed = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { bracketed } else { format!("{bracketed}:{}", self.port) }
    }
}

/// Host and port, for messages.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            ("ws://h", ("h", 80, "/", "h", "h:80")),
            ("ws://h:8000/p?q=1", ("h", 8000, "/p?q=1", "h:8000", "h:8000")),
            ("wss://h/p", ("h", 443, "/p", "h", "h:443")),
            ("wss://h:80/", ("h", 80, "/", "h:80", "h:80")),
            ("ws://127.0.0.1:1/", ("127.0.0.1", 1, "/", "127.0.0.1:1", "127.0.0.1:1")),
            ("ws://[::1]:9/", ("::1", 9, "/", "[::1]:9", "[::1]:9")),
            ("ws://h?q", ("h", 80, "/?q", "h", "h:80")),
        ];
        for (url, expected) in cases {
            let target = Target::parse(url).unwrap();
            let (host, shown) = (target.host_header(), target.to_string());
            assert_eq!((&*target.host, target.port, &*target.path, &*host, &*shown), expected, "{url}");
        }
    }

    #[test]
    fn urls_that_lead_nowhere_are_refused() {
        assert_eq!(Target::parse("http://h/"), Err(TargetError::Scheme));
        assert_eq!(Target::parse("h:80"), Err(TargetError::Scheme));
        assert!(matches!(Target::parse("ws://"), Err(TargetError::Unreadable(_))));
        assert!(matches!(Target::parse("ws://a b/"), Err(TargetError::Unreadable(_))));
    }
}
