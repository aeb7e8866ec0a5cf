//! One connection's HTTP, until it ends or becomes something else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt as _;

/// The peer of a request's connection, where it has an address.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

/// Bytes of a request's head: enough for any token in it, and nothing like enough to fill memory with.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How one connection's HTTP ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was answered, or went away by itself.
    Served,
    /// It did not bring a whole request in time.
    NoRequestInTime,
}

/// Serves the requests of one connection. `header_timeout` bounds the wait for each request's head.
pub async fn serve<S>(stream: S, peer: Option<SocketAddr>, router: Router, header_timeout: Duration) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let router = router.clone();
        async move {
            request.extensions_mut().insert(Peer(peer));
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    let Err(error) = served else { return Ended::Served };
    tracing::debug!(?peer, %error, "HTTP connection ended early");
    if error.is_timeout() && !asked.load(Ordering::Relaxed) { Ended::NoRequestInTime } else { Ended::Served }
}
