//! Each sentence of RFC 6455 that a frame can break, kept and broken.

use super::*;

const ROLES: [Role; 2] = [Role::Server, Role::Client];
const MESSAGES: [Opcode; 2] = [Opcode::Text, Opcode::Binary];
const CONTROLS: [Opcode; 3] = [Opcode::Close, Opcode::Ping, Opcode::Pong];

fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    frame_to(Role::Server, opcode, fin, payload)
}

/// What our server sees of these frames.
fn seen(frames: &[Vec<u8>]) -> Vec<Seen> {
    let (seen, violation) = decode_both_ways(Role::Server, LIMIT, &frames.concat());
    assert_eq!(violation, None, "after {seen:?}");
    seen
}

/// How our server refuses these frames, of which it sees nothing else.
fn refused(frames: &[Vec<u8>]) -> Violation {
    let (seen, violation) = decode_both_ways(Role::Server, LIMIT, &frames.concat());
    assert_eq!(seen, [], "before {violation:?}");
    violation.expect("this breaks a rule")
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

// 5.7: the examples that the RFC itself gives.

#[test]
fn the_examples_of_the_rfc_are_understood() {
    let client = |bytes: &[u8]| decode_both_ways(Role::Client, LIMIT, bytes);
    let hello = || (vec![text("Hello")], None);
    assert_eq!(client(&[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]), hello());
    assert_eq!(client(&[0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]), hello());
    assert_eq!(client(&[0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]), (vec![Seen::Ping(b"Hello".to_vec())], None));

    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode_both_ways(Role::Server, LIMIT, &masked), hello());
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode_both_ways(Role::Server, LIMIT, &pong), (vec![Seen::Pong(b"Hello".to_vec())], None));

    for (header, len) in [(&[0x82, 0x7E, 0x01, 0x00][..], 256), (&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], 65536)] {
        let binary = vec![0xAB; len];
        assert_eq!(client(&[header, &binary].concat()), (vec![Seen::Binary(binary)], None));
    }
}

// 5.2: the base framing.

#[test]
fn every_length_survives_in_its_shortest_form() {
    for len in [0, 1, 7, 8, 9, 124, 125, 126, 127, 128, 255, 256, 65_534, 65_535, 65_536, 65_537, 300_000] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        for role in ROLES {
            let bytes = frame_to(role, Opcode::Binary, true, &payload);
            let (seen, violation) = decode_chunks(role, LIMIT, [&bytes[..]]);
            assert_eq!((seen, violation), (vec![Seen::Binary(payload.clone())], None), "{len} bytes");
        }
    }
}

#[test]
fn reserved_bits_are_refused_in_every_kind_of_frame() {
    for first in 0..=255_u8 {
        let reserved = first >> 4 & 0b111;
        if reserved != 0 {
            let violation = refused(&[vec![first, 0x80, 0, 0, 0, 0]]);
            assert_eq!(violation, Violation::ReservedBits(reserved), "{first:#x}");
            assert_eq!(violation.close_code(), 1002);
        }
    }
}

#[test]
fn reserved_opcodes_are_refused_with_and_without_fin() {
    for bits in (3..=7).chain(11..=15) {
        for fin in [0, 0x80] {
            let violation = refused(&[vec![fin | bits, 0x80, 0, 0, 0, 0]]);
            assert_eq!(violation, Violation::ReservedOpcode(bits));
            assert_eq!(violation.close_code(), 1002);
        }
    }
}

#[test]
fn each_role_insists_on_its_masking() {
    for (role, wrong, expected) in
        [(Role::Server, Role::Client, Violation::Unmasked), (Role::Client, Role::Server, Violation::Masked)]
    {
        for opcode in MESSAGES.into_iter().chain(CONTROLS) {
            for len in [0, 2, 100] {
                let bytes = frame_to(wrong, opcode, true, &vec![3; len]);
                assert_eq!(decode_both_ways(role, LIMIT, &bytes), (vec![], Some(expected)));
            }
        }
        assert_eq!(expected.close_code(), 1002);
    }
}

#[test]
fn a_key_of_zeros_is_a_mask_like_any_other() {
    let mut bytes = Vec::new();
    encode_frame(Opcode::Text, b"plain", Some([0; 4]), true, &mut bytes);
    assert_eq!(seen(&[bytes]), [text("plain")]);
}

