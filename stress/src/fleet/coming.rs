//! Members that leave for good and others that take their places, and what members ask beside publications.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pubsub_client::{Client, HistoryQuery, SubscribeOptions};
use pubsub_server::api::Service;
use pubsub_server::api::channels::History;

use super::wire::Wire;
use super::{Common, Fleet, Road, channel_name, number};
use crate::ledger::Event;

/// What a member asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What is kept in a channel.
    History,
    /// Who is there.
    Presence,
}

impl Fleet {
    /// A member closes its connection. It is on its way when this returns; the future is over when it is closed.
    pub fn depart(&self, member: u64) -> BoxFuture<'static, ()> {
        let client = self.member(member).cloned();
        async move {
            if let Some(client) = client {
                client.close().await;
            }
        }
        .boxed()
    }

    /// Another member takes the place of one that has left. Does not wait until it is there.
    ///
    /// # Errors
    /// When its client takes no subscription.
    pub fn arrive(&mut self, member: u64) -> anyhow::Result<()> {
        let client = self.client(member);
        for channel in self.common.plan.topology.channels_of(member) {
            let (sub, channel) = (self.common.new_subscription(), number(channel));
            self.ledger().record(Event::Subscription { sub, channel, bystander: false });
            let subscription = client.try_subscribe(channel_name(channel.into()), &SubscribeOptions::default())?;
            self.read_late(subscription, sub, channel);
        }
        // Those who have left have been read to the end.
        while self.readers.try_join_next().is_some() {}
        if let Some(place) = usize::try_from(member).ok().and_then(|at| self.members.get_mut(at)) {
            *place = client;
        }
        Ok(())
    }

    /// A member asks about one of its channels. Request number `request`; what it is told goes into the ledger.
    pub fn ask(&self, request: u64, member: u64, channel: u64, question: Question) -> BoxFuture<'static, ()> {
        let (client, common) = (self.member(member).cloned(), Arc::clone(&self.common));
        async move {
            let Some(client) = client else { return };
            common.ledger().record(Event::Request { request, channel: Some(number(channel)) });
            match question {
                Question::History => history(&client, &common, request, channel).await,
                Question::Presence => drop(client.presence_stats(channel_name(channel)).await),
            }
            common.ledger().record(Event::Completion { request });
        }
        .boxed()
    }

    /// The plan's subscribers on the wire begin. They leave of their own accord until `stay` is said.
    pub fn watch(&mut self, bystander: bool) {
        let Road::Memory(network) = &self.road else { return };
        let topology = &self.common.plan.topology;
        for w in 0..topology.sessions.wires {
            let wire = Wire {
                common: Arc::clone(&self.common),
                network: network.clone(),
                faults: self.faults.clone(),
                number: number(w),
                channel: number(w % topology.channels.max(1)),
                bystander,
                stays: topology.sessions.wires_stay,
                stay: Arc::clone(&self.stay),
            };
            self.wires.spawn(wire.run());
        }
    }

    /// Nobody leaves of their own accord any more.
    pub fn stay(&self) {
        self.stay.store(true, Relaxed);
    }

    /// Members that have given up, with what they say, although nobody told them to.
    #[must_use]
    pub fn given_up(&self) -> Vec<String> {
        let told = |(member, client): (usize, &Client)| {
            let reason = client.close_reason()?;
            Some(format!("member {member} gave up: {reason}"))
        };
        self.members.iter().enumerate().filter_map(told).collect()
    }

    /// Notes that the members present are all still trying, or who is not.
    pub fn check_given_up(&self) {
        let wrong = self.given_up();
        let count = self.members.len() as u64;
        self.ledger().record(Event::Checked { law: crate::oracle::Law::I8, count, wrong });
    }

    /// As the first half of [`census`](Self::census), of a server in this process: records what it says of histories.
    pub async fn take_histories(&self, service: &Service, most: u64) {
        let topology = &self.common.plan.topology;
        for channel in (0..topology.channels.min(most)).filter(|_| topology.history_size > 0) {
            let request = History { channel: channel_name(channel), limit: -1, ..History::default() };
            let Ok(history) = service.history(request).await else { continue };
            let entries = history.publications.iter().map(|one| (one.offset, self.common.content(one.data.as_bytes())));
            self.common.record_history(None, number(channel), (&history.epoch, history.offset), entries.collect());
        }
    }

    /// The other half: the census is over, and from here on everybody may leave.
    pub fn close_ledger(&self) {
        let at = self.now();
        self.ledger().record(Event::Census { at });
    }

    fn member(&self, member: u64) -> Option<&Client> {
        usize::try_from(member).ok().and_then(|at| self.members.get(at))
    }
}

async fn history(client: &Client, common: &Common, request: u64, channel: u64) {
    let query = HistoryQuery { limit: -1, ..HistoryQuery::default() };
    // No answer, or a refusal, tells nothing of the history.
    let Ok(history) = client.history(channel_name(channel), query).await else { return };
    let entries = history.publications.iter().map(|one| (one.offset, common.content(one.data.as_bytes()))).collect();
    let top = (&*history.position.epoch, history.position.offset);
    common.record_history(Some(request), number(channel), top, entries);
}

/// How long a member's last words may take.
pub const CLOSE_MAX: Duration = Duration::from_secs(10);
