//! What nobody should send, and what becomes of it: an error that says why, never a panic, never more than the message.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::{JSON, command, commands, encoded_command, encoded_reply, refused};
use crate::codec::DecodeError;
use crate::codec::made_up::{commands as made_up_commands, replies as made_up_replies};
use crate::command::{Command, Request};

// Lines.

#[test]
fn an_empty_message_or_line_is_refused_and_a_trailing_newline_is_not() {
    for message in ["", "\n", "\n{}"] {
        assert!(matches!(refused(message), DecodeError::Empty), "{message:?}");
    }
    assert_eq!(commands("{}").len(), 1);
    assert_eq!(commands("{}\n").len(), 1);
    assert_eq!(commands("{}\n{}\n").len(), 2);
    assert_eq!(commands("{}\r\n{}\r\n").len(), 2);

    for (message, good) in [("{}\n\n", 1), ("{}\n\n{}", 1), ("{}\n{}\n\n\n", 2)] {
        let mut commands = JSON.commands(message.as_bytes());
        for _ in 0..good {
            assert!(commands.next().unwrap().is_ok());
        }
        assert!(matches!(commands.next(), Some(Err(DecodeError::Empty))), "{message:?}");
        assert!(commands.next().is_none());
    }
}

#[test]
fn a_line_of_blanks_is_not_an_empty_line_but_no_json_either() {
    for message in [" ", "\t", "\r", " \n{}"] {
        assert!(matches!(refused(message), DecodeError::Json(_)), "{message:?}");
    }
}

#[test]
fn nothing_is_read_after_the_first_error() {
    let message = b"{\"id\":1,\"rpc\":{}}\n{]\n{\"id\":2,\"rpc\":{}}";
    let mut commands = JSON.commands(message);
    assert_eq!(commands.next().unwrap().unwrap().id, 1);
    assert!(commands.next().unwrap().is_err());
    assert!(commands.next().is_none());
    assert!(commands.next().is_none());
}

#[test]
fn a_reader_may_pause_after_any_command_and_go_on_from_there() {
    let message = b"{\"id\":1,\"rpc\":{}}\n{}\n{\"id\":3,\"rpc\":{}}\n";
    let mut ids = vec![];
    let mut at = 0;
    while at < message.len() {
        let mut commands = JSON.commands(&message[at..]);
        ids.push(commands.next().unwrap().unwrap().id);
        at += commands.consumed();
    }
    assert_eq!(ids, [1, 0, 3]);
    assert_eq!(at, message.len());
}

// Shapes.

#[test]
fn only_an_object_is_a_command_or_a_body_or_a_part_of_one() {
    for line in [
        "[]",
        "[1]",
        "[{}]",
        "0",
        "1",
        "\"{}\"",
        "true",
        "null",
        "nul",
        "{",
        "}",
        "{}}",
        "{}{}",
        "{} x",
        "{]",
        "{,}",
        "{\"id\"}",
        "{\"id\":}",
        "{\"id\":1,}",
        "{id:1}",
        "{'id':1}",
        "// {}",
        "\u{feff}{}",
        "{\"id\":01}",
        r#"{"id":1,"rpc":[]}"#,
        r#"{"id":1,"rpc":""}"#,
        r#"{"id":1,"rpc":true}"#,
        r#"{"id":1,"rpc":[1,"add"]}"#,
        r#"{"id":1,"connect":{"subs":[]}}"#,
        r#"{"id":1,"connect":{"subs":{"a":[]}}}"#,
        r#"{"id":1,"history":{"since":[5,"e"]}}"#,
        r#"{"id":1,"history":{"reverse":1}}"#,
        r#"{"id":1,"subscribe":{"channel":1}}"#,
        r#"{"id":1,"subscribe":{"channel":["a"]}}"#,
        r#"{"id":1,"subscribe":{"recover":"true"}}"#,
        r#"{"id":1,"connect":{"headers":{"a":1}}}"#,
        r#"{"id":1,"rpc":{"data":}}"#,
        r#"{"id":1,"rpc":{"data":nan}}"#,
        r#"{"id":1,"rpc":{"data":01}}"#,
        r#"{"id":1,"rpc":{"data":[1,]}}"#,
        r#"{"id":1,"rpc":{"data":"\x"}}"#,
        r#"{"id":1,"rpc":{"method":"\ud800"}}"#,
    ] {
        let error = refused(line);
        assert!(matches!(error, DecodeError::Json(_)), "{line}: {error:?}");
        let message = error.to_string();
        assert!(message.starts_with("malformed JSON: ") && message.contains("line 1 column"), "{message}");
    }
    for line in ["[]", "null", "0", "\"\"", "[{}]"] {
        assert!(JSON.replies(line.as_bytes()).next().unwrap().is_err(), "{line}");
    }
}

