//! The closing handshake: codes, reasons, what follows a close frame, and who waits for whom how long.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use crate::case::Case;
use crate::frame::{CLOSE, Frame, binary, close, frame, ping, pong, text};
use crate::wire::{ECHO, SESSION, empties, open, run, server};

#[tokio::test]
async fn a_close_frame_is_answered_with_its_own_code() {
    let mut cases = vec![
        Case::new("without code").sends(&Frame::new(CLOSE, "")).closes([]),
        Case::new("with the longest reason").sends(&close(1000, &"r".repeat(123))).closes(1000u16.to_be_bytes()),
        Case::new("with a reason beyond ASCII").sends(&close(1001, "κόσμε")).closes(1001u16.to_be_bytes()),
    ];
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3001, 3499, 3500, 3999, 4000, 4499, 4500, 4999]) {
        cases.push(Case::new(format!("with {code}")).sends(&close(code, "")).closes(code.to_be_bytes()));
        cases.push(Case::new(format!("with {code} and a reason")).sends(&close(code, "x")).closes(code.to_be_bytes()));
    }
    run(1 << 16, cases).await;
}

#[tokio::test]
async fn codes_and_reasons_that_must_not_be_sent_are_refused() {
    let mut cases = vec![
        Case::new("half a code").sends(&Frame::new(CLOSE, [3])).fails(1002),
        Case::new("a reason that is not UTF-8").sends(&Frame::new(CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")).fails(1007),
        Case::new("a reason that ends inside a character").sends(&Frame::new(CLOSE, b"\x03\xe8\xce")).fails(1007),
        Case::new("a reason one byte too long").sends(&close(1000, &"r".repeat(124))).fails(1002),
    ];
    for code in [0, 1, 125, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 5001, 65_535] {
        cases.push(Case::new(format!("{code}")).sends(&close(code, "")).fails(1002));
        cases.push(Case::new(format!("{code} with a reason")).sends(&close(code, "reason")).fails(1002));
    }
    run(1 << 16, cases).await;
}

#[tokio::test]
async fn nothing_counts_behind_a_close_frame_and_nothing_before_it_is_lost() {
    let code = 1000u16.to_be_bytes();
    run(
        1 << 20,
        vec![
            Case::new("a second close").sends(&close(1000, "")).sends(&close(1001, "")).closes(code),
            Case::new("a ping").sends(&close(1000, "")).sends(&ping("late")).closes(code),
            Case::new("a message").sends(&close(1000, "")).sends(&text("late")).closes(code),
            Case::new("a message in fragments").sends(&close(1000, "")).sends(&text("l").unfinished()).closes(code),
            Case::new("rubbish").sends(&close(1000, "")).sends_bytes([0xFF; 100]).closes(code),
            Case::new("a great deal").sends(&close(1000, "")).sends(&binary(vec![0; 300_000])).closes(code),
            Case::new("a great deal behind a broken rule").sends_bytes([0xFF; 300_000]).fails(1002),
            Case::new("messages before it")
                .echoes(text("first"))
                .sends(&ping("second"))
                .gets(pong("second"))
                .echoes(binary(vec![7; 300_000]))
                .sends(&close(1000, ""))
                .closes(code),
        ],
    )
    .await;
}

/// The server closes first (the message is no command) and is never answered, on a connection that stays open and,
/// in the second case, goes on talking.
#[tokio::test]
async fn a_close_frame_that_is_never_answered_is_not_waited_for_for_ever() {
    for talkative in [false, true] {
        let server = server(1 << 16);
        let (mut reader, mut writer) = open(server.local_addr().unwrap(), SESSION).await.into_split();
        let begun = Instant::now();
        writer.write_all(&text("no command").bytes()).await.unwrap();
        assert_eq!(frame(&mut reader).await.unwrap().payload[..2], 3501u16.to_be_bytes());
        let talking = async {
            while talkative && writer.write_all(&ping("and another thing").bytes()).await.is_ok() {
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        let ended = async {
            let mut rest = Vec::new();
            // A reset is in order here: this peer does not listen.
            let _ = reader.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "nothing is said after a close frame, no pong either");
        };
        tokio::select! {
            () = talking => unreachable!("it never ends"),
            ended = timeout(Duration::from_secs(10), ended) => ended.expect("the server gives up by itself"),
        }
        assert!(begun.elapsed() >= Duration::from_secs(2), "it waited for an answer");
        empties(&server).await;
    }
}

#[tokio::test]
async fn a_peer_that_breaks_a_rule_and_does_not_go_is_dropped() {
    let server = server(1 << 16);
    let mut stream = open(server.local_addr().unwrap(), ECHO).await;
    stream.write_all(&[0xFF; 2]).await.unwrap();
    assert_eq!(frame(&mut stream).await.unwrap().payload[..2], 1002u16.to_be_bytes());
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "the server has nothing more to say");
    // Our half stays open: the server lets go of it nevertheless.
    empties(&server).await;
}

#[tokio::test]
async fn a_peer_that_vanishes_leaves_nothing_behind() {
    let server = server(1 << 16);
    for sent in [&[][..], &[0x81], &[0x81, 0xFE, 0x01, 0x00, 1, 2, 3, 4, 5], &text("fra").unfinished().bytes()] {
        let mut stream = open(server.local_addr().unwrap(), ECHO).await;
        stream.write_all(sent).await.unwrap();
        drop(stream);
    }
    empties(&server).await;
}
