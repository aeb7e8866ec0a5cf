//! The Centrifuge client protocol: the default handler.

use std::time::Duration;

use pubsub_protocol::command::{
    ChannelRequest, ConnectRequest, HistoryRequest, PublishRequest, RefreshRequest, Request, RpcRequest, SendRequest,
    SubRefreshRequest, SubscribeRequest as WireSubscribe,
};
use pubsub_protocol::push::PushBody;
use pubsub_protocol::reply::Answer;
use pubsub_protocol::{Command, ErrorCode, Format, Payload, Reply};

use super::{
    About, Advice, Call, CallKind, Credentials, IdStyle, Outgoing, ProtocolHandler, Response, Session,
    SubscribeRequest, SubscriptionReply, UnsubscribeRequest, Update,
};
use crate::error::{ProtocolError, ServerError};
use crate::ids::{MessageKind, RequestId, Topic};

/// Error codes below this are made by clients themselves, and passing.
const OWN_ERROR_CODES_END: i64 = 100;

/// Speaks the Centrifuge client protocol, in JSON where [`format`](Self::format) says nothing else.
///
/// ```
/// use pubsub_client::{CentrifugeHandler, Client, ClientConfig};
///
/// let handler = CentrifugeHandler::default().name("prices");
/// let builder = Client::builder(ClientConfig::new("ws://127.0.0.1:8000/connection/websocket")).handler(handler);
/// # let _ = builder;
/// ```
#[derive(Clone, Debug)]
pub struct CentrifugeHandler {
    name: String,
    format: Format,
    honours_idempotency_keys: bool,
    /// Whether this connection's server wants its pings answered: an unasked pong is an offence.
    pong: bool,
}

impl Default for CentrifugeHandler {
    fn default() -> Self {
        Self { name: "rust".to_owned(), format: Format::Json, honours_idempotency_keys: false, pong: false }
    }
}

impl CentrifugeHandler {
    /// The name that the client gives itself, for the server's statistics. Default: `rust`. At most 16 bytes count.
    ///
    /// ```
    /// # use pubsub_client::CentrifugeHandler;
    /// let handler = CentrifugeHandler::default().name("prices");
    /// # let _ = handler;
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.name.truncate(self.name.floor_char_boundary(pubsub_protocol::limits::CLIENT_NAME_BYTES_MAX));
        self
    }

    /// The wire format. In protobuf data may be bytes of any kind ([`Payload::opaque`]), and what comes may be as well.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, Format, ProtocolHandler};
    ///
    /// let handler = CentrifugeHandler::default().format(Format::Protobuf);
    /// assert_eq!(handler.subprotocol(), Some("centrifuge-protobuf"));
    /// ```
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Says that the server reads `idempotency_key` in a publish command, so that a publish of unknown outcome may be
    /// sent again. Off by default: the key is an addition to the protocol, a server that does not know it would publish
    /// twice.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// assert!(CentrifugeHandler::default().server_honours_idempotency_keys(true).honours_idempotency_keys());
    /// ```
    #[must_use]
    pub fn server_honours_idempotency_keys(mut self, honours: bool) -> Self {
        self.honours_idempotency_keys = honours;
        self
    }

    fn command(&self, id: &RequestId, request: Request, out: &mut Outgoing) -> Result<(), ProtocolError> {
        self.write(&Command { id: wire_id(id), request }, out)
    }

    fn write(&self, command: &Command, out: &mut Outgoing) -> Result<(), ProtocolError> {
        let message = match self.format {
            Format::Json => out.batched_text(),
            Format::Protobuf => out.batched_binary(),
        };
        self.format.encode_command(command, message).map_err(ProtocolError::unwritable)
    }

    fn read(&self, message: &[u8], messages: &mut Vec<Reply>) -> Result<(), ProtocolError> {
        for reply in self.format.replies(message) {
            messages.push(reply.map_err(ProtocolError::unreadable)?);
        }
        Ok(())
    }
}