#[test]
fn a_length_in_a_longer_form_than_needed_is_refused() {
    for (length, bytes) in [
        (0, vec![0x82, 0xFE, 0, 0]),
        (125, vec![0x82, 0xFE, 0, 125]),
        (0, vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0]),
        (125, vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0, 125]),
        (65_535, vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]),
    ] {
        let violation = refused(&[bytes]);
        assert_eq!(violation, Violation::LengthNotMinimal(length));
        assert_eq!(violation.close_code(), 1002);
    }
}

#[test]
fn the_top_bit_of_a_length_is_refused() {
    for top in [0x80, 0xFF] {
        let violation = refused(&[vec![0x82, 0xFF, top, 0, 0, 0, 0, 0, 0, 1]]);
        assert_eq!(violation, Violation::LengthTopBit);
        assert_eq!(violation.close_code(), 1002);
    }
}

// 5.4: fragmentation.

#[test]
fn fragments_become_one_message_of_the_first_ones_kind() {
    for pieces in [vec!["", ""], vec!["a", ""], vec!["", "a"], vec!["frag", "ment", "", "s"]] {
        for opcode in MESSAGES {
            let last = pieces.len() - 1;
            let frames: Vec<_> = pieces
                .iter()
                .enumerate()
                .map(|(i, piece)| {
                    frame(if i == 0 { opcode } else { Opcode::Continuation }, i == last, piece.as_bytes())
                })
                .collect();
            let whole = pieces.concat();
            let expected = match opcode {
                Opcode::Text => Seen::Text(whole),
                _ => Seen::Binary(whole.into_bytes()),
            };
            assert_eq!(seen(&frames), [expected]);
        }
    }
}

#[test]
fn control_frames_come_between_fragments_and_are_seen_first() {
    let frames = [
        frame(Opcode::Text, false, b"one "),
        frame(Opcode::Ping, true, b"p"),
        frame(Opcode::Continuation, false, b"two "),
        frame(Opcode::Pong, true, &[7; 125]),
        frame(Opcode::Ping, true, b""),
        frame(Opcode::Continuation, true, b"three"),
        frame(Opcode::Text, true, b"next"),
    ];
    assert_eq!(
        seen(&frames),
        [Seen::Ping(b"p".to_vec()), Seen::Pong(vec![7; 125]), Seen::Ping(vec![]), text("one two three"), text("next")]
    );
}

#[test]
fn a_close_frame_ends_a_fragmented_message_too() {
    let frames = [frame(Opcode::Text, false, b"one "), frame(Opcode::Close, true, &close_payload(1000, "bye"))];
    assert_eq!(seen(&frames), [Seen::Close(Some((1000, "bye".to_owned())))]);
}

#[test]
fn a_continuation_needs_something_to_continue() {
    for fin in [false, true] {
        let violation = refused(&[frame(Opcode::Continuation, fin, b"x")]);
        assert_eq!(violation, Violation::UnexpectedContinuation);
        assert_eq!(violation.close_code(), 1002);
        // After a message that is complete there is nothing to continue either.
        for begun in [
            frame(Opcode::Text, true, b"x"),
            [frame(Opcode::Text, false, b"x"), frame(Opcode::Continuation, true, b"")].concat(),
        ] {
            let (seen, violation) =
                decode_both_ways(Role::Server, LIMIT, &[begun, frame(Opcode::Continuation, fin, b"x")].concat());
            assert_eq!((seen, violation), (vec![text("x")], Some(Violation::UnexpectedContinuation)));
        }
    }
}

#[test]
fn a_new_message_may_not_begin_inside_a_fragmented_one() {
    for first in MESSAGES {
        for second in MESSAGES {
            for fin in [false, true] {
                let violation = refused(&[frame(first, false, b"x"), frame(second, fin, b"y")]);
                assert_eq!(violation, Violation::InterruptedMessage);
                assert_eq!(violation.close_code(), 1002);
            }
        }
    }
}

// 5.5: control frames.

