//! A daemon's daily bread: request after request, each answered rightly, none slower or dearer than the one before.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use pubsub_client::{Client, HistoryQuery};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{Meter, TestServer, together};

#[tokio::test(flavor = "multi_thread")]
async fn ten_parallel_clients_get_their_own_answers_and_nobody_elses() {
    const REQUESTS: usize = 50;
    let server = TestServer::spawn();
    together(10, |n, barrier| {
        let config = server.client_config().build().unwrap();
        async move {
            let client = Client::connect(config).await.unwrap();
            let own = format!("own-{n}");
            barrier.wait().await;
            for i in 0..REQUESTS {
                let data = format!("{n}/{i}");
                client.publish(own.as_str(), &data).await.unwrap();
                let newest = HistoryQuery { limit: 1, reverse: true, ..HistoryQuery::default() };
                let history = client.history(own.as_str(), newest).await.unwrap();
                assert_eq!(history.publications.len(), 1);
                assert_eq!(history.publications[0].data.parse::<String>().unwrap(), data);
                assert_eq!(history.position.offset, i as u64 + 1);
            }
            client.close().await;
        }
    })
    .await;
    server.shutdown().await;
}

/// Requests, each over a connection of its own.
async fn over_fresh_connections(requests: usize) {
    let server = TestServer::spawn();
    let meter = Meter::new();
    let begun = Instant::now();
    for n in 0..requests {
        let begun = Instant::now();
        meter.sent.fetch_add(1, Relaxed);
        let mut socket = server.echo().await;
        let question = format!("request {n}");
        let asked = socket.send(Message::text(&*question)).await;
        match socket.next().await {
            Some(Ok(answer)) if asked.is_ok() && answer == Message::text(&*question) => {
                meter.received.fetch_add(1, Relaxed);
            }
            _ => {
                meter.failed.fetch_add(1, Relaxed);
            }
        }
        meter.took(begun.elapsed());
        // The client closes, and is the one who waits: nothing of ours stays behind in the kernel.
        let _ = socket.close(None).await;
        while socket.next().await.is_some() {}
    }
    meter.report(&format!("{requests} requests over fresh connections"), begun.elapsed());
    assert_eq!((meter.failed.load(Relaxed), meter.received.load(Relaxed)), (0, requests as u64));
    server.shutdown().await;
}

/// Requests over one connection. Returns what each took.
async fn over_one_connection(requests: usize) -> Vec<Duration> {
    let server = TestServer::spawn();
    let mut socket = server.echo().await;
    let meter = Meter::new();
    let mut took = Vec::with_capacity(requests);
    let begun = Instant::now();
    for n in 0..requests {
        let begun = Instant::now();
        meter.sent.fetch_add(1, Relaxed);
        let question = Message::text(format!("request {n}"));
        let asked = socket.send(question.clone()).await;
        match socket.next().await {
            Some(Ok(answer)) if asked.is_ok() && answer == question => meter.received.fetch_add(1, Relaxed),
            _ => meter.failed.fetch_add(1, Relaxed),
        };
        took.push(begun.elapsed());
        meter.took(begun.elapsed());
    }
    meter.report(&format!("{requests} requests over one connection"), begun.elapsed());
    assert_eq!((meter.failed.load(Relaxed), meter.received.load(Relaxed)), (0, requests as u64));
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    server.shutdown().await;
    took
}

#[tokio::test]
async fn three_hundred_requests_over_fresh_connections_without_a_failure() {
    over_fresh_connections(300).await;
}

#[tokio::test]
async fn a_thousand_requests_over_one_connection_without_a_failure() {
    over_one_connection(1000).await;
}

#[tokio::test]
#[ignore = "large"]
async fn ten_thousand_requests_over_fresh_connections_without_a_failure() {
    over_fresh_connections(10_000).await;
}

/// The mean of all, and how much the means of batches differ (their standard deviation by their mean).
fn steadiness(took: &[Duration], batches: usize) -> (Duration, f64) {
    let mean = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64() / times.len() as f64;
    let means: Vec<f64> = took.chunks(took.len() / batches).map(mean).collect();
    let centre = means.iter().sum::<f64>() / means.len() as f64;
    let variance = means.iter().map(|mean| (mean - centre).powi(2)).sum::<f64>() / means.len() as f64;
    (Duration::from_secs_f64(mean(took)), variance.sqrt() / centre)
}

#[test]
fn times_that_are_all_alike_are_perfectly_steady() {
    let (mean, variation) = steadiness(&[Duration::from_micros(100); 1000], 10);
    assert!(mean == Duration::from_micros(100) && variation < 1e-9);
    let halves: Vec<_> = (0..1000).map(|i| Duration::from_micros(if i < 500 { 50 } else { 150 })).collect();
    assert!((steadiness(&halves, 10).1 - 0.5).abs() < 1e-9);
}

/// A benchmark, in a release build on a quiet machine: the mean is judged, the variation told.
#[tokio::test]
#[ignore = "a benchmark"]
async fn a_round_trip_on_a_warm_connection_takes_190_us_at_most() {
    over_one_connection(1000).await;
    let took = over_one_connection(10_000).await;
    let (mean, variation) = steadiness(&took, 20);
    eprintln!("mean round trip {mean:?} (≤ 190 µs); batch means vary by {:.1} % (aim: < 10 %)", variation * 100.0);
    assert!(mean <= Duration::from_micros(190), "{mean:?}");
}

/// Of this whole process, clients and server together. Runs alone, or others' memory would be counted.
#[tokio::test]
#[ignore = "has to run alone: --test-threads 1"]
async fn resident_memory_is_the_same_before_and_after() {
    let server = TestServer::spawn();
    let resident = || memory_stats::memory_stats().expect("this system tells").physical_mem as i64;
    let day = async || {
        for round in 0..200 {
            let client = server.client().await;
            for i in 0..20 {
                client.publish("daily", &format!("{round}/{i}")).await.unwrap();
            }
            client.close().await;
        }
        server.settles_at(0).await;
    };
    // What is built up once is not growth: history of the channel up to its bound, pools of the allocator.
    for _ in 0..3 {
        day().await;
    }
    let before = resident();
    for _ in 0..5 {
        day().await;
    }
    let grown = resident() - before;
    eprintln!("1,000 clients, 20,000 publications: resident memory changed by {} KiB (limit 1,024)", grown / 1024);
    assert!(grown < 1 << 20, "grew by {grown} bytes");
    server.shutdown().await;
}
