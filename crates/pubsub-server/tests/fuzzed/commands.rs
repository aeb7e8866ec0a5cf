//! Any bytes as a message of the client protocol: what can be read can be written, and means the same then.

use pubsub_protocol::{Command, Format};

/// `data`: one message, of any number of commands.
pub fn check(data: &[u8]) {
    let mut commands = Format::Json.commands(data);
    let mut at = 0;
    while let Some(command) = commands.next() {
        assert!(commands.consumed() > at || data.is_empty(), "every command takes some of the message");
        at = commands.consumed();
        assert!(at <= data.len());
        let Ok(command) = command else {
            assert!(commands.next().is_none(), "nothing is read behind what can not be");
            return;
        };
        round_trip(&command);
    }
}

fn round_trip(command: &Command) {
    let mut message = Vec::new();
    if Format::Json.encode_command(command, &mut message).is_err() {
        return;
    }
    let again: Vec<_> = Format::Json.commands(&message).collect();
    assert_eq!(again.len(), 1, "{}", message.escape_ascii());
    let again = again.into_iter().next().unwrap().unwrap_or_else(|e| panic!("{e}: {}", message.escape_ascii()));
    assert_eq!(format!("{again:?}"), format!("{command:?}"), "{}", message.escape_ascii());
}
