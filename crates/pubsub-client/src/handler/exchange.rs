//! An adapter for handlers of an older, simpler style, as clients of stock and crypto exchanges have them: everything is
//! text, subscriptions are lists of topics without answers, and a message either belongs to a topic or does not.
//!
//! # Moving on
//!
//! Wrap what you have in an [`ExchangeAdapter`] and it works as it did. To get more, implement
//! [`ProtocolHandler`] itself:
//!
//! | here | there | what it brings |
//! |---|---|---|
//! | [`login`](ExchangeHandler::login) | `build_auth_message`, `is_auth_success` | a refused login is told, and retried with a new token |
//! | [`subscribe`](ExchangeHandler::subscribe) | `build_subscribe`, `is_subscription_success` | refusals by topic, retries, positions and recovery |
//! | [`topic_of`](ExchangeHandler::topic_of) | `extract_topic`, `update` | decoding once instead of once for each question |
//! | [`is_ping`](ExchangeHandler::is_ping), [`pong`](ExchangeHandler::pong) | `is_server_ping`, `build_pong` | |
//! | - | `build_request`, `response` | requests with answers |

use std::collections::BTreeMap;

use pubsub_protocol::Payload;

use super::{
    Call, CallKind, Credentials, Outgoing, ProtocolHandler, Response, SubscribeRequest, UnsubscribeRequest, Update,
};
use crate::error::{ProtocolError, ServerError};
use crate::ids::{MessageKind, RequestId, Topic};

/// The older style: texts in, texts out.
///
/// ```
/// use pubsub_client::{ExchangeAdapter, ExchangeHandler};
///
/// struct Prices;
///
/// impl ExchangeHandler for Prices {
///     fn subscribe(&self, topics: &[&str]) -> String {
///         format!("SUB {}", topics.join(","))
///     }
///     fn unsubscribe(&self, topics: &[&str]) -> String {
///         format!("UNSUB {}", topics.join(","))
///     }
///     fn topic_of(&self, text: &str) -> Option<String> {
///         text.split_once('=').map(|(topic, _)| topic.to_owned())
///     }
/// }
///
/// let handler = ExchangeAdapter(Prices);
/// # let _ = handler;
/// ```
pub trait ExchangeHandler: Send + 'static {
    /// The text that logs in with this token, if the exchange wants one. Default: none.
    ///
    /// ```
    /// # use pubsub_client::ExchangeHandler;
    /// # struct Prices;
    /// impl ExchangeHandler for Prices {
    ///     # fn subscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn unsubscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn topic_of(&self, text: &str) -> Option<String> { Some(text.to_owned()) }
    ///     fn login(&self, token: Option<&str>) -> Option<String> {
    ///         token.map(|token| format!("LOGIN {token}"))
    ///     }
    /// }
    /// assert_eq!(Prices.login(Some("T")).as_deref(), Some("LOGIN T"));
    /// ```
    fn login(&self, token: Option<&str>) -> Option<String> {
        let _ = token;
        None
    }

    /// The text that subscribes to these topics.
    ///
    /// ```
    /// # use pubsub_client::ExchangeHandler;
    /// # struct Prices;
    /// impl ExchangeHandler for Prices {
    ///     # fn unsubscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn topic_of(&self, text: &str) -> Option<String> { Some(text.to_owned()) }
    ///     fn subscribe(&self, topics: &[&str]) -> String {
    ///         format!("SUB {}", topics.join(","))
    ///     }
    /// }
    /// assert_eq!(Prices.subscribe(&["a", "b"]), "SUB a,b");
    /// ```
    fn subscribe(&self, topics: &[&str]) -> String;

    /// The text that unsubscribes from them.
    ///
    /// ```
    /// # use pubsub_client::ExchangeHandler;
    /// # struct Prices;
    /// impl ExchangeHandler for Prices {
    ///     # fn subscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn topic_of(&self, text: &str) -> Option<String> { Some(text.to_owned()) }
    ///     fn unsubscribe(&self, topics: &[&str]) -> String {
    ///         format!("UNSUB {}", topics.join(","))
    ///     }
    /// }
    /// assert_eq!(Prices.unsubscribe(&["a"]), "UNSUB a");
    /// ```
    fn unsubscribe(&self, topics: &[&str]) -> String;

    /// The topic that a text is about; `None` for greetings, confirmations and the like.
    ///
    /// ```
    /// # use pubsub_client::ExchangeHandler;
    /// # struct Prices;
    /// impl ExchangeHandler for Prices {
    ///     # fn subscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn unsubscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     fn topic_of(&self, text: &str) -> Option<String> {
    ///         text.split_once('=').map(|(topic, _)| topic.to_owned())
    ///     }
    /// }
    /// assert_eq!(Prices.topic_of("a=1").as_deref(), Some("a"));
    /// assert_eq!(Prices.topic_of("WELCOME"), None);
    /// ```
    fn topic_of(&self, text: &str) -> Option<String>;

    /// Whether a text is the server's ping. Default: never.
    ///
    /// ```
    /// # use pubsub_client::ExchangeHandler;
    /// # struct Prices;
    /// impl ExchangeHandler for Prices {
    ///     # fn subscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn unsubscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn topic_of(&self, text: &str) -> Option<String> { Some(text.to_owned()) }
    ///     fn is_ping(&self, text: &str) -> bool {
    ///         text == "PING"
    ///     }
    /// }
    /// assert!(Prices.is_ping("PING"));
    /// ```
    fn is_ping(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// The answer to a ping. Default: none.
    ///
    /// ```
    /// # use pubsub_client::ExchangeHandler;
    /// # struct Prices;
    /// impl ExchangeHandler for Prices {
    ///     # fn subscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn unsubscribe(&self, topics: &[&str]) -> String { topics.join(",") }
    ///     # fn topic_of(&self, text: &str) -> Option<String> { Some(text.to_owned()) }
    ///     fn pong(&self, ping: &str) -> Option<String> {
    ///         Some(ping.replace("PING", "PONG"))
    ///     }
    /// }
    /// assert_eq!(Prices.pong("PING 7").as_deref(), Some("PONG 7"));
    /// ```
    fn pong(&self, ping: &str) -> Option<String> {
        let _ = ping;
        None
    }
}

