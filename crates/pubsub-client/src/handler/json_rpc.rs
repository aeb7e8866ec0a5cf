//! JSON-RPC 2.0: requests, notifications, batches from the server, typed errors.
//!
//! ```text
//! C  {"jsonrpc":"2.0","id":"01ARZ…","method":"sum","params":[1,2]}       S  {"jsonrpc":"2.0","id":"01ARZ…","result":3}
//! C  {"jsonrpc":"2.0","id":"01ARZ…","method":"subscribe","params":{"topics":["a","b"]}}
//! S  {"jsonrpc":"2.0","method":"publication","params":{"topic":"a","data":1}}                    a notification
//! ```
//!
//! The standard knows nothing of topics: the methods `subscribe`, `unsubscribe`, `publish` and the notification
//! `publication` are a convention, and their names can be set.

use std::collections::BTreeMap;
use std::fmt;

use pubsub_protocol::Payload;
use pubsub_protocol::reply::SubscribeResult;
use serde::{Deserialize, Serialize};

use super::{
    About, Call, CallKind, Credentials, Outgoing, ProtocolHandler, Response, Session, SubscribeRequest,
    SubscriptionReply, UnsubscribeRequest, Update,
};
use crate::error::{ProtocolError, ServerError};
use crate::ids::{MessageKind, RequestId, Topic};

/// What a JSON-RPC error code means (section 5.1 of the standard).
///
/// ```
/// use pubsub_client::{JsonRpcError, ServerError};
///
/// let error = ServerError::new(-32601, "no such method");
/// assert_eq!(JsonRpcError::of(&error), JsonRpcError::MethodNotFound);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JsonRpcError {
    /// -32700: the server could not read the JSON.
    ParseError,
    /// -32600: it was no request.
    InvalidRequest,
    /// -32601
    MethodNotFound,
    /// -32602
    InvalidParams,
    /// -32603
    Internal,
    /// -32000 to -32099: reserved for servers.
    Server(i64),
    /// Anything else: the application's own.
    Application(i64),
}

impl JsonRpcError {
    /// The meaning of an error's code.
    ///
    /// ```
    /// # use pubsub_client::{JsonRpcError, ServerError};
    /// assert_eq!(JsonRpcError::of(&ServerError::new(-32000, "busy")), JsonRpcError::Server(-32000));
    /// ```
    #[must_use]
    pub fn of(error: &ServerError) -> Self {
        match error.code {
            -32700 => Self::ParseError,
            -32600 => Self::InvalidRequest,
            -32601 => Self::MethodNotFound,
            -32602 => Self::InvalidParams,
            -32603 => Self::Internal,
            code @ -32099..=-32000 => Self::Server(code),
            code => Self::Application(code),
        }
    }
}

impl fmt::Display for JsonRpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ParseError => f.write_str("parse error"),
            Self::InvalidRequest => f.write_str("invalid request"),
            Self::MethodNotFound => f.write_str("method not found"),
            Self::InvalidParams => f.write_str("invalid params"),
            Self::Internal => f.write_str("internal error"),
            Self::Server(code) => write!(f, "server error {code}"),
            Self::Application(code) => write!(f, "application error {code}"),
        }
    }
}

/// Speaks JSON-RPC 2.0.
///
/// ```
/// use pubsub_client::{Client, ClientConfig, JsonRpcHandler};
///
/// let handler = JsonRpcHandler { auth: Some("login".to_owned()), ..JsonRpcHandler::default() };
/// let builder = Client::builder(ClientConfig::new("ws://127.0.0.1:9000/")).handler(handler);
/// # let _ = builder;
/// ```
#[derive(Clone, Debug)]
pub struct JsonRpcHandler {
    /// Method that authenticates, with `{"token":…}`. `None`: there is none.
    pub auth: Option<String>,
    /// Method that subscribes, with `{"topics":[…]}`.
    pub subscribe: String,
    /// Method that unsubscribes, likewise.
    pub unsubscribe: String,
    /// Method that publishes, with `{"topic":…,"data":…}`.
    pub publish: String,
    /// Notification of a publication, with `{"topic":…,"data":…}`.
    pub publication: String,
}

