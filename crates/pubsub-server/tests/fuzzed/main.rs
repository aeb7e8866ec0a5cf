//! What must hold for any input at all. Each file has one `check` that takes any bytes and makes something of them; here
//! it gets bytes by chance, for seconds; behind `make fuzz` a coverage-guided fuzzer chooses them, for as long as one
//! likes. What that finds is added below as a test of its own.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "the files are used by the fuzzer too, and are a rig of tests")]

mod commands;
mod conversation;
mod frames;
mod handshake;

use proptest::prelude::*;

/// Bytes that have something in common with what the checks look for.
fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let json = prop::sample::select(vec![
        "{\"id\":",
        "1",
        ",",
        "}",
        "{",
        "[",
        "]",
        "\"",
        "\\u0000",
        "\n",
        "\"connect\":{}",
        "\"publish\":",
        "null",
        "\"channel\":\"c\"",
        "\"data\":",
        "1e9",
        "-0",
        " ",
        "\"id\":1",
    ]);
    let http = prop::sample::select(vec![
        "GET ",
        "/echo",
        "/connection/websocket",
        " HTTP/1.1\r\n",
        "Host: x\r\n",
        "Upgrade: websocket\r\n",
        "\r\n",
        "Connection: Upgrade\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "X: ",
        "\r",
        "\n",
    ]);
    // Lengths and keys of protobuf, with what may stand behind them.
    let protobuf = prop::sample::select(vec![
        &b"\x00"[..],
        b"\x04\x08\x01",
        b"\x09\x08\x01\x3a\x05\x0a\x01c\x12\x00",
        b"\x05\x2a\x03\x0a\x01c",
        b"\x22\x00",
        b"\x0a\x01c",
        b"\x12\x01\xff",
        b"\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ]);
    let piece = prop_oneof![
        protobuf.prop_map(<[u8]>::to_vec),
        any::<u8>().prop_map(|byte| vec![byte]),
        json.prop_map(|text| text.as_bytes().to_vec()),
        http.prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..length).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn frames_are_the_same_however_they_are_cut(data in bytes(60)) {
        frames::check(&data);
    }

    #[test]
    fn commands_mean_the_same_after_a_round_trip(data in bytes(30)) {
        commands::check(&data);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_command_is_answered_once_or_the_connection_is_closed(data in prop::collection::vec(any::<u8>(), 0..150)) {
        conversation::check(&data);
    }

    #[test]
    fn every_request_gets_an_answer_or_an_end(data in bytes(25)) {
        handshake::check(&data);
    }
}
