//! What a connection asks: publish, history, presence.

use std::collections::BTreeMap;
use std::sync::Arc;

use pubsub_protocol::command::{HistoryRequest, PublishRequest};
use pubsub_protocol::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use pubsub_protocol::reply::{Answer, HistoryResult, PresenceResult, PresenceStatsResult};
use pubsub_protocol::{ClientInfo, DisconnectCode, ErrorCode, Publication};

use super::effect::{Effect, Refusal};
use super::operation::Operation;
use super::{Context, Session};
use crate::channel::{Caller, ResolvedChannel};
use crate::engine::{PublishOptions, Published};
use crate::stream::{HistoryPage, HistoryQuery};

impl Session {
    /// Who asks, as far as permissions go.
    pub(super) fn caller(&self, cx: &Context<'_>) -> Caller<'_> {
        Caller { user: self.user(), insecure: cx.rules.client.insecure }
    }

    /// The channel a request is about, and whether the connection is subscribed to it.
    fn channel_of<'c>(&self, channel: &'c str, cx: &Context<'c>) -> Result<(ResolvedChannel<'c>, bool), Refusal> {
        if channel.is_empty() {
            return Err(DisconnectCode::BadRequest.into());
        }
        let name = cx.rules.channels.resolve(channel)?;
        Ok((name, self.subscriptions.get(channel).is_some()))
    }

    pub(super) fn publish(&mut self, id: u32, request: PublishRequest, cx: &mut Context<'_>) -> Result<(), Refusal> {
        let (name, subscribed) = self.channel_of(&request.channel, cx)?;
        name.may_publish(&self.caller(cx), subscribed)?;
        let data = request.data.ok_or(ErrorCode::BadRequest)?;
        name.check_data(&data)?;
        let chan_info = self.subscriptions.get(&request.channel).and_then(|s| s.chan_info().cloned());
        let info = Some(Arc::new(self.info(chan_info)));
        let publication = Publication { data, info, offset: 0, tags: BTreeMap::new(), epoch: String::new() };
        if request.idempotency_key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(ErrorCode::BadRequest.into());
        }
        // Under the user's name: nobody can keep another's publication out by guessing its key.
        let key =
            (!request.idempotency_key.is_empty()).then(|| format!("{}\0{}", self.user(), request.idempotency_key));
        let options = PublishOptions {
            retention: cx.rules.retention(name.options),
            idempotency_key: key.map(Into::into),
            by_client: true,
            ..PublishOptions::default()
        };
        cx.effects.push_back(Effect::Run(Operation::Publish { id, channel: request.channel, publication, options }));
        Ok(())
    }

    pub(super) fn published(id: u32, result: Result<Published, ErrorCode>, cx: &mut Context<'_>) {
        answer(id, "publish", result.map(|_| Answer::Publish), cx);
    }

    pub(super) fn history(&mut self, id: u32, request: HistoryRequest, cx: &mut Context<'_>) -> Result<(), Refusal> {
        let (name, subscribed) = self.channel_of(&request.channel, cx)?;
        let retention = cx.rules.retention(name.options).ok_or(ErrorCode::NotAvailable)?;
        name.may_history(&self.caller(cx), subscribed)?;
        let cap = cx.rules.client.history_max_publication_limit;
        let query = history_query(request.limit, request.since, request.reverse, cap)?;
        cx.effects.push_back(Effect::Run(Operation::History { id, channel: request.channel.into(), query, retention }));
        Ok(())
    }

    pub(super) fn history_read(
        id: u32,
        channel: Arc<str>,
        result: Result<HistoryPage, ErrorCode>,
        cx: &mut Context<'_>,
    ) {
        cx.effects.push_back(match result {
            Ok(HistoryPage { publications, top }) => {
                let result = HistoryResult { publications, epoch: top.epoch, offset: top.offset };
                Effect::answer_about(channel, id, "history", Answer::History(result))
            }
            Err(code) => Effect::error(id, "history", code),
        });
    }

    pub(super) fn presence(&mut self, id: u32, channel: String, cx: &mut Context<'_>) -> Result<(), Refusal> {
        self.may_see_presence(&channel, cx)?;
        cx.effects.push_back(Effect::Run(Operation::Presence { id, channel }));
        Ok(())
    }

    pub(super) fn presence_stats(&mut self, id: u32, channel: String, cx: &mut Context<'_>) -> Result<(), Refusal> {
        self.may_see_presence(&channel, cx)?;
        cx.effects.push_back(Effect::Run(Operation::PresenceStats { id, channel }));
        Ok(())
    }

    fn may_see_presence(&self, channel: &str, cx: &Context<'_>) -> Result<(), Refusal> {
        if channel.is_empty() {
            return Err(DisconnectCode::BadRequest.into());
        }
        let name = cx.rules.channels.resolve(channel)?;
        let subscribed = self.subscriptions.get(channel).is_some();
        Ok(name.may_presence(&self.caller(cx), subscribed)?)
    }

    pub(super) fn presence_read(
        id: u32,
        result: Result<BTreeMap<String, ClientInfo>, ErrorCode>,
        cx: &mut Context<'_>,
    ) {
        answer(id, "presence", result.map(|presence| Answer::Presence(PresenceResult { presence })), cx);
    }

    pub(super) fn presence_counted(id: u32, result: Result<PresenceStatsResult, ErrorCode>, cx: &mut Context<'_>) {
        answer(id, "presence_stats", result.map(Answer::PresenceStats), cx);
    }
}

fn answer(id: u32, method: &'static str, result: Result<Answer, ErrorCode>, cx: &mut Context<'_>) {
    cx.effects.push_back(match result {
        Ok(answer) => Effect::answer(id, method, answer),
        Err(code) => Effect::error(id, method, code),
    });
}

/// Reads the wish of a history request: a client's or the server API's.
///
/// # Errors
/// [`ErrorCode::BadRequest`] for what can not be: backwards from before the first.
pub fn history_query(
    limit: i32,
    since: Option<pubsub_protocol::StreamPosition>,
    reverse: bool,
    cap: usize,
) -> Result<HistoryQuery, ErrorCode> {
    if reverse && since.as_ref().is_some_and(|since| since.offset == 0) {
        return Err(ErrorCode::BadRequest);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(cap);
    Ok(HistoryQuery { since, limit: Some(limit), reverse })
}
