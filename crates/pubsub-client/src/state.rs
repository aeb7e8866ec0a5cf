//! The states of a connection and the only ways between them. Pure.

use std::fmt;

/// Where a connection stands.
///
/// ```text
/// Disconnected ─▶ Connecting ─▶ Connected ─▶ Authenticating ─▶ Ready
///                  ▲     │          │  └───────────────────────▲ │
///                  │     ▼          ▼              │             │
///                  └─ Reconnecting{n} ◀────────────┴─────────────┘
///          from any of them: Closing ─▶ Closed, or Closed at once
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// Nothing has been tried yet.
    #[default]
    Disconnected,
    /// The transport is being opened and upgraded to WebSocket.
    Connecting,
    /// Upgraded; nothing has been said yet.
    Connected,
    /// Credentials are on their way, the answer is awaited.
    Authenticating,
    /// In use.
    Ready,
    /// Lost, or never had: waits before the next attempt.
    Reconnecting {
        /// How often it has come to this since the connection was last [`Ready`](Self::Ready); the first time is 1.
        attempt: u32,
    },
    /// Asked to close: what is queued is flushed, the peer's close frame is awaited.
    Closing,
    /// Over, for good.
    Closed,
}

/// What moves a connection from one state to the next.
///
/// ```
/// use pubsub_client::ConnectionState;
/// use pubsub_client::state::Input;
///
/// assert_eq!(ConnectionState::Ready.next(Input::Lost { attempt: 1 }), Ok(ConnectionState::Reconnecting { attempt: 1 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// An attempt begins.
    Dial,
    /// The upgrade succeeded.
    Upgraded,
    /// Credentials were sent.
    AuthSent,
    /// The session is open: authenticated, or no authentication is asked for.
    SessionOpen,
    /// The attempt failed or the connection was lost, and attempt number `attempt` is due.
    Lost {
        /// See [`ConnectionState::Reconnecting`].
        attempt: u32,
    },
    /// The user asked to close.
    Close,
    /// Nothing is left to be done, or nothing can be.
    End,
}

/// A transition that the table does not have. It can only come from a mistake in this crate.
///
/// ```
/// use pubsub_client::ConnectionState;
/// use pubsub_client::state::Input;
///
/// let invalid = ConnectionState::Closed.next(Input::Dial).unwrap_err();
/// assert_eq!(invalid.to_string(), "no way from closed by Dial");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no way from {from} by {input:?}")]
pub struct InvalidTransition {
    /// Where it stood.
    pub from: ConnectionState,
    /// What was put in.
    pub input: Input,
}

impl ConnectionState {
    /// The state after `input`.
    ///
    /// ```
    /// use pubsub_client::ConnectionState;
    /// use pubsub_client::state::Input;
    ///
    /// assert_eq!(ConnectionState::Disconnected.next(Input::Dial), Ok(ConnectionState::Connecting));
    /// assert!(ConnectionState::Ready.next(Input::Dial).is_err());
    /// ```
    ///
    /// # Errors
    /// [`InvalidTransition`] when the table has no such way.
    pub fn next(self, input: Input) -> Result<Self, InvalidTransition> {
        use ConnectionState::{
            Authenticating, Closed, Closing, Connected, Connecting, Disconnected, Ready, Reconnecting,
        };
        let to = match (self, input) {
            (Disconnected | Reconnecting { .. }, Input::Dial) => Connecting,
            (Connecting, Input::Upgraded) => Connected,
            (Connected, Input::AuthSent) => Authenticating,
            (Connected | Authenticating, Input::SessionOpen) => Ready,
            (Connecting | Connected | Authenticating | Ready, Input::Lost { attempt }) => Reconnecting { attempt },
            (Disconnected | Connecting | Connected | Authenticating | Ready | Reconnecting { .. }, Input::Close) => {
                Closing
            }
            // A connection that is lost while it closes has closed.
            (Closing, Input::Lost { .. }) => Closed,
            (Closing, Input::Close) => Closing,
            (Closed, _) => return Err(InvalidTransition { from: self, input }),
            (_, Input::End) => Closed,
            _ => return Err(InvalidTransition { from: self, input }),
        };
        Ok(to)
    }

    /// Whether requests are sent at once rather than queued.
    ///
    /// ```
    /// # use pubsub_client::ConnectionState;
    /// assert!(ConnectionState::Ready.is_ready());
    /// assert!(!ConnectionState::Authenticating.is_ready());
    /// ```
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Whether this is the last state.
    ///
    /// ```
    /// # use pubsub_client::ConnectionState;
    /// assert!(ConnectionState::Closed.is_final());
    /// assert!(!ConnectionState::Reconnecting { attempt: 9 }.is_final());
    /// ```
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Closed)
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("disconnected"),
            Self::Connecting => f.write_str("connecting"),
            Self::Connected => f.write_str("connected"),
            Self::Authenticating => f.write_str("authenticating"),
            Self::Ready => f.write_str("ready"),
            Self::Reconnecting { attempt } => write!(f, "reconnecting (attempt {attempt})"),
            Self::Closing => f.write_str("closing"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionState::*;
    use super::*;

    /// Every pair of state and input, written down a second time: `None` is a way that must not exist.
    #[test]
    fn the_table_has_these_ways_and_no_others() {
        let inputs = [
            Input::Dial,
            Input::Upgraded,
            Input::AuthSent,
            Input::SessionOpen,
            Input::Lost { attempt: 4 },
            Input::Close,
            Input::End,
        ];
        let again = Some(Reconnecting { attempt: 4 });
        #[rustfmt::skip]
        let table = [
            (Disconnected,                [Some(Connecting), None,            None,                 None,        None,         Some(Closing), Some(Closed)]),
            (Connecting,                  [None,             Some(Connected), None,                 None,        again,        Some(Closing), Some(Closed)]),
            (Connected,                   [None,             None,            Some(Authenticating), Some(Ready), again,        Some(Closing), Some(Closed)]),
            (Authenticating,              [None,             None,            None,                 Some(Ready), again,        Some(Closing), Some(Closed)]),
            (Ready,                       [None,             None,            None,                 None,        again,        Some(Closing), Some(Closed)]),
            (Reconnecting { attempt: 3 }, [Some(Connecting), None,            None,                 None,        None,         Some(Closing), Some(Closed)]),
            (Closing,                     [None,             None,            None,                 None,        Some(Closed), Some(Closing), Some(Closed)]),
            (Closed,                      [None,             None,            None,                 None,        None,         None,          None]),
        ];
        for (from, row) in table {
            for (input, to) in inputs.into_iter().zip(row) {
                assert_eq!(from.next(input).ok(), to, "{from} by {input:?}");
            }
        }
    }

    #[test]
    fn a_refused_transition_names_both_sides() {
        assert_eq!(Closed.next(Input::Dial).unwrap_err().to_string(), "no way from closed by Dial");
    }
}
