//! The request that makes a connection a WebSocket: checked, answered, and the socket handed to its shard.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_TYPE, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper_util::rt::TokioIo;
use pubsub_protocol::Format;
use wildmatch::WildMatch;

use super::gate::{Gate, Slot};
use super::http::Peer;
use super::listener::Listener;
use super::patient::Patient;
use crate::clock::Clock;
use crate::config::ClientConfig;
use crate::metrics::{self, Metrics};
use crate::session::Opening;
use crate::shard::Door;
use crate::shard::connection::{Adopted, Purpose};

/// What it takes to let a WebSocket in, and where it goes.
pub struct Entrance<L: Listener> {
    door: Arc<Door<L::Socket>>,
    gate: Arc<Gate>,
    clock: Clock,
    metrics: Arc<Metrics>,
    origins: Vec<WildMatch>,
    user_header: Option<HeaderName>,
}

impl<L: Listener> Entrance<L> {
    /// An entrance to the shard behind `door`.
    pub fn new(
        door: Arc<Door<L::Socket>>,
        gate: Arc<Gate>,
        clock: Clock,
        metrics: Arc<Metrics>,
        client: &ClientConfig,
    ) -> Self {
        Self {
            door,
            gate,
            clock,
            metrics,
            origins: client.allowed_origins.iter().map(|origin| WildMatch::new(&origin.to_ascii_lowercase())).collect(),
            user_header: client.user_id_http_header.as_deref().and_then(|name| name.parse().ok()),
        }
    }
}

/// Why there is no upgrade.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It asks for something else.
    #[error("this is a WebSocket endpoint: {0}")]
    NotWebSocket(String),
    /// Its key is none.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64, given once")]
    Key,
    /// It has a body.
    #[error("an upgrade has no body")]
    Body,
    /// It is of another version of WebSocket.
    #[error("this server speaks version 13 of the WebSocket protocol only")]
    Version,
    /// It comes from a page that may not connect.
    #[error("pages of this origin may not connect; client.allowed_origins decides that")]
    Origin,
    /// Nobody is let in at the moment, or not so many.
    #[error(transparent)]
    Gate(#[from] super::gate::Refused),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotWebSocket(_) | Self::Key | Self::Body => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Gate(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its label in the metrics.
    fn reason(&self) -> metrics::Refused {
        use super::gate::Refused;
        match self {
            Self::NotWebSocket(_) | Self::Key | Self::Body | Self::Version => metrics::Refused::BadUpgrade,
            Self::Origin => metrics::Refused::Origin,
            Self::Gate(Refused::Limit) => metrics::Refused::Limit,
            Self::Gate(Refused::Rate | Refused::AddressRate) => metrics::Refused::Rate,
            Self::Gate(Refused::Draining) => metrics::Refused::Draining,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        // What follows is not read: a proxy that takes this for a granted upgrade passes on frames made by strangers,
        // which must not become requests.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if matches!(self, Self::Version) {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// An upgrade that is granted.
pub struct Granted {
    /// What is answered.
    pub response: Response<()>,
    opening: Opening,
    purpose: Purpose,
    format: Format,
    slot: Slot,
}

impl<L: Listener> Entrance<L> {
    /// Decides upon an upgrade request without a body: the one place where that is done.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn decide(
        &self,
        purpose: Purpose,
        request: &http::Request<()>,
        peer: Option<SocketAddr>,
    ) -> Result<Granted, Refusal> {
        let headers = request.headers();
        check_key(headers)?;
        if headers.get_all(SEC_WEBSOCKET_VERSION).iter().count() > 1 {
            return Err(Refusal::NotWebSocket("the request names more than one version".to_owned()));
        }
        check_origin(headers, &self.origins)?;
        let wanted = Wanted::read(headers, request.uri().query().unwrap_or(""), purpose);
        let opening = Opening {
            native_ping: wanted.native_ping,
            // Empty is what a proxy sends for somebody it does not know: as good as no header.
            user: self
                .user_header
                .as_ref()
                .and_then(|name| Some(headers.get(name)?.to_str().ok()?.to_owned()))
                .filter(|user| !user.is_empty()),
        };
        let mut response = tungstenite::handshake::server::create_response(request).map_err(|error| match error {
            tungstenite::Error::Protocol(tungstenite::error::ProtocolError::MissingSecWebSocketVersionHeader) => {
                Refusal::Version
            }
            error => Refusal::NotWebSocket(error.to_string()),
        })?;
        let slot = self.gate.enter(peer.map(|peer| peer.ip()), self.clock.now().ms)?;
        if let Some(subprotocol) = wanted.subprotocol {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        }
        Ok(Granted { response, opening, purpose, format: wanted.format, slot })
    }

    /// Hands an upgraded connection to its shard. `leftover` came behind the request.
    pub fn admit(&self, stream: L::Stream, leftover: Vec<u8>, granted: Granted, peer: Option<SocketAddr>) {
        let stream = match L::settle(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(?peer, %error, "the connection could not be handed to its shard"),
        };
        let Granted { opening, purpose, format, slot, .. } = granted;
        self.door.adopt(Adopted { stream, leftover, opening, format, purpose, slot });
    }
}

/// Answers an upgrade request that came by way of HTTP, for the client protocol or for the echo.
pub async fn upgrade<L: Listener>(entrance: Arc<Entrance<L>>, purpose: Purpose, request: Request) -> Response {
    match try_upgrade(&entrance, purpose, request) {
        Ok(response) => response,
        Err(refusal) => {
            tracing::info!(%refusal, "connection refused");
            entrance.metrics.node.refuse(refusal.reason());
            refusal.into_response()
        }
    }
}

fn try_upgrade<L: Listener>(
    entrance: &Arc<Entrance<L>>,
    purpose: Purpose,
    mut request: Request,
) -> Result<Response, Refusal> {
    let on_upgrade = hyper::upgrade::on(&mut request);
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0);
    let (parts, body) = request.into_parts();
    if !body.is_end_stream() {
        return Err(Refusal::Body);
    }
    let granted = entrance.decide(purpose, &http::Request::from_parts(parts, ()), peer)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = granted.response.status();
    *response.headers_mut() = granted.response.headers().clone();
    let entrance = entrance.clone();
    tokio::spawn(async move {
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(?peer, %error, "the peer left during the upgrade"),
        };
        let parts = upgraded
            .downcast::<TokioIo<Patient<L::Stream>>>()
            .expect("the stream that is served is the stream that comes back from the upgrade");
        let (stream, begun) = parts.io.into_inner().into_parts();
        let mut leftover = parts.read_buf.to_vec();
        leftover.extend_from_slice(&begun);
        entrance.admit(stream, leftover, granted, peer);
    });
    Ok(response)
}

