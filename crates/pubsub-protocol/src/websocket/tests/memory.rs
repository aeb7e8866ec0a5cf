//! What is kept, for how long, and never more.

use super::*;

/// What a decoder with something unfinished holds, besides the bytes themselves.
pub(super) const KEPT_BYTES: usize = 56;

fn server() -> Decoder {
    Decoder::new(Role::Server, LIMIT)
}

fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    frame_to(Role::Server, opcode, fin, payload)
}

#[test]
fn an_idle_decoder_is_sixteen_bytes() {
    assert_eq!(size_of::<Decoder>(), 16);
    assert_eq!(server().heap_bytes(), 0);
}

#[test]
fn a_whole_frame_is_handed_out_where_it_lies() {
    for opcode in [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Pong, Opcode::Close] {
        let payload = close_payload(1000, "in place");
        let payload = if opcode == Opcode::Text { b"in place" } else { &payload[..] };
        let mut input = frame(opcode, true, payload);
        let header = input.len() - payload.len();
        let bounds = input.as_ptr_range();
        let mut decoder = server();
        let decoded = decoder.decode(&mut input).unwrap();
        assert_eq!(decoded.consumed, header + payload.len());
        let data = match decoded.event.unwrap() {
            Event::Message { data, .. } | Event::Ping(data) | Event::Pong(data) => data,
            Event::Close(close) => close.unwrap().reason.as_bytes(),
        };
        assert!(bounds.contains(&data.as_ptr()), "{opcode:?} was copied");
        assert_eq!(decoder.heap_bytes(), 0);
    }
}

#[test]
fn a_whole_frame_after_half_a_header_is_handed_out_where_it_lies() {
    let bytes = frame(Opcode::Binary, true, &[7; 300]);
    for cut in 1..8 {
        let mut decoder = server();
        assert_eq!(decoder.decode(&mut bytes[..cut].to_vec()).unwrap(), Decoded { consumed: cut, event: None });
        assert_eq!(decoder.heap_bytes(), KEPT_BYTES, "a header, and no payload");
        let mut rest = bytes[cut..].to_vec();
        let bounds = rest.as_ptr_range();
        let Some(Event::Message { data, .. }) = decoder.decode(&mut rest).unwrap().event else { panic!("no message") };
        assert!(bounds.contains(&data.as_ptr()));
        assert_eq!(decoder.heap_bytes(), 0);
    }
}

#[test]
fn what_a_header_announces_is_not_allocated() {
    let limit = 1 << 30;
    for fin in [false, true] {
        let mut decoder = Decoder::new(Role::Server, limit);
        let mut seen = vec![];
        let header = frame_header(Opcode::Binary, fin, limit, Some(KEY));
        feed(&mut decoder, header.as_bytes(), &mut seen).unwrap();
        assert_eq!(decoder.heap_bytes(), KEPT_BYTES);
        let mut came = 0;
        for chunk in [1, 1, 10, 100, 1000, 5, 100_000] {
            feed(&mut decoder, &vec![0; chunk], &mut seen).unwrap();
            came += chunk;
            let heap = decoder.heap_bytes();
            assert!((came + KEPT_BYTES..=2 * came + KEPT_BYTES).contains(&heap), "{heap} bytes for {came} that came");
        }
    }
}

#[test]
fn space_never_grows_past_the_end_of_the_message_or_the_limit() {
    let bytes = frame(Opcode::Binary, true, &[1; 1000]);
    let mut decoder = server();
    feed(&mut decoder, &bytes[..900], &mut vec![]).unwrap();
    feed(&mut decoder, &bytes[900..1000], &mut vec![]).unwrap();
    assert_eq!(decoder.heap_bytes(), KEPT_BYTES + 1000, "the frame says that nothing follows it");

    let mut decoder = Decoder::new(Role::Server, 1100);
    feed(&mut decoder, &frame(Opcode::Binary, false, &[1; 1000]), &mut vec![]).unwrap();
    feed(&mut decoder, &frame(Opcode::Continuation, false, &[1; 50]), &mut vec![]).unwrap();
    assert_eq!(decoder.heap_bytes(), KEPT_BYTES + 1100, "twice the space would be beyond the limit");
}

