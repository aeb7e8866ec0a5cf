//! Messages in fragments, with control frames in between; and fragments where none belong.

use crate::case::Case;
use crate::frame::{BINARY, Frame, TEXT, binary, close, more, ping, pong, text};
use crate::wire::run;

#[tokio::test]
async fn fragments_become_one_message() {
    let mut cases = Vec::new();
    for opcode in [TEXT, BINARY] {
        for pieces in [&["frag", "ment"][..], &["", ""], &["", "", "x"], &["x", "", ""], &["f", "r", "a", "g"]] {
            let mut case = Case::new(format!("opcode {opcode} in {pieces:?}"));
            for (i, piece) in pieces.iter().enumerate() {
                let frame = if i == 0 { Frame::new(opcode, piece) } else { more(piece) };
                case = case.sends(&if i + 1 == pieces.len() { frame } else { frame.unfinished() });
            }
            cases.push(case.gets(Frame::new(opcode, pieces.concat())));
        }
    }
    let long = "x".repeat(65_536);
    let mut sliced = Case::new("65,536 bytes in fragments of 1,300").sends(&text("").unfinished());
    for piece in long.as_bytes().chunks(1300) {
        sliced = sliced.sends(&more(piece).unfinished());
    }
    cases.push(sliced.sends(&more("")).gets(text(&long)));
    let mut many = Case::new("a thousand fragments of one byte").sends(&text("").unfinished());
    for _ in 0..1000 {
        many = many.sends(&more("x").unfinished());
    }
    cases.push(many.sends(&more("")).gets(text(&"x".repeat(1000))));
    cases.push(
        Case::new("message after message")
            .sends(&text("one").unfinished())
            .sends(&more(" and only"))
            .gets(text("one and only"))
            .echoes(binary("whole"))
            .sends(&binary("two").unfinished())
            .sends(&more(""))
            .gets(binary("two")),
    );
    run(1 << 16, cases).await;
}

#[tokio::test]
async fn control_frames_come_between_fragments_and_are_answered_there() {
    let mut pings = Case::new("a ping behind every fragment").sends(&text("0").unfinished());
    for i in 1..50 {
        pings = pings.sends(&ping(format!("{i}"))).sends(&more("x").unfinished()).gets(pong(format!("{i}")));
    }
    let pings = pings.sends(&more("end")).gets(text(&format!("0{}end", "x".repeat(49))));
    run(
        1 << 16,
        vec![
            pings,
            Case::new("a pong between two fragments")
                .sends(&text("frag").unfinished())
                .sends(&pong("nobody asked"))
                .sends(&more("ment"))
                .gets(text("fragment")),
            Case::new("a close between two fragments")
                .sends(&text("frag").unfinished())
                .sends(&close(1000, ""))
                .closes(1000u16.to_be_bytes()),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_continuation_needs_something_to_continue_and_a_new_message_the_end_of_the_old() {
    let mut cases = vec![
        Case::new("a continuation first").sends(&more("what?")).fails(1002),
        Case::new("an unfinished continuation first").sends(&more("what?").unfinished()).fails(1002),
        Case::new("an empty continuation first").sends(&more("")).fails(1002),
        Case::new("a continuation behind a whole message").echoes(text("whole")).sends(&more("more")).fails(1002),
        Case::new("a continuation behind the last one")
            .sends(&text("fra").unfinished())
            .sends(&more("gment"))
            .gets(text("fragment"))
            .sends(&more("more"))
            .fails(1002),
    ];
    for opcode in [TEXT, BINARY] {
        for fin in [true, false] {
            let second = Frame { fin, ..Frame::new(opcode, "new") };
            let name = format!("opcode {opcode} (fin {fin}) inside a message");
            cases.push(Case::new(name).sends(&text("old").unfinished()).sends(&second).fails(1002));
        }
    }
    run(1 << 16, cases).await;
}
