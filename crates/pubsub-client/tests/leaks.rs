//! Connecting and closing again and again does not grow the process. A file of its own, since whatever else runs in the
//! process is measured too.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use support::*;

#[tokio::test(start_paused = true)]
async fn cycles_of_connecting_and_closing_do_not_grow() {
    let cycle = async |seed: u64| {
        let (client, _mock, mut peer, mut subscription) = subscribed(config().seed(seed), 0).await;
        peer.publish("c", 1..=50).await;
        read(&mut subscription, 50).await;
        // Both ways to end: asked for, and by letting go.
        if seed.is_multiple_of(2) {
            peer.bytes(&frame(pubsub_protocol::websocket::Opcode::Close, &[0x03, 0xE8])).await;
            client.close().await;
        }
        drop((client, subscription, peer));
        settle().await;
    };
    for seed in 0..500 {
        cycle(seed).await;
    }
    let before = resident();
    for seed in 500..2_500 {
        cycle(seed).await;
    }
    // 2,000 cycles: 1 MB would be half a kilobyte of each.
    let grown = resident().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes");
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}
