//! `history`, `history_remove`, `presence`, `presence_stats` and `channels`: what is kept and who is there.

use std::collections::BTreeMap;

use pubsub_protocol::reply::{HistoryResult, PresenceResult, PresenceStatsResult};
use pubsub_protocol::{ErrorCode, StreamPosition};
use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::{ApiError, Service};
use crate::session::requests::history_query;
use crate::stream::Retention;

/// Parameters of calls that are about a channel and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OfChannel {
    /// The channel.
    pub channel: String,
}

/// Parameters of [`Service::history`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct History {
    /// Of which channel.
    pub channel: String,
    /// Publications at most. 0: none, only the position. Negative: all that are kept.
    pub limit: i32,
    /// Only what lies after this position; before it, in reverse.
    pub since: Option<StreamPosition>,
    /// Newest first.
    pub reverse: bool,
}

/// Parameters of [`Service::channels`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Channels {
    /// Which: `*` stands for any run of characters, `?` for any one. Empty: all.
    pub pattern: String,
}

/// Result of [`Service::channels`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelsResult {
    /// Channels with at least one subscriber, by name.
    pub channels: BTreeMap<String, ChannelInfo>,
}

/// What is told of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelInfo {
    /// Subscribers.
    pub num_clients: u32,
}

/// Result of calls that have nothing to tell but that it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {}

impl Service {
    /// Reads a channel's history. Not bound by `client.history_max_publication_limit`: the application may have all
    /// that is kept.
    ///
    /// # Errors
    /// 102 for an unknown namespace, 107 for parameters that can not be, 108 where no history is kept, 112 for a
    /// position of another epoch, 100 when the engine fails.
    pub async fn history(&self, request: History) -> Result<HistoryResult, ApiError> {
        let History { channel, limit, since, reverse } = request;
        let retention = self.retention(&channel)?;
        let query = history_query(limit, since, reverse, usize::MAX)
            .map_err(|code| ApiError::new(code, "since: nothing lies before offset 0"))?;
        let page = self.node.history(&channel, query, retention).await?;
        Ok(HistoryResult { publications: page.publications, epoch: page.top.epoch, offset: page.top.offset })
    }

    /// Forgets a channel's publications. The position stays, so that whoever missed some learns it.
    ///
    /// # Errors
    /// 102 for an unknown namespace, 107 for a bad name, 108 where no history is kept, 100 when the engine fails.
    pub async fn history_remove(&self, request: OfChannel) -> Result<Done, ApiError> {
        self.retention(&request.channel)?;
        self.node.remove_history(&request.channel).await?;
        Ok(Done {})
    }

    /// Who is in a channel.
    ///
    /// # Errors
    /// 102 for an unknown namespace, 107 for a bad name, 108 where no presence is kept, 100 when the engine fails.
    pub async fn presence(&self, request: OfChannel) -> Result<PresenceResult, ApiError> {
        self.has_presence(&request.channel)?;
        Ok(PresenceResult { presence: self.node.presence(&request.channel).await? })
    }

    /// How many are in a channel.
    ///
    /// # Errors
    /// As [`Self::presence`].
    pub async fn presence_stats(&self, request: OfChannel) -> Result<PresenceStatsResult, ApiError> {
        self.has_presence(&request.channel)?;
        Ok(self.node.presence_stats(&request.channel).await?)
    }

    /// Channels with at least one subscriber. Goes through all there are.
    pub fn channels(&self, request: &Channels) -> ChannelsResult {
        let pattern = WildMatch::new(&request.pattern);
        let found = self.node.hub.list(|channel| request.pattern.is_empty() || pattern.matches(channel));
        let channels = found.into_iter().map(|(channel, num_clients)| (channel, ChannelInfo { num_clients }));
        ChannelsResult { channels: channels.collect() }
    }

    fn retention(&self, channel: &str) -> Result<Retention, ApiError> {
        let name = self.resolve(channel)?;
        self.node.rules.retention(name.options).ok_or_else(|| {
            let detail = format!("{channel:?} keeps no history; history_size and history_ttl decide that");
            ApiError::new(ErrorCode::NotAvailable, detail)
        })
    }

    fn has_presence(&self, channel: &str) -> Result<(), ApiError> {
        if self.resolve(channel)?.options.presence {
            return Ok(());
        }
        let detail = format!("{channel:?} keeps no presence; the option of that name decides that");
        Err(ApiError::new(ErrorCode::NotAvailable, detail))
    }
}