impl Default for JsonRpcHandler {
    fn default() -> Self {
        Self {
            auth: None,
            subscribe: "subscribe".into(),
            unsubscribe: "unsubscribe".into(),
            publish: "publish".into(),
            publication: "publication".into(),
        }
    }
}

/// A decoded message.
///
/// ```
/// use pubsub_client::{JsonRpcHandler, MessageKind, ProtocolHandler};
///
/// let (mut handler, mut messages) = (JsonRpcHandler::default(), Vec::new());
/// handler.decode(br#"[{"jsonrpc":"2.0","id":"a","result":1}]"#, &mut messages)?;
/// assert_eq!(handler.classify_message(&messages[0]), MessageKind::Response);
/// # Ok::<(), pubsub_client::ProtocolError>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JsonRpcMessage {
    id: Option<serde_json::Value>,
    method: Option<String>,
    params: Option<Payload>,
    result: Option<Payload>,
    error: Option<WireError>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct WireError {
    code: i64,
    message: String,
    data: Option<Payload>,
}

#[derive(Serialize)]
struct WireRequest<'a, P: Serialize> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<P>,
}

#[derive(Deserialize)]
struct News {
    topic: Topic,
    data: Option<Payload>,
}

fn write<P: Serialize>(
    id: Option<&RequestId>,
    method: &str,
    params: Option<P>,
    out: &mut Outgoing,
) -> Result<(), ProtocolError> {
    let request = WireRequest { jsonrpc: "2.0", id, method, params };
    let text = serde_json::to_vec(&request).map_err(ProtocolError::unwritable)?;
    out.text().extend_from_slice(&text);
    Ok(())
}

fn topics<'a>(names: impl Iterator<Item = &'a Topic>) -> BTreeMap<&'static str, Vec<&'a Topic>> {
    BTreeMap::from([("topics", names.collect())])
}

fn outcome(message: JsonRpcMessage) -> Result<Option<Payload>, ServerError> {
    match message.error {
        Some(WireError { code, message, data }) => Err(ServerError { data, ..ServerError::new(code, message) }),
        None => Ok(message.result),
    }
}

impl ProtocolHandler for JsonRpcHandler {
    type Message = JsonRpcMessage;

    fn build_auth_message(
        &mut self,
        id: &RequestId,
        credentials: &Credentials<'_>,
        out: &mut Outgoing,
    ) -> Result<bool, ProtocolError> {
        let (Some(method), Some(token)) = (&self.auth, credentials.token) else { return Ok(false) };
        write(Some(id), method, Some(BTreeMap::from([("token", token)])), out)?;
        Ok(true)
    }

    fn is_auth_success(
        &mut self,
        id: &RequestId,
        message: &mut JsonRpcMessage,
    ) -> Option<Result<Session, ServerError>> {
        (self.extract_request_id(message).as_ref() == Some(id))
            .then(|| outcome(std::mem::take(message)).map(|data| Session { data, ..Session::default() }))
    }

