//! Pings and pongs; and everything in a header that is reserved, missing, or not in its only form.

use crate::case::Case;
use crate::frame::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT, binary, ping, pong, text};
use crate::wire::run;

#[tokio::test]
async fn every_ping_is_answered_with_its_payload_and_pongs_are_taken_as_they_come() {
    let mut many = Case::new("ten pings at once are answered one by one");
    for i in 0..10 {
        many = many.sends(&ping(format!("payload {i}"))).gets(pong(format!("payload {i}")));
    }
    run(
        1 << 16,
        vec![
            Case::new("ping without payload").sends(&ping("")).gets(pong("")),
            Case::new("ping with text").sends(&ping("Hello")).gets(pong("Hello")),
            Case::new("ping with bytes that are not UTF-8")
                .sends(&ping(b"\0\xff\xfe\x80"))
                .gets(pong(b"\0\xff\xfe\x80")),
            Case::new("ping of 125 bytes").sends(&ping([0xFE; 125])).gets(pong([0xFE; 125])),
            many,
            Case::new("pong that nobody asked for").sends(&pong("")),
            Case::new("pong with payload that nobody asked for").sends(&pong("unsolicited")),
            Case::new("pongs around a ping").sends(&pong("1")).sends(&ping("2")).sends(&pong("3")).gets(pong("2")),
        ],
    )
    .await;
}

#[tokio::test]
async fn control_frames_are_short_and_whole() {
    let mut cases = Vec::new();
    for opcode in [CLOSE, PING, PONG] {
        for length in [126, 127, 65_535, 65_536] {
            let name = format!("control frame {opcode} of {length} bytes");
            cases.push(Case::new(name).sends(&Frame::new(opcode, vec![0xFE; length])).fails(1002));
        }
        let begun = Frame::new(opcode, [0x03, 0xE8]).unfinished();
        cases.push(Case::new(format!("fragmented control frame {opcode}")).sends(&begun).fails(1002));
    }
    run(1 << 20, cases).await;
}

#[tokio::test]
async fn reserved_bits_are_refused_in_every_frame() {
    let mut cases = Vec::new();
    for bits in 1..8 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            let name = format!("reserved bits {bits:03b} in opcode {opcode}");
            let frame = Frame::new(opcode, [0x03, 0xE8]).reserved(bits);
            cases.push(Case::new(name).sends(&frame).fails(1002));
        }
        let name = format!("reserved bits {bits:03b} between two good messages");
        cases.push(
            Case::new(name).echoes(text("good")).sends(&text("bad").reserved(bits)).sends(&text("unheard")).fails(1002),
        );
        let name = format!("reserved bits {bits:03b} in a continuation");
        let (first, last) = (text("fra").unfinished(), Frame::new(CONTINUATION, "gment").reserved(bits));
        cases.push(Case::new(name).sends(&first).sends(&last).fails(1002));
    }
    run(1 << 16, cases).await;
}

#[tokio::test]
async fn reserved_opcodes_are_refused() {
    let mut cases = Vec::new();
    for opcode in (3..8).chain(11..16) {
        for payload in ["", "payload"] {
            let name = format!("opcode {opcode} with {} bytes", payload.len());
            let frame = Frame::new(opcode, payload);
            cases.push(Case::new(&name).sends(&frame).fails(1002));
            let name = format!("{name} between a message and a ping");
            cases.push(Case::new(name).echoes(text("good")).sends(&frame).sends(&ping("unheard")).fails(1002));
        }
        let name = format!("opcode {opcode} between two fragments");
        let case = Case::new(name).sends(&binary("fra").unfinished()).sends(&Frame::new(opcode, "")).fails(1002);
        cases.push(case);
    }
    run(1 << 16, cases).await;
}

#[tokio::test]
async fn every_frame_of_a_client_is_masked() {
    let mut cases = Vec::new();
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        for payload in [&[][..], &[0x03, 0xE8]] {
            let name = format!("unmasked opcode {opcode} with {} bytes", payload.len());
            cases.push(Case::new(name).sends_bytes(Frame::new(opcode, payload).unmasked()).fails(1002));
        }
    }
    let zeros = [&[0x81, 0x85, 0, 0, 0, 0][..], b"plain"].concat();
    cases.push(Case::new("a key of zeros is a mask").sends_bytes(zeros).gets(text("plain")));
    run(1 << 16, cases).await;
}

#[tokio::test]
async fn a_length_is_told_in_its_shortest_form_and_has_no_top_bit() {
    let with = |length: &[u8], payload: usize| {
        let mut bytes = vec![0x82, 0x80 | if length.len() == 2 { 126 } else { 127 }];
        bytes.extend(length);
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + payload, 0);
        bytes
    };
    run(
        1 << 20,
        vec![
            Case::new("0 in two bytes").sends_bytes(with(&[0, 0], 0)).fails(1002),
            Case::new("125 in two bytes").sends_bytes(with(&[0, 125], 125)).fails(1002),
            Case::new("1 in eight bytes").sends_bytes(with(&1u64.to_be_bytes(), 1)).fails(1002),
            Case::new("65,535 in eight bytes").sends_bytes(with(&65_535u64.to_be_bytes(), 65_535)).fails(1002),
            Case::new("2^63").sends_bytes(with(&(1u64 << 63).to_be_bytes(), 0)).fails(1002),
            Case::new("2^64 - 1").sends_bytes(with(&u64::MAX.to_be_bytes(), 0)).fails(1002),
            Case::new("2^63 - 1").sends_bytes(with(&(u64::MAX >> 1).to_be_bytes(), 0)).fails(1009),
        ],
    )
    .await;
}
