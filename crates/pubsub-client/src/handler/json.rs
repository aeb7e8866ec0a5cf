//! JSON objects with field and operation names of your choice: enough for most servers that have no standard.
//!
//! ```text
//! C  {"op":"auth","id":"01ARZ…","token":"T"}                          S  {"id":"01ARZ…","ok":true}
//! C  {"op":"subscribe","id":"01ARZ…","topics":["a","b"]}              S  {"id":"01ARZ…","ok":true,"failed":{"b":"no such topic"}}
//! C  {"op":"publish","id":"01ARZ…","topic":"a","data":1}              S  {"id":"01ARZ…","ok":true}
//! C  {"op":"sum","id":"01ARZ…","data":[1,2]}                          S  {"id":"01ARZ…","data":3}
//!                                                                     S  {"topic":"a","data":1}
//! S  {"op":"ping"}                                                    C  {"op":"pong"}
//! ```
//!
//! An answer has the request's id; one with the error field is a refusal: a text, or an object with `code`, `message`
//! and `temporary`. A message with a topic and no id is a publication. Positions and recovery are not part of it.

use std::collections::BTreeMap;

use pubsub_protocol::Payload;
use pubsub_protocol::reply::SubscribeResult;
use serde_json::value::RawValue;

use super::{
    About, Call, CallKind, Credentials, Outgoing, ProtocolHandler, Response, Session, SubscribeRequest,
    SubscriptionReply, UnsubscribeRequest, Update,
};
use crate::error::{ProtocolError, ServerError};
use crate::ids::{MessageKind, RequestId, Topic};

/// What the fields and operations are called.
///
/// ```
/// use pubsub_client::{JsonHandler, JsonNames};
///
/// let names = JsonNames { op: "cmd".to_owned(), subscribe: "join".to_owned(), ..JsonNames::default() };
/// let handler = JsonHandler::new(names);
/// # let _ = handler;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonNames {
    /// Field: the operation. Default: `op`.
    pub op: String,
    /// Field: a request's id, and its answer's. Default: `id`.
    pub id: String,
    /// Field: the one topic of a publication or publish. Default: `topic`.
    pub topic: String,
    /// Field: the topics of a subscribe or unsubscribe. Default: `topics`.
    pub topics: String,
    /// Field: what is published, asked or answered. Default: `data`.
    pub data: String,
    /// Field: why a request was refused. Default: `error`.
    pub error: String,
    /// Field: topics of a subscribe that were refused, with the reason of each. Default: `failed`.
    pub failed: String,
    /// Field: the connection's token. Default: `token`.
    pub token: String,
    /// Field: the key that makes a repeated publish harmless. Default: `idempotency_key`.
    pub idempotency_key: String,
    /// Operation: authenticate. Empty: there is no authentication. Default: `auth`.
    pub auth: String,
    /// Operation: subscribe. Default: `subscribe`.
    pub subscribe: String,
    /// Operation: unsubscribe. Default: `unsubscribe`.
    pub unsubscribe: String,
    /// Operation: publish. Default: `publish`.
    pub publish: String,
    /// Operation: "are you there?", from either side. Empty: there are none. Default: `ping`.
    pub ping: String,
    /// Operation: the answer to that. Default: `pong`.
    pub pong: String,
}

impl Default for JsonNames {
    fn default() -> Self {
        let name = str::to_owned;
        Self {
            op: name("op"),
            id: name("id"),
            topic: name("topic"),
            topics: name("topics"),
            data: name("data"),
            error: name("error"),
            failed: name("failed"),
            token: name("token"),
            idempotency_key: name("idempotency_key"),
            auth: name("auth"),
            subscribe: name("subscribe"),
            unsubscribe: name("unsubscribe"),
            publish: name("publish"),
            ping: name("ping"),
            pong: name("pong"),
        }
    }
}

/// Speaks JSON with these names.
///
/// ```
/// use pubsub_client::{Client, ClientConfig, JsonHandler};
///
/// let builder = Client::builder(ClientConfig::new("ws://127.0.0.1:9000/")).handler(JsonHandler::default());
/// # let _ = builder;
/// ```
#[derive(Clone, Debug, Default)]
pub struct JsonHandler {
    names: JsonNames,
    idempotent: bool,
}

/// A decoded message: its fields, unread.
///
/// ```
/// use pubsub_client::{JsonHandler, ProtocolHandler};
///
/// let mut messages = Vec::new();
/// JsonHandler::default().decode(br#"{"topic":"a","data":[1, 2]}"#, &mut messages)?;
/// assert_eq!(messages[0]["data"].get(), "[1, 2]");
/// # Ok::<(), pubsub_client::ProtocolError>(())
/// ```
pub type Fields = BTreeMap<String, Box<RawValue>>;