#[test]
fn control_frames_are_never_fragmented() {
    for opcode in CONTROLS {
        let violation = refused(&[frame(opcode, false, b"")]);
        assert_eq!(violation, Violation::FragmentedControl);
        assert_eq!(violation.close_code(), 1002);
    }
}

#[test]
fn control_frames_carry_125_bytes_and_not_one_more() {
    assert_eq!(seen(&[frame(Opcode::Ping, true, &[1; 125])]), [Seen::Ping(vec![1; 125])]);
    assert_eq!(seen(&[frame(Opcode::Pong, true, &[1; 125])]), [Seen::Pong(vec![1; 125])]);
    let longest = "r".repeat(123);
    let close = frame(Opcode::Close, true, &close_payload(1000, &longest));
    assert_eq!(seen(&[close]), [Seen::Close(Some((1000, longest)))]);

    for opcode in CONTROLS {
        for len in [126, 65_535, 65_536] {
            let violation = refused(&[frame(opcode, true, &vec![1; len])]);
            assert_eq!(violation, Violation::OversizeControl);
            assert_eq!(violation.close_code(), 1002);
        }
    }
}

#[test]
fn a_control_frame_is_not_measured_by_the_limit_of_messages() {
    let frames = [
        frame(Opcode::Text, false, b"four"),
        frame(Opcode::Ping, true, &[1; 125]),
        frame(Opcode::Continuation, true, b""),
    ];
    let (seen, violation) = decode_both_ways(Role::Server, 4, &frames.concat());
    assert_eq!((seen, violation), (vec![Seen::Ping(vec![1; 125]), text("four")], None));
}

// 5.5.1 and 7: closing.

#[test]
fn a_close_frame_says_nothing_or_a_code_or_a_code_and_a_reason() {
    assert_eq!(seen(&[frame(Opcode::Close, true, b"")]), [Seen::Close(None)]);
    assert_eq!(seen(&[frame(Opcode::Close, true, &[3, 232])]), [Seen::Close(Some((1000, String::new())))]);
    let payload = close_payload(3501, "schlechte Anfrage – κόσμε");
    assert_eq!(
        seen(&[frame(Opcode::Close, true, &payload)]),
        [Seen::Close(Some((3501, "schlechte Anfrage – κόσμε".to_owned())))]
    );
}

#[test]
fn half_a_close_code_is_refused() {
    let violation = refused(&[frame(Opcode::Close, true, &[3])]);
    assert_eq!(violation, Violation::CloseTruncated);
    assert_eq!(violation.close_code(), 1002);
}

#[test]
fn close_codes_that_must_not_travel_are_refused() {
    let valid = |code: u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for code in (0..=u16::MAX).filter(|code| *code < 6000 || code % 997 == 0 || *code == u16::MAX) {
        let bytes = frame(Opcode::Close, true, &code.to_be_bytes());
        let (seen, violation) = decode_chunks(Role::Server, LIMIT, [&bytes[..]]);
        if valid(code) {
            assert_eq!((seen, violation), (vec![Seen::Close(Some((code, String::new())))], None));
        } else {
            assert_eq!((seen, violation), (vec![], Some(Violation::CloseCodeInvalid(code))));
        }
    }
    assert_eq!(Violation::CloseCodeInvalid(1005).close_code(), 1002);
    // Those that certification suites try by name.
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
        assert!(!is_valid_close_code(code), "{code}");
    }
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        assert!(is_valid_close_code(code), "{code}");
    }
}

#[test]
fn a_close_reason_is_utf8() {
    for reason in [&b"\xff"[..], b"\xc3", b"ab\xed\xa0\x80"] {
        let violation = refused(&[frame(Opcode::Close, true, &[&[3, 232], reason].concat())]);
        assert_eq!(violation, Violation::CloseReasonNotUtf8);
        assert_eq!(violation.close_code(), 1007);
    }
}

#[test]
fn nothing_counts_after_a_close_frame() {
    let frames = [
        frame(Opcode::Text, true, b"before"),
        frame(Opcode::Close, true, &[3, 232]),
        frame(Opcode::Ping, true, b"after"),
        vec![0xFF; 40],
    ];
    assert_eq!(seen(&frames), [text("before"), Seen::Close(Some((1000, String::new())))]);
}

