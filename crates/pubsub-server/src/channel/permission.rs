//! Who may do what in a channel. Every question has one order of checks, written down at its function.

use pubsub_protocol::ErrorCode;

use super::ResolvedChannel;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// User id of the connection. Empty: anonymous.
    pub user: &'a str,
    /// Whether the server runs with `client.insecure`, which grants whatever is not refused by name.
    pub insecure: bool,
}

impl Caller<'_> {
    /// Whether nobody vouches for this connection.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user.is_empty()
    }
}

/// One family of options: what a client may do, or only a subscriber, and whether an anonymous one may too.
struct Grant {
    client: bool,
    subscriber: bool,
    anonymous: bool,
}

impl Grant {
    fn covers(&self, caller: &Caller<'_>, subscribed: bool) -> bool {
        let somebody = !caller.is_anonymous() || self.anonymous;
        (somebody && (self.client || (self.subscriber && subscribed))) || caller.insecure
    }

    fn check(&self, caller: &Caller<'_>, subscribed: bool) -> Result<(), ErrorCode> {
        if self.covers(caller, subscribed) { Ok(()) } else { Err(ErrorCode::PermissionDenied) }
    }
}

impl ResolvedChannel<'_> {
    /// Whether the caller may subscribe. `token_ok`: it brought a subscription token that holds for this user and
    /// channel.
    ///
    /// 1. A private channel without a token: no, not even in insecure mode.
    /// 2. With a token: yes.
    /// 3. A user-limited channel: the users it lists, yes; nobody else by the next rule.
    /// 4. `allow_subscribe_for_client`, for the anonymous user with `allow_subscribe_for_anonymous`: yes.
    /// 5. Insecure mode: yes.
    /// 6. Otherwise: no.
    ///
    /// # Errors
    /// [`ErrorCode::PermissionDenied`].
    pub fn may_subscribe(&self, caller: &Caller<'_>, token_ok: bool) -> Result<(), ErrorCode> {
        if self.private && !token_ok {
            return Err(ErrorCode::PermissionDenied);
        }
        let options = self.options;
        let by_options = if self.is_user_limited() {
            self.lists(caller.user)
        } else {
            options.allow_subscribe_for_client && (!caller.is_anonymous() || options.allow_subscribe_for_anonymous)
        };
        if token_ok || by_options || caller.insecure { Ok(()) } else { Err(ErrorCode::PermissionDenied) }
    }

    /// Whether the caller, subscribed or not, may publish.
    ///
    /// 1. `allow_publish_for_client`, for the anonymous user with `allow_publish_for_anonymous`: yes.
    /// 2. `allow_publish_for_subscriber` and subscribed, the same way: yes.
    /// 3. Insecure mode: yes. Otherwise: no.
    ///
    /// # Errors
    /// [`ErrorCode::PermissionDenied`].
    pub fn may_publish(&self, caller: &Caller<'_>, subscribed: bool) -> Result<(), ErrorCode> {
        let options = self.options;
        Grant {
            client: options.allow_publish_for_client,
            subscriber: options.allow_publish_for_subscriber,
            anonymous: options.allow_publish_for_anonymous,
        }
        .check(caller, subscribed)
    }

    /// Whether the caller, subscribed or not, may ask who is in the channel.
    ///
    /// First whether the channel keeps presence at all; then as for publishing, by the options for presence.
    ///
    /// # Errors
    /// [`ErrorCode::NotAvailable`], [`ErrorCode::PermissionDenied`].
    pub fn may_presence(&self, caller: &Caller<'_>, subscribed: bool) -> Result<(), ErrorCode> {
        if !self.options.presence {
            return Err(ErrorCode::NotAvailable);
        }
        self.presence_grant().check(caller, subscribed)
    }

    /// Whether the caller, subscribed or not, may read the channel's history.
    ///
    /// First whether the channel keeps history at all; then as for publishing, by the options for history.
    ///
    /// # Errors
    /// [`ErrorCode::NotAvailable`], [`ErrorCode::PermissionDenied`].
    pub fn may_history(&self, caller: &Caller<'_>, subscribed: bool) -> Result<(), ErrorCode> {
        if !self.options.has_history() {
            return Err(ErrorCode::NotAvailable);
        }
        self.history_grant().check(caller, subscribed)
    }

    /// Whether a subscriber that asks for a watched position gets it: where the channel allows that, or where it
    /// could read the history anyway.
    #[must_use]
    pub fn grants_positioning(&self, caller: &Caller<'_>) -> bool {
        let options = self.options;
        options.has_history() && (options.allow_positioning || self.history_grant().covers(caller, true))
    }

    /// Whether a subscriber that asks for recovery gets it, by the same reasoning.
    #[must_use]
    pub fn grants_recovery(&self, caller: &Caller<'_>) -> bool {
        let options = self.options;
        options.has_history() && (options.allow_recovery || self.history_grant().covers(caller, true))
    }

    /// Whether a subscriber that asks to be told of joins and leaves is told: where they are published, and where
    /// it could ask for presence anyway.
    #[must_use]
    pub fn grants_join_leave(&self, caller: &Caller<'_>) -> bool {
        self.options.join_leave && self.presence_grant().covers(caller, true)
    }

    fn presence_grant(&self) -> Grant {
        let options = self.options;
        Grant {
            client: options.allow_presence_for_client,
            subscriber: options.allow_presence_for_subscriber,
            anonymous: options.allow_presence_for_anonymous,
        }
    }

    fn history_grant(&self) -> Grant {
        let options = self.options;
        Grant {
            client: options.allow_history_for_client,
            subscriber: options.allow_history_for_subscriber,
            anonymous: options.allow_history_for_anonymous,
        }
    }
}
