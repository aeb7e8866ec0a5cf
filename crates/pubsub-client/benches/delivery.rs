//! What a publication and a ping cost the client: reading them by itself, and all the way from the bytes of a connection
//! to whoever reads the subscription. The other end is a pipe in memory, whose part is in the numbers.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pubsub_client::{CentrifugeHandler, Event, ProtocolHandler, Subscription};
use pubsub_protocol::push::PushBody;
use pubsub_protocol::reply::{Answer, ConnectResult};
use pubsub_protocol::websocket::Opcode;
use pubsub_protocol::{Payload, Publication, Push, Reply};
use support::{Peer, config, encoded, frame, mock, recoverable, start};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

#[path = "../tests/support/mod.rs"]
mod support;

const CHANNEL: &str = "news:sport";

/// Where streams stand: far enough that every offset has as many digits.
const OFFSET: u64 = 1_000_000_000;

fn publication(offset: u64) -> Reply {
    let data = Payload::from_bytes(format!("\"{}\"", "x".repeat(126)).as_bytes());
    let body =
        PushBody::Publication(Publication { data, info: None, offset, tags: Default::default(), epoch: String::new() });
    Reply::Push(Push { channel: CHANNEL.to_owned(), body })
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("client: a message to replies");
    let mut handler = CentrifugeHandler::default();
    for (name, message) in
        [("a publication of 128 B", encoded(&publication(OFFSET))), ("a ping", encoded(&Reply::Ping))]
    {
        group.bench_function(name, |b| {
            let mut messages = Vec::new();
            b.iter(|| {
                handler.decode(black_box(&message), &mut messages).expect("it is one");
                messages.clear();
            });
        });
    }
}

/// Publications in one write, numbered on for each.
struct Burst {
    bytes: Vec<u8>,
    /// Where each offset's digits stand.
    digits: Vec<usize>,
    next: u64,
}

impl Burst {
    fn of(count: usize) -> Self {
        let one = frame(Opcode::Text, &encoded(&publication(OFFSET)));
        let digits = OFFSET.to_string();
        let at = one.windows(digits.len()).position(|window| window == digits.as_bytes()).expect("an offset");
        let digits = (0..count).map(|i| i * one.len() + at).collect();
        Self { bytes: one.repeat(count), digits, next: OFFSET + 1 }
    }

    fn advance(&mut self) -> &[u8] {
        for &at in &self.digits {
            let digits = self.next.to_string();
            self.bytes[at..at + digits.len()].copy_from_slice(digits.as_bytes());
            self.next += 1;
        }
        &self.bytes
    }
}

/// A client with one subscription, whose server announces pings.
async fn subscribed() -> (pubsub_client::Client, Peer, Subscription) {
    let (connector, mut mock) = mock();
    let client = start(config(), connector, CentrifugeHandler::default());
    let ping = ConnectResult { client: "id".into(), ping: 25, pong: true, ..Default::default() };
    let mut peer = mock.connected_with(ping).await;
    client.ready().await.expect("connected");
    let (subscription, ()) = tokio::join!(client.subscribe(CHANNEL), async {
        let (id, _) = peer.subscribe().await;
        peer.answer(id, Answer::Subscribe(recoverable(OFFSET))).await;
    });
    let mut subscription = subscription.expect("subscribed");
    assert!(matches!(subscription.next().await, Some(Event::Subscribed(_))));
    (client, peer, subscription)
}

/// How long the work takes, the connecting before it not counted.
fn timed(work: impl AsyncFnOnce(&mut Peer, &mut Subscription)) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (_client, mut peer, mut subscription) = subscribed().await;
        let start = Instant::now();
        work(&mut peer, &mut subscription).await;
        start.elapsed()
    })
}

fn delivering(c: &mut Criterion) {
    let mut group = c.benchmark_group("client: publications to a subscriber");
    for count in [1, 64] {
        group.throughput(Throughput::Elements(count as u64)).bench_function(format!("{count} in one write"), |b| {
            b.iter_custom(|iterations| {
                timed(async |peer, subscription| {
                    let mut burst = Burst::of(count);
                    for _ in 0..iterations {
                        peer.bytes(burst.advance()).await;
                        for _ in 0..count {
                            assert!(matches!(subscription.next().await, Some(Event::Publication(_))));
                        }
                    }
                })
            });
        });
    }
}

fn pinging(c: &mut Criterion) {
    let ping = frame(Opcode::Text, &encoded(&Reply::Ping));
    c.bench_function("client: a ping and its pong", |b| {
        b.iter_custom(|iterations| {
            timed(async |peer, _| {
                // A masked frame of two bytes.
                let mut pong = [0; 2 + 4 + 2];
                for _ in 0..iterations {
                    peer.bytes(&ping).await;
                    peer.stream.read_exact(&mut pong).await.expect("a pong");
                }
            })
        });
    });
}

criterion_group!(benches, reading, delivering, pinging);
criterion_main!(benches);
