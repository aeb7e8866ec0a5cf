//! The node ties hub and engine: it does what sessions and the server API ask, in the order that keeps the
//! promise of recovery (`engine.rs`, law 2): enter the feed first, read history second.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ahash::RandomState;
use pubsub_protocol::reply::PresenceStatsResult;
use pubsub_protocol::{ClientInfo, DisconnectCode, ErrorCode, Format, Publication};

use crate::clock::Clock;
use crate::engine::{Engine, EngineError, PresenceEvent, PublishOptions, Published};
use crate::hub::Hub;
use crate::planted::{self, Bug};
use crate::session::id::Place;
use crate::session::operation::{Begun, Completion, Operation, Subscribe, Subscribed};
use crate::session::rules::Rules;
use crate::shard::control::Control;
use crate::shard::inbox::ShardMessage;
use crate::stream::{HistoryPage, HistoryQuery, Retention};
use crate::users::Users;

/// Work under way for a session.
pub type Work = Pin<Box<dyn Future<Output = Completion> + Send>>;

/// One server's hub, engine and users.
pub struct Node {
    /// Who is subscribed here.
    pub hub: Arc<Hub>,
    /// Streams and presence.
    pub engine: Arc<dyn Engine>,
    /// Connections by user.
    pub users: Users,
    /// What sessions go by.
    pub rules: Rules,
    /// The time.
    pub clock: Clock,
    /// Hides places in connection ids.
    pub id_secret: RandomState,
}

impl Node {
    /// Does what a session asks. `place` is where the session lives, and `format` what it is spoken to in.
    pub fn run(self: &Arc<Self>, operation: Operation, place: Place, format: Format) -> Work {
        let node = self.clone();
        let early = !planted::is(Bug::HistoryBeforeRegistration);
        if early && let Operation::Subscribe(_, subscribe) = &operation {
            // Now, also if what is returned waits its turn: should the connection end before, it leaves the hub.
            self.enter(&subscribe.channel, subscribe.join, place, format);
        }
        Box::pin(async move {
            match operation {
                Operation::Connect { id, user, user_connections_max, subscriptions } => {
                    let result = node.connect(user, user_connections_max, subscriptions, place, format).await;
                    Completion::Connect { id, result }
                }
                Operation::Subscribe(by, subscribe) => {
                    let (channel, join) = (subscribe.channel.clone(), subscribe.join);
                    let result = node.subscribe(subscribe).await;
                    if !early {
                        node.enter(&channel, join, place, format);
                    }
                    Completion::Subscribe { by, channel, join, result }
                }
                Operation::Introduce { channel, info } => {
                    if let Err(error) = node.engine.add_presence(&channel, info).await {
                        failed(&channel, &error);
                    }
                    Completion::Introduce
                }
                Operation::Publish { id, channel, publication, options } => {
                    let result = node.publish(&channel, publication, options).await;
                    Completion::Publish { id, result }
                }
                Operation::History { id, channel, query, retention } => {
                    let result = node.history(&channel, query, retention).await;
                    Completion::History { id, channel, result }
                }
                Operation::Presence { id, channel } => {
                    Completion::Presence { id, result: node.presence(&channel).await }
                }
                Operation::PresenceStats { id, channel } => {
                    Completion::PresenceStats { id, result: node.presence_stats(&channel).await }
                }
            }
        })
    }

    async fn connect(
        &self,
        user: Arc<str>,
        connections_max: usize,
        subscriptions: Vec<Subscribe>,
        place: Place,
        format: Format,
    ) -> Result<Begun, DisconnectCode> {
        self.users.enter(&user, place, connections_max).map_err(|_| DisconnectCode::ConnectionLimit)?;
        if self.rules.client.subscribe_to_user_personal_channel.is_single_connection() {
            self.close_others(&user, place);
        }
        // All enter the hub before the first is waited for: should the connection end meanwhile, all leave it.
        for subscribe in &subscriptions {
            self.enter(&subscribe.channel, subscribe.join, place, format);
        }
        let mut begun = Vec::with_capacity(subscriptions.len());
        for subscribe in subscriptions {
            begun.push((subscribe.channel.clone(), self.subscribe(subscribe).await));
        }
        Ok(begun)
    }

