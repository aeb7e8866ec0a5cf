//! The end of connections: closing handshakes in both directions, drain, stop.

use std::time::Duration;

use pubsub_protocol::websocket::Opcode;
use pubsub_server::shard::control::Census;
use serde_json::json;
use tokio::time::Instant;

use crate::rig::peer::Heard;
use crate::rig::{Rig, quiet};

#[tokio::test(start_paused = true)]
async fn a_close_frame_is_answered_with_its_code() {
    let rig = Rig::start(quiet());
    for (payload, answer) in [(&1000u16.to_be_bytes()[..], 1000), (&4321u16.to_be_bytes()[..], 4321), (&[][..], 1005)] {
        let (mut peer, _) = rig.subscribed("news").await;
        peer.frame(Opcode::Close, payload).await;
        assert_eq!(peer.next().await, Heard::Close(answer, String::new()));
        assert_eq!(peer.next().await, Heard::End);
        rig.at_rest().await;
    }
    assert!(rig.stats().disconnects.is_empty(), "the server sent nobody away");
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_a_close_frame() {
    let config = quiet();
    let rig = Rig::start(config);
    let (mut peer, _) = rig.subscribed("news").await;
    peer.text("nonsense").await;
    let Heard::Close(3501, _) = peer.next().await else { panic!("not closed") };
    rig.publish("news", json!(1)).await;
    peer.say(&[json!({"id": 3, "history": {"channel": "news"}})]).await;
    peer.frame(Opcode::Close, &3501u16.to_be_bytes()).await;
    assert_eq!(peer.next().await, Heard::End);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_our_close_is_not_waited_for_long() {
    let rig = Rig::start(quiet());
    let (mut peer, _) = rig.subscribed("news").await;
    let begun = Instant::now();
    peer.text("nonsense").await;
    assert!(matches!(peer.next().await, Heard::Close(3501, _)));
    assert_eq!(peer.next().await, Heard::End);
    let took = begun.elapsed();
    assert!(Duration::from_secs(3) <= took && took < Duration::from_millis(3250), "{took:?}");
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_spreads_its_closes_and_ends_when_all_are_gone() {
    const PEERS: usize = 200;
    let mut config = quiet();
    config.shutdown.spread = Duration::from_millis(80);
    let rig = Rig::start(config);
    let mut closing = Vec::new();
    for _ in 0..PEERS {
        let (mut peer, _) = rig.subscribed("news").await;
        closing.push(tokio::spawn(async move { (peer.closed().await, Instant::now()) }));
    }
    let begun = Instant::now();
    let drained = rig.server.drain().await;
    assert_eq!((drained.connections, drained.left), (PEERS, 0));
    let mut moments = Vec::new();
    for peer in closing {
        let (code, moment) = peer.await.unwrap();
        assert_eq!(code, 3001);
        moments.push(moment - begun);
    }
    moments.sort_unstable();
    assert!(
        moments[PEERS / 4] > Duration::from_millis(5) && moments[3 * PEERS / 4] > Duration::from_millis(35),
        "all at once: {:?}",
        &moments[..10]
    );
    assert!(moments[PEERS - 1] < Duration::from_millis(300), "{:?}", moments[PEERS - 1]);
    assert_eq!(rig.raw(4096).upgrade("/connection/websocket", &[]).await, 503);
    rig.at_rest().await;
    assert_eq!(rig.stats().disconnects, [(3001, PEERS as u64)].into());
    assert_eq!(rig.stats().connections_refused["draining"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_and_says_who_is_left() {
    let mut config = quiet();
    config.shutdown.timeout = Duration::from_secs(2);
    let rig = Rig::start(config);
    let stubborn = rig.subscribed("news").await.0;
    let begun = Instant::now();
    let drained = rig.server.drain().await;
    assert_eq!((drained.connections, drained.left), (1, 1));
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    drop(stubborn);
    rig.at_rest().await;
}

#[tokio::test]
async fn dropping_the_handle_ends_connections_on_all_shards() {
    let rig = Rig::start_threaded(quiet(), 3);
    let mut peers = Vec::new();
    for _ in 0..9 {
        peers.push(rig.subscribed("news").await.0);
    }
    drop(rig.server);
    for mut peer in peers {
        while peer.next().await != Heard::End {}
    }
}

/// Whoever asked a node whose server had ended waited for ever.
#[tokio::test(start_paused = true)]
async fn who_asks_a_shard_that_has_ended_is_told_that_there_is_nothing() {
    let rig = Rig::start(quiet());
    let node = rig.server.node().clone();
    rig.server.shutdown().await;
    for _ in 0..2_000 {
        let counted = tokio::time::timeout(Duration::from_secs(1), node.hub.census()).await.expect("an answer");
        assert_eq!(counted, [Census::default()]);
    }
    assert!(node.hub.has_room());
}

/// A store that answers late, and one that never does.
#[tokio::test(start_paused = true)]
async fn whoever_leaves_when_the_server_ends_is_taken_out_of_presence_however_late_the_store() {
    for (channel, left, took) in [("late", 0, 0), ("stuck", 1, 5)] {
        let rig = Rig::start(quiet());
        let mut peers = Vec::new();
        for _ in 0..5 {
            peers.push(rig.subscribed(channel).await.0);
        }
        assert_eq!(rig.engine.present(), 1);
        let begun = Instant::now();
        drop(peers);
        rig.server.shutdown().await;
        assert_eq!((rig.engine.present(), begun.elapsed().as_secs()), (left, took), "{channel}");
    }
}