fn wire_id(id: &RequestId) -> u32 {
    id.number().and_then(|number| u32::try_from(number).ok()).expect("this handler asks for numbers of 32 bits")
}

fn seconds(expires: bool, ttl: u32) -> Option<Duration> {
    expires.then(|| Duration::from_secs(u64::from(ttl)))
}

impl ProtocolHandler for CentrifugeHandler {
    type Message = Reply;

    fn ids(&self) -> IdStyle {
        IdStyle::Number
    }

    fn subprotocol(&self) -> Option<&str> {
        match self.format {
            // Not asked for by name, so that a server that speaks one format and knows no names is content.
            Format::Json => None,
            Format::Protobuf => Some("centrifuge-protobuf"),
        }
    }

    fn on_connect(&mut self, _: &mut Outgoing) {
        self.pong = false;
    }

    fn build_auth_message(
        &mut self,
        id: &RequestId,
        credentials: &Credentials<'_>,
        out: &mut Outgoing,
    ) -> Result<bool, ProtocolError> {
        let recover = |position: &pubsub_protocol::StreamPosition| WireSubscribe {
            recover: true,
            epoch: position.epoch.clone(),
            offset: position.offset,
            ..WireSubscribe::default()
        };
        let request = ConnectRequest {
            token: credentials.token.unwrap_or_default().to_owned(),
            data: credentials.data.cloned(),
            subs: credentials.positions.iter().map(|(topic, at)| (topic.as_str().to_owned(), recover(at))).collect(),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectRequest::default()
        };
        self.command(id, Request::Connect(request), out)?;
        Ok(true)
    }

    fn is_auth_success(&mut self, id: &RequestId, message: &mut Reply) -> Option<Result<Session, ServerError>> {
        let expected = wire_id(id);
        match message {
            Reply::Answer { id, outcome } if *id == expected => match outcome {
                Err(error) => Some(Err(error.clone().into())),
                Ok(Answer::Connect(result)) => {
                    let result = std::mem::take(result);
                    self.pong = result.pong;
                    Some(Ok(Session {
                        client: result.client,
                        version: result.version,
                        server_ping: (result.ping > 0).then(|| Duration::from_secs(u64::from(result.ping))),
                        expires_in: seconds(result.expires, result.ttl),
                        data: result.data,
                        subscriptions: result.subs.into_iter().map(|(name, sub)| (Topic::from(name), sub)).collect(),
                    }))
                }
                Ok(_) => None,
            },
            _ => None,
        }
    }

    fn decode(&mut self, text: &[u8], messages: &mut Vec<Reply>) -> Result<(), ProtocolError> {
        match self.format {
            Format::Json => self.read(text, messages),
            Format::Protobuf => Err(ProtocolError::UnexpectedText(text.len())),
        }
    }

    fn decode_binary(&mut self, bytes: &[u8], messages: &mut Vec<Reply>) -> Result<(), ProtocolError> {
        match self.format {
            Format::Json => Err(ProtocolError::UnexpectedBinary(bytes.len())),
            Format::Protobuf => self.read(bytes, messages),
        }
    }

    fn classify_message(&self, message: &Reply) -> MessageKind {
        match message {
            Reply::Ping => MessageKind::Control,
            Reply::Push(push) => match push.body {
                PushBody::Unknown => MessageKind::Unknown,
                _ => MessageKind::Update,
            },
            Reply::Answer { .. } => MessageKind::Response,
        }
    }

    fn extract_request_id(&self, message: &Reply) -> Option<RequestId> {
        match message {
            Reply::Answer { id, .. } => Some(RequestId::from(u64::from(*id))),
            Reply::Ping | Reply::Push(_) => None,
        }
    }

    fn extract_topic(&self, message: &Reply) -> Option<Topic> {
        match message {
            Reply::Push(push) if !push.channel.is_empty() => Some(Topic::from(push.channel.as_str())),
            _ => None,
        }
    }

    fn is_server_ping(&self, message: &Reply) -> bool {
        matches!(message, Reply::Ping)
    }

