//! One connection's HTTP, until it ends or becomes something else.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::{CONNECTION, HOST};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::patient::Patient;
use crate::stopping::Stopping;

/// The peer of a request's connection, where it has an address.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

/// Bytes of a request's head: enough for any token in it, and nothing like enough to fill memory with.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a connection may be kept for its next request. Longer than the pools of HTTP clients and proxies keep theirs: who
/// closes first decides whether a request is lost on its way, and no client repeats a POST by itself.
const KEEP_ALIVE: Duration = Duration::from_secs(100);

/// How one connection's HTTP ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was answered, or went away by itself.
    Served,
    /// It did not bring a whole request in time.
    NoRequestInTime,
    /// It brought something that is no HTTP, too much of it, or no host.
    Malformed,
    /// It did not read what it was answered.
    Unread,
}

/// The terms on which a connection is served.
pub struct Terms {
    /// By when its first request has to be there.
    pub first_by: Instant,
    /// How long the peer may take nothing of what it is answered.
    pub patience: Duration,
    /// Whether responses say when they were made, by the machine's clock.
    pub dated: bool,
    /// Tells when the server stops: what was asked by then is answered, and no more.
    pub stopping: Stopping,
}

/// Serves the requests of one connection, of which `begun` was read already.
pub async fn serve<S>(stream: S, begun: Vec<u8>, peer: Option<SocketAddr>, router: Router, terms: Terms) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Terms { first_by, patience, dated, stopping } = terms;
    let asked = AtomicBool::new(false);
    let malformed = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let router = router.clone();
        let is_host_in_order = is_host_in_order(&request);
        malformed.fetch_or(!is_host_in_order, Ordering::Relaxed);
        async move {
            if !is_host_in_order {
                return Ok(bad_host());
            }
            request.extensions_mut().insert(Peer(peer));
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .auto_date_header(dated)
        .header_read_timeout(KEEP_ALIVE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, begun, patience)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut is_young = true;
    let mut goes_on = true;
    let served = loop {
        tokio::select! {
            biased;
            served = connection.as_mut() => break served,
            () = tokio::time::sleep_until(first_by), if is_young => {
                is_young = false;
                if !asked.load(Ordering::Relaxed) {
                    return Ended::NoRequestInTime;
                }
            }
            () = stopping.told(), if goes_on => {
                goes_on = false;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = &served {
        tracing::debug!(?peer, %error, "HTTP connection ended early");
    }
    match served {
        Err(error) if error.is_parse() => Ended::Malformed,
        Err(error) if ran_out_of_patience(&error) => Ended::Unread,
        _ if malformed.load(Ordering::Relaxed) => Ended::Malformed,
        _ => Ended::Served,
    }
}

/// Whether a connection ended because its peer took nothing for too long: [`Patient`] said so, or the kernel.
fn ran_out_of_patience(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Whether a request names its host as it has to (RFC 9112, 3.2): in HTTP/1.1 exactly once, and as one. Two readers of
/// a request with two hosts may take it for different ones.
pub(super) fn is_host_in_order<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let Some(host) = hosts.next() else { return request.version() < Version::HTTP_11 };
    let is_one = |host: &str| host.is_empty() || (!host.contains('@') && Authority::try_from(host).is_ok());
    hosts.next().is_none() && host.to_str().is_ok_and(is_one)
}

fn bad_host() -> Response<Body> {
    let mut response = Response::new(Body::from("a request names its Host once\n"));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
