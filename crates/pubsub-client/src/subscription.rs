//! One local subscriber: a stream of events, and the interest that lasts as long as it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;

use crate::client::Handle;
use crate::error::SubscribeError;
use crate::event::Event;
use crate::ids::Topic;
use crate::mailbox::{Mailbox, Read, Start};

/// A local subscriber of a topic, made by [`Client::subscribe`](crate::Client::subscribe).
///
/// Read it with [`next`](Self::next), or as a [`Stream`]. It ends after [`Event::Unsubscribed`]. Dropping it withdraws
/// the interest; the last subscriber of a topic to go unsubscribes it. It keeps the client alive.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), pubsub_client::SubscribeError> {
/// use pubsub_client::Event;
///
/// let mut news = client.subscribe("news").await?;
/// while let Some(event) = news.next().await {
///     match event {
///         Event::Publication(publication) => println!("{}: {:?}", publication.offset, publication.data),
///         Event::Subscribed(subscribed) => println!("in force, {}", subscribed.recovery),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use = "dropping it withdraws the interest in the topic"]
pub struct Subscription {
    topic: Topic,
    mailbox: Arc<Mailbox>,
    handle: Arc<Handle>,
}

impl Subscription {
    pub(crate) fn new(topic: Topic, mailbox: Arc<Mailbox>, handle: Arc<Handle>) -> Self {
        Self { topic, mailbox, handle }
    }

    /// What it is subscribed to.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let subscription = client.subscribe("news").await?;
    /// assert_eq!(subscription.topic().as_str(), "news");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The next event. `None`: it has ended, for good. Dropping the future loses nothing.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut subscription = client.subscribe("news").await?;
    /// while let Some(event) = subscription.next().await {
    ///     println!("{event:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next event, if there is one already.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut subscription = client.subscribe("news").await?;
    /// while let Some(event) = subscription.try_next() {
    ///     println!("it was there already: {event:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_next(&mut self) -> Option<Event> {
        match self.poll_event(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.mailbox.poll_read(cx).map(|read| match read {
            Read::Event(event) => Some(event),
            Read::EventAndCatchUp(event) => {
                let shared = self.handle.shared();
                shared.registry.catch_up(&self.topic);
                shared.inbox.touch(self.topic.clone());
                Some(event)
            }
            Read::End => None,
        })
    }

    /// Waits until the subscription is in force, or was refused. Reads no event: [`Event::Subscribed`] still comes.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use pubsub_client::SubscribeOptions;
    ///
    /// let subscription = client.try_subscribe("news", &SubscribeOptions::default())?;
    /// subscription.in_force(Duration::from_secs(60)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SubscribeError::Failed`] when it was refused, [`SubscribeError::Timeout`] when it took longer than `limit`,
    /// [`SubscribeError::ConnectionClosed`] when the client ended.
    pub async fn in_force(&self, limit: Duration) -> Result<(), SubscribeError> {
        let topic = self.topic.clone();
        match tokio::time::timeout(limit, poll_fn(|cx| self.mailbox.poll_start(cx))).await {
            Err(_) => Err(SubscribeError::Timeout { topic, after: limit }),
            Ok(Start::Refused { code: Event::CONNECTION_CLOSED, .. }) if self.handle.shared().closed().is_some() => {
                Err(SubscribeError::ConnectionClosed(self.handle.shared().close_reason()))
            }
            Ok(Start::Refused { code, reason }) => Err(SubscribeError::Failed { topic, code, message: reason }),
            Ok(Start::Waiting | Start::InForce) => Ok(()),
        }
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll_event(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let shared = self.handle.shared();
        if shared.registry.detach(&self.topic, &self.mailbox) {
            shared.inbox.touch(self.topic.clone());
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Messages for this connection alone, made by [`Client::messages`](crate::Client::messages).
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut messages = client.messages();
/// while let Some(message) = messages.next().await {
///     println!("{message:?}");
/// }
/// # Ok(()) }
/// ```
#[must_use = "dropped, messages are counted as strays"]
pub struct Messages {
    mailbox: Arc<Mailbox>,
    handle: Arc<Handle>,
}

impl Messages {
    pub(crate) fn new(mailbox: Arc<Mailbox>, handle: Arc<Handle>) -> Self {
        Self { mailbox, handle }
    }

    /// The next one, as [`Event::Publication`]; [`Event::Lagged`] where some did not fit; `None` at the client's end.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut messages = client.messages();
    /// if let Some(message) = messages.next().await {
    ///     println!("{:?}", message.publication());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn next(&mut self) -> Option<Event> {
        let read = poll_fn(|cx| self.mailbox.poll_read(cx)).await;
        match read {
            Read::Event(event) | Read::EventAndCatchUp(event) => Some(event),
            Read::End => None,
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let shared = self.handle.shared();
        // Unless somebody else has taken its place.
        if shared.messages().is_some_and(|current| Arc::ptr_eq(&current, &self.mailbox)) {
            shared.set_messages(None);
        }
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}