    fn build_subscribe(&mut self, batch: &[SubscribeRequest<'_>], out: &mut Outgoing) {
        for request in batch {
            let position = request.recover.clone().unwrap_or_default();
            let subscribe = WireSubscribe {
                channel: request.topic.as_str().to_owned(),
                token: request.token.unwrap_or_default().to_owned(),
                recover: request.recover.is_some(),
                epoch: position.epoch,
                offset: position.offset,
                data: request.options.data.clone(),
                positioned: request.options.positioned,
                recoverable: request.options.recoverable,
                join_leave: request.options.join_leave,
                ..WireSubscribe::default()
            };
            if let Err(error) = self.command(&request.id, Request::Subscribe(subscribe), out) {
                // Its data is not JSON. Without it the server can refuse; silence would leave the topic hanging.
                tracing::warn!(topic = %request.topic, %error, "subscription data left out");
                let bare = WireSubscribe { channel: request.topic.as_str().to_owned(), ..WireSubscribe::default() };
                self.command(&request.id, Request::Subscribe(bare), out)
                    .expect("a name and nothing else can be written");
            }
        }
    }

    fn is_subscription_success(&mut self, message: Reply) -> Vec<SubscriptionReply> {
        let outcome = match message {
            Reply::Answer { outcome: Ok(Answer::Subscribe(result)), .. } => Ok(result),
            Reply::Answer { outcome: Err(error), .. } => Err(error.into()),
            _ => return Vec::new(),
        };
        vec![SubscriptionReply { about: About::Request, outcome }]
    }

    fn accepts_early_subscribes(&self) -> bool {
        true
    }

    fn build_unsubscribe(&mut self, batch: &[UnsubscribeRequest], out: &mut Outgoing) {
        for request in batch {
            let unsubscribe = Request::Unsubscribe(ChannelRequest { channel: request.topic.as_str().to_owned() });
            self.command(&request.id, unsubscribe, out).expect("a name and nothing else can be written");
        }
    }

    fn unsubscribed(&mut self, message: Reply) -> Result<(), ServerError> {
        match message {
            Reply::Answer { outcome: Err(error), .. } => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn build_request(&mut self, id: &RequestId, call: &Call, out: &mut Outgoing) -> Result<(), ProtocolError> {
        let channel = |topic: &Topic| ChannelRequest { channel: topic.as_str().to_owned() };
        let request = match call {
            Call::Rpc { method, params } => Request::Rpc(RpcRequest { data: params.clone(), method: method.clone() }),
            Call::Publish { topic, data, idempotency_key } => Request::Publish(PublishRequest {
                channel: topic.as_str().to_owned(),
                data: Some(data.clone()),
                idempotency_key: idempotency_key.clone().unwrap_or_default(),
            }),
            Call::History { topic, query } => Request::History(HistoryRequest {
                channel: topic.as_str().to_owned(),
                limit: query.limit,
                since: query.since.clone(),
                reverse: query.reverse,
            }),
            Call::Presence(topic) => Request::Presence(channel(topic)),
            Call::PresenceStats(topic) => Request::PresenceStats(channel(topic)),
        };
        self.command(id, request, out)
    }

    fn response(&mut self, call: CallKind, message: Reply) -> Result<Response, ServerError> {
        let Reply::Answer { outcome, .. } = message else {
            return Err(ServerError::new(0, "not an answer"));
        };
        match (call, outcome?) {
            (CallKind::Rpc, Answer::Rpc(result)) => Ok(Response::Data(result.data)),
            (CallKind::Publish, Answer::Publish) => Ok(Response::Published),
            (CallKind::History, Answer::History(result)) => Ok(Response::History(result)),
            (CallKind::Presence, Answer::Presence(result)) => Ok(Response::Presence(result)),
            (CallKind::PresenceStats, Answer::PresenceStats(result)) => Ok(Response::PresenceStats(result)),
            (asked, other) => Err(ServerError::new(0, format!("asked for {asked:?}, answered with {other:?}"))),
        }
    }

    fn update(&mut self, message: Reply) -> Update {
        let Reply::Push(push) = message else { return Update::Nothing };
        match push.body {
            PushBody::Publication(publication) => Update::Publication(publication),
            PushBody::Join(info) => Update::Join(info),
            PushBody::Leave(info) => Update::Leave(info),
            PushBody::Unsubscribe(end) => Update::Unsubscribed { code: end.code, reason: end.reason },
            PushBody::Message(message) => Update::Message(message.data),
            PushBody::Subscribe(start) => Update::Subscribed(pubsub_protocol::reply::SubscribeResult {
                recoverable: start.recoverable,
                positioned: start.positioned,
                epoch: start.epoch,
                offset: start.offset,
                data: start.data,
                ..Default::default()
            }),
            PushBody::Disconnect(end) => Update::Disconnect { code: end.code, reason: end.reason },
            PushBody::Refresh(refreshed) => Update::Expires(seconds(refreshed.expires, refreshed.ttl)),
            _ => Update::Nothing,
        }
    }

    fn build_send(&mut self, data: &Payload, out: &mut Outgoing) -> Result<(), ProtocolError> {
        self.write(&Command { id: 0, request: Request::Send(SendRequest { data: Some(data.clone()) }) }, out)
    }

    fn build_pong(&mut self, _: &Reply, out: &mut Outgoing) {
        if self.pong {
            self.write(&Command { id: 0, request: Request::Pong }, out).expect("a pong has no payload");
        }
    }

    fn build_refresh(&mut self, id: &RequestId, topic: Option<&Topic>, token: &str, out: &mut Outgoing) -> bool {
        let token = token.to_owned();
        let request = match topic {
            None => Request::Refresh(RefreshRequest { token }),
            Some(topic) => Request::SubRefresh(SubRefreshRequest { channel: topic.as_str().to_owned(), token }),
        };
        self.command(id, request, out).expect("a token is a string");
        true
    }

    fn refreshed(&mut self, message: Reply) -> Result<Option<Duration>, ServerError> {
        let Reply::Answer { outcome, .. } = message else { return Ok(None) };
        Ok(match outcome? {
            Answer::Refresh(result) => seconds(result.expires, result.ttl),
            Answer::SubRefresh(result) => seconds(result.expires, result.ttl),
            _ => None,
        })
    }

    fn honours_idempotency_keys(&self) -> bool {
        self.honours_idempotency_keys
    }

    fn advice(&self, error: &ServerError) -> Advice {
        if error.code == i64::from(ErrorCode::TokenExpired.code()) {
            Advice::NewToken
        } else if error.temporary || (0..OWN_ERROR_CODES_END).contains(&error.code) {
            Advice::Retry
        } else {
            Advice::GiveUp
        }
    }
}

#[cfg(test)]
mod tests {
    use pubsub_protocol::StreamPosition;
    use pubsub_protocol::reply::ErrorReply;

    use super::*;
    use crate::handler::HistoryQuery;
    use crate::options::SubscribeOptions;

    fn id(number: u64) -> RequestId {
        RequestId::from(number)
    }

    fn one(handler: &mut CentrifugeHandler, text: &str) -> Reply {
        let mut messages = Vec::new();
        handler.decode(text.as_bytes(), &mut messages).unwrap();
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    #[test]
    fn commands_of_one_turn_leave_in_one_message() {
        let mut handler = CentrifugeHandler::default();
        let mut out = Outgoing::default();
        let credentials = Credentials {
            token: Some("T"),
            data: None,
            positions: vec![(Topic::from("srv"), StreamPosition::new(3, "e"))],
        };
        assert!(handler.build_auth_message(&id(1), &credentials, &mut out).unwrap());
        let options = SubscribeOptions::default().recoverable(true);
        let mut recovering = SubscribeRequest::new(id(2), Topic::from("a"), &options);
        recovering.recover = Some(StreamPosition::new(7, "e"));
        handler.build_subscribe(&[recovering, SubscribeRequest::new(id(3), Topic::from("b"), &options)], &mut out);
        handler.build_unsubscribe(&[UnsubscribeRequest::new(id(4), Topic::from("c"))], &mut out);
        let texts = out.texts();
        assert_eq!(texts.len(), 1);
        let lines: Vec<&str> = texts[0].lines().collect();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            lines,
            [
                &*format!(
                    r#"{{"id":1,"connect":{{"token":"T","subs":{{"srv":{{"recover":true,"epoch":"e","offset":3}}}},"name":"rust","version":"{version}"}}}}"#
                ),
                r#"{"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"e","offset":7,"recoverable":true}}"#,
                r#"{"id":3,"subscribe":{"channel":"b","recoverable":true}}"#,
                r#"{"id":4,"unsubscribe":{"channel":"c"}}"#,
            ]
        );
    }

    #[test]
    fn each_request_has_its_command() {
        let mut handler = CentrifugeHandler::default();
        let data = Payload::from_json(r#"{"x":1}"#).unwrap();
        let topic = Topic::from("c");
        let query = HistoryQuery { limit: 5, since: Some(StreamPosition::new(2, "e")), reverse: true };
        let calls = [
            (
                Call::Rpc { method: "m".into(), params: Some(data.clone()) },
                r#"{"id":9,"rpc":{"data":{"x":1},"method":"m"}}"#,
            ),
            (
                Call::Publish { topic: topic.clone(), data: data.clone(), idempotency_key: None },
                r#"{"id":9,"publish":{"channel":"c","data":{"x":1}}}"#,
            ),
            (
                Call::Publish { topic: topic.clone(), data: data.clone(), idempotency_key: Some("k".into()) },
                r#"{"id":9,"publish":{"channel":"c","data":{"x":1},"idempotency_key":"k"}}"#,
            ),
            (
                Call::History { topic: topic.clone(), query },
                r#"{"id":9,"history":{"channel":"c","limit":5,"since":{"offset":2,"epoch":"e"},"reverse":true}}"#,
            ),
            (Call::Presence(topic.clone()), r#"{"id":9,"presence":{"channel":"c"}}"#),
            (Call::PresenceStats(topic), r#"{"id":9,"presence_stats":{"channel":"c"}}"#),
        ];
        for (call, text) in calls {
            let mut out = Outgoing::default();
            handler.build_request(&id(9), &call, &mut out).unwrap();
            assert_eq!(out.texts(), [text]);
        }
        let mut out = Outgoing::default();
        handler.build_send(&data, &mut out).unwrap();
        assert!(handler.build_refresh(&id(1), None, "T", &mut out));
        assert!(handler.build_refresh(&id(2), Some(&Topic::from("c")), "T", &mut out));
        assert_eq!(
            out.texts(),
            [concat!(
                r#"{"send":{"data":{"x":1}}}"#,
                "\n",
                r#"{"id":1,"refresh":{"token":"T"}}"#,
                "\n",
                r#"{"id":2,"sub_refresh":{"channel":"c","token":"T"}}"#
            )]
        );
    }

    #[test]
    fn a_pong_is_sent_only_where_it_is_wanted() {
        let mut handler = CentrifugeHandler::default();
        for (pong, texts) in [(",\"pong\":true", 1), ("", 0)] {
            handler.on_connect(&mut Outgoing::default());
            let text = format!(r#"{{"id":1,"connect":{{"client":"c","version":"v","ping":25{pong}}}}}"#);
            let mut connected = one(&mut handler, &text);
            let session = handler.is_auth_success(&id(1), &mut connected).unwrap().unwrap();
            assert_eq!(session.server_ping, Some(Duration::from_secs(25)));
            let ping = one(&mut handler, "{}");
            assert!(handler.is_server_ping(&ping));
            let mut out = Outgoing::default();
            handler.build_pong(&ping, &mut out);
            assert_eq!(out.texts().len(), texts);
        }
    }

    #[test]
    fn messages_are_told_apart() {
        let mut handler = CentrifugeHandler::default();
        let cases = [
            ("{}", MessageKind::Control, None, None),
            (r#"{"id":7,"publish":{}}"#, MessageKind::Response, Some("7"), None),
            (r#"{"id":8,"error":{"code":103,"message":"permission denied"}}"#, MessageKind::Response, Some("8"), None),
            (r#"{"push":{"channel":"c","pub":{"data":1,"offset":3}}}"#, MessageKind::Update, None, Some("c")),
            (r#"{"push":{"message":{"data":1}}}"#, MessageKind::Update, None, None),
            (r#"{"push":{"channel":"c","sparkle":{}}}"#, MessageKind::Unknown, None, Some("c")),
        ];
        for (text, kind, request, topic) in cases {
            let message = one(&mut handler, text);
            assert_eq!(handler.classify_message(&message), kind, "{text}");
            assert_eq!(handler.extract_request_id(&message), request.map(RequestId::from), "{text}");
            assert_eq!(handler.extract_topic(&message), topic.map(Topic::from), "{text}");
        }
        assert!(matches!(handler.decode(b"[1]", &mut Vec::new()), Err(ProtocolError::Unreadable(_))));
        assert!(matches!(handler.decode_binary(b"x", &mut Vec::new()), Err(ProtocolError::UnexpectedBinary(1))));
    }

    #[test]
    fn in_protobuf_all_is_binary() {
        let mut handler = CentrifugeHandler::default().format(Format::Protobuf);
        assert!(matches!(handler.decode(b"{}", &mut Vec::new()), Err(ProtocolError::UnexpectedText(2))));
        assert!(matches!(handler.decode_binary(b"\x05", &mut Vec::new()), Err(ProtocolError::Unreadable(_))));
        let mut messages = Vec::new();
        handler.decode_binary(b"\x00\x04\x08\x03\x42\x00", &mut messages).unwrap();
        assert_eq!(messages[0], Reply::Ping);
        assert_eq!(handler.extract_request_id(&messages[1]), Some(RequestId::from(3)));
        let mut out = Outgoing::default();
        handler.build_send(&Payload::opaque(b"\xff"), &mut out).unwrap();
        handler.build_send(&Payload::opaque(b"\xfe"), &mut out).unwrap();
        let message = b"\x05\x62\x03\x0a\x01\xff\x05\x62\x03\x0a\x01\xfe".to_vec();
        assert_eq!(out.take(), [(pubsub_protocol::websocket::Opcode::Binary, message)]);
    }

    #[test]
    fn another_requests_answer_is_not_taken_for_authentication() {
        let mut handler = CentrifugeHandler::default();
        let mut other = one(&mut handler, r#"{"id":2,"connect":{"client":"c","version":"v"}}"#);
        assert_eq!(handler.is_auth_success(&id(1), &mut other), None);
        let mut refused = one(&mut handler, r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#);
        assert_eq!(handler.is_auth_success(&id(1), &mut refused).unwrap().unwrap_err().code, 109);
    }

    #[test]
    fn an_answer_of_the_wrong_kind_is_an_error() {
        let mut handler = CentrifugeHandler::default();
        let answer = one(&mut handler, r#"{"id":1,"publish":{}}"#);
        assert_eq!(handler.response(CallKind::Publish, answer.clone()), Ok(Response::Published));
        assert!(handler.response(CallKind::History, answer).unwrap_err().message.contains("asked for History"));
    }

    #[test]
    fn advice_follows_the_table_of_errors() {
        let handler = CentrifugeHandler::default();
        for &code in ErrorCode::ALL {
            let advice = handler.advice(&ErrorReply::from(code).into());
            let expected = match code {
                ErrorCode::TokenExpired => Advice::NewToken,
                ErrorCode::Internal | ErrorCode::TooManyRequests | ErrorCode::ConcurrentPagination => Advice::Retry,
                _ => Advice::GiveUp,
            };
            assert_eq!(advice, expected, "{code}");
        }
        assert_eq!(handler.advice(&ServerError::new(1, "timeout")), Advice::Retry);
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(CentrifugeHandler::default().name("0123456789abcdeé").name, "0123456789abcde");
    }
}
