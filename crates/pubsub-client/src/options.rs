//! Options of one subscription.

use pubsub_protocol::Payload;

use crate::token::TokenSource;

/// What to do when a local subscriber leaves too many events unread (`subscription_capacity`).
///
/// ```
/// use pubsub_client::{Overflow, SubscribeOptions};
///
/// let only_the_newest_matter = SubscribeOptions::default().overflow(Overflow::Skip);
/// # let _ = only_the_newest_matter;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// In a recoverable channel: nothing more is kept for it until it has read half of what it has; then the
    /// subscription begins anew and recovers from the last publication that this subscriber got, all at once. Nothing
    /// is lost as long as the server's history reaches back that far; if it does not, that is told
    /// ([`Recovery::NotRecovered`](crate::Recovery::NotRecovered)). In other channels as [`Overflow::Skip`].
    #[default]
    Recover,
    /// What does not fit is dropped; once everything has been read, [`Event::Lagged`](crate::Event::Lagged) tells how
    /// many publications that were.
    Skip,
}

/// Options of one subscription. The first local subscriber of a topic decides them; see
/// [`SubscribeError::OptionsDiffer`](crate::SubscribeError::OptionsDiffer).
///
/// ```
/// use pubsub_client::{Overflow, SubscribeOptions};
///
/// let options = SubscribeOptions::default().token("eyJhbGciOi…").join_leave(true).overflow(Overflow::Skip);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// The subscription's token.
    pub token: TokenSource,
    /// Wish: let me recover, also where the channel does not force it.
    pub recoverable: bool,
    /// Wish: watch my position, also where the channel does not force it.
    pub positioned: bool,
    /// Wish: tell me who joins and leaves.
    pub join_leave: bool,
    /// Application data for the server.
    pub data: Option<Payload>,
    /// From where to recover the first time, as when an earlier run of the program kept its position.
    pub since: Option<pubsub_protocol::StreamPosition>,
    /// What to do about a local subscriber that does not read.
    pub overflow: Overflow,
}

impl SubscribeOptions {
    /// Sets [`token`](Self::token).
    ///
    /// ```
    /// # use pubsub_client::SubscribeOptions;
    /// let options = SubscribeOptions::default().token("eyJhbGciOi…");
    /// assert!(!options.token.is_renewable());
    /// ```
    #[must_use]
    pub fn token(mut self, token: impl Into<TokenSource>) -> Self {
        self.token = token.into();
        self
    }

    /// Sets [`recoverable`](Self::recoverable).
    ///
    /// ```
    /// # use pubsub_client::SubscribeOptions;
    /// let options = SubscribeOptions::default().recoverable(true);
    /// assert!(options.recoverable);
    /// ```
    #[must_use]
    pub fn recoverable(mut self, recoverable: bool) -> Self {
        self.recoverable = recoverable;
        self
    }

    /// Sets [`positioned`](Self::positioned).
    ///
    /// ```
    /// # use pubsub_client::SubscribeOptions;
    /// let options = SubscribeOptions::default().positioned(true);
    /// assert!(options.positioned);
    /// ```
    #[must_use]
    pub fn positioned(mut self, positioned: bool) -> Self {
        self.positioned = positioned;
        self
    }

    /// Sets [`join_leave`](Self::join_leave).
    ///
    /// ```
    /// # use pubsub_client::SubscribeOptions;
    /// let options = SubscribeOptions::default().join_leave(true);
    /// assert!(options.join_leave);
    /// ```
    #[must_use]
    pub fn join_leave(mut self, join_leave: bool) -> Self {
        self.join_leave = join_leave;
        self
    }

    /// Sets [`data`](Self::data).
    ///
    /// ```
    /// # use pubsub_client::{Payload, SubscribeOptions};
    /// let options = SubscribeOptions::default().data(Payload::to_json(&["sport", "weather"])?);
    /// assert!(options.data.is_some());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn data(mut self, data: Payload) -> Self {
        self.data = Some(data);
        self
    }

    /// Sets [`since`](Self::since).
    ///
    /// ```
    /// # use pubsub_client::{StreamPosition, SubscribeOptions};
    /// let options = SubscribeOptions::default().since(StreamPosition::new(7, "kXwQmZab"));
    /// assert!(options.since.is_some());
    /// ```
    #[must_use]
    pub fn since(mut self, position: pubsub_protocol::StreamPosition) -> Self {
        self.since = Some(position);
        self
    }

    /// Sets [`overflow`](Self::overflow).
    ///
    /// ```
    /// # use pubsub_client::{Overflow, SubscribeOptions};
    /// let options = SubscribeOptions::default().overflow(Overflow::Skip);
    /// assert_eq!(options.overflow, Overflow::Skip);
    /// ```
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Whether two local subscribers can share one subscription. Tokens are not compared: either will do.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self.recoverable == other.recoverable
            && self.positioned == other.positioned
            && self.join_leave == other.join_leave
            && self.data == other.data
    }
}
