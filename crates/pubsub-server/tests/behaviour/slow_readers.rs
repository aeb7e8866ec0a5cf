//! Whoever reads too slowly is cut, in bounded memory, and slows nobody down.

use std::time::Duration;

use pubsub_server::config::Config;
use serde_json::json;
use tokio::time::Instant;

use crate::rig::Rig;
use crate::rig::peer::Peer;

const QUEUE_BYTES: usize = 16 << 10;
const DATA_BYTES: usize = 1000;

/// A connection subscribed to `news` whose pipe holds next to nothing.
async fn narrow(rig: &Rig) -> Peer {
    let mut peer = rig.raw(512);
    assert_eq!(peer.upgrade("/connection/websocket", &[]).await, 101);
    peer.ask(json!({"id": 1, "connect": {}})).await;
    peer.ask(json!({"id": 2, "subscribe": {"channel": "news"}})).await;
    peer
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_disconnected_and_its_neighbours_miss_nothing() {
    let mut config = Config::generous();
    config.client.queue_max_size = QUEUE_BYTES;
    config.channel.without_namespace.join_leave = false;
    // Slowness is to be found by what piles up, not by time.
    config.websocket.write_timeout = Duration::ZERO;
    let rig = Rig::start(config);
    let mut slow = narrow(&rig).await;
    let mut neighbours = [rig.subscribed("news").await.0, rig.subscribed("news").await.0];
    let data = "x".repeat(DATA_BYTES);
    for offset in 1..=100 {
        assert_eq!(rig.publish("news", json!(data)).await, offset);
        for neighbour in &mut neighbours {
            assert_eq!(neighbour.reply().await["push"]["pub"]["offset"], offset);
        }
        let waiting = rig.server.census().await.outbox_bytes;
        assert!(waiting <= QUEUE_BYTES + 2 * DATA_BYTES, "{waiting} bytes wait");
    }
    assert_eq!(rig.stats().slow_consumers(), 1);
    // Of what waited it gets what was begun, and then learns why.
    assert_eq!(slow.closed().await, 3008);
    drop(neighbours);
    rig.at_rest().await;
    assert_eq!(rig.stats().disconnects, [(3008, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_takes_nothing_is_given_up_after_the_write_timeout() {
    let mut config = Config::generous();
    config.websocket.write_timeout = Duration::from_secs(1);
    let rig = Rig::start(config);
    let mut stuck = narrow(&rig).await;
    let begun = Instant::now();
    rig.publish("news", json!("x".repeat(DATA_BYTES))).await;
    while rig.stats().disconnects.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    assert!(Duration::from_millis(1000) <= took && took < Duration::from_millis(1250), "{took:?}");
    assert_eq!(stuck.closed().await, 3009);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_stuck_socket_that_never_moves_again_is_dropped_all_the_same() {
    let rig = Rig::start(Config::generous());
    let stuck = narrow(&rig).await;
    rig.publish("news", json!("x".repeat(DATA_BYTES))).await;
    rig.at_rest().await;
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn answers_that_pile_up_stop_the_commands_and_lose_nothing() {
    let mut config = Config::generous();
    config.websocket.write_timeout = Duration::ZERO;
    let rig = Rig::start(config);
    for _ in 0..100 {
        rig.publish("news", json!("x".repeat(DATA_BYTES))).await;
    }
    let peer = rig.connected().await;
    let (mut read, mut write) = split(peer);
    let asking = tokio::spawn(async move {
        for id in 2..=102 {
            write.say(&[json!({"id": id, "history": {"channel": "news", "limit": -1}})]).await;
        }
        write
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = rig.server.census().await.outbox_bytes;
    assert!(waiting < 512 << 10, "{waiting} bytes of answers wait");
    assert!(waiting > 128 << 10, "{waiting}: it was not put to the test");
    for id in 2..=102 {
        let reply = read.reply().await;
        assert_eq!(reply["id"], id);
        assert_eq!(reply["history"]["publications"].as_array().unwrap().len(), 100);
    }
    drop((read, asking.await.unwrap()));
    rig.at_rest().await;
}

type Halves = (
    Peer<tokio::io::Join<tokio::io::ReadHalf<tokio::io::DuplexStream>, tokio::io::Sink>>,
    Peer<tokio::io::Join<tokio::io::Empty, tokio::io::WriteHalf<tokio::io::DuplexStream>>>,
);

/// One that reads and one that writes, each in its own time.
fn split(peer: Peer) -> Halves {
    let (read, write) = tokio::io::split(peer.stream);
    let mut reader = Peer::new(tokio::io::join(read, tokio::io::sink()));
    reader.pongs = false;
    (reader, Peer::new(tokio::io::join(tokio::io::empty(), write)))
}
