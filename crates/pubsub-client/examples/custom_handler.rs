//! A protocol of one's own: here the Centrifuge protocol with every publication's size counted, to show how a handler
//! is put around another; and below it, in `Lines`, one from nothing.
//!
//! ```console
//! $ cargo run -p pubsub-server
//! $ cargo run -p pubsub-client --example custom_handler
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pubsub_client::error::{ProtocolError, ServerError};
use pubsub_client::handler::{
    Advice, Call, CallKind, Credentials, IdStyle, Outgoing, Response, Session, SubscribeRequest, SubscriptionReply,
    UnsubscribeRequest, Update,
};
use pubsub_client::{CentrifugeHandler, Client, ClientConfig, MessageKind, Payload, ProtocolHandler, RequestId, Topic};

/// Counts what passes.
struct Counting {
    inner: CentrifugeHandler,
    bytes: Arc<AtomicUsize>,
}

type Inner = <CentrifugeHandler as ProtocolHandler>::Message;

impl ProtocolHandler for Counting {
    type Message = Inner;

    fn decode(&mut self, text: &[u8], messages: &mut Vec<Inner>) -> Result<(), ProtocolError> {
        self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        self.inner.decode(text, messages)
    }

    // Everything else as it is there.
    fn ids(&self) -> IdStyle {
        self.inner.ids()
    }
    fn on_connect(&mut self, out: &mut Outgoing) {
        self.inner.on_connect(out);
    }
    fn build_auth_message(
        &mut self,
        id: &RequestId,
        credentials: &Credentials<'_>,
        out: &mut Outgoing,
    ) -> Result<bool, ProtocolError> {
        self.inner.build_auth_message(id, credentials, out)
    }
    fn is_auth_success(&mut self, id: &RequestId, message: &mut Inner) -> Option<Result<Session, ServerError>> {
        self.inner.is_auth_success(id, message)
    }
    fn classify_message(&self, message: &Inner) -> MessageKind {
        self.inner.classify_message(message)
    }
    fn extract_request_id(&self, message: &Inner) -> Option<RequestId> {
        self.inner.extract_request_id(message)
    }
    fn extract_topic(&self, message: &Inner) -> Option<Topic> {
        self.inner.extract_topic(message)
    }
    fn is_server_ping(&self, message: &Inner) -> bool {
        self.inner.is_server_ping(message)
    }
    fn build_pong(&mut self, ping: &Inner, out: &mut Outgoing) {
        self.inner.build_pong(ping, out);
    }
    fn build_subscribe(&mut self, batch: &[SubscribeRequest<'_>], out: &mut Outgoing) {
        self.inner.build_subscribe(batch, out);
    }
    fn accepts_early_subscribes(&self) -> bool {
        self.inner.accepts_early_subscribes()
    }
    fn is_subscription_success(&mut self, message: Inner) -> Vec<SubscriptionReply> {
        self.inner.is_subscription_success(message)
    }
    fn build_unsubscribe(&mut self, batch: &[UnsubscribeRequest], out: &mut Outgoing) {
        self.inner.build_unsubscribe(batch, out);
    }
    fn unsubscribed(&mut self, message: Inner) -> Result<(), ServerError> {
        self.inner.unsubscribed(message)
    }
    fn build_request(&mut self, id: &RequestId, call: &Call, out: &mut Outgoing) -> Result<(), ProtocolError> {
        self.inner.build_request(id, call, out)
    }
    fn build_send(&mut self, data: &Payload, out: &mut Outgoing) -> Result<(), ProtocolError> {
        self.inner.build_send(data, out)
    }
    fn build_refresh(&mut self, id: &RequestId, topic: Option<&Topic>, token: &str, out: &mut Outgoing) -> bool {
        self.inner.build_refresh(id, topic, token, out)
    }
    fn refreshed(&mut self, message: Inner) -> Result<Option<Duration>, ServerError> {
        self.inner.refreshed(message)
    }
    fn honours_idempotency_keys(&self) -> bool {
        self.inner.honours_idempotency_keys()
    }
    fn advice(&self, error: &ServerError) -> Advice {
        self.inner.advice(error)
    }
    fn response(&mut self, call: CallKind, message: Inner) -> Result<Response, ServerError> {
        self.inner.response(call, message)
    }
    fn update(&mut self, message: Inner) -> Update {
        self.inner.update(message)
    }
}

/// A protocol of lines: `+topic`, `-topic`, `topic text`; no answers, no requests. All that has to be written.
#[allow(dead_code, reason = "shown, and compiled; no server in this workspace speaks it")]
struct Lines;

impl ProtocolHandler for Lines {
    type Message = String;

    fn decode(&mut self, text: &[u8], messages: &mut Vec<String>) -> Result<(), ProtocolError> {
        let text = std::str::from_utf8(text).map_err(ProtocolError::unreadable)?;
        messages.extend(text.lines().map(str::to_owned));
        Ok(())
    }
    fn classify_message(&self, _: &String) -> MessageKind {
        MessageKind::Update
    }
    fn extract_request_id(&self, _: &String) -> Option<RequestId> {
        None
    }
    fn extract_topic(&self, line: &String) -> Option<Topic> {
        line.split_once(' ').map(|(topic, _)| Topic::from(topic))
    }
    fn expects_subscribe_reply(&self) -> bool {
        false
    }
    fn build_subscribe(&mut self, batch: &[SubscribeRequest<'_>], out: &mut Outgoing) {
        for request in batch {
            out.batched_text().extend_from_slice(format!("+{}\n", request.topic).as_bytes());
        }
    }
    fn build_unsubscribe(&mut self, batch: &[UnsubscribeRequest], out: &mut Outgoing) {
        for request in batch {
            out.batched_text().extend_from_slice(format!("-{}\n", request.topic).as_bytes());
        }
    }
    fn build_request(&mut self, _: &RequestId, _: &Call, _: &mut Outgoing) -> Result<(), ProtocolError> {
        Err(ProtocolError::NotSupported("requests"))
    }
    fn response(&mut self, _: CallKind, _: String) -> Result<Response, ServerError> {
        Err(ServerError::new(0, "no requests, no answers"))
    }
    fn update(&mut self, line: String) -> Update {
        let text = line.split_once(' ').map_or("", |(_, text)| text);
        Update::Publication(pubsub_client::handler::publication(Payload::from_bytes(text.as_bytes()), BTreeMap::new()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:8000/connection/websocket".to_owned());
    let bytes = Arc::new(AtomicUsize::new(0));
    let handler = Counting { inner: CentrifugeHandler::default(), bytes: bytes.clone() };
    let config = ClientConfig::builder(url).reconnect_attempts_max(1u32).build()?;
    let client = Client::builder(config).handler(handler).connect().await?;
    for i in 1..=10 {
        client.publish("example:counted", &i).await?;
    }
    writeln!(std::io::stdout(), "{} bytes of messages came in", bytes.load(Ordering::Relaxed))?;
    client.close().await;
    Ok(())
}
