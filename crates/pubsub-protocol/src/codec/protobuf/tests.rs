//! What is written is read back by prost, which knows nothing of the writer; the very bytes stand here for a few, and
//! the published SDKs read the rest (`tests/sdk`).

use proptest::collection::vec;
use proptest::prelude::*;

use crate::codec::made_up::{commands, payloads, replies};
use crate::codec::{Batch, DecodeError, Format};
use crate::command::{Command, PublishRequest, Request, SendRequest};
use crate::payload::Payload;
use crate::push::{Message, Publication, Push, PushBody};
use crate::reply::{Answer, Reply, SubscribeResult};

const PROTOBUF: Format = Format::Protobuf;

/// A publish has data here, if only nothing.
fn as_read(mut command: Command) -> Command {
    if let Request::Publish(publish) = &mut command.request {
        publish.data.get_or_insert_with(|| Payload::opaque(b""));
    }
    command
}

fn encoded(reply: &Reply) -> Vec<u8> {
    let mut message = Vec::new();
    PROTOBUF.encode_reply(reply, &mut message);
    message
}

/// Why the first command of a message is refused.
fn refused(message: &[u8]) -> DecodeError {
    let mut commands = PROTOBUF.commands(message);
    let error = commands.next().expect("a message has a first command").expect_err("it is to be refused");
    assert!(commands.next().is_none(), "there is nothing to read after an error");
    error
}

proptest! {
    #[test]
    fn commands_come_back_in_order(commands in vec(commands(), 1..6)) {
        let mut message = Vec::new();
        for command in &commands {
            PROTOBUF.encode_command(command, &mut message).unwrap();
        }
        let read: Vec<Command> = PROTOBUF.commands(&message).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, commands.into_iter().map(as_read).collect::<Vec<_>>());
    }

    #[test]
    fn replies_come_back_in_order(replies in vec(replies(), 1..6)) {
        let message: Vec<u8> = replies.iter().flat_map(encoded).collect();
        let read: Vec<Reply> = PROTOBUF.replies(&message).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, replies);
    }

    /// The lengths count what stands elsewhere.
    #[test]
    fn an_answer_is_the_same_with_its_publications_put_in_later(reply in replies()) {
        let (mut around, mut places) = (Vec::new(), Vec::new());
        PROTOBUF.encode_reply_around(&reply, &mut around, |out, batch| {
            let mut bytes = Vec::new();
            for (i, publication) in batch.publications.iter().enumerate() {
                let publications = std::slice::from_ref(publication);
                PROTOBUF.encode_publications(Batch { publications, ..batch }, i > 0, &mut bytes);
            }
            places.push((out.len(), bytes));
        });
        for (place, bytes) in places.into_iter().rev() {
            around.splice(place..place, bytes);
        }
        prop_assert_eq!(around, encoded(&reply));
    }

    #[test]
    fn a_reader_may_pause_after_any_command_and_go_on_from_there(commands in vec(commands(), 1..6)) {
        let (mut message, mut read, mut at) = (Vec::new(), Vec::new(), 0);
        for command in &commands {
            PROTOBUF.encode_command(command, &mut message).unwrap();
        }
        while at < message.len() {
            let mut rest = PROTOBUF.commands(&message[at..]);
            read.push(rest.next().unwrap().unwrap());
            at += rest.consumed();
        }
        prop_assert_eq!(read, commands.into_iter().map(as_read).collect::<Vec<_>>());
    }

    #[test]
    fn whatever_comes_is_read_or_refused(message in vec(any::<u8>(), 0..200)) {
        prop_assert!(PROTOBUF.commands(&message).count() <= message.len().max(1));
        prop_assert!(PROTOBUF.replies(&message).count() <= message.len().max(1));
    }

    /// Anywhere but between two commands.
    #[test]
    fn a_message_that_is_cut_is_refused(command in commands(), cut in any::<proptest::sample::Index>()) {
        let mut message = Vec::new();
        PROTOBUF.encode_command(&command, &mut message).unwrap();
        let cut = cut.index(message.len());
        prop_assert!(PROTOBUF.commands(&message[..cut]).any(|read| read.is_err()));
    }

    /// Whichever format it was published in.
    #[test]
    fn a_payload_of_json_is_the_same_in_both(payload in payloads()) {
        let opaque = Payload::opaque(payload.as_bytes());
        prop_assert_eq!(opaque.json(), payload.json());
    }
}

