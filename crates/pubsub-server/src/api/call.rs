//! A method's name and its parameters in JSON to a call, and its result back to JSON. Also batches of calls.

use std::collections::BTreeMap;

use futures_util::stream::{FuturesOrdered, StreamExt as _};
use pubsub_protocol::ErrorCode;
use pubsub_protocol::codec::object_from_slice;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{ApiError, Service};

/// Calls of a parallel batch that are under way at the same time.
const PARALLEL_MAX: usize = 64;

/// A method of the API, but for `batch`, which is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `publish`
    Publish,
    /// `broadcast`
    Broadcast,
    /// `subscribe`
    Subscribe,
    /// `unsubscribe`
    Unsubscribe,
    /// `disconnect`
    Disconnect,
    /// `refresh`
    Refresh,
    /// `presence`
    Presence,
    /// `presence_stats`
    PresenceStats,
    /// `history`
    History,
    /// `history_remove`
    HistoryRemove,
    /// `channels`
    Channels,
    /// `info`
    Info,
    /// `rpc`
    Rpc,
}

impl Method {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Publish,
        Self::Broadcast,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
        Self::Refresh,
        Self::Presence,
        Self::PresenceStats,
        Self::History,
        Self::HistoryRemove,
        Self::Channels,
        Self::Info,
        Self::Rpc,
    ];

    /// Its name in paths and batches.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Broadcast => "broadcast",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Disconnect => "disconnect",
            Self::Refresh => "refresh",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::History => "history",
            Self::HistoryRemove => "history_remove",
            Self::Channels => "channels",
            Self::Info => "info",
            Self::Rpc => "rpc",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.name() == name)
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub enum CallError {
    /// What was sent is not JSON at all.
    Malformed(serde_json::Error),
    /// It was understood, and refused.
    Refused(ApiError),
}

impl From<ApiError> for CallError {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Malformed(error) => Self::bad_request(error.to_string()),
            CallError::Refused(error) => error,
        }
    }
}

/// Parameters of a batch.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Batch<'a> {
    #[serde(borrow)]
    commands: Vec<&'a RawValue>,
    parallel: bool,
}

/// Result of a batch.
#[derive(Serialize)]
pub(super) struct Replies {
    replies: Vec<Reply>,
}

/// What came of one command of a batch: `{"publish":{…}}` or `{"error":{…}}`.
#[derive(Serialize)]
#[serde(transparent)]
struct Reply(BTreeMap<&'static str, Box<RawValue>>);

impl Service {
    /// Calls a method. `params` is the JSON of its parameters; nothing at all stands for `{}`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, method: Method, params: &[u8]) -> Result<Box<RawValue>, CallError> {
        let result = match method {
            Method::Publish => encode(&self.publish(decode(params)?).await?),
            Method::Broadcast => encode(&self.broadcast(decode(params)?).await?),
            Method::Subscribe => encode(&self.subscribe(decode(params)?).await?),
            Method::Unsubscribe => encode(&self.unsubscribe(decode(params)?).await?),
            Method::Disconnect => encode(&self.disconnect(decode(params)?).await?),
            Method::Refresh => encode(&self.refresh(decode(params)?).await?),
            Method::Presence => encode(&self.presence(decode(params)?).await?),
            Method::PresenceStats => encode(&self.presence_stats(decode(params)?).await?),
            Method::History => encode(&self.history(decode(params)?).await?),
            Method::HistoryRemove => encode(&self.history_remove(decode(params)?).await?),
            Method::Channels => encode(&self.channels(&decode(params)?)),
            Method::Info => encode(&self.info()),
            Method::Rpc => return Err(ApiError::new(ErrorCode::NotAvailable, "no handler for rpc exists").into()),
        };
        Ok(result)
    }

    /// Calls the methods of a batch, one after the other unless it is a parallel one.
    pub(super) async fn batch(&self, params: &[u8]) -> Result<Replies, CallError> {
        let Batch { commands, parallel } = decode(params)?;
        let at_once = if parallel { PARALLEL_MAX } else { 1 };
        let mut replies = Vec::with_capacity(commands.len());
        let mut under_way = FuturesOrdered::new();
        for command in commands {
            if under_way.len() == at_once {
                replies.extend(under_way.next().await);
            }
            under_way.push_back(self.reply(command.get()));
        }
        while let Some(reply) = under_way.next().await {
            replies.push(reply);
        }
        Ok(Replies { replies })
    }

    async fn reply(&self, command: &str) -> Reply {
        let (name, value) = match self.command(command).await {
            Ok((method, result)) => (method.name(), result),
            Err(error) => {
                tracing::info!(%error, "API command of a batch refused");
                ("error", encode(&error))
            }
        };
        Reply(BTreeMap::from([(name, value)]))
    }

    async fn command(&self, command: &str) -> Result<(Method, Box<RawValue>), ApiError> {
        let (method, params) = only_method(command)?;
        // On the heap: a batch holds many of these, and most methods' futures are small.
        let result = Box::pin(self.call(method, params.get().as_bytes())).await?;
        Ok((method, result))
    }
}

/// The one method that a command of a batch names.
fn only_method(command: &str) -> Result<(Method, &RawValue), ApiError> {
    let named: BTreeMap<&str, Option<&RawValue>> = decode(command.as_bytes())?;
    let mut methods = named.into_iter().filter_map(|(name, params)| Some((Method::parse(name)?, params?)));
    match (methods.next(), methods.next()) {
        (Some(method), None) => Ok(method),
        (Some((one, _)), Some((other, _))) => {
            let detail = format!("a command names one method, and this one names {} and {}", one.name(), other.name());
            Err(ApiError::bad_request(detail))
        }
        (None, _) => Err(ApiError::new(ErrorCode::MethodNotFound, "the command names no method that exists")),
    }
}

fn decode<'a, T: Deserialize<'a>>(params: &'a [u8]) -> Result<T, CallError> {
    let params = if params.trim_ascii().is_empty() { b"{}" } else { params };
    object_from_slice(params).map_err(|error| {
        if error.is_data() {
            CallError::Refused(ApiError::bad_request(error.to_string()))
        } else {
            CallError::Malformed(error)
        }
    })
}

pub(super) fn encode<T: Serialize>(value: &T) -> Box<RawValue> {
    to_raw_value(value).expect("results are made of strings, numbers and payloads that were read as JSON")
}
