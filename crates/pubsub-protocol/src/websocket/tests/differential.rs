//! An independent implementation, tungstenite, reads what we write, writes what we read, and refuses what we refuse.
//!
//! Where we differ, on purpose:
//!
//! | | here | tungstenite |
//! |---|---|---|
//! | a length in a longer form than needed | 1002 (RFC 6455, 5.2: "the minimal number of bytes MUST be used") | taken |
//! | a close code that must not travel | 1002 | handed out as if it had been 1002 |
//! | close code 1014, registered after the RFC | taken | as one that must not travel |
//! | when a frame is refused | with the byte that breaks the rule | most often with the frame's last byte |
//! | text that can no longer become UTF-8 | refused inside a frame | with the end of the fragment |
//! | several rules broken in one header | the first in order of the bytes | opcode, size and mask first |

use std::io::{self, Read, Write};

use proptest::prelude::*;
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader as TheirHeader};
use tungstenite::protocol::{Message, Role as TheirRole, WebSocket, WebSocketConfig};

use super::conversation::{Said, conversations, encode, expected, roles};
use super::cuts::damage;
use super::*;

/// What came in and is yet to be read; what was written.
#[derive(Debug, Default)]
struct Wire {
    incoming: io::Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(role: Role, limit: usize, incoming: Vec<u8>) -> WebSocket<Wire> {
    let wire = Wire { incoming: io::Cursor::new(incoming), written: vec![] };
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit.max(125)));
    let role = match role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    WebSocket::from_raw_socket(wire, role, Some(config))
}

/// What they see, up to the first refusal or the close frame.
fn they_see(role: Role, limit: usize, incoming: Vec<u8>) -> (Vec<Seen>, Option<Error>) {
    let mut socket = theirs(role, limit, incoming);
    let mut seen = vec![];
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Message::Close(frame)) => {
                seen.push(Seen::Close(frame.map(|frame| (frame.code.into(), frame.reason.to_string()))));
                return (seen, None);
            }
            Ok(Message::Frame(_)) => unreachable!("raw frames are only ever written"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, None),
            Err(error) => return (seen, Some(error)),
        }
    }
}

fn their_opcode(opcode: Opcode) -> OpCode {
    match opcode {
        Opcode::Continuation => OpCode::Data(Data::Continue),
        Opcode::Text => OpCode::Data(Data::Text),
        Opcode::Binary => OpCode::Data(Data::Binary),
        Opcode::Close => OpCode::Control(Control::Close),
        Opcode::Ping => OpCode::Control(Control::Ping),
        Opcode::Pong => OpCode::Control(Control::Pong),
    }
}

fn their_frame(said: &Said) -> Frame {
    let header = TheirHeader { is_final: said.fin, opcode: their_opcode(said.opcode), ..TheirHeader::default() };
    Frame::from_payload(header, said.payload.clone().into())
}

