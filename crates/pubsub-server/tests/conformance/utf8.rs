//! UTF-8: every boundary of it, whole and across fragments; and refused at the first byte that can not be right.

use crate::case::Case;
use crate::frame::{Frame, TEXT, binary, more, text};
use crate::wire::run;

/// The first and last character of each length, those beside the surrogates, and characters that mean no character.
const VALID: &[&str] = &[
    "\u{0}",
    "\u{7f}",
    "\u{80}",
    "\u{7ff}",
    "\u{800}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{fdd0}",
    "\u{10000}",
    "\u{1fffe}",
    "\u{1ffff}",
    "\u{10fffe}",
    "\u{10ffff}",
    "κόσμε",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "\u{feff}with a mark",
    "👩‍👩‍👧‍👦",
];

/// Bytes that are not UTF-8, and how many of them it takes to see that.
const INVALID: &[(&[u8], usize)] = &[
    (b"\x80", 1),
    (b"\xbf", 1),
    (b"\xc0\xaf", 1),
    (b"\xc1\xbf", 1),
    (b"\xc2\x20", 2),
    (b"\xe0\x80\xaf", 2),
    (b"\xe0\x9f\xbf", 2),
    (b"\xe1\x80\xc0", 3),
    (b"\xed\xa0\x80", 2),
    (b"\xed\xad\xbf", 2),
    (b"\xed\xbf\xbf", 2),
    (b"\xf0\x80\x80\xaf", 2),
    (b"\xf0\x8f\xbf\xbf", 2),
    (b"\xf1\x80\x80\x41", 4),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf5\x80\x80\x80", 1),
    (b"\xf8\x88\x80\x80\x80", 1),
    (b"\xfc\x84\x80\x80\x80\x80", 1),
    (b"\xfe", 1),
    (b"\xff", 1),
    (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", 13),
];

/// Characters that end before they are whole.
const TRUNCATED: &[&[u8]] =
    &[b"\xc2", b"\xe0\xa0", b"\xe1", b"\xef\xbf", b"\xf0\x90", b"\xf0\x90\x80", b"\xf4\x8f\xbf"];

/// `bytes` as a text message in fragments of `size`.
fn fragmented(case: Case, bytes: &[u8], size: usize) -> Case {
    let pieces: Vec<_> = bytes.chunks(size).collect();
    let mut case = case;
    for (i, piece) in pieces.iter().enumerate() {
        let frame = if i == 0 { Frame::new(TEXT, piece) } else { more(piece) };
        case = case.sends(&if i + 1 == pieces.len() { frame } else { frame.unfinished() });
    }
    case
}

#[tokio::test]
async fn what_is_utf8_comes_back_however_it_was_cut() {
    let mut cases = Vec::new();
    for valid in VALID {
        let valid = format!("before {valid} behind");
        cases.push(Case::new(format!("{valid:?}")).echoes(text(&valid)));
        for size in [1, 2, 3] {
            let case = Case::new(format!("{valid:?} in fragments of {size}"));
            cases.push(fragmented(case, valid.as_bytes(), size).gets(text(&valid)));
        }
    }
    run(1 << 16, cases).await;
}

#[tokio::test]
async fn what_is_not_utf8_is_refused_however_it_was_cut() {
    let mut cases = Vec::new();
    let invalid = INVALID.iter().map(|(bytes, _)| *bytes);
    for bytes in invalid.chain(TRUNCATED.iter().copied()) {
        let name = bytes.escape_ascii().to_string();
        cases.push(Case::new(&name).sends(&Frame::new(TEXT, bytes)).fails(1007));
        cases.push(Case::new(format!("{name} as binary")).echoes(binary(bytes)));
        for size in [1, 2] {
            cases.push(fragmented(Case::new(format!("{name} in fragments of {size}")), bytes, size).fails(1007));
        }
    }
    run(1 << 16, cases).await;
}

#[tokio::test]
async fn text_is_refused_at_the_byte_that_can_not_be_right_before_the_rest_came() {
    let mut cases = Vec::new();
    for &(bytes, seen_at) in INVALID {
        let name = bytes.escape_ascii().to_string();
        // A frame that announces more than ever comes.
        let mut rest = bytes[..seen_at].to_vec();
        rest.resize(seen_at + 50, b'x');
        let announced = Frame::new(TEXT, rest).bytes();
        let sent = &announced[..announced.len() - 50];
        cases.push(Case::new(format!("{name} in a frame that stops there")).sends_bytes(sent).fails(1007));
        // A fragment with no last one.
        let fragment = Frame::new(TEXT, &bytes[..seen_at]).unfinished();
        cases.push(Case::new(format!("{name} in a message that stops there")).sends(&fragment).fails(1007));
    }
    for bytes in TRUNCATED {
        let name = bytes.escape_ascii().to_string();
        let case = Case::new(format!("{name} and a last, empty fragment"));
        cases.push(case.sends(&Frame::new(TEXT, bytes).unfinished()).sends(&more("")).fails(1007));
    }
    run(1 << 16, cases).await;
}
