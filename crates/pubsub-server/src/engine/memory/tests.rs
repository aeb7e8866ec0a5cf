use super::*;
use pubsub_protocol::Payload;

struct Nobody;

impl Feed for Nobody {
    fn publication(&self, _: &str, _: Publication, _: &str) {}
    fn presence_event(&self, _: &str, _: PresenceEvent) {}
}

const TTL: Duration = Duration::from_secs(10);
const META_TTL: Duration = Duration::from_secs(1_000);

struct Timeline {
    engine: MemoryEngine,
    began: Instant,
}

impl Timeline {
    fn begin() -> Self {
        Self { engine: MemoryEngine::new(Arc::new(Nobody), 7), began: Instant::now() }
    }

    /// The clock is now so many seconds further than at the beginning. One second after another, as in a server, it is swept.
    async fn at(&self, second: u64) {
        while Instant::now() < self.began + Duration::from_secs(second) {
            tokio::time::advance(Duration::from_secs(1)).await;
            self.engine.sweep(Instant::now());
        }
    }

    fn publish(&self, channel: &str) -> StreamPosition {
        let data = Payload::from_bytes(b"1");
        let publication = Publication { data, info: None, offset: 0, tags: BTreeMap::new(), epoch: String::new() };
        let retention = Retention { size: 3, ttl: TTL, meta_ttl: META_TTL };
        let options = PublishOptions { retention: Some(retention), ..PublishOptions::default() };
        self.engine.publish_now(channel, publication, options).position
    }

    /// Streams, and publications in them.
    fn kept(&self) -> (usize, usize) {
        let Sizes { streams, publications, .. } = self.engine.sizes();
        (streams, publications)
    }

    /// Entries of streams that are to be looked at for their publications, and for their position.
    fn awaited(&self) -> (usize, usize) {
        (self.engine.histories.lock().len(), self.engine.positions.lock().len())
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_run_out_is_given_back_each_time_and_the_position_stays() {
    let timeline = Timeline::begin();
    for round in 0..5 {
        let since = round * 20;
        timeline.at(since).await;
        for _ in 0..3 {
            timeline.publish("news");
        }
        assert_eq!((timeline.kept(), timeline.awaited()), ((1, 3), (1, 1)), "round {round}");
        timeline.at(since + 9).await;
        assert_eq!(timeline.kept(), (1, 3), "round {round}");
        timeline.at(since + 12).await;
        assert_eq!((timeline.kept(), timeline.awaited()), ((1, 0), (0, 1)), "round {round}");
    }
    assert_eq!(timeline.publish("news").offset, 16);
}

#[tokio::test(start_paused = true)]
async fn a_stream_in_use_is_awaited_once_however_often_its_history_goes() {
    let timeline = Timeline::begin();
    for second in 1..100 {
        timeline.at(second).await;
        timeline.publish("news");
        // Taken away by somebody else: the entry is still there, and serves what comes next.
        drop(timeline.engine.remove_history("news"));
        timeline.publish("news");
        assert_eq!((timeline.kept(), timeline.awaited()), ((1, 1), (1, 1)));
    }
    timeline.at(99 + 12).await;
    assert_eq!((timeline.kept(), timeline.awaited()), ((1, 0), (0, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_forgotten_when_its_position_has_run_out() {
    let timeline = Timeline::begin();
    let epoch = timeline.publish("news").epoch;
    timeline.at(600).await;
    timeline.publish("news");
    timeline.at(1_599).await;
    assert_eq!((timeline.kept(), timeline.awaited()), ((1, 0), (0, 1)));
    assert_eq!(timeline.publish("news").epoch, epoch);
    timeline.at(1_599 + 1_002).await;
    assert_eq!((timeline.kept(), timeline.awaited()), ((0, 0), (0, 0)));
    assert_ne!(timeline.publish("news").epoch, epoch);
}
