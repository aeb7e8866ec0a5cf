//! Messages of many megabytes with the limit raised for them; and the limit, to the byte.

use crate::case::Case;
use crate::frame::{BINARY, Frame, TEXT, binary, more, text};
use crate::wire::run;

const MIB: usize = 1 << 20;
const LIMIT: usize = 16 * MIB;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 127) as u8).collect()
}

#[tokio::test]
async fn messages_of_many_megabytes_come_back() {
    let sizes = [64 * 1024, 256 * 1024, MIB, 4 * MIB, LIMIT];
    let cases = sizes.iter().flat_map(|&size| {
        let payload = pattern(size);
        let ascii = String::from_utf8(payload.clone()).expect("below 128");
        [
            Case::new(format!("text of {size} bytes")).echoes(text(&ascii)),
            Case::new(format!("binary of {size} bytes")).echoes(binary(payload)),
        ]
    });
    run(LIMIT, cases.collect()).await;
}

#[tokio::test]
async fn large_messages_come_back_whatever_their_fragments() {
    let mut cases = Vec::new();
    let payload = pattern(4 * MIB);
    for opcode in [TEXT, BINARY] {
        for size in [64, 256, 1024, 4096, 16_384, 65_536, 262_144, MIB, 4 * MIB] {
            let mut case = Case::new(format!("opcode {opcode}, 4 MiB in fragments of {size}"));
            for (i, piece) in payload.chunks(size).enumerate() {
                let frame = if i == 0 { Frame::new(opcode, piece) } else { more(piece) };
                case = case.sends(&frame.unfinished());
            }
            cases.push(case.sends(&more("")).gets(Frame::new(opcode, &payload)));
        }
    }
    run(LIMIT, cases).await;
}

#[tokio::test]
async fn large_messages_come_back_however_they_are_chopped_into_writes() {
    let payload = pattern(MIB);
    let ascii = String::from_utf8(payload.clone()).expect("below 128");
    let chops = &[64, 256, 1024, 2048];
    let cases = vec![
        Case::new("text of 1 MiB").echoes(text(&ascii)).chopped(chops),
        Case::new("binary of 1 MiB").echoes(binary(payload)).chopped(chops),
    ];
    run(LIMIT, cases).await;
}

#[tokio::test]
async fn the_limit_holds_to_the_byte_and_is_seen_in_the_header() {
    let limit = 1000;
    let announced = |length: u16| [&[0x82, 0xFE][..], &length.to_be_bytes(), &[0; 4]].concat();
    run(
        limit,
        vec![
            Case::new("at the limit").echoes(binary(vec![1; limit])),
            Case::new("one more").sends(&binary(vec![1; limit + 1])).fails(1009),
            Case::new("one more, of which nothing came").sends_bytes(announced(1001)).fails(1009),
            Case::new("at the limit in fragments")
                .sends(&binary(vec![1; limit - 1]).unfinished())
                .sends(&more([1]))
                .gets(binary(vec![1; limit])),
            Case::new("one more in fragments")
                .sends(&binary(vec![1; limit]).unfinished())
                .sends(&more([1]))
                .fails(1009),
            Case::new("an empty fragment at the limit")
                .sends(&binary(vec![1; limit]).unfinished())
                .sends(&more([]))
                .gets(binary(vec![1; limit])),
            Case::new("2^62 bytes")
                .sends_bytes([&[0x82, 0xFF][..], &(1u64 << 62).to_be_bytes(), &[0; 4]].concat())
                .fails(1009),
        ],
    )
    .await;
}
