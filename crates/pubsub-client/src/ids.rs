//! The names that travel: requests, topics, and what kind of message something is.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

/// Names one request, so that its answer finds its way back.
///
/// A ULID by default. Protocols that want numbers (Centrifuge) get numbers, and an id that a peer made up may be any
/// text. Each text has exactly one representation, so equality of ids is equality of their texts.
///
/// ```
/// use pubsub_client::RequestId;
///
/// let id = RequestId::from("01ARZ3NDEKTSV4RRFFQ69G5FAV");
/// assert_eq!(id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
/// assert_eq!(RequestId::from("42").number(), Some(42));
/// assert_ne!(RequestId::from("042"), RequestId::from("42"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Id);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Id {
    Ulid(Ulid),
    /// A canonical decimal: no sign, no leading zero.
    Number(u64),
    /// Everything else.
    Text(Arc<str>),
}

impl RequestId {
    /// The number, if it is one.
    ///
    /// ```
    /// # use pubsub_client::RequestId;
    /// assert_eq!(RequestId::from(42).number(), Some(42));
    /// assert_eq!(RequestId::from("042").number(), None);
    /// ```
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match self.0 {
            Id::Number(number) => Some(number),
            Id::Ulid(_) | Id::Text(_) => None,
        }
    }

    /// The ULID, if it is one.
    ///
    /// ```
    /// # use pubsub_client::RequestId;
    /// assert!(RequestId::from("01ARZ3NDEKTSV4RRFFQ69G5FAV").ulid().is_some());
    /// assert!(RequestId::from("42").ulid().is_none());
    /// ```
    #[must_use]
    pub fn ulid(&self) -> Option<Ulid> {
        match self.0 {
            Id::Ulid(ulid) => Some(ulid),
            Id::Number(_) | Id::Text(_) => None,
        }
    }
}

impl From<Ulid> for RequestId {
    fn from(ulid: Ulid) -> Self {
        Self(Id::Ulid(ulid))
    }
}

impl From<u64> for RequestId {
    fn from(number: u64) -> Self {
        Self(Id::Number(number))
    }
}

impl From<&str> for RequestId {
    fn from(text: &str) -> Self {
        // A ULID is written in upper case; the decoder is lenient, equality must not be.
        if let Ok(ulid) = Ulid::from_string(text)
            && ulid.to_string() == text
        {
            return Self(Id::Ulid(ulid));
        }
        match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => Self(Id::Number(number)),
            _ => Self(Id::Text(Arc::from(text))),
        }
    }
}

impl From<String> for RequestId {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl FromStr for RequestId {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Ulid(ulid) => ulid.fmt(f),
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Names what is published and subscribed: a channel, in the words of the Centrifuge protocol. Cloning shares.
///
/// ```
/// use pubsub_client::Topic;
///
/// let topic = Topic::from("news:eu");
/// assert_eq!(topic.as_str(), "news:eu");
/// assert_eq!(serde_json::to_string(&topic).unwrap(), r#""news:eu""#);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The name.
    ///
    /// ```
    /// # use pubsub_client::Topic;
    /// assert_eq!(Topic::from("news:eu").as_str(), "news:eu");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self(Arc::from(name))
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Self {
        Self(Arc::from(name))
    }
}

impl From<&Topic> for Topic {
    fn from(topic: &Topic) -> Self {
        topic.clone()
    }
}

impl FromStr for Topic {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::from(name))
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// What a message is for, as [`ProtocolHandler::classify_message`](crate::ProtocolHandler::classify_message) sees it.
///
/// ```
/// # use pubsub_client::MessageKind;
/// assert_eq!(serde_json::to_string(&MessageKind::Update).unwrap(), r#""update""#);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MessageKind {
    /// Answers a request.
    Response,
    /// News of a topic, or for this connection alone.
    Update,
    /// Something about the connection: greetings, authentication, notices.
    System,
    /// Keeps the connection going: pings and pongs.
    Control,
    /// Not understood. Counted, logged, otherwise ignored.
    Unknown,
}

impl MessageKind {
    /// The name in logs and JSON.
    ///
    /// ```
    /// # use pubsub_client::MessageKind;
    /// assert_eq!(MessageKind::Control.as_str(), "control");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Update => "update",
            Self::System => "system",
            Self::Control => "control",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_representation_for_each_text() {
        let texts = [
            "",
            "0",
            "7",
            "007",
            "+7",
            "-7",
            "18446744073709551615",
            "18446744073709551616",
            "a",
            "é",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01arz3ndektsv4rrffq69g5fav",
            "00000000000000000000000000",
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        ];
        for (i, a) in texts.iter().enumerate() {
            assert_eq!(RequestId::from(*a).to_string(), *a);
            for (j, b) in texts.iter().enumerate() {
                assert_eq!(RequestId::from(*a) == RequestId::from(*b), i == j, "{a} and {b}");
            }
        }
        assert!(RequestId::from("01ARZ3NDEKTSV4RRFFQ69G5FAV").ulid().is_some());
        assert!(RequestId::from("01arz3ndektsv4rrffq69g5fav").ulid().is_none());
        assert_eq!(RequestId::from(7), RequestId::from("7"));
    }

    #[test]
    fn ids_and_topics_are_json_strings() {
        for text in ["7", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a \"quoted\" one"] {
            let id = RequestId::from(text);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<RequestId>(&json).unwrap(), id);
            let topic = Topic::from(text.to_owned());
            assert_eq!(serde_json::to_string(&topic).unwrap(), json);
            assert_eq!(serde_json::from_str::<Topic>(&json).unwrap(), topic);
        }
    }

    #[test]
    fn kinds_are_named_alike_in_logs_and_json() {
        use MessageKind::{Control, Response, System, Unknown, Update};
        for kind in [Response, Update, System, Control, Unknown] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }
}