/// Makes a [`ProtocolHandler`] of an [`ExchangeHandler`]. Publications carry the text of the whole message.
///
/// ```
/// use pubsub_client::{Client, ClientConfig, ExchangeAdapter, ExchangeHandler};
///
/// fn builder(handler: impl ExchangeHandler) {
///     let builder = Client::builder(ClientConfig::new("ws://127.0.0.1:9000/")).handler(ExchangeAdapter(handler));
///     # let _ = builder;
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ExchangeAdapter<E>(pub E);

impl<E: ExchangeHandler> ProtocolHandler for ExchangeAdapter<E> {
    type Message = String;

    /// A login has no answer here: it is sent, and the session counts as open.
    fn build_auth_message(
        &mut self,
        _: &RequestId,
        credentials: &Credentials<'_>,
        out: &mut Outgoing,
    ) -> Result<bool, ProtocolError> {
        if let Some(login) = self.0.login(credentials.token) {
            out.text().extend_from_slice(login.as_bytes());
        }
        Ok(false)
    }

    fn decode(&mut self, text: &[u8], messages: &mut Vec<String>) -> Result<(), ProtocolError> {
        messages.push(String::from_utf8(text.to_vec()).map_err(ProtocolError::unreadable)?);
        Ok(())
    }

    fn classify_message(&self, message: &String) -> MessageKind {
        match self.0.topic_of(message) {
            Some(_) => MessageKind::Update,
            None => MessageKind::System,
        }
    }

    fn extract_request_id(&self, _: &String) -> Option<RequestId> {
        None
    }

