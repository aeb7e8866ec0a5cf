//! Messages to commands, replies to messages: the only room that knows one wire format from another.
//!
//! A *message* is what one WebSocket frame (or one HTTP body) carries: one or more commands, or one or more
//! replies. Protobuf comes later; until then [`Format::Json`] is the only one.

use std::fmt;

use crate::command::Command;
use crate::push::Publication;
use crate::reply::Reply;

mod json;

pub use json::reader::from_slice as object_from_slice;

/// A wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Format {
    /// JSON objects separated by newlines, in text frames.
    #[default]
    Json,
}

/// Publications of one channel in an answer.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The channel, where it is the answer that says which.
    pub channel: Option<&'a str>,
    /// The epoch of their stream.
    pub epoch: &'a str,
    /// In the answer's order, and at least one.
    pub publications: &'a [Publication],
}

/// Why a message can not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing in the message, or an empty line between two commands.
    #[error("empty command")]
    Empty,
    /// Text, but not JSON of the right shape.
    #[error("malformed JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Format {
    /// The commands of one message, in order. After the first error there is nothing more to read.
    #[must_use]
    pub fn commands(self, message: &[u8]) -> Commands<'_> {
        match self {
            Self::Json => Commands(json::Lines::new(message)),
        }
    }

    /// The replies of one message, in order.
    #[must_use]
    pub fn replies(self, message: &[u8]) -> Replies<'_> {
        match self {
            Self::Json => Replies(json::Lines::new(message)),
        }
    }

    /// Appends `reply` alone, with nothing to set it apart from what stands before it: the server sends each
    /// reply in a frame of its own, so that frames can be shared, and `out` may begin with room for a header.
    pub fn encode_reply(self, reply: &Reply, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_reply(reply, out),
        }
    }

    /// The same, but for the publications of a recovery or of a page of history. Where they belong, `lay` either appends them, as
    /// [`encode_publications`](Self::encode_publications) does, or remembers the place and puts them in later.
    pub fn encode_reply_around(self, reply: &Reply, out: &mut Vec<u8>, mut lay: impl FnMut(&mut Vec<u8>, Batch<'_>)) {
        match self {
            Self::Json => json::encode_reply_around(reply, out, &mut lay),
        }
    }

    /// Appends publications as they stand in an answer, whole or a part of it: set apart from those in front of them if there
    /// are any that it `follows`.
    pub fn encode_publications(self, publications: &[Publication], follows: bool, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_publications(publications, follows, out),
        }
    }

    /// Appends `command` to `message`, which may already hold others.
    ///
    /// # Errors
    /// When a payload of the command is not what the format carries.
    pub fn encode_command(self, command: &Command, message: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Json => json::encode_command(command, message),
        }
    }
}

/// Why a command can not be written.
#[derive(Debug, thiserror::Error)]
#[error("the payload is not JSON: {0}")]
pub struct EncodeError(#[from] serde_json::Error);

/// Iterator over the commands of a message; see [`Format::commands`].
pub struct Commands<'a>(json::Lines<'a>);

impl Commands<'_> {
    /// How many bytes of the message have been read so far: a reader that has to pause goes on from there.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.0.consumed()
    }
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(json::decode_command)
    }
}

/// Iterator over the replies of a message; see [`Format::replies`].
pub struct Replies<'a>(json::Lines<'a>);

impl Iterator for Replies<'_> {
    type Item = Result<Reply, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(json::decode_reply)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json => f.write_str("json"),
        }
    }
}
