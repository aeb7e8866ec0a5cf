//! `publish` and `broadcast`.

use std::collections::BTreeMap;

use pubsub_protocol::{Payload, Publication, StreamPosition};
use serde::{Deserialize, Serialize};

use super::{ApiError, Service};
use crate::channel::data::from_base64;
use crate::engine::{self, PublishOptions};

/// Parameters of [`Service::publish`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Publish {
    /// Where.
    pub channel: String,
    /// What.
    pub data: Option<Payload>,
    /// What, in base64; counts instead of `data`. It must be JSON, the only format that clients are spoken to in.
    pub b64data: String,
    /// Deliver it and keep nothing: it gets no offset and can not be recovered.
    pub skip_history: bool,
    /// Labels for subscribers.
    pub tags: BTreeMap<String, String>,
    /// A second publish with this key to this channel within five minutes does nothing and returns what the first
    /// one returned. Empty: none.
    pub idempotency_key: String,
    /// Drop it unless this is above the channel's last version. Needs history. 0: no version.
    pub version: u64,
    /// Versions are compared only under the same epoch.
    pub version_epoch: String,
}

/// Parameters of [`Service::broadcast`]: as those of [`Publish`], with many channels.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Broadcast {
    /// Where.
    pub channels: Vec<String>,
    /// What.
    pub data: Option<Payload>,
    /// What, in base64.
    pub b64data: String,
    /// Deliver it and keep nothing.
    pub skip_history: bool,
    /// Labels for subscribers.
    pub tags: BTreeMap<String, String>,
    /// Makes the publish to each of the channels idempotent. Empty: none.
    pub idempotency_key: String,
    /// Drop it where this is not above the channel's last version. 0: no version.
    pub version: u64,
    /// Versions are compared only under the same epoch.
    pub version_epoch: String,
}

/// Result of [`Service::publish`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The publication's place in the stream, or that of the newest one if it was dropped for its version. 0 in a
    /// channel without history.
    #[serde(skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// Epoch of the stream. Empty in a channel without history.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
}

fn is_zero(offset: &u64) -> bool {
    *offset == 0
}

impl From<StreamPosition> for Published {
    fn from(position: StreamPosition) -> Self {
        Self { offset: position.offset, epoch: position.epoch }
    }
}

/// Result of [`Service::broadcast`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BroadcastResult {
    /// What came of each channel, in their order.
    pub responses: Vec<Response>,
}

/// What came of one of many calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It was done.
    Result(Published),
    /// It was not.
    Error(ApiError),
}

impl Service {
    /// Publishes to a channel. Waits while a shard is behind with its deliveries.
    ///
    /// # Errors
    /// 102 for an unknown namespace, 107 for parameters that can not be, 100 when the engine fails.
    pub async fn publish(&self, request: Publish) -> Result<Published, ApiError> {
        let Publish { channel, data, b64data, skip_history, tags, idempotency_key, version, version_epoch } = request;
        let data = data_of(data, &b64data)?;
        let content = Content { data, skip_history, tags, idempotency_key, version, version_epoch };
        self.publish_to(&channel, &content).await
    }

    /// Publishes the same to many channels, one after the other. One that fails does not keep it from the others.
    ///
    /// # Errors
    /// 107 for parameters that can not be in any channel; what fails in one of them stands in its response.
    pub async fn broadcast(&self, request: Broadcast) -> Result<BroadcastResult, ApiError> {
        let Broadcast { channels, data, b64data, skip_history, tags, idempotency_key, version, version_epoch } =
            request;
        if channels.is_empty() {
            return Err(ApiError::bad_request("channels is missing or empty"));
        }
        let data = data_of(data, &b64data)?;
        let content = Content { data, skip_history, tags, idempotency_key, version, version_epoch };
        let mut responses = Vec::with_capacity(channels.len());
        for channel in channels {
            let published = self.publish_to(&channel, &content).await;
            responses.push(published.map_or_else(Response::Error, Response::Result));
        }
        Ok(BroadcastResult { responses })
    }

    async fn publish_to(&self, channel: &str, content: &Content) -> Result<Published, ApiError> {
        let name = self.resolve(channel)?;
        name.check_data(&content.data).map_err(|code| {
            let what =
                if content.data.is_too_deep() { "nested too deep" } else { "not of its publication_data_format" };
            ApiError::new(code, format!("data: for channel {channel:?} it is {what}"))
        })?;
        // A broadcast to very many channels gives way to others in between.
        tokio::task::coop::consume_budget().await;
        self.node.hub.room().await;
        let publication = Publication {
            data: content.data.clone(),
            info: None,
            offset: 0,
            tags: content.tags.clone(),
            epoch: String::new(),
        };
        let options = PublishOptions {
            retention: self.node.rules.retention(name.options).filter(|_| !content.skip_history),
            idempotency_key: Some(&*content.idempotency_key).filter(|key| !key.is_empty()).map(Into::into),
            version: content.version,
            version_epoch: content.version_epoch.as_str().into(),
            by_client: false,
        };
        let engine::Published { position, suppressed } = self.node.publish(channel, publication, options).await?;
        if !suppressed {
            self.metrics.node.publications.increment();
        }
        Ok(position.into())
    }
}

/// What is published, whatever the channel.
struct Content {
    data: Payload,
    skip_history: bool,
    tags: BTreeMap<String, String>,
    idempotency_key: String,
    version: u64,
    version_epoch: String,
}

fn data_of(data: Option<Payload>, b64data: &str) -> Result<Payload, ApiError> {
    json_of("b64data", b64data, data)?.ok_or_else(|| ApiError::bad_request("data is missing"))
}

/// Application data that may come under two names: as JSON, or as bytes of any kind in base64, which win.
pub(super) fn json_of(name: &str, base64: &str, json: Option<Payload>) -> Result<Option<Payload>, ApiError> {
    if base64.is_empty() {
        return Ok(json);
    }
    from_base64(base64).map(Some).map_err(|what| ApiError::bad_request(format!("{name} {what}")))
}