#[test]
fn these_are_the_bytes() {
    assert_eq!(encoded(&Reply::Ping), b"\x00");
    assert_eq!(encoded(&Reply::Answer { id: 3, outcome: Ok(Answer::Publish) }), b"\x04\x08\x03\x42\x00");
    let publication = Publication {
        data: Payload::opaque(b"\xff\x00"),
        info: None,
        offset: 300,
        tags: [("k".to_owned(), "v".to_owned())].into(),
        epoch: "e".to_owned(),
    };
    let push = Push { channel: "ch".to_owned(), body: PushBody::Publication(publication) };
    let expected = b"\x1a\x22\x18\x12\x02ch\x22\x12\x22\x02\xff\x00\x30\xac\x02\x3a\x06\x0a\x01k\x12\x01v\x72\x01e";
    assert_eq!(encoded(&Reply::Push(push)), expected);

    let publish = PublishRequest { channel: "ch".into(), data: Some(Payload::opaque(b"\x00")), ..Default::default() };
    let mut message = Vec::new();
    PROTOBUF.encode_command(&Command { id: 0, request: Request::Pong }, &mut message).unwrap();
    PROTOBUF.encode_command(&Command { id: 1, request: Request::Publish(publish) }, &mut message).unwrap();
    assert_eq!(message, b"\x00\x0b\x08\x01\x3a\x07\x0a\x02ch\x12\x01\x00");
}

#[test]
fn head_room_is_none_of_its_business() {
    let mut message = vec![0; 10];
    PROTOBUF.encode_reply(&Reply::Ping, &mut message);
    assert_eq!(message, [0; 11]);
}

#[test]
fn what_has_nothing_in_it_is_refused_and_an_empty_command_is_a_pong() {
    assert!(matches!(refused(b""), DecodeError::Empty));
    let pong = Command { id: 0, request: Request::Pong };
    assert_eq!(PROTOBUF.commands(b"\x00").next().unwrap().unwrap(), pong);
    let two: Result<Vec<_>, _> = PROTOBUF.commands(b"\x00\x00").collect();
    assert_eq!(two.unwrap(), [pong.clone(), pong]);
}

#[test]
fn what_is_wrong_is_said() {
    assert!(matches!(refused(b"\x05\x08\x01"), DecodeError::Cut));
    assert!(matches!(refused(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), DecodeError::Cut), "a length beyond all");
    assert!(matches!(refused(&[0xff; 11]), DecodeError::Protobuf(_)), "a number without an end");
    // A channel that is no text, a field of the wrong kind, and a group that nobody ends.
    for message in [&b"\x05\x2a\x03\x0a\x01\xff"[..], b"\x02\x0a\x00", b"\x01\x0b"] {
        let error = refused(message);
        assert!(error.to_string().starts_with("malformed protobuf: "), "{error}");
    }
    assert!(matches!(PROTOBUF.replies(b"\x02\x08\x01").next(), Some(Err(DecodeError::NoOutcome))));
}

#[test]
fn unknown_fields_are_skipped_and_of_several_bodies_the_first_counts() {
    let read = |message: &[u8]| PROTOBUF.commands(message).next().unwrap().unwrap();
    // Field 99 is of the future; the publish (7) stands in front of the subscribe (5).
    let command = read(b"\x11\x08\x01\x3a\x03\x0a\x01p\x2a\x03\x0a\x01s\x9a\x06\x02\x08\x01");
    assert!(matches!(command.request, Request::Subscribe(subscribe) if subscribe.channel == "s"));
    assert_eq!(read(b"\x02\x08\x01").request, Request::Unknown);
    assert_eq!(read(b"\x02\x62\x00"), Command { id: 0, request: Request::Send(SendRequest { data: None }) });
}

#[test]
fn what_is_not_json_reaches_a_json_peer_as_base64() {
    let json = |bytes: &[u8]| {
        let body = PushBody::Message(Message { data: Payload::opaque(bytes) });
        let mut text = Vec::new();
        Format::Json.encode_reply(&Reply::Push(Push { channel: String::new(), body }), &mut text);
        String::from_utf8(text).unwrap()
    };
    let data = |value: &str| format!(r#"{{"push":{{"message":{{"data":{value}}}}}}}"#);
    assert_eq!(json(b"{\"a\":\n1}"), data("{\"a\": 1}"));
    assert_eq!(json(b"\xff\x00"), data(r#""/wA=""#));
    assert_eq!(json(b"1 2"), data(r#""MSAy""#), "two values are none");
    assert_eq!(json(b"{\"a\":\"\xff\"}"), data(r#""eyJhIjoi/yJ9""#), "text that is no UTF-8");
    assert_eq!(json(b""), data("null"));
    let too_deep = "[".repeat(200) + &"]".repeat(200);
    assert!(json(too_deep.as_bytes()).contains(":\"W1tb"), "no reader could take it");
}

/// An answer with ten thousand publications is counted before it is written, once for each message it stands in.
#[test]
fn long_answers_are_counted_right() {
    let publication = |offset| Publication {
        data: Payload::opaque(&[7; 200]),
        info: None,
        offset,
        tags: [].into(),
        epoch: String::new(),
    };
    let publications: Vec<_> = (1..=10_000).map(publication).collect();
    let result = SubscribeResult { publications, recovered: true, ..Default::default() };
    let reply = Reply::Answer { id: 1, outcome: Ok(Answer::Subscribe(result)) };
    let message = encoded(&reply);
    assert_eq!(PROTOBUF.replies(&message).map(Result::unwrap).collect::<Vec<_>>(), [reply]);
}
