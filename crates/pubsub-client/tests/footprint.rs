//! What an idle client costs, in resident memory: a fleet of ten thousand lives in one process.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

mod support;

use support::*;

/// Bytes that a client with an open session and one subscription may hold. A few KB, of which the task itself, its
/// generator of masks (320 bytes) and the two maps (256 bytes each) are most.
const IDLE_BYTES_MAX: usize = 12 * 1_024;

#[tokio::test(start_paused = true)]
async fn an_idle_client_holds_a_few_kilobytes() {
    const CLIENTS: usize = 1_000;
    let (connector, mut mock) = mock();
    let mut held = Vec::new();
    let mut before = 0;
    for i in 0..CLIENTS + 1 {
        if i == 1 {
            // The first has filled what all share.
            before = resident();
        }
        let client = start(config().seed(i as u64), connector.clone(), pubsub_client::CentrifugeHandler::default());
        let mut peer = mock.connected().await;
        let (subscription, ()) = tokio::join!(client.subscribe("c"), async {
            let (id, _) = peer.subscribe().await;
            peer.answer(id, pubsub_protocol::reply::Answer::Subscribe(recoverable(0))).await;
        });
        held.push((client, subscription.unwrap(), peer));
    }
    let each = resident().saturating_sub(before) / CLIENTS;
    println!("{each} bytes a client and its mock server");
    assert!(each > 0 && each < IDLE_BYTES_MAX, "{each} bytes a client, its mock server's end included");
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}