    fn extract_topic(&self, message: &String) -> Option<Topic> {
        self.0.topic_of(message).map(Topic::from)
    }

    fn is_server_ping(&self, message: &String) -> bool {
        self.0.is_ping(message)
    }

    fn build_pong(&mut self, ping: &String, out: &mut Outgoing) {
        if let Some(pong) = self.0.pong(ping) {
            out.text().extend_from_slice(pong.as_bytes());
        }
    }

    fn expects_subscribe_reply(&self) -> bool {
        false
    }

    fn build_subscribe(&mut self, batch: &[SubscribeRequest<'_>], out: &mut Outgoing) {
        let topics: Vec<&str> = batch.iter().map(|request| request.topic.as_str()).collect();
        out.text().extend_from_slice(self.0.subscribe(&topics).as_bytes());
    }

    fn build_unsubscribe(&mut self, batch: &[UnsubscribeRequest], out: &mut Outgoing) {
        let topics: Vec<&str> = batch.iter().map(|request| request.topic.as_str()).collect();
        out.text().extend_from_slice(self.0.unsubscribe(&topics).as_bytes());
    }

    fn build_request(&mut self, _: &RequestId, _: &Call, _: &mut Outgoing) -> Result<(), ProtocolError> {
        Err(ProtocolError::NotSupported("requests: implement ProtocolHandler itself"))
    }

    fn response(&mut self, _: CallKind, _: String) -> Result<Response, ServerError> {
        Err(ServerError::new(0, "no requests are sent, so that nothing can be an answer"))
    }

    fn update(&mut self, message: String) -> Update {
        let data = Payload::from_bytes(message.as_bytes());
        Update::Publication(super::publication(data, BTreeMap::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sub a,b` · `a=1` · `ping` / `pong`
    struct Toy;

    impl ExchangeHandler for Toy {
        fn login(&self, token: Option<&str>) -> Option<String> {
            token.map(|token| format!("login {token}"))
        }
        fn subscribe(&self, topics: &[&str]) -> String {
            format!("sub {}", topics.join(","))
        }
        fn unsubscribe(&self, topics: &[&str]) -> String {
            format!("unsub {}", topics.join(","))
        }
        fn topic_of(&self, text: &str) -> Option<String> {
            text.split_once('=').map(|(topic, _)| topic.to_owned())
        }
        fn is_ping(&self, text: &str) -> bool {
            text == "ping"
        }
        fn pong(&self, _: &str) -> Option<String> {
            Some("pong".to_owned())
        }
    }

    #[test]
    fn the_older_style_works_as_it_did() {
        let mut handler = ExchangeAdapter(Toy);
        let mut out = Outgoing::default();
        let credentials = Credentials { token: Some("T"), data: None, positions: vec![] };
        assert!(!handler.build_auth_message(&RequestId::from(1), &credentials, &mut out).unwrap());
        let options = crate::SubscribeOptions::default();
        let batch = ["a", "b"].map(|topic| SubscribeRequest::new(RequestId::from(1), Topic::from(topic), &options));
        handler.build_subscribe(&batch, &mut out);
        handler.build_unsubscribe(&[UnsubscribeRequest::new(RequestId::from(1), Topic::from("a"))], &mut out);
        let mut messages = Vec::new();
        for text in ["a=1", "ping", "welcome"] {
            handler.decode(text.as_bytes(), &mut messages).unwrap();
        }
        assert_eq!(handler.classify_message(&messages[0]), MessageKind::Update);
        assert_eq!(handler.extract_topic(&messages[0]), Some(Topic::from("a")));
        assert!(handler.is_server_ping(&messages[1]));
        handler.build_pong(&messages[1], &mut out);
        assert_eq!(handler.classify_message(&messages[2]), MessageKind::System);
        assert_eq!(out.texts(), ["login T", "sub a,b", "unsub a", "pong"]);
        assert!(
            matches!(handler.update(messages.remove(0)), Update::Publication(one) if one.data.as_bytes() == b"a=1")
        );
    }
}
