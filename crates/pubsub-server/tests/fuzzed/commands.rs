//! Any bytes as a message of the client protocol, in either format: what can be read can be written, and means the same then.

use pubsub_protocol::{Command, Format};

/// `data`: one message, of any number of commands.
pub fn check(data: &[u8]) {
    for format in [Format::Json, Format::Protobuf] {
        check_in(format, data);
    }
}

fn check_in(format: Format, data: &[u8]) {
    let mut commands = format.commands(data);
    let mut at = 0;
    while let Some(command) = commands.next() {
        assert!(commands.consumed() >= at && commands.consumed() <= data.len());
        let Ok(command) = command else {
            assert!(commands.next().is_none(), "nothing is read behind what can not be");
            return;
        };
        assert!(commands.consumed() > at, "every command takes some of the message");
        at = commands.consumed();
        round_trip(format, &command);
    }
}

fn round_trip(format: Format, command: &Command) {
    let mut message = Vec::new();
    if format.encode_command(command, &mut message).is_err() {
        return;
    }
    let again: Vec<_> = format.commands(&message).collect();
    assert_eq!(again.len(), 1, "{}", message.escape_ascii());
    let again = again.into_iter().next().unwrap().unwrap_or_else(|e| panic!("{e}: {}", message.escape_ascii()));
    assert_eq!(format!("{again:?}"), format!("{command:?}"), "{}", message.escape_ascii());
}