#[test]
fn nothing_is_kept_once_a_message_is_done_with() {
    let fragmented = [
        frame(Opcode::Text, false, &[b'a'; 10_000]),
        frame(Opcode::Ping, true, b"between"),
        frame(Opcode::Continuation, true, &[b'b'; 10_000]),
    ]
    .concat();
    for message in [frame(Opcode::Text, true, &[b'a'; 10_000]), frame(Opcode::Ping, true, b"ping"), fragmented] {
        for cut in [1, 3, 7, 9, message.len() / 2, message.len() - 1] {
            let mut decoder = server();
            let mut seen = vec![];
            feed(&mut decoder, &message[..cut], &mut seen).unwrap();
            assert!(decoder.is_mid_message());
            assert_ne!(decoder.heap_bytes(), 0);
            feed(&mut decoder, &message[cut..], &mut seen).unwrap();
            assert!(!decoder.is_mid_message());
            assert_eq!(decoder.heap_bytes(), 0, "after {seen:?}");
        }
    }
}

#[test]
fn a_message_that_was_handed_out_is_not_under_way() {
    let mut bytes = frame(Opcode::Text, true, b"handed out of the box");
    let (first, rest) = bytes.split_at_mut(10);
    let mut decoder = server();
    feed(&mut decoder, first, &mut vec![]).unwrap();
    assert!(decoder.decode(rest).unwrap().event.is_some());
    assert_ne!(decoder.heap_bytes(), 0, "the event may be looked at until the next call");
    assert!(!decoder.is_mid_message());
    decoder.decode(&mut []).unwrap();
    assert_eq!(decoder.heap_bytes(), 0);
}

#[test]
fn nothing_is_kept_after_a_violation_or_a_close_frame() {
    let begun = frame(Opcode::Text, false, &[b'a'; 1000]);
    for bad in [frame(Opcode::Text, true, b"x"), frame(Opcode::Continuation, true, b"\xff")] {
        let mut decoder = server();
        feed(&mut decoder, &begun, &mut vec![]).unwrap();
        feed(&mut decoder, &bad, &mut vec![]).unwrap_err();
        assert_eq!(decoder.heap_bytes(), 0);
    }
    for close in [vec![], close_payload(1000, "bye")] {
        let close = frame(Opcode::Close, true, &close);
        for cut in 0..close.len() {
            let mut decoder = server();
            let mut seen = vec![];
            feed(&mut decoder, &begun, &mut seen).unwrap();
            feed(&mut decoder, &close[..cut], &mut seen).unwrap();
            feed(&mut decoder, &close[cut..], &mut seen).unwrap();
            assert_eq!(seen.len(), 1);
            assert_eq!(decoder.heap_bytes(), 0);
        }
    }
}

#[test]
fn a_flood_of_control_frames_inside_a_message_keeps_nothing_of_them() {
    let mut decoder = server();
    let mut seen = vec![];
    feed(&mut decoder, &frame(Opcode::Binary, false, &[1; 1000]), &mut seen).unwrap();
    let ping = frame(Opcode::Ping, true, &[2; 125]);
    for _ in 0..1000 {
        feed(&mut decoder, &ping[..60], &mut seen).unwrap();
        feed(&mut decoder, &ping[60..], &mut seen).unwrap();
    }
    assert!(decoder.heap_bytes() <= KEPT_BYTES + 1000 + 125);
    feed(&mut decoder, &frame(Opcode::Continuation, true, &[1; 500]), &mut seen).unwrap();
    assert_eq!(seen.len(), 1001);
    assert_eq!(seen[1000], Seen::Binary(vec![1; 1500]));
}

#[test]
fn a_message_in_single_bytes_is_not_copied_over_and_over() {
    // Space doubles: seventeen steps to 100,000 bytes. One step per fragment would be a way to burn our CPU.
    let mut decoder = server();
    let mut steps = 0;
    let mut before = 0;
    for i in 0..100_000 {
        let opcode = if i == 0 { Opcode::Binary } else { Opcode::Continuation };
        feed(&mut decoder, &frame(opcode, false, b"x"), &mut vec![]).unwrap();
        steps += usize::from(decoder.heap_bytes() != before);
        before = decoder.heap_bytes();
    }
    assert!(steps <= 18, "grew {steps} times");
}
