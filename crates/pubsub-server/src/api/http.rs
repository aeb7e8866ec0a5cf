//! The API over HTTP: requests to calls, calls to answers.
//!
//! Both shapes end in [`Service::call`]: `POST /api/METHOD` with the parameters as the body, and the older `POST /api`
//! with objects that name method and parameters. Whoever has no key learns nothing but that.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use pubsub_protocol::ErrorCode;
use pubsub_protocol::codec::object_from_slice;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tower_http::catch_panic::CatchPanicLayer;

use super::call::{CallError, Method};
use super::key::{Denied, Guard};
use super::{ApiError, Service};
use crate::config::ErrorMode;

/// Longest body. As much as may wait for a shard before publishers have to: room for a batch of thousands of small
/// publications, and no more memory than a few such requests can be allowed to take.
const BODY_BYTES_MAX: usize = 4 << 20;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks for errors as HTTP statuses, for one request.
const ERROR_MODE: HeaderName = HeaderName::from_static("x-centrifugo-error-mode");

/// The one method that is not a [`Method`].
const BATCH: &str = "batch";

/// The API under its prefix.
pub(super) fn router(service: &Arc<Service>) -> Router {
    let prefix = service.config.http_api.handler_prefix.trim_end_matches('/');
    let routes = Router::new()
        .route(if prefix.is_empty() { "/" } else { prefix }, any(older))
        .route(&format!("{prefix}/{{method}}"), any(method));
    guarded(routes, service)
}

/// What every request to the API has to pass, and only those: a WebSocket would live under it for as long as it lasts.
fn guarded(routes: Router<Arc<Service>>, service: &Arc<Service>) -> Router {
    let guard = Arc::new(Guard::new(&service.config.http_api));
    // The layer that is added last is the first that a request meets.
    routes
        .route_layer(from_fn_with_state(guard, admit))
        .route_layer(CatchPanicLayer::custom(panicked))
        .route_layer(from_fn_with_state(service.clone(), count))
        .with_state(service.clone())
}

/// Why a request got no further than HTTP.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the API key is missing or wrong: send it as the header X-API-Key")]
    Unauthorized,
    #[error("web pages may not call the API without a key: set http_api.key, and keep it with your backend")]
    Page,
    #[error("calls are made by POST")]
    NotPost,
    #[error("there is no method of this name")]
    NoMethod,
    #[error("the body is not JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the body is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the body did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    Slow,
    #[error("the body could not be read: {0}")]
    Broken(String),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Page => StatusCode::FORBIDDEN,
            Self::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoMethod => StatusCode::NOT_FOUND,
            Self::Malformed(_) | Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            // Anybody may be refused so, and as often as they like.
            Self::Unauthorized | Self::Page => tracing::debug!(reason = %self, "API request refused"),
            _ => tracing::info!(reason = %self, "API request refused"),
        }
        let mut response = (self.status(), format!("{self}\n")).into_response();
        match self {
            Self::Unauthorized => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("apikey"));
            }
            Self::NotPost => {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        response
    }
}

/// The methods of a request that names them in its body, for [`count`].
#[derive(Clone)]
struct Named(Vec<&'static str>);

/// Counts requests by method and status.
async fn count(
    State(service): State<Arc<Service>>,
    method: Option<Path<String>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let metrics = &service.metrics.node;
    match response.extensions().get::<Named>() {
        Some(Named(methods)) => methods.iter().for_each(|method| metrics.api_request(method, status)),
        None => metrics.api_request(method.as_ref().map_or("unknown", |Path(method)| method), status),
    }
    response
}

async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.admits(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(Denied::Key) => Refusal::Unauthorized.into_response(),
        Err(Denied::Page) => Refusal::Page.into_response(),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = message.unwrap_or("unknown"), "a bug in the server ended this API request");
    (StatusCode::INTERNAL_SERVER_ERROR, Json(Answer::Error(ErrorCode::Internal.into()))).into_response()
}

/// What a call is answered with.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Result(Box<RawValue>),
    Error(ApiError),
}