impl JsonHandler {
    /// With names of your own.
    ///
    /// ```
    /// # use pubsub_client::{JsonHandler, JsonNames};
    /// let without_pings = JsonHandler::new(JsonNames { ping: String::new(), ..JsonNames::default() });
    /// # let _ = without_pings;
    /// ```
    #[must_use]
    pub fn new(names: JsonNames) -> Self {
        Self { names, idempotent: false }
    }

    /// Says that the server recognises a repeated publish by its idempotency key. Default: no.
    ///
    /// ```
    /// use pubsub_client::{JsonHandler, ProtocolHandler};
    ///
    /// assert!(JsonHandler::default().server_honours_idempotency_keys(true).honours_idempotency_keys());
    /// ```
    #[must_use]
    pub fn server_honours_idempotency_keys(mut self, honours: bool) -> Self {
        self.idempotent = honours;
        self
    }

    /// Writes an object of fields whose values are JSON already.
    fn write(&self, op: &str, fields: &[(&str, Payload)], out: &mut Outgoing) -> Result<(), ProtocolError> {
        let mut object: Vec<(&str, Payload)> = vec![(&self.names.op, json(op))];
        object.extend(fields.iter().cloned());
        let map = object.into_iter().collect::<BTreeMap<_, _>>();
        // Checked before it is appended: data that is not JSON must leave nothing behind.
        let text = serde_json::to_vec(&map).map_err(ProtocolError::unwritable)?;
        out.text().extend_from_slice(&text);
        Ok(())
    }

    fn operation(&self, message: &Fields) -> Option<String> {
        message.get(&self.names.op).and_then(|op| serde_json::from_str(op.get()).ok())
    }

    fn is_operation(&self, message: &Fields, name: &str) -> bool {
        !name.is_empty() && self.operation(message).as_deref() == Some(name)
    }

    fn refusal(&self, message: &Fields) -> Result<(), ServerError> {
        message.get(&self.names.error).and_then(|error| read_error(error)).map_or(Ok(()), Err)
    }

    fn data(&self, message: &Fields) -> Option<Payload> {
        message.get(&self.names.data).map(|data| Payload::from_bytes(data.get().as_bytes()))
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Payload {
    Payload::to_json(value).expect("names, ids and tokens are strings")
}

fn read_error(error: &RawValue) -> Option<ServerError> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Object {
        code: i64,
        message: String,
        temporary: bool,
    }
    let text = error.get();
    if text == "null" || text == "false" {
        return None;
    }
    if let Ok(message) = serde_json::from_str::<String>(text) {
        return Some(ServerError::new(0, message));
    }
    match serde_json::from_str::<Object>(text) {
        Ok(Object { code, message, temporary }) => Some(ServerError { temporary, ..ServerError::new(code, message) }),
        Err(_) => Some(ServerError::new(0, text)),
    }
}

impl ProtocolHandler for JsonHandler {
    type Message = Fields;

    fn build_auth_message(
        &mut self,
        id: &RequestId,
        credentials: &Credentials<'_>,
        out: &mut Outgoing,
    ) -> Result<bool, ProtocolError> {
        let (Some(token), false) = (credentials.token, self.names.auth.is_empty()) else { return Ok(false) };
        let mut fields = vec![(&*self.names.id, json(id)), (&*self.names.token, json(token))];
        fields.extend(credentials.data.map(|data| (&*self.names.data, data.clone())));
        self.write(&self.names.auth, &fields, out)?;
        Ok(true)
    }

    fn is_auth_success(&mut self, id: &RequestId, message: &mut Fields) -> Option<Result<Session, ServerError>> {
        (self.extract_request_id(message).as_ref() == Some(id))
            .then(|| self.refusal(message).map(|()| Session { data: self.data(message), ..Session::default() }))
    }

    fn decode(&mut self, text: &[u8], messages: &mut Vec<Fields>) -> Result<(), ProtocolError> {
        messages.push(serde_json::from_slice(text).map_err(ProtocolError::unreadable)?);
        Ok(())
    }

    fn classify_message(&self, message: &Fields) -> MessageKind {
        if self.is_server_ping(message) || self.is_pong_response(message) {
            MessageKind::Control
        } else if message.contains_key(&self.names.id) {
            MessageKind::Response
        } else if message.contains_key(&self.names.topic) {
            MessageKind::Update
        } else if message.contains_key(&self.names.op) {
            MessageKind::System
        } else {
            MessageKind::Unknown
        }
    }

    fn extract_request_id(&self, message: &Fields) -> Option<RequestId> {
        let id = message.get(&self.names.id)?.get();
        // Servers that echo it as a number are common.
        Some(serde_json::from_str::<String>(id).map_or_else(|_| RequestId::from(id), RequestId::from))
    }

