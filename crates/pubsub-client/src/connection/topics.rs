//! Bringing what is subscribed in line with what is wanted, in batches.
//!
//! The agenda lists topics to look at; [`Entry::step`](crate::registry::Entry::step) says what a look comes to. No more
//! than a batch is under way at once, so that a client of ten thousand topics that comes back does not bury the server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pubsub_protocol::reply::SubscribeResult;
use tokio::time::Instant;

use super::{Asking, Connection, Fetch, Fetching, Flow, GO_ON, refresh_after};
use crate::chance::Purpose;
use crate::connector::Connector;
use crate::error::{CloseReason, ServerError};
use crate::handler::{About, Advice, ProtocolHandler, SubscribeRequest, UnsubscribeRequest};
use crate::ids::{RequestId, Topic};
use crate::options::SubscribeOptions;
use crate::planted::{self, Bug};
use crate::registry::{Entry, Phase, Step};
use crate::shared::count;
use crate::timers::TopicTimer;
use crate::token::{Asked, TokenError, TokenRequest};

/// A topic whose subscribe request leaves in this turn.
struct Departing {
    topic: Topic,
    token: Option<Arc<str>>,
    options: SubscribeOptions,
}

impl<C: Connector, H: ProtocolHandler> Connection<C, H> {
    /// Puts a topic on the agenda, and goes on with it.
    pub(super) fn look_at(&mut self, topic: Topic) {
        self.agenda.push_back(topic);
        self.work_off_agenda();
    }

    /// Does what is to be done for the topics on the agenda, as far as a batch goes. Where nothing is answered, nothing is
    /// under way, and the next batch follows at once.
    pub(super) fn work_off_agenda(&mut self) {
        while self.state().is_ready() && !self.agenda.is_empty() && self.under_way < self.shared.config.subscribe_batch
        {
            self.next_batch();
        }
    }

    fn next_batch(&mut self) {
        let (mut departing, mut leaving) = (Vec::new(), Vec::new());
        let room = self.shared.config.subscribe_batch.saturating_sub(self.under_way);
        while departing.len() + leaving.len() < room
            && let Some(topic) = self.agenda.pop_front()
        {
            match self.shared.registry.with(&topic, |entry| entry.step()) {
                Some(Step::Subscribe) => departing.extend(self.prepare(topic)),
                Some(Step::Unsubscribe) => {
                    self.shared.registry.with(&topic, |entry| entry.phase = Phase::Unsubscribing);
                    leaving.push(topic);
                }
                Some(Step::Forget) => self.shared.registry.forget(&topic),
                Some(Step::Nothing) | None => {}
            }
        }
        self.send_unsubscribes(leaving);
        self.send_subscribes(&departing);
    }

    /// Subscribes along with the credentials, where the protocol allows it: as many topics as one message takes, so that
    /// a server that refuses the credentials and closes has nothing left unread (its word would be lost to a reset), and
    /// only those whose token is at hand: the application is asked for none that a refusal would waste.
    pub(super) fn subscribe_early(&mut self) {
        if !self.handler.accepts_early_subscribes() {
            return;
        }
        for topic in self.shared.registry.topics() {
            if !self.out.is_one_open_batch() || self.under_way >= self.shared.config.subscribe_batch {
                return;
            }
            let ready = |entry: &mut Entry| entry.step() == Step::Subscribe && !entry.lacks_token();
            if self.shared.registry.with(&topic, ready) == Some(true)
                && let Some(departing) = self.prepare(topic)
            {
                self.send_subscribes(&[departing]);
            }
        }
    }

    /// Gets a topic's token. `None`: it is being fetched.
    fn prepare(&mut self, topic: Topic) -> Option<Departing> {
        if planted::is(Bug::ResubscribeFailsSilently) && self.generation() > 1 {
            let name_sum = topic.as_str().bytes().map(u32::from).sum::<u32>();
            if name_sum.is_multiple_of(3) {
                return None;
            }
        }
        let (token, options) =
            self.shared.registry.with(&topic, |entry| (entry.token.clone(), entry.options.clone()))?;
        let asked = match token {
            Some(token) => Some(Asked::Now(token)),
            None => options.token.ask(TokenRequest::Subscription(topic.clone())),
        };
        let token = match asked {
            None => None,
            Some(Asked::Now(token)) => Some(token),
            Some(Asked::Later(future)) => {
                self.fetches += 1;
                let number = self.fetches;
                self.shared.registry.with(&topic, |entry| entry.phase = Phase::FetchingToken { number });
                self.tokens.push(Fetching { purpose: Fetch::Subscribe { topic, number }, future });
                return None;
            }
        };
        // Now, so that it leaves once however often it is on the agenda.
        self.shared.registry.with(&topic, |entry| entry.phase = Phase::Subscribing);
        Some(Departing { topic, token, options })
    }

