//! What a subscriber is told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use pubsub_protocol::{ClientInfo, Payload, StreamPosition};

/// News of one subscription, in the order in which it happened.
///
/// ```no_run
/// # async fn example(event: pubsub_client::Event) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::{Event, Recovery};
///
/// match event {
///     Event::Publication(publication) => println!("{} {:?}", publication.offset, publication.data),
///     Event::Subscribed(subscribed) if subscribed.recovery == Recovery::NotRecovered => println!("load the state anew"),
///     Event::Lagged { missed } => println!("{missed} will not come"),
///     Event::Interrupted { code, reason } => println!("coming back: {code} {reason}"),
///     Event::Unsubscribed { code, reason } => println!("over: {code} {reason}"),
///     other => println!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The subscription is in force, for the first time or again. What was missed follows, if it was recovered; then
    /// live publications.
    Subscribed(Subscribed),
    /// A publication. In a recoverable channel each comes exactly once, in order.
    Publication(Publication),
    /// Somebody subscribed.
    Join(ClientInfo),
    /// Somebody unsubscribed or went away.
    Leave(ClientInfo),
    /// Publications that this subscriber will not get: it left too many events unread in a channel (or with a policy)
    /// that does not allow to fetch them later, or the server skipped some in a channel without recovery.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// Not in force for now: the connection was lost, or the server wants the subscription to begin anew. Another
    /// [`Event::Subscribed`] follows when it is back.
    Interrupted {
        /// The close or unsubscribe code; 1006 if the connection was lost without one.
        code: u32,
        /// Why, for people.
        reason: String,
    },
    /// Over. The last event.
    Unsubscribed {
        /// An unsubscribe code of the server (2000…), an error code of its refusal (100…), or one of
        /// [`Event::UNSUBSCRIBED_BY_US`] and [`Event::CONNECTION_CLOSED`].
        code: u32,
        /// Why, for people.
        reason: String,
    },
}

impl Event {
    /// Code of [`Event::Unsubscribed`] after [`Client::unsubscribe`](crate::Client::unsubscribe).
    ///
    /// ```
    /// # use pubsub_client::Event;
    /// fn was_wanted(event: &Event) -> bool {
    ///     matches!(event, Event::Unsubscribed { code: Event::UNSUBSCRIBED_BY_US, .. })
    /// }
    /// assert!(was_wanted(&Event::Unsubscribed { code: 0, reason: String::new() }));
    /// ```
    pub const UNSUBSCRIBED_BY_US: u32 = 0;
    /// Code of [`Event::Unsubscribed`] when the client was closed or gave up.
    ///
    /// ```
    /// # use pubsub_client::Event;
    /// fn came_with_the_end(event: &Event) -> bool {
    ///     matches!(event, Event::Unsubscribed { code: Event::CONNECTION_CLOSED, .. })
    /// }
    /// assert!(came_with_the_end(&Event::Unsubscribed { code: 1, reason: String::new() }));
    /// ```
    pub const CONNECTION_CLOSED: u32 = 1;

    /// The publication, if it is one.
    ///
    /// ```
    /// # use pubsub_client::Event;
    /// assert_eq!(Event::Lagged { missed: 3 }.publication(), None);
    /// ```
    #[must_use]
    pub fn publication(&self) -> Option<&Publication> {
        match self {
            Self::Publication(publication) => Some(publication),
            _ => None,
        }
    }
}

/// How a subscription came into force.
///
/// ```no_run
/// # async fn example(mut subscription: pubsub_client::Subscription) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::Event;
///
/// if let Some(Event::Subscribed(subscribed)) = subscription.next().await {
///     println!("{} on connection {}, at {:?}", subscribed.recovery, subscribed.generation, subscribed.position);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Subscribed {
    /// Whether anything is missing since the last event.
    pub recovery: Recovery,
    /// Where this subscriber stands; what follows comes after it. `None` in a channel without positions.
    pub position: Option<StreamPosition>,
    /// Application data of the server.
    pub data: Option<Payload>,
    /// Which connection of the client carries it; the first is 1.
    pub generation: u64,
}

impl Subscribed {
    pub(crate) fn new(
        recovery: Recovery,
        position: Option<StreamPosition>,
        data: Option<Payload>,
        generation: u64,
    ) -> Self {
        Self { recovery, position, data, generation }
    }
}

/// What became of the publications between two times in force.
///
/// ```
/// # use pubsub_client::Recovery;
/// assert_eq!(Recovery::NotRecovered.to_string(), "not recovered");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// Nothing was asked for: the first time, or a channel without recovery after an interruption.
    Fresh,
    /// Everything that was missed follows; nothing is lost.
    Recovered,
    /// The server no longer has everything: publications after the last one seen are lost. Load the state anew.
    NotRecovered,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Recovered => "recovered",
            Self::NotRecovered => "not recovered",
        })
    }
}

/// One publication. Cloning shares the data.
///
/// ```no_run
/// # async fn example(publication: pubsub_client::Publication) -> Result<(), Box<dyn std::error::Error>> {
/// #[derive(serde::Deserialize)]
/// struct News { title: String }
///
/// let News { title } = publication.data.parse()?;
/// println!("{} {title} {:?}", publication.offset, publication.tags);
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Publication {
    /// The application's data.
    pub data: Payload,
    /// Labels given by the publisher.
    pub tags: BTreeMap<String, String>,
    /// Who published it. Absent when it came through the server's API.
    pub info: Option<Arc<ClientInfo>>,
    /// Its number in the stream, from 1. 0 in a channel without history.
    pub offset: u64,
    /// Which life of the stream the offset belongs to. Empty in a channel without positions.
    pub epoch: Arc<str>,
}

impl Publication {
    pub(crate) fn new(publication: pubsub_protocol::Publication, epoch: Arc<str>) -> Self {
        let pubsub_protocol::Publication { data, info, offset, tags, .. } = publication;
        Self { data, tags, info, offset, epoch }
    }

    /// A message that belongs to no topic.
    pub(crate) fn message(data: Payload) -> Self {
        Self { data, tags: BTreeMap::new(), info: None, offset: 0, epoch: Arc::default() }
    }

    /// Where it stands in the stream. `None` in a channel without positions.
    ///
    /// ```no_run
    /// # async fn example(publication: pubsub_client::Publication) -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::SubscribeOptions;
    ///
    /// // Kept somewhere, it is where another run of the program goes on from.
    /// let options = publication.position().map_or(SubscribeOptions::default(), |at| SubscribeOptions::default().since(at));
    /// # let _ = options;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn position(&self) -> Option<StreamPosition> {
        (self.offset > 0 && !self.epoch.is_empty()).then(|| StreamPosition::new(self.offset, &*self.epoch))
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { data, offset, epoch, .. } = self;
        write!(f, "Publication({offset}@{epoch} {data:?})")
    }
}
