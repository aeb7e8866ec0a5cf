//! All at the same moment.

use std::sync::atomic::Ordering::Relaxed;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::kit::{Meter, PATIENCE, TestServer, echo, many, next_data, together};

async fn connects(clients: usize) {
    let server = TestServer::spawn();
    let meter = Meter::new();
    let begun = Instant::now();
    let connected = together(clients, |_, barrier| {
        let (config, meter) = (server.client_config().build().unwrap(), meter.clone());
        async move {
            barrier.wait().await;
            let begun = Instant::now();
            let client = pubsub_client::Client::connect(config).await;
            match &client {
                Ok(_) => meter.received.fetch_add(1, Relaxed),
                Err(_) => meter.failed.fetch_add(1, Relaxed),
            };
            meter.took(begun.elapsed());
            client
        }
    })
    .await;
    meter.report(&format!("{clients} clients connect at once"), begun.elapsed());
    assert_eq!(meter.failed.load(Relaxed), 0);
    assert_eq!(server.connections(), clients);
    drop(connected);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_connect_at_once() {
    connects(50).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn five_hundred_connect_at_once() {
    connects(500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn five_thousand_connect_at_once() {
    connects(5000).await;
}

/// Each of the clients publishes once to a channel that all are subscribed to.
async fn publish(clients: usize) {
    let server = TestServer::spawn();
    let meter = Meter::new();
    let begun = Instant::now();
    together(clients, |n, barrier| {
        let (config, meter) = (server.client_config().build().unwrap(), meter.clone());
        async move {
            let client = pubsub_client::Client::connect(config).await.unwrap();
            let mut subscription = client.subscribe("square").await.unwrap();
            barrier.wait().await;
            let begun = Instant::now();
            client.publish("square", &n).await.unwrap();
            meter.sent.fetch_add(1, Relaxed);
            let mut heard = vec![false; clients];
            for _ in 0..clients {
                let from: usize = next_data(&mut subscription).await;
                assert!(!std::mem::replace(&mut heard[from], true), "{from} was heard twice");
                meter.received.fetch_add(1, Relaxed);
                meter.took(begun.elapsed());
            }
            // Nobody leaves while others still listen for it.
            barrier.wait().await;
        }
    })
    .await;
    meter.report(&format!("{clients} clients publish at once to all"), begun.elapsed());
    assert_eq!(meter.sent.load(Relaxed), clients as u64);
    assert_eq!(meter.received.load(Relaxed), (clients * clients) as u64);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_publish_at_once_and_all_hear_all() {
    publish(50).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn many_publish_at_once_and_all_hear_all() {
    publish(many()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_close_at_once_with_code_1000_and_are_answered_with_it() {
    const CLIENTS: usize = 50;
    let server = TestServer::spawn();
    let address = server.address;
    let codes = together(CLIENTS, |_, barrier| async move {
        let mut socket = echo(address).await;
        barrier.wait().await;
        socket.send(Message::text("last words")).await.unwrap();
        socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "done".into() })).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("last words"));
        let code = match socket.next().await {
            Some(Ok(Message::Close(frame))) => frame.map(|frame| u16::from(frame.code)),
            other => panic!("expected a close frame, got {other:?}"),
        };
        assert!(socket.next().await.is_none(), "the connection ends in good order");
        code
    })
    .await;
    assert_eq!(codes, vec![Some(1000); CLIENTS]);
    server.shutdown().await;
}

/// Pings between messages, on all connections at the same time.
async fn pings(clients: usize, rounds: usize) {
    let server = TestServer::spawn();
    let address = server.address;
    let meter = Meter::new();
    let begun = Instant::now();
    together(clients, |n, barrier| {
        let meter = meter.clone();
        async move {
            let mut socket = echo(address).await;
            barrier.wait().await;
            for round in 0..rounds {
                let begun = Instant::now();
                let ping = format!("{n}/{round}");
                socket.feed(Message::text("load ".repeat(100))).await.unwrap();
                socket.send(Message::Ping(ping.clone().into())).await.unwrap();
                meter.sent.fetch_add(1, Relaxed);
                let mut echoed = false;
                loop {
                    match timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() {
                        Message::Pong(payload) => {
                            assert!(echoed, "answers keep the order of what they answer");
                            assert_eq!(payload, ping.as_bytes());
                            break;
                        }
                        Message::Text(_) => echoed = true,
                        other => panic!("{other:?}"),
                    }
                }
                meter.received.fetch_add(1, Relaxed);
                meter.took(begun.elapsed());
            }
            socket.close(None).await.unwrap();
            while socket.next().await.is_some() {}
        }
    })
    .await;
    meter.report(&format!("{clients} clients ping under load"), begun.elapsed());
    assert_eq!(meter.received.load(Relaxed), (clients * rounds) as u64);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ping_is_answered_under_load() {
    pings(20, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn every_ping_of_many_is_answered_under_load() {
    pings(many(), 100).await;
}

/// Large messages in many fragments from all at once, each its own.
async fn large(clients: usize, bytes: usize) {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let server = TestServer::spawn();
    let address = server.address;
    let meter = Meter::new();
    let begun = Instant::now();
    together(clients, |n, barrier| {
        let meter = meter.clone();
        async move {
            let (mut sink, mut stream) = echo(address).await.split();
            let payload: Vec<u8> = (0..bytes).map(|i| (i * 31 + n) as u8).collect();
            barrier.wait().await;
            let begun = Instant::now();
            let sending = async {
                let pieces: Vec<_> = payload.chunks(4093).collect();
                for (i, piece) in pieces.iter().enumerate() {
                    let opcode = OpCode::Data(if i == 0 { Data::Binary } else { Data::Continue });
                    let frame = Frame::message(piece.to_vec(), opcode, i + 1 == pieces.len());
                    sink.feed(Message::Frame(frame)).await.unwrap();
                }
                sink.flush().await.unwrap();
                meter.sent.fetch_add(1, Relaxed);
            };
            let (echoed, ()) = tokio::join!(timeout(PATIENCE, stream.next()), sending);
            assert!(echoed.unwrap().unwrap().unwrap().into_data() == payload, "client {n} got something else back");
            meter.received.fetch_add(1, Relaxed);
            meter.took(begun.elapsed());
            sink.close().await.unwrap();
            while stream.next().await.is_some() {}
        }
    })
    .await;
    meter.report(&format!("{clients} messages of {bytes} bytes in fragments"), begun.elapsed());
    assert_eq!(meter.received.load(Relaxed), clients as u64);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_fragmented_messages_of_ten_at_once_come_back_whole() {
    large(10, 1 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn large_fragmented_messages_of_many_at_once_come_back_whole() {
    large(many(), 256 << 10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn huge_fragmented_messages_of_fifty_at_once_come_back_whole() {
    large(50, 8 << 20).await;
}