    /// Closes all connections of a user but its newest, which the one at `place` is as far as we know.
    fn close_others(&self, user: &Arc<str>, place: Place) {
        for Place { shard, slot } in self.users.places(user).into_iter().filter(|other| *other != place) {
            let control = Control::Outdated { user: user.clone(), slot };
            self.hub.inbox(usize::from(shard)).push(ShardMessage::Control(control));
        }
    }

    fn enter(&self, channel: &str, join: u64, place: Place, format: Format) {
        self.hub.join(usize::from(place.shard), channel, place.slot, join, format);
    }

    /// Goes on with a subscription that has entered the hub.
    async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscribed, ErrorCode> {
        let Subscribe { channel, join, position, recover, reject_unrecovered, presence, announce } = subscribe;
        let mut subscribed = Subscribed { top: None, recovery: None };
        if let Some(retention) = position {
            let query = match &recover {
                Some((mode, position)) => mode.query(position),
                None => HistoryQuery::POSITION,
            };
            let mut page =
                self.engine.history(&channel, query, retention).await.map_err(|error| failed(&channel, &error))?;
            if planted::is(Bug::EpochRenewedPerSubscribe) {
                page.top.epoch = join.to_string();
            }
            subscribed.top = Some(page.top.clone());
            subscribed.recovery = recover.map(|(mode, position)| mode.recover(&position, page));
            if reject_unrecovered && subscribed.recovery.as_ref().is_some_and(|recovery| !recovery.recovered) {
                return Err(ErrorCode::UnrecoverablePosition);
            }
        }
        if let Some(info) = presence {
            self.engine.add_presence(&channel, info).await.map_err(|error| failed(&channel, &error))?;
        }
        if let Some(info) = announce {
            let announced = self.engine.announce(&channel, PresenceEvent::Join(info)).await;
            announced.map_err(|error| failed(&channel, &error))?;
        }
        Ok(subscribed)
    }

    /// The last subscriber of a channel that keeps a position has left.
    pub fn vacated(&self, channel: &str) {
        self.engine.vacated(channel);
    }

    /// Publishes, for a client or the server API.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] when the engine fails. It is not known then whether the publication exists.
    pub async fn publish(
        &self,
        channel: &str,
        publication: Publication,
        options: PublishOptions,
    ) -> Result<Published, ErrorCode> {
        self.engine.publish(channel, publication, options).await.map_err(|error| failed(channel, &error))
    }

    /// Reads a channel's history.
    ///
    /// # Errors
    /// [`ErrorCode::UnrecoverablePosition`] for a position of another epoch; [`ErrorCode::Internal`].
    pub async fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        retention: Retention,
    ) -> Result<HistoryPage, ErrorCode> {
        let since = query.since.clone();
        let page = self.engine.history(channel, query, retention).await.map_err(|error| failed(channel, &error))?;
        match since {
            Some(since) if !since.epoch.is_empty() && since.epoch != page.top.epoch => {
                Err(ErrorCode::UnrecoverablePosition)
            }
            _ => Ok(page),
        }
    }

    /// Forgets a channel's publications.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`].
    pub async fn remove_history(&self, channel: &str) -> Result<(), ErrorCode> {
        self.engine.remove_history(channel).await.map_err(|error| failed(channel, &error))
    }

    /// Who is in a channel.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`].
    pub async fn presence(&self, channel: &str) -> Result<BTreeMap<String, ClientInfo>, ErrorCode> {
        self.engine.presence(channel).await.map_err(|error| failed(channel, &error))
    }

    /// How many are in a channel.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`].
    pub async fn presence_stats(&self, channel: &str) -> Result<PresenceStatsResult, ErrorCode> {
        self.engine.presence_stats(channel).await.map_err(|error| failed(channel, &error))
    }

    /// Takes a subscriber out of a channel's presence and tells the others. Nobody waits for it.
    pub async fn depart(&self, channel: Arc<str>, info: ClientInfo, present: bool, announced: bool) {
        let info = Arc::new(info);
        if present && let Err(error) = self.engine.remove_presence(&channel, &info.client).await {
            failed(&channel, &error);
        }
        if announced && let Err(error) = self.engine.announce(&channel, PresenceEvent::Leave(info)).await {
            failed(&channel, &error);
        }
    }
}

fn failed(channel: &str, error: &EngineError) -> ErrorCode {
    tracing::error!(channel, %error, "engine failed");
    ErrorCode::Internal
}
