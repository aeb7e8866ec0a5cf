//! What a verified token says.
//!
//! The structs named `…Wire` have the token's own shape; the public ones have ours, with everything in them
//! checked: application data is JSON, positions in time are seconds.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pubsub_protocol::Payload;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use serde_json::value::RawValue;

use super::{TokenError, invalid};
use crate::channel::data::from_base64;

/// What a connection token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectClaims {
    /// The user's id. Empty: anonymous.
    pub user: String,
    /// When the connection expires, in seconds since 1970. `None`: never.
    pub expire_at: Option<i64>,
    /// What others see beside the user: `ClientInfo.conn_info`.
    pub info: Option<Payload>,
    /// Server-side subscriptions without anything special about them, each once.
    /// Empty when `subs` is not: a token that has both means `subs`.
    pub channels: Vec<String>,
    /// Server-side subscriptions with what is special about them.
    pub subs: BTreeMap<String, SubClaims>,
}

/// What a connection token says of one server-side subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubClaims {
    /// What others in the channel see beside the user: `ClientInfo.chan_info`.
    pub info: Option<Payload>,
    /// What the client is given with the subscription.
    pub data: Option<Payload>,
    /// Options of the channel that are otherwise for this subscription.
    pub overrides: Overrides,
}

/// What a subscription token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeClaims {
    /// Whose token it is. Must be the connection's user.
    pub user: String,
    /// Which channel it opens. Must be the command's channel.
    pub channel: String,
    /// The only connection that may use it, if the token says so.
    pub client: Option<String>,
    /// When the subscription expires, in seconds since 1970. `None`: never.
    pub expire_at: Option<i64>,
    /// What others in the channel see beside the user: `ClientInfo.chan_info`.
    pub info: Option<Payload>,
    /// What the client is given with the subscription.
    pub data: Option<Payload>,
    /// Options of the channel that are otherwise for this subscription.
    pub overrides: Overrides,
}

/// Options of a channel, decided by a token for one subscription. `None`: as the channel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Whether the subscriber is listed in the channel's presence.
    #[serde(deserialize_with = "switch")]
    pub presence: Option<bool>,
    /// Whether its coming and going is told.
    #[serde(deserialize_with = "switch")]
    pub join_leave: Option<bool>,
    /// Whether it is told of others' coming and going without having asked.
    #[serde(deserialize_with = "switch")]
    pub force_push_join_leave: Option<bool>,
    /// Whether the subscription can recover without having asked.
    #[serde(deserialize_with = "switch")]
    pub force_recovery: Option<bool>,
    /// Whether its position is watched without having asked.
    #[serde(deserialize_with = "switch")]
    pub force_positioning: Option<bool>,
}

/// `{"value": true}`; without a `value` it is false, as Go programs leave false out.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    struct Switch {
        #[serde(default)]
        value: bool,
    }
    Ok(Option::<Switch>::deserialize(deserializer)?.map(|switch| switch.value))
}

/// The claims that every token may have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Registered {
    pub(super) aud: Audience,
    pub(super) iss: Option<String>,
    pub(super) exp: Option<Seconds>,
    pub(super) nbf: Option<Seconds>,
    pub(super) expire_at: Option<Seconds>,
}

/// `aud`: one text or a list of them.
#[derive(Debug, Default)]
pub(super) struct Audience(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Nobody(()),
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match Wire::deserialize(deserializer)? {
            Wire::Nobody(()) => Vec::new(),
            Wire::One(audience) => vec![audience],
            Wire::Many(audiences) => audiences,
        }))
    }
}

/// A moment in seconds since 1970. Tokens may carry fractions (RFC 7519, NumericDate); they are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seconds(pub(super) i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        // A float beyond the range of i64 becomes its nearest bound: "never", or "long ago".
        Ok(Self(number.as_i64().or_else(|| number.as_f64().map(|float| float.floor() as i64)).unwrap_or(i64::MAX)))
    }
}

