//! What the embedded engine keeps, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pubsub_protocol::{Payload, Publication, StreamPosition};
use pubsub_server::engine::memory::{MemoryEngine, Sizes};
use pubsub_server::engine::{Engine, Feed, PresenceEvent, PublishOptions, Published};
use pubsub_server::stream::{HistoryQuery, Retention};
use tokio::time::Instant;

/// Everybody, or nobody, is subscribed to everything.
#[derive(Default)]
struct Everybody(AtomicBool);

impl Feed for Everybody {
    fn publication(&self, _: &str, _: Publication, _: &str) {}
    fn presence_event(&self, _: &str, _: PresenceEvent) {}

    fn has_members(&self, _: &str) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

const TTL: Duration = Duration::from_secs(10);
const META_TTL: Duration = Duration::from_secs(1_000);
const RETENTION: Retention = Retention { size: 3, ttl: TTL, meta_ttl: META_TTL };

struct Timeline {
    everybody: Arc<Everybody>,
    engine: MemoryEngine,
    began: Instant,
}

impl Timeline {
    fn begin() -> Self {
        let everybody = Arc::<Everybody>::default();
        Self { engine: MemoryEngine::new(everybody.clone(), 7), everybody, began: Instant::now() }
    }

    /// The clock is now so many seconds further than at the beginning. One second after another, as in a server, it is swept.
    async fn at(&self, second: u64) {
        while Instant::now() < self.began + Duration::from_secs(second) {
            tokio::time::advance(Duration::from_secs(1)).await;
            self.engine.sweep(Instant::now());
        }
    }

    async fn publish(&self) -> StreamPosition {
        let options = PublishOptions { retention: Some(RETENTION), ..PublishOptions::default() };
        self.publish_with(options).await.position
    }

    async fn publish_with(&self, options: PublishOptions) -> Published {
        let data = Payload::from_bytes(b"1");
        let publication = Publication { data, info: None, offset: 0, tags: BTreeMap::new(), epoch: String::new() };
        self.engine.publish("news", publication, options).await.unwrap()
    }

    async fn position(&self) -> StreamPosition {
        self.engine.history("news", HistoryQuery::POSITION, RETENTION).await.unwrap().top
    }