    pub(super) fn topic_token_fetched(&mut self, topic: Topic, number: u64, token: Result<String, TokenError>) {
        let awaited = self.shared.registry.with(&topic, |entry| entry.phase == Phase::FetchingToken { number });
        if awaited != Some(true) {
            // Whoever it was fetched for has gone, or another way was found meanwhile.
            return;
        }
        match token {
            Ok(token) => {
                self.shared.registry.with(&topic, |entry| {
                    entry.token = Some(Arc::from(token));
                    entry.phase = Phase::Idle;
                });
                self.look_at(topic);
            }
            Err(error) if error.is_final() => self.give_up_topic(&topic, &CloseReason::Token(error)),
            Err(error) => {
                tracing::debug!(%topic, %error, "no token for now");
                self.retry_later(topic);
            }
        }
    }

    fn send_subscribes(&mut self, departing: &[Departing]) {
        if departing.is_empty() {
            return;
        }
        self.under_way += departing.len();
        let shared_id = self.handler.shares_batch_id().then(|| self.shared.ids.next());
        let mut batch = Vec::with_capacity(departing.len());
        for Departing { topic, token, options } in departing {
            let id = shared_id.clone().unwrap_or_else(|| self.shared.ids.next());
            let mut request = SubscribeRequest::new(id, topic.clone(), options);
            request.token = token.as_deref();
            request.recover = self.shared.registry.with(topic, Entry::subscribing).flatten();
            batch.push(request);
        }
        self.handler.build_subscribe(&batch, &mut self.out);
        let sent: Vec<(RequestId, Topic)> = batch.into_iter().map(|request| (request.id, request.topic)).collect();
        if self.handler.expects_subscribe_reply() {
            self.expect_topics(sent, shared_id, Asking::Subscribe);
        } else {
            for (_, topic) in sent {
                self.subscribed(&topic, Ok(SubscribeResult::default()));
            }
        }
    }

    fn send_unsubscribes(&mut self, leaving: Vec<Topic>) {
        if leaving.is_empty() {
            return;
        }
        self.under_way += leaving.len();
        let shared_id = self.handler.shares_batch_id().then(|| self.shared.ids.next());
        let batch: Vec<UnsubscribeRequest> = leaving
            .into_iter()
            .map(|topic| UnsubscribeRequest::new(shared_id.clone().unwrap_or_else(|| self.shared.ids.next()), topic))
            .collect();
        self.handler.build_unsubscribe(&batch, &mut self.out);
        let sent: Vec<(RequestId, Topic)> = batch.into_iter().map(|request| (request.id, request.topic)).collect();
        if self.handler.expects_subscribe_reply() {
            self.expect_topics(sent, shared_id, Asking::Unsubscribe);
        } else {
            self.unsubscribed(sent.into_iter().map(|(_, topic)| topic).collect());
        }
    }

    fn expect_topics(
        &mut self,
        sent: Vec<(RequestId, Topic)>,
        shared_id: Option<RequestId>,
        asked: fn(Vec<Topic>) -> Asking,
    ) {
        match shared_id {
            Some(id) => self.expect(id, asked(sent.into_iter().map(|(_, topic)| topic).collect())),
            None => {
                for (id, topic) in sent {
                    self.expect(id, asked(vec![topic]));
                }
            }
        }
    }

    // -- Answers

    /// Each topic of the request gets its own part of the answer.
    pub(super) fn subscribe_answered(&mut self, topics: Vec<Topic>, message: H::Message) -> Flow {
        let mut open: BTreeSet<Topic> = topics.into_iter().collect();
        let mut rest = None;
        for reply in self.handler.is_subscription_success(message) {
            match reply.about {
                About::Topic(topic) => {
                    if open.remove(&topic) {
                        self.subscribed(&topic, reply.outcome);
                    }
                }
                About::Request => rest = Some(reply.outcome),
            }
        }
        let rest = rest.unwrap_or_else(|| Err(ServerError::new(0, "the server's answer does not mention this topic")));
        for topic in open {
            self.subscribed(&topic, rest.clone());
        }
        self.work_off_agenda();
        GO_ON
    }