/// Application data under two names: `info` is JSON as it is, `b64info` the same in base64 and wins.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SubWire {
    info: Option<Payload>,
    b64info: Option<String>,
    data: Option<Payload>,
    b64data: Option<String>,
    r#override: Option<Overrides>,
}

impl SubWire {
    fn read(self) -> Result<SubClaims, TokenError> {
        Ok(SubClaims {
            info: either("b64info", self.b64info, self.info)?,
            data: either("b64data", self.b64data, self.data)?,
            overrides: self.r#override.unwrap_or_default(),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConnectWire {
    channel: Option<String>,
    info: Option<Payload>,
    b64info: Option<String>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, SubWire>>,
}

impl ConnectClaims {
    pub(super) fn from_wire(wire: ConnectWire, user: String, expire_at: Option<i64>) -> Result<Self, TokenError> {
        if wire.channel.is_some_and(|channel| !channel.is_empty()) {
            return Err(invalid("it has a `channel`: it is for subscribing, not for connecting"));
        }
        let mut subs = BTreeMap::new();
        for (channel, sub) in wire.subs.unwrap_or_default() {
            let sub = sub.read()?;
            subs.insert(channel, sub);
        }
        let mut channels = wire.channels.unwrap_or_default();
        if subs.is_empty() {
            let mut seen = BTreeSet::new();
            channels.retain(|channel| seen.insert(channel.clone()));
        } else {
            channels.clear();
        }
        Ok(Self { user, expire_at, info: either("b64info", wire.b64info, wire.info)?, channels, subs })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SubscribeWire {
    channel: Option<String>,
    client: Option<String>,
    info: Option<Payload>,
    b64info: Option<String>,
    data: Option<Payload>,
    b64data: Option<String>,
    r#override: Option<Overrides>,
}

impl SubscribeClaims {
    pub(super) fn from_wire(wire: SubscribeWire, user: String, expire_at: Option<i64>) -> Result<Self, TokenError> {
        let Some(channel) = wire.channel.filter(|channel| !channel.is_empty()) else {
            return Err(invalid("it has no `channel`: it is for connecting, not for subscribing"));
        };
        Ok(Self {
            user,
            channel,
            client: wire.client.filter(|client| !client.is_empty()),
            expire_at,
            info: either("b64info", wire.b64info, wire.info)?,
            data: either("b64data", wire.b64data, wire.data)?,
            overrides: wire.r#override.unwrap_or_default(),
        })
    }
}

fn either(name: &str, base64: Option<String>, json: Option<Payload>) -> Result<Option<Payload>, TokenError> {
    let Some(encoded) = base64.filter(|encoded| !encoded.is_empty()) else {
        return Ok(json);
    };
    let payload = from_base64(&encoded).map_err(|what| invalid(format!("`{name}` {what}")))?;
    Ok(Some(payload))
}

/// The user's id: a text, or a number as it is written. Absent or null: anonymous.
pub(super) fn user(text: &RawValue, claim: &str) -> Result<String, TokenError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum User {
        Anonymous(()),
        Text(String),
        Number(Number),
    }
    let members: Members<'_> = serde_json::from_str(text.get()).map_err(|error| invalid(format!("claims: {error}")))?;
    let mut found = members.0.into_iter().filter(|(name, _)| name == claim);
    let value = match (found.next(), found.next()) {
        (None, _) => return Ok(String::new()),
        (Some((_, value)), None) => value,
        // Parsers differ in which of the two they take, so whoever made the token may have meant the other.
        (Some(_), Some(_)) => return Err(invalid(format!("`{claim}` is there twice"))),
    };
    match serde_json::from_str(value.get()) {
        Ok(User::Anonymous(())) => Ok(String::new()),
        Ok(User::Text(user)) => Ok(user),
        // Only where a claim of its own is configured: `sub` is a text by definition (RFC 7519, 4.1.2).
        Ok(User::Number(user)) if claim != "sub" => Ok(user.to_string()),
        _ => Err(invalid(format!("`{claim}` does not hold a user id: it must be a text"))),
    }
}

/// The members of an object as they stand there, also those with the same name.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of claims")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Self)
    }
}