    /// Streams, publications in them, and entries of streams that are to be looked at.
    fn kept(&self) -> (usize, usize, usize) {
        let Sizes { streams, publications, looks, .. } = self.engine.sizes();
        (streams, publications, looks)
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_run_out_is_given_back_each_time_and_the_position_stays() {
    let timeline = Timeline::begin();
    for round in 0..5 {
        let since = round * 20;
        timeline.at(since).await;
        for _ in 0..3 {
            timeline.publish().await;
        }
        assert_eq!(timeline.kept(), (1, 3, 2), "round {round}");
        timeline.at(since + 9).await;
        assert_eq!(timeline.kept(), (1, 3, 2), "round {round}");
        timeline.at(since + 12).await;
        assert_eq!(timeline.kept(), (1, 0, 1), "round {round}");
    }
    assert_eq!(timeline.publish().await.offset, 16);
}

#[tokio::test(start_paused = true)]
async fn a_stream_in_use_is_awaited_once_however_often_its_history_goes() {
    let timeline = Timeline::begin();
    for second in 1..100 {
        timeline.at(second).await;
        timeline.publish().await;
        // Taken away by somebody else: the entry is still there, and serves what comes next.
        timeline.engine.remove_history("news").await.unwrap();
        timeline.publish().await;
        assert_eq!(timeline.kept(), (1, 1, 2));
    }
    timeline.at(99 + 12).await;
    assert_eq!(timeline.kept(), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_forgotten_when_its_position_has_run_out() {
    let timeline = Timeline::begin();
    let epoch = timeline.publish().await.epoch;
    timeline.at(600).await;
    timeline.publish().await;
    timeline.at(1_599).await;
    assert_eq!(timeline.kept(), (1, 0, 1));
    assert_eq!(timeline.publish().await.epoch, epoch);
    timeline.at(1_599 + 1_002).await;
    assert_eq!(timeline.kept(), (0, 0, 0));
    assert_ne!(timeline.publish().await.epoch, epoch);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_a_position_has_as_long_as_after_a_publication() {
    let timeline = Timeline::begin();
    let epoch = timeline.publish().await.epoch;
    timeline.at(990).await;
    assert_eq!(timeline.position().await.epoch, epoch);
    timeline.at(1_980).await;
    assert_eq!(timeline.publish().await.epoch, epoch);
}

#[tokio::test(start_paused = true)]
async fn a_position_at_which_somebody_stands_is_kept() {
    let timeline = Timeline::begin();
    let epoch = timeline.publish().await.epoch;
    timeline.everybody.0.store(true, Ordering::Relaxed);
    timeline.at(5_000).await;
    assert_eq!(timeline.kept(), (1, 0, 1));
    assert_eq!(timeline.publish().await, StreamPosition::new(2, &*epoch));
    timeline.at(10_000).await;
    timeline.everybody.0.store(false, Ordering::Relaxed);
    timeline.at(10_040).await;
    assert_eq!(timeline.kept(), (0, 0, 0), "once they have gone, not for much longer");
}

/// Who left a channel that had been silent for longer than `history_meta_ttl` came back to another epoch, and was told that it
/// had lost something.
#[tokio::test(start_paused = true)]
async fn a_position_outlives_its_last_subscriber() {
    let timeline = Timeline::begin();
    let position = timeline.publish().await;
    timeline.everybody.0.store(true, Ordering::Relaxed);
    timeline.at(3_000).await;
    timeline.everybody.0.store(false, Ordering::Relaxed);
    timeline.engine.vacated("news");
    timeline.at(3_990).await;
    assert_eq!(timeline.kept(), (1, 0, 1));
    assert_eq!(timeline.position().await, position);
    timeline.at(5_050).await;
    assert_eq!(timeline.kept(), (0, 0, 0));
}

/// Each name that somebody asks the history of is a stream, for 30 days.
#[tokio::test(start_paused = true)]
async fn of_names_without_anything_behind_them_only_so_many_are_kept() {
    let mut timeline = Timeline::begin();
    timeline.engine = timeline.engine.with_streams_max(10);
    timeline.publish().await;
    for n in 0..100 {
        let channel = format!("name{n}");
        timeline.engine.history(&channel, HistoryQuery::POSITION, RETENTION).await.unwrap();
    }
    timeline.at(2).await;
    assert_eq!(timeline.kept(), (10, 1, 11), "what holds a publication is kept, however old");
    timeline.everybody.0.store(true, Ordering::Relaxed);
    for n in 100..200 {
        let channel = format!("name{n}");
        timeline.engine.history(&channel, HistoryQuery::POSITION, RETENTION).await.unwrap();
    }
    timeline.at(4).await;
    assert_eq!(timeline.kept(), (110, 1, 111), "and what somebody stands at");
}

#[tokio::test(start_paused = true)]
async fn no_client_makes_the_engine_forget_a_key_of_the_backend() {
    let timeline = Timeline::begin();
    for retention in [Some(RETENTION), None] {
        let keyed = |key: &str, by_client| PublishOptions {
            retention,
            idempotency_key: Some(key.into()),
            by_client,
            ..PublishOptions::default()
        };
        assert!(!timeline.publish_with(keyed(&format!("{retention:?}"), false)).await.suppressed);
        for n in 0..100_001 {
            assert!(!timeline.publish_with(keyed(&format!("{retention:?}{n}"), true)).await.suppressed);
        }
        assert!(timeline.publish_with(keyed(&format!("{retention:?}"), false)).await.suppressed);
        assert!(!timeline.publish_with(keyed(&format!("{retention:?}0"), true)).await.suppressed, "put to the test");
    }
}
