//! Messages to commands, replies to messages: the only room that knows one wire format from another.
//!
//! A *message* is what one WebSocket frame (or one HTTP body) carries: one or more commands, or one or more
//! replies.

use std::fmt;

use crate::command::Command;
use crate::push::Publication;
use crate::reply::Reply;

mod json;
#[cfg(test)]
mod made_up;
mod protobuf;

pub use json::reader::from_slice as object_from_slice;

/// A wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// JSON objects separated by newlines, in text frames.
    #[default]
    Json,
    /// Protobuf messages, each behind its length, in binary frames.
    Protobuf,
}

/// Publications of one channel in an answer.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The channel, where it is the answer that says which.
    pub channel: Option<&'a str>,
    /// The epoch of their stream.
    pub epoch: &'a str,
    /// The number in front of each, in a format that has numbers there: it differs between answers.
    pub field: u32,
    /// In the answer's order, and at least one.
    pub publications: &'a [Publication],
}

/// What puts a batch in its place; see [`Format::encode_reply_around`].
type Lay<'l> = &'l mut dyn FnMut(&mut Vec<u8>, Batch<'_>);

/// Why a message can not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing in the message, or an empty line between two commands.
    #[error("empty command")]
    Empty,
    /// A reply to a command that says neither what came of it nor what was wrong.
    #[error("a reply with an id but neither error nor result")]
    NoOutcome,
    /// Text, but not JSON of the right shape.
    #[error("malformed JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Bytes, but not protobuf of the right shape.
    #[error("malformed protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A message of protobuf that is longer than what is there.
    #[error("the message ends in the middle of a command")]
    Cut,
}

impl Format {
    /// The commands of one message, in order. After the first error there is nothing more to read.
    #[must_use]
    pub fn commands(self, message: &[u8]) -> Commands<'_> {
        Commands(Parts { format: self, message, at: 0, done: false })
    }

    /// The replies of one message, in order.
    #[must_use]
    pub fn replies(self, message: &[u8]) -> Replies<'_> {
        Replies(Parts { format: self, message, at: 0, done: false })
    }

    /// Appends `reply` alone, with nothing to set it apart from what stands before it: the server sends each
    /// reply in a frame of its own, so that frames can be shared, and `out` may begin with room for a header.
    pub fn encode_reply(self, reply: &Reply, out: &mut Vec<u8>) {
        self.encode_reply_around(reply, out, |out, batch| self.encode_publications(batch, false, out));
    }

    /// The same, but for the publications of a recovery or of a page of history. Where they belong, `lay` either appends them, as
    /// [`encode_publications`](Self::encode_publications) does, or remembers the place and puts them in later.
    pub fn encode_reply_around(self, reply: &Reply, out: &mut Vec<u8>, mut lay: impl FnMut(&mut Vec<u8>, Batch<'_>)) {
        match self {
            Self::Json => json::encode_reply_around(reply, out, &mut lay),
            Self::Protobuf => protobuf::encode_reply_around(reply, out, &mut lay),
        }
    }

    /// Appends publications as they stand in an answer, whole or a part of it: set apart from those in front of them if there
    /// are any that it `follows`.
    pub fn encode_publications(self, batch: Batch<'_>, follows: bool, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_publications(batch.publications, follows, out),
            Self::Protobuf => protobuf::encode_publications(batch, out),
        }
    }

    /// Appends `command` to `message`, which may already hold others.
    ///
    /// # Errors
    /// When a payload of the command is not what the format carries.
    pub fn encode_command(self, command: &Command, message: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Json => json::encode_command(command, message),
            Self::Protobuf => {
                protobuf::encode_command(command, message);
                Ok(())
            }
        }
    }

    /// The first part of what is left of a message, and how many bytes of it are read with that.
    fn split(self, rest: &[u8]) -> Result<(&[u8], usize), DecodeError> {
        match self {
            _ if rest.is_empty() => Err(DecodeError::Empty),
            Self::Json => Ok(json::split(rest)),
            Self::Protobuf => protobuf::split(rest),
        }
    }
}

/// Why a command can not be written.
#[derive(Debug, thiserror::Error)]
#[error("the payload is not JSON: {0}")]
pub struct EncodeError(#[from] serde_json::Error);

/// The commands or replies of a message, one after the other.
struct Parts<'a> {
    format: Format,
    message: &'a [u8],
    at: usize,
    done: bool,
}

impl Parts<'_> {
    fn next_with<T>(
        &mut self,
        decode: impl FnOnce(Format, &[u8]) -> Result<T, DecodeError>,
    ) -> Option<Result<T, DecodeError>> {
        if self.done {
            return None;
        }
        let decoded = self.format.split(&self.message[self.at..]).and_then(|(part, read)| {
            self.at += read;
            decode(self.format, part)
        });
        self.done = decoded.is_err() || self.at == self.message.len();
        Some(decoded)
    }
}

/// Iterator over the commands of a message; see [`Format::commands`].
pub struct Commands<'a>(Parts<'a>);

impl Commands<'_> {
    /// How many bytes of the message have been read so far: a reader that has to pause goes on from there.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.0.at
    }
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(|format, part| match format {
            Format::Json => json::decode_command(part),
            Format::Protobuf => protobuf::decode_command(part),
        })
    }
}

/// Iterator over the replies of a message; see [`Format::replies`].
pub struct Replies<'a>(Parts<'a>);

impl Iterator for Replies<'_> {
    type Item = Result<Reply, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(|format, part| match format {
            Format::Json => json::decode_reply(part),
            Format::Protobuf => protobuf::decode_reply(part),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        })
    }
}
