//! What one client sends arrives in the order it was sent, whoever else is sending.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::kit::{Meter, TestServer, many, next_data, together};

#[derive(Serialize, Deserialize)]
struct Numbered {
    from: usize,
    n: usize,
}

/// Clients that all publish numbered messages to one channel, and one that listens to all of them.
async fn in_order(clients: usize, messages: usize) {
    let server = TestServer::spawn();
    let listener = server.client().await;
    let mut subscription = listener.subscribe("order").await.unwrap();
    let meter = Meter::new();
    let begun = Instant::now();
    let publishing = together(clients, |from, barrier| {
        let (config, meter) = (server.client_config().build().unwrap(), meter.clone());
        async move {
            let client = pubsub_client::Client::connect(config).await.unwrap();
            barrier.wait().await;
            for n in 0..messages {
                let begun = Instant::now();
                client.publish("order", &Numbered { from, n }).await.unwrap();
                meter.sent.fetch_add(1, Relaxed);
                meter.took(begun.elapsed());
            }
            client.close().await;
        }
    });
    let listening = async {
        let mut next = vec![0; clients];
        for _ in 0..clients * messages {
            let Numbered { from, n } = next_data(&mut subscription).await;
            assert_eq!(n, next[from], "message of client {from}");
            next[from] += 1;
            meter.received.fetch_add(1, Relaxed);
        }
        assert_eq!(next, vec![messages; clients]);
    };
    tokio::join!(publishing, listening);
    meter.report(&format!("{clients} clients × {messages} in order"), begun.elapsed());
    assert_eq!(meter.sent.load(Relaxed), (clients * messages) as u64);
    listener.close().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_clients_times_fifty() {
    in_order(20, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn a_hundred_clients_times_a_hundred() {
    in_order(100, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn many_clients_times_fifty() {
    in_order(many(), 50).await;
}

/// The same messages one client after the other, and by all at once: both arrive whole, and the report tells what being
/// many costs.
async fn sequential_and_parallel(clients: usize, messages: usize) {
    let server = TestServer::spawn();
    let listener = server.client().await;
    let mut subscription = listener.subscribe("both").await.unwrap();
    let mut all = Vec::new();
    for _ in 0..clients {
        all.push(server.client().await);
    }
    for parallel in [false, true] {
        let meter = Meter::new();
        let begun = Instant::now();
        let one = |from: usize, client: pubsub_client::Client| {
            let meter = meter.clone();
            async move {
                for n in 0..messages {
                    let begun = Instant::now();
                    client.publish("both", &Numbered { from, n }).await.unwrap();
                    meter.sent.fetch_add(1, Relaxed);
                    meter.took(begun.elapsed());
                }
            }
        };
        if parallel {
            together(clients, |from, barrier| {
                let work = one(from, all[from].clone());
                async move {
                    barrier.wait().await;
                    work.await;
                }
            })
            .await;
        } else {
            for (from, client) in all.iter().enumerate() {
                one(from, client.clone()).await;
            }
        }
        let mut next = vec![0; clients];
        for _ in 0..clients * messages {
            let Numbered { from, n } = next_data(&mut subscription).await;
            assert_eq!(n, next[from]);
            next[from] += 1;
            meter.received.fetch_add(1, Relaxed);
        }
        let how = if parallel { "in parallel" } else { "one after the other" };
        meter.report(&format!("{clients} clients × {messages} {how}"), begun.elapsed());
        assert_eq!(next, vec![messages; clients]);
    }
    for client in all.iter().chain([&listener]) {
        client.close().await;
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_clients_one_after_the_other_and_in_parallel() {
    sequential_and_parallel(10, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "large"]
async fn a_hundred_clients_one_after_the_other_and_in_parallel() {
    sequential_and_parallel(100, 100).await;
}
