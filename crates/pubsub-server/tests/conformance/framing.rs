//! Messages of every length that a header can tell in a form of its own, whole and chopped.

use crate::case::Case;
use crate::frame::{binary, text};
use crate::wire::run;

/// Around every length at which the form of a header, or something behind it, changes.
const LENGTHS: &[usize] = &[0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 65_533, 65_534, 65_535, 65_536, 65_537];

#[tokio::test]
async fn a_message_comes_back_as_it_was_whatever_its_length() {
    let mut cases = Vec::new();
    for &length in LENGTHS {
        cases.push(Case::new(format!("text of {length} bytes")).echoes(text(&"*".repeat(length))));
        let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        cases.push(Case::new(format!("binary of {length} bytes")).echoes(binary(bytes)));
    }
    cases.push(Case::new("binary of every byte").echoes(binary((0..=255).collect::<Vec<u8>>())));
    run(1 << 20, cases).await;
}

#[tokio::test]
async fn messages_come_back_in_the_order_they_were_sent() {
    let mut case = Case::new("two thousand messages back to back");
    for i in 0..2000 {
        case = match i % 3 {
            0 => case.echoes(text(&format!("message {i}"))),
            1 => case.echoes(binary(vec![i as u8; i % 300])),
            _ => case.echoes(text("")),
        };
    }
    run(1 << 20, vec![case]).await;
}

#[tokio::test]
async fn a_thousand_messages_of_one_length_come_back_one_by_one() {
    let cases = [0, 16, 64, 256, 1024, 4096, 16_384].into_iter().flat_map(|length| {
        let echoes = |name: &str, frame: crate::frame::Frame| {
            let case = Case::new(format!("a thousand {name} of {length} bytes"));
            (0..1000).fold(case, |case, _| case.echoes(frame.clone()))
        };
        [echoes("texts", text(&"x".repeat(length))), echoes("binaries", binary(vec![0xFE; length]))]
    });
    run(1 << 20, cases.collect()).await;
}