#[test]
fn a_field_given_twice_is_refused_since_readers_differ_on_which_one_counts() {
    for line in [
        r#"{"id":1,"id":1}"#,
        r#"{"id":1,"rpc":{},"rpc":{}}"#,
        r#"{"id":1,"publish":{"channel":"mine","channel":"yours"}}"#,
        r#"{"id":1,"publish":{"data":1,"data":2}}"#,
        r#"{"id":1,"history":{"since":{"offset":1,"offset":2}}}"#,
        r#"{"id":1,"connect":{"subs":{"a":{"offset":1,"offset":2}}}}"#,
    ] {
        assert!(refused(line).to_string().contains("duplicate field"), "{line}");
    }
    // The same key spelt with an escape is the same key.
    assert!(
        refused(r#"{"id":1,"publish":{"channel":"mine","ch\u0061nnel":"yours"}}"#).to_string().contains("duplicate")
    );
    // What we do not read may say what it likes.
    assert_eq!(command(r#"{"later":1,"later":2}"#).request, Request::Pong);
}

#[test]
fn a_payload_with_a_field_given_twice_is_passed_on_as_it_is() {
    let Request::Rpc(rpc) = command(r#"{"id":1,"rpc":{"data":{"a":1,"a":2}}}"#).request else { panic!("rpc") };
    assert_eq!(rpc.data.unwrap().as_bytes(), br#"{"a":1,"a":2}"#);
}

// Numbers.

#[test]
fn numbers_out_of_range_are_refused_not_rounded() {
    for id in ["-1", "4294967296", "1.0", "1e0", "1e999999", "18446744073709551616", "\"1\"", "true", "-0.0"] {
        let line = format!(r#"{{"id":{id},"rpc":{{}}}}"#);
        assert!(matches!(refused(&line), DecodeError::Json(_)), "{line}");
    }
    for (field, bad) in [
        ("offset", &["-1", "1.5", "18446744073709551616", "1e3"][..]),
        ("flag", &["9223372036854775808", "0.5"]),
        ("type", &["2147483648", "-2147483649"]),
    ] {
        for number in bad {
            let line = format!(r#"{{"id":1,"subscribe":{{"{field}":{number}}}}}"#);
            assert!(matches!(refused(&line), DecodeError::Json(_)), "{line}");
        }
    }
    let line = r#"{"id":4294967295,"subscribe":{"offset":18446744073709551615,"flag":-9223372036854775808,"type":-2147483648}}"#;
    let Command { id: u32::MAX, request: Request::Subscribe(subscribe) } = command(line) else { panic!("subscribe") };
    assert_eq!((subscribe.offset, subscribe.flag, subscribe.kind), (u64::MAX, i64::MIN, i32::MIN));
}

#[test]
fn a_number_of_a_hundred_thousand_digits_costs_its_length() {
    let digits = "9".repeat(100_000);
    assert!(matches!(refused(format!(r#"{{"id":{digits}}}"#)), DecodeError::Json(_)));
    for number in [digits.clone(), format!("-{digits}.{digits}e-{digits}")] {
        let Request::Send(send) = command(&format!(r#"{{"send":{{"data":{number}}}}}"#)).request else {
            panic!("send")
        };
        assert_eq!(send.data.unwrap().as_bytes(), number.as_bytes());
        assert_eq!(command(&format!(r#"{{"later":{number}}}"#)).request, Request::Pong);
    }
}

// Depth.

/// Runs on a stack far too small for a recursion as deep as the message.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 * 1024).spawn(run).expect("a thread").join().expect("no panic");
}

#[test]
fn depth_costs_no_stack() {
    const DEPTH: usize = 500_000;
    on_a_small_stack(|| {
        let lists = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
        let objects = r#"{"a":"#.repeat(DEPTH) + "1" + &"}".repeat(DEPTH);
        for deep in [lists, objects] {
            // Passed on, passed over, refused where something else was due; and cut off in the middle of each.
            for (line, fine) in [
                (format!(r#"{{"send":{{"data":{deep}}}}}"#), true),
                (format!(r#"{{"later":{deep}}}"#), true),
                (format!(r#"{{"id":1,"connect":{{"subs":{{"a":{{"later":{deep}}}}}}}}}"#), true),
                (format!(r#"{{"id":1,"rpc":{{"method":{deep}}}}}"#), false),
                (format!(r#"{{"id":{deep}}}"#), false),
                (deep.clone(), deep.starts_with('{')),
            ] {
                let decoded = JSON.commands(line.as_bytes()).next().unwrap();
                assert_eq!(decoded.is_ok(), fine, "{}…", &line[..40]);
                let cut = &line.as_bytes()[..line.len() / 2];
                assert!(JSON.commands(cut).next().unwrap().is_err(), "{}…", &line[..40]);
                if let Ok(command) = decoded {
                    let mut again = vec![];
                    JSON.encode_command(&command, &mut again).unwrap();
                }
                _ = JSON.replies(line.as_bytes()).next().unwrap();
            }
            let Request::Send(send) = command(&format!(r#"{{"send":{{"data":{deep}}}}}"#)).request else { panic!() };
            let error = send.data.unwrap().parse::<Value>().expect_err("whoever reads a payload stops at some depth");
            assert!(error.to_string().contains("recursion limit"), "{error}");
        }
    });
}

// Text.

#[test]
fn bytes_that_are_not_utf8_are_refused_wherever_they_would_be_kept() {
    for line in [
        &b"{\"id\":1,\"rpc\":{\"method\":\"\xff\"}}"[..],
        b"{\"id\":1,\"rpc\":{\"data\":\"\xff\"}}",
        b"{\"id\":1,\"rpc\":{\"data\":{\"\xc3\":1}}}",
        b"{\"id\":1,\"connect\":{\"subs\":{\"\xed\xa0\x80\":{}}}}",
        b"\xff",
    ] {
        assert!(matches!(refused(line), DecodeError::Json(_)));
    }
}

#[test]
fn control_characters_are_refused_bare_and_accepted_escaped() {
    for control in (0..0x20_u8).filter(|&control| control != b'\n') {
        for line in [
            [&b"{\"id\":1,\"rpc\":{\"method\":\""[..], &[control], b"\"}}"].concat(),
            [&b"{\"id\":1,\"rpc\":{\"data\":\""[..], &[control], b"\"}}"].concat(),
        ] {
            assert!(matches!(refused(line), DecodeError::Json(_)), "{control:#x}");
        }
        let line = format!(r#"{{"id":1,"rpc":{{"method":"\u{control:04x}"}}}}"#);
        let Request::Rpc(rpc) = command(&line).request else { panic!("rpc") };
        assert_eq!(rpc.method.as_bytes(), [control]);
    }
}

// Chance.

/// One edit of a text that was in order: most stay near enough to JSON to get past the first byte.
fn edits() -> impl Strategy<Value = (Index, u8, u8)> {
    let byte = prop_oneof![proptest::sample::select(&b"{}[]\",:\\\n0-9e.ntf"[..]).boxed(), any::<u8>().boxed(),];
    (any::<Index>(), 0..4_u8, byte)
}

fn edited(mut text: Vec<u8>, edits: &[(Index, u8, u8)]) -> Vec<u8> {
    for (at, kind, byte) in edits {
        if text.is_empty() {
            break;
        }
        let at = at.index(text.len());
        match kind {
            0 => text[at] = *byte,
            1 => text.insert(at, *byte),
            2 => drop(text.remove(at)),
            _ => text.truncate(at),
        }
    }
    text
}

/// Reads to the end, and holds the readers to what they promise whatever they are given.
fn read_to_the_end(message: &[u8]) -> Result<(), TestCaseError> {
    let mut commands = JSON.commands(message);
    let mut consumed = 0;
    let mut failed = false;
    while let Some(command) = commands.next() {
        prop_assert!(!failed, "something after an error");
        prop_assert!(commands.consumed() > consumed || message.is_empty());
        consumed = commands.consumed();
        match command {
            Ok(command) => prop_assert_eq!(super::command(&encoded_command(&command)), command),
            Err(_) => failed = true,
        }
    }
    prop_assert!(failed || consumed == message.len());

    for reply in JSON.replies(message).map_while(Result::ok) {
        prop_assert_eq!(super::reply(&encoded_reply(&reply)), reply);
    }
    Ok(())
}

proptest! {
    #[test]
    fn garbage_is_read_to_an_end(message in vec(any::<u8>(), 0..200)) {
        read_to_the_end(&message)?;
    }

    #[test]
    fn commands_gone_bad_are_read_to_an_end(
        command in made_up_commands(), edits in vec(edits(), 1..4),
    ) {
        read_to_the_end(&edited(encoded_command(&command).into_bytes(), &edits))?;
    }

    #[test]
    fn replies_gone_bad_are_read_to_an_end(
        reply in made_up_replies(), edits in vec(edits(), 1..4),
    ) {
        read_to_the_end(&edited(encoded_reply(&reply).into_bytes(), &edits))?;
    }
}
