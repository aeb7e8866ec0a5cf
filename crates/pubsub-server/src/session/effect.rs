//! What a session wants done, in order.

use std::sync::Arc;

use pubsub_protocol::push::{Push, PushBody, Unsubscribe};
use pubsub_protocol::reply::{Answer, ErrorReply, SubscribeResult};
use pubsub_protocol::{DisconnectCode, ErrorCode, Reply, UnsubscribeCode};

use super::operation::Operation;
use super::subscriptions::Subscription;

/// Something to do for a session.
#[derive(Debug)]
pub enum Effect {
    /// Send the answer to a command.
    Answer {
        /// The command's id.
        id: u32,
        /// Name of the command, for metrics.
        method: &'static str,
        /// The channel, where the answer may have publications of it.
        channel: Option<Arc<str>>,
        /// What to answer.
        outcome: Result<Answer, ErrorReply>,
    },
    /// Send something that was not asked for.
    Push(Reply),
    /// Tell of a subscription that the server made: a push, and behind it what was recovered. It has to come whole, as an answer
    /// does that a client has asked for.
    Begun {
        /// The channel.
        channel: Arc<str>,
        /// What to tell.
        result: SubscribeResult,
    },
    /// Send a ping of the protocol, or of WebSocket.
    Ping {
        /// By WebSocket's own ping frame.
        native: bool,
    },
    /// Have the node do something and bring back what comes of it.
    Run(Operation),
    /// A subscription is answered: live publications after this position are for it.
    Activate {
        /// The channel.
        channel: Arc<str>,
        /// Number of the subscription.
        join: u64,
        /// Offset and epoch tag up to which its answer speaks.
        after: Option<(u64, u64)>,
    },
    /// A subscription is over: take it out of the channel, and out of presence.
    End(Subscription),
    /// Close the connection.
    Close(Close),
}

/// How to close a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The close code.
    pub code: u16,
    /// The reason, for people.
    pub reason: String,
}

impl Close {
    /// Any code and reason, as the server API gives them.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl From<DisconnectCode> for Close {
    fn from(code: DisconnectCode) -> Self {
        Self::new(u16::try_from(code.code()).expect("disconnect codes have four digits"), code.message())
    }
}

impl Effect {
    pub(super) fn answer(id: u32, method: &'static str, answer: Answer) -> Self {
        Self::Answer { id, method, channel: None, outcome: Ok(answer) }
    }

    pub(super) fn answer_about(channel: Arc<str>, id: u32, method: &'static str, answer: Answer) -> Self {
        Self::Answer { id, method, channel: Some(channel), outcome: Ok(answer) }
    }

    pub(super) fn error(id: u32, method: &'static str, code: ErrorCode) -> Self {
        Self::Answer { id, method, channel: None, outcome: Err(code.into()) }
    }

    pub(super) fn unsubscribe(channel: &str, code: UnsubscribeCode) -> Self {
        Self::unsubscribe_with(channel, code.code(), code.message())
    }

    pub(super) fn unsubscribe_with(channel: &str, code: u32, reason: &str) -> Self {
        let body = PushBody::Unsubscribe(Unsubscribe { code, reason: reason.to_owned() });
        Self::Push(Reply::Push(Push { channel: channel.to_owned(), body }))
    }
}

/// How a command ended before anything was done: an answer, or the end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An error reply.
    Error(ErrorCode),
    /// The connection closes.
    Close(DisconnectCode),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<DisconnectCode> for Refusal {
    fn from(code: DisconnectCode) -> Self {
        Self::Close(code)
    }
}