    fn subscribed(&mut self, topic: &Topic, outcome: Result<SubscribeResult, ServerError>) {
        self.under_way -= 1;
        let error = match outcome {
            Ok(result) => {
                let expires_in = result.expires.then(|| Duration::from_secs(u64::from(result.ttl)));
                for _ in &result.publications {
                    count(&self.shared.counters.publications);
                }
                self.shared.registry.subscribed(topic, result, self.generation());
                self.topic_expires_in(topic.clone(), expires_in);
                // It may have been given up meanwhile, or a recovery had a hole.
                self.agenda.push_back(topic.clone());
                return;
            }
            Err(error) => error,
        };
        if self.shared.registry.with(topic, |entry| entry.by_server()).unwrap_or_default() {
            // The server has subscribed us by itself meanwhile; that one is in force.
            return;
        }
        if self.shared.registry.with(topic, Entry::asked_for_another).unwrap_or_default() {
            self.agenda.push_back(topic.clone());
            return;
        }
        let renewable =
            self.shared.registry.with(topic, |entry| entry.options.token.is_renewable()).unwrap_or_default();
        match self.handler.advice(&error) {
            Advice::NewToken if renewable => {
                self.shared.registry.with(topic, |entry| entry.token = None);
                self.retry_later(topic.clone());
            }
            Advice::Retry => self.retry_later(topic.clone()),
            Advice::NewToken | Advice::GiveUp => {
                tracing::info!(%topic, %error, "subscription refused");
                self.shared.registry.refused(topic, error.event_code(), &error.message);
            }
        }
    }

    pub(super) fn unsubscribed(&mut self, topics: Vec<Topic>) {
        for topic in topics {
            self.under_way -= 1;
            self.timers.clear_topic(&topic, TopicTimer::Refresh);
            if self.shared.registry.with(&topic, Entry::left).unwrap_or_default() {
                self.retry_later(topic);
            } else {
                self.agenda.push_back(topic);
            }
        }
        self.work_off_agenda();
    }

    pub(super) fn unsubscribed_by_server(&mut self, topic: Topic, code: u32, reason: &str) {
        match self.shared.registry.with(&topic, |entry| entry.phase) {
            Some(Phase::InForce) => {}
            // The answer to that decides when it begins anew, but not whether.
            Some(Phase::Unsubscribing) => return self.shared.registry.unsubscribed_meanwhile(&topic, code, reason),
            _ => return,
        }
        tracing::debug!(%topic, code, reason, "unsubscribed by the server");
        self.timers.clear_topic(&topic, TopicTimer::Refresh);
        if self.shared.registry.unsubscribed(&topic, code, reason) {
            let first = self.shared.registry.with(&topic, |entry| entry.attempts == 0).unwrap_or_default();
            if first {
                self.shared.registry.with(&topic, |entry| entry.attempts = 1);
                self.look_at(topic);
            } else {
                self.retry_later(topic);
            }
        }
    }

    // -- Again

    /// Tries a topic again after a delay that grows.
    fn retry_later(&mut self, topic: Topic) {
        let attempts = self.shared.registry.with(&topic, |entry| {
            entry.phase = Phase::WaitingRetry;
            entry.attempts = entry.attempts.saturating_add(1);
            entry.attempts
        });
        let Some(attempts) = attempts else { return };
        let delay = self.shared.config.backoff().delay(attempts, self.draw(Purpose::Resubscribe));
        self.timers.set_topic(topic, TopicTimer::Retry, Instant::now() + delay);
    }

    pub(super) fn retry_topic(&mut self, topic: Topic) -> Flow {
        self.shared.registry.with(&topic, |entry| {
            if entry.phase == Phase::WaitingRetry {
                entry.phase = Phase::Idle;
            }
        });
        self.look_at(topic);
        GO_ON
    }

    pub(super) fn topic_expires_in(&mut self, topic: Topic, expires_in: Option<Duration>) {
        let renewable = self.shared.registry.with(&topic, |entry| entry.options.token.is_renewable());
        match (expires_in, renewable) {
            (Some(expires_in), Some(true)) => {
                self.timers.set_topic(topic, TopicTimer::Refresh, Instant::now() + refresh_after(expires_in));
            }
            _ => self.timers.clear_topic(&topic, TopicTimer::Refresh),
        }
    }

    /// A topic cannot be had any more.
    pub(super) fn give_up_topic(&mut self, topic: &Topic, reason: &CloseReason) {
        let in_force = self.shared.registry.with(topic, |entry| entry.in_force()).unwrap_or_default();
        if in_force {
            self.shared.registry.unsubscribe_with(topic, 0, &reason.to_string());
            self.look_at(topic.clone());
        } else {
            self.shared.registry.refused(topic, 0, &reason.to_string());
        }
    }

    /// The subscriptions that the server made for this connection: those and no others are in force.
    pub(super) fn server_subscriptions(&mut self, made: Vec<(Topic, SubscribeResult)>) {
        let generation = self.generation();
        let names: BTreeSet<Topic> = made.iter().map(|(topic, _)| topic.clone()).collect();
        for (topic, result) in made {
            self.shared.registry.server_subscribed(&topic, result, generation);
        }
        self.shared.registry.end_server_subscriptions_except(&names);
    }
}