#[test]
fn headers_are_the_same_byte_for_byte() {
    for opcode in [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong] {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 31, 1 << 40] {
            for mask in [None, Some(KEY)] {
                for is_final in [false, true] {
                    let header = TheirHeader { is_final, opcode: their_opcode(opcode), mask, ..TheirHeader::default() };
                    let mut expected = vec![];
                    header.format(len as u64, &mut expected).unwrap();
                    assert_eq!(frame_header(opcode, is_final, len, mask).as_bytes(), expected);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn they_see_what_we_say(role in roles(), conversation in conversations()) {
        let (seen, refused) = they_see(role, LIMIT, encode(&conversation, role));
        prop_assert!(refused.is_none(), "{:?}", refused);
        prop_assert_eq!(seen, expected(&conversation));
    }

    #[test]
    fn we_see_what_they_say(role in roles(), conversation in conversations()) {
        let their_role = match role { Role::Server => Role::Client, Role::Client => Role::Server };
        let mut socket = theirs(their_role, LIMIT, vec![]);
        for said in &conversation {
            socket.write(Message::Frame(their_frame(said))).unwrap();
        }
        socket.flush().unwrap();
        let bytes = &socket.get_ref().written;
        if role == Role::Client {
            prop_assert_eq!(bytes, &encode(&conversation, role), "without masks there is one way to say it");
        }
        prop_assert_eq!(decode_chunks(role, LIMIT, [&bytes[..]]), (expected(&conversation), None));
    }

    #[test]
    fn they_refuse_what_we_refuse(role in roles(), conversation in conversations(), damage in damage()) {
        let limit = 60_000;
        let mut bytes = damage.done_to(&conversation, role);
        let (ours, violation) = decode_chunks(role, limit, [&bytes[..]]);
        if violation.is_some() {
            // They want to have the frame complete before they judge it.
            bytes.resize(bytes.len() + limit + HEADER_BYTES_MAX, 0);
        }
        let (mut theirs, refused) = they_see(role, limit, bytes);
        match violation {
            Some(Violation::LengthNotMinimal(_)) => theirs.truncate(ours.len()),
            // In a control frame the longer form alone is oversize, before the length is read.
            Some(Violation::OversizeControl) if refused.is_none() => theirs.truncate(ours.len()),
            // If the reason is no good either, they say so.
            Some(Violation::CloseCodeInvalid(_)) if matches!(refused, Some(Error::Utf8(_))) => {}
            Some(Violation::CloseCodeInvalid(_)) => {
                let instead = Seen::Close(Some((1002, "Protocol violation".to_owned())));
                prop_assert_eq!(theirs.pop(), Some(instead));
            }
            Some(violation) => prop_assert!(refused.is_some(), "only we refuse: {}", violation),
            None => prop_assert!(refused.is_none(), "only they refuse: {:?}", refused),
        }
        let ours: Vec<_> = ours.into_iter().map(as_they_read_it).collect();
        prop_assert_eq!(ours, theirs);
    }
}

/// They do not know 1014.
fn as_they_read_it(seen: Seen) -> Seen {
    match seen {
        Seen::Close(Some((1014, _))) => Seen::Close(Some((1002, "Protocol violation".to_owned()))),
        seen => seen,
    }
}

/// One rule broken by these bytes: what we say of it, and what they say.
struct Broken {
    role: Role,
    bytes: Vec<u8>,
    ours: Violation,
    theirs: fn(&Error) -> bool,
}

macro_rules! protocol {
    ($error:pat) => {
        |error| matches!(error, Error::Protocol($error))
    };
}

#[test]
fn each_single_broken_rule_is_called_the_same() {
    let server = |frames: &[(Opcode, bool, &[u8])]| -> Vec<u8> {
        frames.iter().flat_map(|(opcode, fin, payload)| frame_to(Role::Server, *opcode, *fin, payload)).collect()
    };
    let to_server = |bytes, ours, theirs| Broken { role: Role::Server, bytes, ours, theirs };
    let table = [
        to_server(
            vec![0xC1, 0x80, 0, 0, 0, 0],
            Violation::ReservedBits(4),
            protocol!(ProtocolError::NonZeroReservedBits),
        ),
        to_server(
            vec![0x83, 0x80, 0, 0, 0, 0],
            Violation::ReservedOpcode(3),
            protocol!(ProtocolError::InvalidOpcode(3)),
        ),
        to_server(
            vec![0x8F, 0x80, 0, 0, 0, 0],
            Violation::ReservedOpcode(15),
            protocol!(ProtocolError::InvalidOpcode(15)),
        ),
        to_server(
            server(&[(Opcode::Ping, false, b"")]),
            Violation::FragmentedControl,
            protocol!(ProtocolError::FragmentedControlFrame),
        ),
        to_server(
            server(&[(Opcode::Pong, true, &[0; 126])]),
            Violation::OversizeControl,
            protocol!(ProtocolError::ControlFrameTooBig),
        ),
        to_server(vec![0x81, 0], Violation::Unmasked, protocol!(ProtocolError::UnmaskedFrameFromClient)),
        Broken {
            role: Role::Client,
            bytes: vec![0x81, 0x80, 1, 2, 3, 4],
            ours: Violation::Masked,
            theirs: protocol!(ProtocolError::MaskedFrameFromServer),
        },
        to_server(
            server(&[(Opcode::Continuation, true, b"")]),
            Violation::UnexpectedContinuation,
            protocol!(ProtocolError::UnexpectedContinueFrame),
        ),
        to_server(
            server(&[(Opcode::Text, false, b""), (Opcode::Text, true, b"")]),
            Violation::InterruptedMessage,
            protocol!(ProtocolError::ExpectedFragment(_)),
        ),
        to_server(
            server(&[(Opcode::Close, true, b"\x03")]),
            Violation::CloseTruncated,
            protocol!(ProtocolError::InvalidCloseSequence),
        ),
        to_server(server(&[(Opcode::Close, true, b"\x03\xe8\xff")]), Violation::CloseReasonNotUtf8, |error| {
            matches!(error, Error::Utf8(_))
        }),
        to_server(server(&[(Opcode::Text, true, b"\xff")]), Violation::TextNotUtf8, |error| {
            matches!(error, Error::Utf8(_))
        }),
        to_server(
            server(&[(Opcode::Text, false, b"\xe2\x80"), (Opcode::Continuation, true, b"")]),
            Violation::TextNotUtf8,
            |error| matches!(error, Error::Utf8(_)),
        ),
        to_server(
            server(&[(Opcode::Binary, true, &[0; 1001])]),
            Violation::MessageTooBig { bytes: 1001, bytes_max: 1000 },
            |error| matches!(error, Error::Capacity(CapacityError::MessageTooLong { size: 1001, max_size: 1000 })),
        ),
        to_server(
            server(&[(Opcode::Binary, false, &[0; 600]), (Opcode::Continuation, true, &[0; 600])]),
            Violation::MessageTooBig { bytes: 1200, bytes_max: 1000 },
            |error| matches!(error, Error::Capacity(CapacityError::MessageTooLong { size: 1200, max_size: 1000 })),
        ),
        // They do not look at the top bit by itself: no limit is that high.
        to_server(vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Violation::LengthTopBit, |error| {
            matches!(error, Error::Capacity(_))
        }),
    ];
    for Broken { role, bytes, ours, theirs } in table {
        assert_eq!(decode_both_ways(role, 1000, &bytes), (vec![], Some(ours)));
        let (seen, refused) = they_see(role, 1000, bytes);
        assert_eq!(seen, []);
        assert!(refused.as_ref().is_some_and(theirs), "we: {ours:?}, they: {refused:?}");
    }
}

#[test]
fn where_we_differ_we_differ_as_documented() {
    let longer_than_needed = [0x82, 0x7E, 0, 1, 9];
    assert_eq!(decode_both_ways(Role::Client, LIMIT, &longer_than_needed).1, Some(Violation::LengthNotMinimal(1)));
    assert_eq!(they_see(Role::Client, LIMIT, longer_than_needed.to_vec()).0, [Seen::Binary(vec![9])]);

    for code in (0..6000).chain([u16::MAX]) {
        let bytes = frame_to(Role::Client, Opcode::Close, true, &code.to_be_bytes());
        assert_eq!(CloseCode::from(code).is_allowed(), is_valid_close_code(code) && code != 1014, "{code}");
        if !is_valid_close_code(code) {
            assert_eq!(decode_chunks(Role::Client, LIMIT, [&bytes[..]]).1, Some(Violation::CloseCodeInvalid(code)));
            let (seen, refused) = they_see(Role::Client, LIMIT, bytes);
            assert_eq!(seen, [Seen::Close(Some((1002, "Protocol violation".to_owned())))]);
            assert!(refused.is_none());
        }
    }

    // The bad byte is there, the end of its frame is not.
    let spoilt = &frame_to(Role::Server, Opcode::Text, true, b"\xff and more")[..7];
    assert_eq!(decode_both_ways(Role::Server, LIMIT, spoilt).1, Some(Violation::TextNotUtf8));
    assert!(they_see(Role::Server, LIMIT, spoilt.to_vec()).1.is_none(), "they wait for more");
}