    fn decode(&mut self, text: &[u8], messages: &mut Vec<JsonRpcMessage>) -> Result<(), ProtocolError> {
        // A batch is an array (section 6).
        if text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            messages.extend(serde_json::from_slice::<Vec<JsonRpcMessage>>(text).map_err(ProtocolError::unreadable)?);
        } else {
            messages.push(serde_json::from_slice(text).map_err(ProtocolError::unreadable)?);
        }
        Ok(())
    }

    fn classify_message(&self, message: &JsonRpcMessage) -> MessageKind {
        match (&message.method, &message.id) {
            (None, Some(_)) => MessageKind::Response,
            (Some(method), None) if *method == self.publication => MessageKind::Update,
            (Some(_), None) => MessageKind::System,
            // A request of the server's, or nothing at all.
            (Some(_), Some(_)) | (None, None) => MessageKind::Unknown,
        }
    }

    fn extract_request_id(&self, message: &JsonRpcMessage) -> Option<RequestId> {
        match message.id.as_ref()? {
            serde_json::Value::String(id) => Some(RequestId::from(id.as_str())),
            serde_json::Value::Number(id) => Some(RequestId::from(id.to_string())),
            _ => None,
        }
    }

    fn extract_topic(&self, message: &JsonRpcMessage) -> Option<Topic> {
        message.params.as_ref()?.parse::<News>().ok().map(|news| news.topic)
    }

    fn shares_batch_id(&self) -> bool {
        true
    }

    fn build_subscribe(&mut self, batch: &[SubscribeRequest<'_>], out: &mut Outgoing) {
        let Some(first) = batch.first() else { return };
        let params = topics(batch.iter().map(|request| &request.topic));
        write(Some(&first.id), &self.subscribe, Some(params), out).expect("topics are strings");
    }

    fn is_subscription_success(&mut self, message: JsonRpcMessage) -> Vec<SubscriptionReply> {
        let outcome = outcome(message).map(|_| SubscribeResult::default());
        vec![SubscriptionReply { about: About::Request, outcome }]
    }

    fn build_unsubscribe(&mut self, batch: &[UnsubscribeRequest], out: &mut Outgoing) {
        let Some(first) = batch.first() else { return };
        let params = topics(batch.iter().map(|request| &request.topic));
        write(Some(&first.id), &self.unsubscribe, Some(params), out).expect("topics are strings");
    }

    fn unsubscribed(&mut self, message: JsonRpcMessage) -> Result<(), ServerError> {
        outcome(message).map(|_| ())
    }

    fn build_request(&mut self, id: &RequestId, call: &Call, out: &mut Outgoing) -> Result<(), ProtocolError> {
        match call {
            Call::Rpc { method, params } => write(Some(id), method, params.as_ref(), out),
            Call::Publish { topic, data, .. } => {
                let topic = Payload::to_json(topic).map_err(ProtocolError::unwritable)?;
                write(Some(id), &self.publish, Some(BTreeMap::from([("topic", &topic), ("data", data)])), out)
            }
            Call::History { .. } => Err(ProtocolError::NotSupported("history")),
            Call::Presence(_) => Err(ProtocolError::NotSupported("presence")),
            Call::PresenceStats(_) => Err(ProtocolError::NotSupported("presence_stats")),
        }
    }

    fn response(&mut self, call: CallKind, message: JsonRpcMessage) -> Result<Response, ServerError> {
        let data = outcome(message)?;
        Ok(if call == CallKind::Publish { Response::Published } else { Response::Data(data) })
    }

    fn update(&mut self, message: JsonRpcMessage) -> Update {
        match message.params.and_then(|params| params.parse::<News>().ok()).and_then(|news| news.data) {
            Some(data) => Update::Publication(super::publication(data, BTreeMap::new())),
            None => Update::Nothing,
        }
    }

    /// A notification: an object `{"method":…,"params":…}` gets its `jsonrpc` member here.
    fn build_send(&mut self, data: &Payload, out: &mut Outgoing) -> Result<(), ProtocolError> {
        #[derive(Deserialize)]
        struct Notification {
            method: String,
            params: Option<Payload>,
        }
        let Notification { method, params } = data.parse().map_err(ProtocolError::unwritable)?;
        write(None, &method, params, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::SubscribeOptions;

    fn decoded(text: &str) -> Vec<JsonRpcMessage> {
        let mut messages = Vec::new();
        JsonRpcHandler::default().decode(text.as_bytes(), &mut messages).unwrap();
        messages
    }

    #[test]
    fn requests_and_notifications_are_those_of_the_standard() {
        let mut handler = JsonRpcHandler::default();
        let mut out = Outgoing::default();
        let id = RequestId::from("a");
        let call = Call::Rpc { method: "sum".into(), params: Some(Payload::from_json("[1,2]").unwrap()) };
        handler.build_request(&id, &call, &mut out).unwrap();
        handler.build_request(&id, &Call::Rpc { method: "now".into(), params: None }, &mut out).unwrap();
        handler.build_send(&Payload::from_json(r#"{"method":"log","params":{"x":1}}"#).unwrap(), &mut out).unwrap();
        let options = SubscribeOptions::default();
        handler.build_subscribe(&[SubscribeRequest::new(id.clone(), Topic::from("t"), &options)], &mut out);
        let call =
            Call::Publish { topic: Topic::from("t"), data: Payload::from_json("1").unwrap(), idempotency_key: None };
        handler.build_request(&id, &call, &mut out).unwrap();
        assert_eq!(
            out.texts(),
            [
                r#"{"jsonrpc":"2.0","id":"a","method":"sum","params":[1,2]}"#,
                r#"{"jsonrpc":"2.0","id":"a","method":"now"}"#,
                r#"{"jsonrpc":"2.0","method":"log","params":{"x":1}}"#,
                r#"{"jsonrpc":"2.0","id":"a","method":"subscribe","params":{"topics":["t"]}}"#,
                r#"{"jsonrpc":"2.0","id":"a","method":"publish","params":{"data":1,"topic":"t"}}"#,
            ]
        );
        assert!(handler.build_send(&Payload::from_json("1").unwrap(), &mut out).is_err());
    }

    #[test]
    fn a_batch_is_several_messages() {
        let handler = JsonRpcHandler::default();
        let messages = decoded(
            r#" [{"id":"a","result":1},{"id":7,"result":2},{"method":"publication","params":{"topic":"t"}},
            {"method":"hello"},{"method":"ask","id":1},{}]"#,
        );
        use MessageKind::{Response, System, Unknown, Update};
        let kinds: Vec<_> = messages.iter().map(|message| handler.classify_message(message)).collect();
        assert_eq!(kinds, [Response, Response, Update, System, Unknown, Unknown]);
        assert_eq!(handler.extract_request_id(&messages[1]), Some(RequestId::from(7)));
        assert_eq!(handler.extract_topic(&messages[2]), Some(Topic::from("t")));
    }

    #[test]
    fn errors_are_typed_and_keep_their_data() {
        let mut handler = JsonRpcHandler::default();
        let refused = decoded(r#"{"id":"a","error":{"code":-32602,"message":"bad","data":{"field":"x"}}}"#).remove(0);
        let error = handler.response(CallKind::Rpc, refused).unwrap_err();
        assert_eq!(JsonRpcError::of(&error), JsonRpcError::InvalidParams);
        assert_eq!(error.data, Some(Payload::from_json(r#"{"field":"x"}"#).unwrap()));
        for (code, expected) in [
            (-32700, JsonRpcError::ParseError),
            (-32600, JsonRpcError::InvalidRequest),
            (-32601, JsonRpcError::MethodNotFound),
            (-32603, JsonRpcError::Internal),
            (-32000, JsonRpcError::Server(-32000)),
            (-32099, JsonRpcError::Server(-32099)),
            (-32100, JsonRpcError::Application(-32100)),
            (5, JsonRpcError::Application(5)),
        ] {
            assert_eq!(JsonRpcError::of(&ServerError::new(code, "")), expected);
        }
    }

    #[test]
    fn publications_are_notifications() {
        let mut handler = JsonRpcHandler::default();
        let message = decoded(r#"{"method":"publication","params":{"topic":"t","data":{"x":1}}}"#).remove(0);
        match handler.update(message) {
            Update::Publication(publication) => assert_eq!(publication.data.as_bytes(), br#"{"x":1}"#),
            other => panic!("{other:?}"),
        }
    }
}