/// What the client wants to speak.
struct Wanted {
    format: Format,
    subprotocol: Option<&'static str>,
    native_ping: bool,
}

impl Wanted {
    fn read(headers: &HeaderMap, query: &str, purpose: Purpose) -> Self {
        let offers = |name: &str| {
            headers
                .get_all(SEC_WEBSOCKET_PROTOCOL)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .any(|offer| offer.trim().eq_ignore_ascii_case(name))
        };
        let asks = |pair: &str| query.split('&').any(|other| other == pair);
        let native_ping = asks("cf_ws_frame_ping_pong=true");
        if purpose == Purpose::Echo {
            return Self { format: Format::Json, subprotocol: None, native_ping };
        }
        let (json, protobuf) = ("centrifuge-json", "centrifuge-protobuf");
        let format = if offers(protobuf) || asks("format=protobuf") || asks("cf_protocol=protobuf") {
            Format::Protobuf
        } else {
            Format::Json
        };
        let name = if format == Format::Protobuf { protobuf } else { json };
        Self { format, subprotocol: offers(name).then_some(name), native_ping }
    }
}

fn check_key(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let Some(key) = keys.next() else {
        return Err(Refusal::NotWebSocket("the request has no Sec-WebSocket-Key".to_owned()));
    };
    if keys.next().is_none() && STANDARD.decode(key).is_ok_and(|key| key.len() == 16) {
        Ok(())
    } else {
        Err(Refusal::Key)
    }
}

/// Browsers send an origin, and only they are bound by it: without one there is no page to be kept out.
fn check_origin(headers: &HeaderMap, allowed: &[WildMatch]) -> Result<(), Refusal> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin.as_bytes()).to_ascii_lowercase();
    if allowed.iter().any(|allowed| allowed.matches(&origin)) { Ok(()) } else { Err(Refusal::Origin) }
}
