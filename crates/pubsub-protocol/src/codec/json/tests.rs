//! - `wire`: the very texts, field by field, and which zero values stay
//! - `round_trips`: whatever is written is read back as it was
//! - `hostile`: what nobody should send, and what becomes of it
//! - `familiar`: the short way of reading beside the long one
//! - `scan`: how far a value reaches, beside serde

mod familiar;
mod hostile;
mod round_trips;
mod scan;
mod wire;

use super::super::{DecodeError, Format};
use crate::command::Command;
use crate::reply::Reply;

const JSON: Format = Format::Json;

/// All commands of a message that is in order.
fn commands(message: impl AsRef<[u8]>) -> Vec<Command> {
    JSON.commands(message.as_ref()).collect::<Result<_, _>>().expect("a message in order")
}

/// The only command of a message.
fn command(message: &str) -> Command {
    let [command] = commands(message).try_into().expect("one command");
    command
}

/// The only reply of a message.
fn reply(message: &str) -> Reply {
    let mut replies = JSON.replies(message.as_bytes());
    let reply = replies.next().expect("a reply").unwrap_or_else(|error| panic!("{error} in {message}"));
    assert!(replies.next().is_none());
    reply
}

/// Why the first line of a message is refused.
fn refused(message: impl AsRef<[u8]>) -> DecodeError {
    let mut commands = JSON.commands(message.as_ref());
    let error = match commands.next().expect("every message has a first line") {
        Err(error) => error,
        Ok(command) => panic!("{command:?} should have been refused"),
    };
    assert!(commands.next().is_none(), "there is nothing to read after an error");
    error
}

fn encoded_command(command: &Command) -> String {
    let mut message = Vec::new();
    JSON.encode_command(command, &mut message).expect("its payloads are JSON");
    String::from_utf8(message).expect("JSON is text")
}

fn encoded_reply(reply: &Reply) -> String {
    let mut message = Vec::new();
    JSON.encode_reply(reply, &mut message);
    String::from_utf8(message).expect("JSON is text")
}