#[test]
fn nothing_counts_after_a_violation() {
    for bad in [vec![0xF0, 0x80], frame(Opcode::Text, true, b"\xff"), frame(Opcode::Close, true, b"\0\0")] {
        let mut decoder = Decoder::new(Role::Server, LIMIT);
        let mut seen = vec![];
        feed(&mut decoder, &bad, &mut seen).unwrap_err();
        feed(&mut decoder, &frame(Opcode::Ping, true, b"after"), &mut seen).unwrap();
        assert_eq!(seen, []);
        assert_eq!(decoder.heap_bytes(), 0);
    }
}

// 10.4: limits of our own.

#[test]
fn a_message_above_the_limit_is_refused_by_its_header() {
    for opcode in MESSAGES {
        let within = frame(opcode, true, &[b'a'; 200]);
        assert_eq!(decode_both_ways(Role::Server, 200, &within).0.len(), 1);
        // Two bytes of header, two of length: neither mask nor payload is needed to know.
        let above = &frame(opcode, true, &[b'a'; 201])[..4];
        let expected = Violation::MessageTooBig { bytes: 201, bytes_max: 200 };
        assert_eq!(decode_both_ways(Role::Server, 200, above), (vec![], Some(expected)));
        assert_eq!(expected.close_code(), 1009);
    }
    let huge = [0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    let expected = Violation::MessageTooBig { bytes: (1 << 63) - 1, bytes_max: u32::MAX };
    assert_eq!(decode_both_ways(Role::Server, usize::MAX, &huge), (vec![], Some(expected)));
}

#[test]
fn fragments_above_the_limit_together_are_refused_by_the_header_that_shows_it() {
    for (first, second, fits) in [(200, 0, true), (150, 50, true), (0, 200, true), (150, 51, false), (200, 1, false)] {
        for fin in [false, true] {
            let begun = frame(Opcode::Binary, false, &vec![1; first]);
            let more = frame(Opcode::Continuation, fin, &vec![1; second]);
            let (_, violation) = decode_both_ways(Role::Server, 200, &[begun, more[..2].to_vec()].concat());
            let expected = Violation::MessageTooBig { bytes: (first + second) as u64, bytes_max: 200 };
            assert_eq!(violation, if fits { None } else { Some(expected) }, "{first} + {second}");
        }
    }
}

#[test]
fn a_limit_of_zero_still_lets_empty_messages_pass() {
    assert_eq!(decode_both_ways(Role::Server, 0, &frame(Opcode::Text, true, b"")), (vec![text("")], None));
    assert_eq!(
        decode_both_ways(Role::Server, 0, &frame(Opcode::Text, true, b"x")).1,
        Some(Violation::MessageTooBig { bytes: 1, bytes_max: 0 })
    );
}

// 8.1: UTF-8.

const NOT_UTF8: [&[u8]; 11] = [
    b"\x80",                 // a continuation byte alone
    b"\xc3(",                // a second byte that is none
    b"\xc0\xaf",             // a slash in two bytes
    b"\xe0\x80\xaf",         // in three
    b"\xf0\x80\x80\xaf",     // in four
    b"\xed\xa0\x80",         // half of a surrogate pair
    b"\xed\xbf\xbf",         // the other half
    b"\xf4\x90\x80\x80",     // one above U+10FFFF
    b"\xf5\x80\x80\x80",     // far above
    b"\xfe",                 // never in UTF-8
    b"\xce\xba\xcf\x8c\xff", // good first, bad then
];

#[test]
fn text_that_is_not_utf8_is_refused_and_binary_is_not() {
    for bad in NOT_UTF8 {
        for (before, after) in [("", ""), ("κόσμε", ""), ("", "κόσμε"), ("a".repeat(100).as_str(), "z")] {
            let payload = [before.as_bytes(), bad, after.as_bytes()].concat();
            let violation = refused(&[frame(Opcode::Text, true, &payload)]);
            assert_eq!(violation, Violation::TextNotUtf8);
            assert_eq!(violation.close_code(), 1007);
            assert_eq!(seen(&[frame(Opcode::Binary, true, &payload)]), [Seen::Binary(payload)]);
        }
    }
}

#[test]
fn a_character_may_be_cut_by_fragments_anywhere() {
    let message = "aß–𝄞\u{10FFFF}\u{0}\u{D7FF}\u{E000}z";
    for cut in 0..=message.len() {
        for again in cut..=message.len() {
            let bytes = message.as_bytes();
            let frames = [
                frame(Opcode::Text, false, &bytes[..cut]),
                frame(Opcode::Continuation, false, &bytes[cut..again]),
                frame(Opcode::Ping, true, b"\xff"),
                frame(Opcode::Continuation, true, &bytes[again..]),
            ];
            assert_eq!(seen(&frames), [Seen::Ping(b"\xff".to_vec()), text(message)], "cut at {cut} and {again}");
        }
    }
}

#[test]
fn text_may_not_end_inside_a_character() {
    for unfinished in ["ß", "–", "𝄞"] {
        for len in 1..unfinished.len() {
            let bytes = &unfinished.as_bytes()[..len];
            assert_eq!(refused(&[frame(Opcode::Text, true, bytes)]), Violation::TextNotUtf8);
            for split in 0..=len {
                let frames = [
                    frame(Opcode::Text, false, &bytes[..split]),
                    frame(Opcode::Continuation, false, &bytes[split..]),
                    frame(Opcode::Continuation, true, b""),
                ];
                assert_eq!(refused(&frames), Violation::TextNotUtf8);
            }
        }
    }
}

#[test]
fn text_fails_with_the_byte_that_spoils_it_long_before_its_end() {
    for bad in NOT_UTF8 {
        // The first byte after which no continuation helps, according to the standard library.
        let spoilt = (1..=bad.len())
            .find(|&len| std::str::from_utf8(&bad[..len]).is_err_and(|error| error.error_len().is_some()))
            .expect("each of them is spoilt before its end");
        let payload = [b"good so far ", bad, &[b'z'; 1000]].concat();
        for fin in [false, true] {
            let bytes = frame(Opcode::Text, fin, &payload);
            let header = bytes.len() - payload.len();
            let mut decoder = Decoder::new(Role::Server, LIMIT);
            let mut seen = vec![];
            let before = header + 12 + spoilt - 1;
            for byte in &bytes[..before] {
                feed(&mut decoder, &[*byte], &mut seen).unwrap();
            }
            let violation = feed(&mut decoder, &bytes[before..=before], &mut seen).unwrap_err();
            assert_eq!((violation, seen), (Violation::TextNotUtf8, vec![]), "{bad:x?}");
        }
    }
}

// Encoding.

#[test]
fn the_builder_puts_the_same_frame_behind_its_head_room() {
    for len in [0, 1, 125, 126, 65_535, 65_536] {
        for capacity in [0, len] {
            let payload = vec![b'x'; len];
            let mut builder = FrameBuilder::with_capacity(capacity);
            builder.payload_mut().extend_from_slice(&payload);
            assert_eq!(builder.payload_bytes(), len);
            let (bytes, start) = builder.finish(Opcode::Text);
            assert_eq!(bytes[start..], frame_to(Role::Client, Opcode::Text, true, &payload));
        }
    }
}

#[test]
fn a_frame_is_appended_behind_others() {
    let mut out = b"before".to_vec();
    encode_frame(Opcode::Pong, b"pong", Some(KEY), true, &mut out);
    assert_eq!(out[..6], *b"before");
    assert_eq!(seen(&[out[6..].to_vec()]), [Seen::Pong(b"pong".to_vec())]);
}

#[test]
fn a_close_reason_is_cut_between_two_characters() {
    for (reason, kept) in [
        ("r".repeat(124), 123),
        ("ß".repeat(62), 122),
        (format!("{}𝄞", "r".repeat(119)), 123),
        (format!("{}𝄞", "r".repeat(120)), 120),
        (format!("{}𝄞", "r".repeat(122)), 122),
    ] {
        let payload = close_payload(3008, &reason);
        assert_eq!(payload[..2], 3008_u16.to_be_bytes());
        assert_eq!(std::str::from_utf8(&payload[2..]), Ok(&reason[..kept]));
        assert_eq!(
            seen(&[frame(Opcode::Close, true, &payload)]),
            [Seen::Close(Some((3008, reason[..kept].to_owned())))]
        );
    }
}
