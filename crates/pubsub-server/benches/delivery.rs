//! What a publication costs on its way out, room by room: engine, hub, outbox.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use pubsub_protocol::{Format, Payload, Publication};
use pubsub_server::engine::memory::MemoryEngine;
use pubsub_server::engine::{Engine, Feed, PresenceEvent, PublishOptions};
use pubsub_server::hub::Hub;
use pubsub_server::outbox::{Frame, Outbox};
use pubsub_server::stream::{HistoryQuery, Retention};

const CHANNEL: &str = "news:sport";

/// Drops what comes out of an engine.
struct Nobody;

impl Feed for Nobody {
    fn publication(&self, _: &str, publication: Publication, _: &str) {
        black_box(publication);
    }

    fn presence_event(&self, _: &str, _: PresenceEvent) {}
}

fn publication() -> Publication {
    let data = Payload::from_bytes(format!("\"{}\"", "x".repeat(126)).as_bytes());
    Publication { data, info: None, offset: 0, tags: BTreeMap::new(), epoch: String::new() }
}

fn retention() -> Retention {
    Retention { size: 100, ttl: Duration::from_secs(60), meta_ttl: Duration::from_secs(600) }
}

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    let engine = MemoryEngine::new(Arc::new(Nobody), 7);
    let with_history = || PublishOptions { retention: Some(retention()), ..PublishOptions::default() };
    group.bench_function("publish", |b| {
        b.iter_batched(
            publication,
            |publication| engine.publish(CHANNEL, publication, PublishOptions::default()).now_or_never(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("publish with a history of 100", |b| {
        b.iter_batched(
            || (publication(), with_history()),
            |(publication, options)| engine.publish(CHANNEL, publication, options).now_or_never(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("read a history of 100", |b| {
        let query = HistoryQuery { since: None, limit: None, reverse: false };
        b.iter(|| engine.history(CHANNEL, query.clone(), retention()).now_or_never());
    });
}

fn hub(c: &mut Criterion) {
    let mut group = c.benchmark_group("hub");
    for (name, channels) in [("1 channel", 1), ("50,000 channels", 50_000)] {
        let hub = Hub::new(1, 7);
        for n in 0..channels {
            hub.join(0, &format!("c{n}"), 0, n, Format::Json);
        }
        let mut taken = VecDeque::new();
        hub.inbox(0).take(usize::MAX, usize::MAX, &mut taken);
        group.bench_function(format!("a publication into the inbox, {name}"), |b| {
            b.iter_batched(
                publication,
                |publication| {
                    hub.publication("c0", publication, "");
                    taken.clear();
                    hub.inbox(0).take(64, usize::MAX, &mut taken);
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("join and leave, {name}"), |b| {
            let name = Arc::from("c0");
            b.iter(|| {
                hub.join(0, "c0", 1, u64::MAX, Format::Json);
                hub.leave(0, &name);
                taken.clear();
                hub.inbox(0).take(64, usize::MAX, &mut taken);
            });
        });
    }
}

fn outbox(c: &mut Criterion) {
    let mut group = c.benchmark_group("outbox");
    let frame = Frame::new(vec![b'x'; 180], 0);
    for frames in [1, 16] {
        group.bench_function(format!("{frames} in and out by one write"), |b| {
            let mut outbox = Outbox::default();
            b.iter(|| {
                for _ in 0..frames {
                    outbox.push(frame.clone(), 1 << 20).expect("there is room");
                }
                let mut slices = Outbox::slices();
                black_box(outbox.fill(&mut slices));
                outbox.advance(frames * 180);
            });
        });
    }
}

criterion_group!(benches, engine, hub, outbox);
criterion_main!(benches);
