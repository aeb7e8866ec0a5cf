//! Every number that a peer sees, in one table each: error, unsubscribe and disconnect codes.
//!
//! A code is advice: come back, subscribe again, or stay away. Server and client read the same tables.

macro_rules! codes {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal, $text:literal;)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in ascending order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u32 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The words beside it, for people.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The entry with this number, if it is one of ours.
            #[must_use]
            pub fn from_code(code: u32) -> Option<Self> {
                Self::ALL.iter().copied().find(|entry| entry.code() == code)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} {}", self.code(), self.message())
            }
        }
    };
}

codes! {
    /// In an error reply: the command failed, the connection lives on (except after `connect`).
    pub enum ErrorCode {
        /// Something broke on the server's side; trying again may help.
        Internal = 100, "internal server error";
        /// Who you are was not shown.
        Unauthorized = 101, "unauthorized";
        /// The channel's namespace is not configured.
        UnknownChannel = 102, "unknown channel";
        /// You may not do that in this channel.
        PermissionDenied = 103, "permission denied";
        /// There is a handler for calls, but not for this method.
        MethodNotFound = 104, "method not found";
        /// This connection is subscribed to the channel already.
        AlreadySubscribed = 105, "already subscribed";
        /// A limit of the connection is reached, as that of its subscriptions.
        LimitExceeded = 106, "limit exceeded";
        /// The command can not be right: a name too long, no data, an impossible range.
        BadRequest = 107, "bad request";
        /// The channel or the server does not offer it.
        NotAvailable = 108, "not available";
        /// The token was good once: get a new one.
        TokenExpired = 109, "token expired";
        /// What was to be refreshed has expired.
        Expired = 110, "expired";
        /// Slow down; trying again later will help.
        TooManyRequests = 111, "too many requests";
        /// The position asked for is gone.
        UnrecoverablePosition = 112, "unrecoverable position";
        /// Two paginations at once; trying again will help.
        ConcurrentPagination = 113, "concurrent pagination";
    }
}

impl ErrorCode {
    /// Whether the same command may succeed later.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests | Self::ConcurrentPagination)
    }
}

codes! {
    /// In an unsubscribe push: the server ended one subscription, the connection lives on.
    pub enum UnsubscribeCode {
        /// The server's application ended it. Final.
        Server = 2000, "server unsubscribe";
        /// The position was lost. Subscribe again at once and recover.
        Insufficient = 2500, "insufficient state";
        /// The subscription's token ran out. Get a new one and subscribe again.
        Expired = 2501, "subscription expired";
        /// Token and position no longer hold. Drop both and subscribe again.
        StateInvalidated = 2502, "state invalidated";
    }
}

codes! {
    /// In a close frame (or disconnect push): the server ended the connection.
    pub enum DisconnectCode {
        /// The server goes down in good order.
        Shutdown = 3001, "shutdown";
        /// Something broke on the server's side.
        ServerError = 3004, "internal server error";
        /// The connection's token ran out and was not refreshed.
        Expired = 3005, "connection expired";
        /// A server-side subscription ran out.
        SubExpired = 3006, "subscription expired";
        /// More waits to be sent than the connection may hold back: it reads too slowly.
        Slow = 3008, "slow";
        /// Nothing could be written for too long.
        WriteError = 3009, "write error";
        /// The position of a server-side subscription was lost.
        InsufficientState = 3010, "insufficient state";
        /// The server's application wants it to come back.
        ForceReconnect = 3011, "force reconnect";
        /// A ping went unanswered.
        NoPong = 3012, "no pong";
        /// Too many commands in too little time.
        TooManyRequests = 3013, "too many requests";
        /// Token and positions no longer hold. Drop them and come back.
        StateInvalidated = 3014, "state invalidated";
        /// The token is not one of ours.
        InvalidToken = 3500, "invalid token";
        /// What was sent breaks the protocol.
        BadRequest = 3501, "bad request";
        /// No successful connect command in time.
        Stale = 3502, "stale";
        /// The server's application ended it.
        ForceDisconnect = 3503, "force disconnect";
        /// The user has too many connections.
        ConnectionLimit = 3504, "connection limit";
        /// More server-side subscriptions than a connection may have.
        ChannelLimit = 3505, "channel limit";
        /// A format that the server does not speak.
        InappropriateProtocol = 3506, "inappropriate protocol";
        /// You may not do that.
        PermissionDenied = 3507, "permission denied";
        /// The server does not offer it.
        NotAvailable = 3508, "not available";
        /// Too many refused commands.
        TooManyErrors = 3509, "too many errors";
    }
}

/// WebSocket's own close codes that the server sends or expects (RFC 6455, 7.4.1).
pub mod close {
    /// The purpose was fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The end point goes away.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the WebSocket protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// A kind of data that the end point can not take.
    pub const UNSUPPORTED_DATA: u16 = 1003;
    /// Text that is not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// A message larger than the end point takes. Some SDKs treat it as final.
    pub const MESSAGE_TOO_BIG: u16 = 1009;
    /// Never sent: the connection ended without a close frame.
    pub const ABNORMAL: u16 = 1006;
}

/// Whether a client should come back after the connection ended with this close code.
///
/// 3500–3999 and 4500–4999 are final, and so is 1009: the same message would be too big again. Everything
/// else, plain WebSocket codes and a lost connection among it, is worth another attempt.
#[must_use]
pub const fn should_reconnect(close_code: u32) -> bool {
    !matches!(close_code, 3500..=3999 | 4500..=4999 | 1009)
}

/// Whether a client should subscribe again after an unsubscribe push with this code.
#[must_use]
pub const fn should_resubscribe(unsubscribe_code: u32) -> bool {
    unsubscribe_code >= 2500
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CLOSE_REASON_BYTES_MAX;

    #[test]
    fn every_number_is_listed_once_and_found_again() {
        for pair in DisconnectCode::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code());
        }
        for &code in DisconnectCode::ALL {
            assert_eq!(DisconnectCode::from_code(code.code()), Some(code));
            assert!(code.message().len() <= CLOSE_REASON_BYTES_MAX);
        }
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(code));
        }
        assert_eq!(ErrorCode::from_code(99), None);
    }

    #[test]
    fn the_ranges_say_who_comes_back() {
        for (code, back) in [
            (1000, true),
            (1006, true),
            (1009, false),
            (3001, true),
            (3499, true),
            (3500, false),
            (3999, false),
            (4000, true),
            (4499, true),
            (4500, false),
            (4999, false),
            (5000, true),
        ] {
            assert_eq!(should_reconnect(code), back, "{code}");
        }
        assert!(!should_resubscribe(2000) && !should_resubscribe(2499) && should_resubscribe(2500));
    }
}