    fn extract_topic(&self, message: &Fields) -> Option<Topic> {
        serde_json::from_str(message.get(&self.names.topic)?.get()).ok()
    }

    fn is_server_ping(&self, message: &Fields) -> bool {
        self.is_operation(message, &self.names.ping)
    }

    fn is_pong_response(&self, message: &Fields) -> bool {
        self.is_operation(message, &self.names.pong)
    }

    fn shares_batch_id(&self) -> bool {
        true
    }

    fn build_subscribe(&mut self, batch: &[SubscribeRequest<'_>], out: &mut Outgoing) {
        let Some(first) = batch.first() else { return };
        let topics: Vec<&Topic> = batch.iter().map(|request| &request.topic).collect();
        let fields = [(&*self.names.id, json(&first.id)), (&*self.names.topics, json(&topics))];
        self.write(&self.names.subscribe, &fields, out).expect("topics are strings");
    }

    fn is_subscription_success(&mut self, message: Fields) -> Vec<SubscriptionReply> {
        let mut replies = Vec::new();
        let failed = message.get(&self.names.failed).map(|failed| failed.get()).unwrap_or("{}");
        if let Ok(failed) = serde_json::from_str::<BTreeMap<Topic, Box<RawValue>>>(failed) {
            for (topic, error) in failed {
                let error = read_error(&error).unwrap_or_else(|| ServerError::new(0, "refused"));
                replies.push(SubscriptionReply { about: About::Topic(topic), outcome: Err(error) });
            }
        }
        let outcome = self.refusal(&message).map(|()| SubscribeResult::default());
        replies.push(SubscriptionReply { about: About::Request, outcome });
        replies
    }

    fn build_unsubscribe(&mut self, batch: &[UnsubscribeRequest], out: &mut Outgoing) {
        let Some(first) = batch.first() else { return };
        let topics: Vec<&Topic> = batch.iter().map(|request| &request.topic).collect();
        let fields = [(&*self.names.id, json(&first.id)), (&*self.names.topics, json(&topics))];
        self.write(&self.names.unsubscribe, &fields, out).expect("topics are strings");
    }

    fn unsubscribed(&mut self, message: Fields) -> Result<(), ServerError> {
        self.refusal(&message)
    }

    fn build_request(&mut self, id: &RequestId, call: &Call, out: &mut Outgoing) -> Result<(), ProtocolError> {
        let mut fields = vec![(&*self.names.id, json(id))];
        let op = match call {
            Call::Rpc { method, params } => {
                fields.extend(params.clone().map(|params| (&*self.names.data, params)));
                method
            }
            Call::Publish { topic, data, idempotency_key } => {
                fields.push((&self.names.topic, json(topic)));
                fields.push((&self.names.data, data.clone()));
                fields.extend(idempotency_key.as_ref().map(|key| (&*self.names.idempotency_key, json(key))));
                &self.names.publish
            }
            Call::History { .. } => return Err(ProtocolError::NotSupported("history")),
            Call::Presence(_) => return Err(ProtocolError::NotSupported("presence")),
            Call::PresenceStats(_) => return Err(ProtocolError::NotSupported("presence_stats")),
        };
        self.write(op, &fields, out)
    }

    fn response(&mut self, call: CallKind, message: Fields) -> Result<Response, ServerError> {
        self.refusal(&message)?;
        Ok(match call {
            CallKind::Publish => Response::Published,
            _ => Response::Data(self.data(&message)),
        })
    }

    fn update(&mut self, message: Fields) -> Update {
        match self.data(&message) {
            Some(data) => Update::Publication(super::publication(data, BTreeMap::new())),
            None => Update::Nothing,
        }
    }

    fn build_ping(&mut self, _: &RequestId, out: &mut Outgoing) -> bool {
        !self.names.ping.is_empty() && self.write(&self.names.ping.clone(), &[], out).is_ok()
    }

    fn build_pong(&mut self, _: &Fields, out: &mut Outgoing) {
        self.write(&self.names.pong.clone(), &[], out).expect("a name is a string");
    }

    fn honours_idempotency_keys(&self) -> bool {
        self.idempotent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::SubscribeOptions;

    fn one(handler: &mut JsonHandler, text: &str) -> Fields {
        let mut messages = Vec::new();
        handler.decode(text.as_bytes(), &mut messages).unwrap();
        messages.remove(0)
    }

    fn id() -> RequestId {
        RequestId::from("01ARZ3NDEKTSV4RRFFQ69G5FAV")
    }

    #[test]
    fn names_are_the_users_own() {
        let names = JsonNames {
            op: "cmd".into(),
            id: "req".into(),
            subscribe: "SUB".into(),
            topics: "ch".into(),
            ..Default::default()
        };
        let mut handler = JsonHandler::new(names);
        let options = SubscribeOptions::default();
        let mut out = Outgoing::default();
        let batch = ["a", "b"].map(|topic| SubscribeRequest::new(id(), Topic::from(topic), &options));
        handler.build_subscribe(&batch, &mut out);
        assert_eq!(out.texts(), [r#"{"ch":["a","b"],"cmd":"SUB","req":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#]);
        let answer = one(&mut handler, r#"{"req":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#);
        assert_eq!(handler.extract_request_id(&answer), Some(id()));
    }

    #[test]
    fn messages_are_told_apart() {
        let mut handler = JsonHandler::default();
        for (text, kind) in [
            (r#"{"op":"ping"}"#, MessageKind::Control),
            (r#"{"op":"pong"}"#, MessageKind::Control),
            (r#"{"id":7,"data":1}"#, MessageKind::Response),
            (r#"{"topic":"a","data":1}"#, MessageKind::Update),
            (r#"{"op":"welcome"}"#, MessageKind::System),
            (r#"{"x":1}"#, MessageKind::Unknown),
        ] {
            let message = one(&mut handler, text);
            assert_eq!(handler.classify_message(&message), kind, "{text}");
        }
        let numbered = one(&mut handler, r#"{"id":7}"#);
        assert_eq!(handler.extract_request_id(&numbered), Some(RequestId::from(7)));
        assert!(handler.decode(b"[]", &mut Vec::new()).is_err());
    }

    #[test]
    fn a_batch_may_fail_in_part() {
        let mut handler = JsonHandler::default();
        let answer = one(
            &mut handler,
            r#"{"id":"x","failed":{"b":"no such topic","c":{"code":7,"message":"later","temporary":true}}}"#,
        );
        let replies = handler.is_subscription_success(answer);
        let refused: Vec<_> = replies.iter().filter_map(|reply| reply.outcome.as_ref().err()).collect();
        assert_eq!(refused.iter().map(|error| error.to_string()).collect::<Vec<_>>(), ["0: no such topic", "7: later"]);
        assert!(refused[1].temporary);
        assert!(matches!(replies.last(), Some(SubscriptionReply { about: About::Request, outcome: Ok(_) })));
        let all = one(&mut handler, r#"{"id":"x","error":"not you"}"#);
        assert_eq!(handler.is_subscription_success(all)[0].outcome.as_ref().unwrap_err().message, "not you");
    }

    #[test]
    fn requests_and_answers_carry_data_unread() {
        let mut handler = JsonHandler::default();
        let mut out = Outgoing::default();
        let call = Call::Publish {
            topic: Topic::from("a"),
            data: Payload::from_json("[1, 2]").unwrap(),
            idempotency_key: Some("k".into()),
        };
        handler.build_request(&RequestId::from(1), &call, &mut out).unwrap();
        assert_eq!(out.texts(), [r#"{"data":[1, 2],"id":"1","idempotency_key":"k","op":"publish","topic":"a"}"#]);
        let history = Call::History { topic: Topic::from("a"), query: Default::default() };
        assert!(matches!(
            handler.build_request(&id(), &history, &mut out),
            Err(ProtocolError::NotSupported("history"))
        ));
        let bad = Call::Rpc { method: "m".into(), params: Some(Payload::from_bytes(b"{")) };
        assert!(handler.build_request(&id(), &bad, &mut out).is_err());
        assert_eq!(out.texts().len(), 1, "nothing half written");
        let answer = one(&mut handler, r#"{"id":"1","data":{"x":1}}"#);
        let data = Payload::from_json(r#"{"x":1}"#).unwrap();
        assert_eq!(handler.response(CallKind::Rpc, answer), Ok(Response::Data(Some(data))));
        let refused = one(&mut handler, r#"{"id":"1","error":{"code":9,"message":"no"}}"#);
        assert_eq!(handler.response(CallKind::Rpc, refused), Err(ServerError::new(9, "no")));
    }

    #[test]
    fn without_a_token_there_is_nothing_to_authenticate() {
        let mut handler = JsonHandler::default();
        let mut out = Outgoing::default();
        let none = Credentials { token: None, data: None, positions: vec![] };
        assert!(!handler.build_auth_message(&id(), &none, &mut out).unwrap());
        let some = Credentials { token: Some("T"), data: None, positions: vec![] };
        assert!(handler.build_auth_message(&id(), &some, &mut out).unwrap());
        let mut yes = one(&mut handler, r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#);
        assert!(handler.is_auth_success(&id(), &mut yes).unwrap().is_ok());
        let mut other = one(&mut handler, r#"{"id":"2"}"#);
        assert_eq!(handler.is_auth_success(&id(), &mut other), None);
    }
}