/// `POST /api/METHOD`
async fn method(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let method = Method::parse(&name);
    if method.is_none() && name != BATCH {
        return Err(Refusal::NoMethod);
    }
    let mode = error_mode(&service, request.headers());
    let params = body(request).await?;
    let called = match method {
        Some(method) => service.call(method, &params).await.map(|result| Json(Answer::Result(result)).into_response()),
        None => service.batch(&params).await.map(|replies| Json(replies).into_response()),
    };
    match called {
        Ok(response) => Ok(response),
        Err(CallError::Malformed(error)) => Err(error.into()),
        Err(CallError::Refused(error)) => {
            tracing::info!(method = name, %error, "API call refused");
            Ok(match mode {
                ErrorMode::Body => Json(Answer::Error(error)).into_response(),
                ErrorMode::Transport => (status(error.code), Json(error)).into_response(),
            })
        }
    }
}

/// One call of the older shape.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OlderCall<'a> {
    id: u32,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// What it is answered with.
#[derive(Serialize)]
struct OlderAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(flatten)]
    answer: Answer,
}

/// `POST /api`: one or more calls, each an object. Nothing is done unless all of them can be read.
async fn older(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Refusal> {
    let body = body(request).await?;
    let mut calls = Vec::new();
    for object in serde_json::Deserializer::from_slice(&body).into_iter::<&RawValue>() {
        calls.push(object_from_slice::<OlderCall<'_>>(object?.get().as_bytes())?);
    }
    if calls.is_empty() {
        return Err(Refusal::Broken("it is empty".to_owned()));
    }
    let mut answers = Vec::new();
    let mut methods = Vec::with_capacity(calls.len());
    for OlderCall { id, method: name, params } in calls {
        let method = Method::parse(&name.to_ascii_lowercase());
        methods.push(method.map_or("unknown", Method::name));
        let result = match method {
            Some(method) => service.call(method, params.map_or("{}", RawValue::get).as_bytes()).await,
            None => Err(ApiError::new(ErrorCode::MethodNotFound, format!("method {name:?}")).into()),
        };
        let answer = result.map_or_else(|error| Answer::Error(error.into()), Answer::Result);
        if let Answer::Error(error) = &answer {
            tracing::info!(method = name, %error, "API call refused");
        }
        if !answers.is_empty() {
            answers.push(b'\n');
        }
        let answer = OlderAnswer { id: (id > 0).then_some(id), answer };
        serde_json::to_writer(&mut answers, &answer).expect("answers are made of strings, numbers and JSON");
    }
    let mut response = ([(CONTENT_TYPE, "application/json")], answers).into_response();
    response.extensions_mut().insert(Named(methods));
    Ok(response)
}

/// The whole body of a POST.
async fn body(request: Request<Body>) -> Result<Bytes, Refusal> {
    if request.method() != http::Method::POST {
        return Err(Refusal::NotPost);
    }
    let body = request.into_body();
    // By its own account too long: not even read.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Refusal::TooLarge);
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Ok(Err(error)) => Err(Refusal::Broken(error.to_string())),
        Err(_) => Err(Refusal::Slow),
    }
}

fn error_mode(service: &Service, headers: &HeaderMap) -> ErrorMode {
    match headers.get(ERROR_MODE) {
        Some(mode) if mode == "transport" => ErrorMode::Transport,
        _ => service.config.http_api.error_mode,
    }
}

/// An error's HTTP status in [`ErrorMode::Transport`].
fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::UnknownChannel | ErrorCode::MethodNotFound => StatusCode::NOT_FOUND,
        ErrorCode::BadRequest | ErrorCode::NotAvailable => StatusCode::BAD_REQUEST,
        ErrorCode::UnrecoverablePosition => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::ConcurrentPagination => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::server::Server;
    use crate::transport::listener::memory;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_bug_ends_its_request_alone_and_is_counted() {
        let (listener, _connector) = memory::<tokio::io::DuplexStream>();
        let server = Server::new(Config::generous()).seed(1).on_current_runtime().start(listener).unwrap();
        let routes = Router::new().route("/api/{method}", any(async || -> StatusCode { panic!("a bug") }));
        let router = guarded(routes, server.service());
        for _ in 0..2 {
            let request = Request::post("/api/publish").body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, r#"{"error":{"code":100,"message":"internal server error"}}"#);
        }
        let counted = server.service().metrics().snapshot().api_requests;
        assert_eq!(counted, [(("publish", 500), 2)].into());
        server.shutdown().await;
    }
}
