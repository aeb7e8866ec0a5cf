//! Publish, subscribe with recovery, unsubscribe and reconnect against each other. Every delivered offset is checked:
//! one after the other, none missing, none twice, and what came is what was published under that offset.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pubsub_server::config::Config;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::rig::peer::{Heard, Peer};

/// What was published, as those who published it know it.
#[derive(Default)]
struct Ledger {
    published: Mutex<BTreeMap<u64, String>>,
    enough: AtomicBool,
    recovered: AtomicU64,
    live: AtomicU64,
}

impl Ledger {
    fn note(&self, offset: u64, data: String) {
        let before = self.published.lock().unwrap().insert(offset, data);
        assert_eq!(before, None, "offset {offset} was given twice");
    }

    fn top(&self) -> u64 {
        self.published.lock().unwrap().last_key_value().map_or(0, |(offset, _)| *offset)
    }
}

struct Load {
    channel: &'static str,
    publishers: u64,
    subscribers: u64,
    rounds: u64,
    /// Virtual time between two publications of one publisher; none: as fast as it goes.
    pause: bool,
}

/// One subscriber through all its subscriptions and connections.
struct Reader {
    ledger: Arc<Ledger>,
    channel: &'static str,
    chance: ChaCha12Rng,
    position: Option<(u64, String)>,
    got: Vec<(u64, String)>,
    next_id: u64,
}

impl Reader {
    fn take(&mut self, publication: &Value, how: &AtomicU64) {
        let offset = publication["offset"].as_u64().expect("a publication of a stream has an offset");
        let data = publication["data"].as_str().unwrap().to_owned();
        let (position, _) = self.position.as_mut().expect("no publication comes before its subscription's reply");
        assert_eq!(offset, *position + 1, "{}: a gap, a duplicate, or out of order", self.channel);
        *position = offset;
        self.got.push((offset, data));
        how.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what comes until the answer to `id`; `live`: whether publications may come before it.
    async fn answer(&mut self, peer: &mut Peer, id: u64, live: bool) -> Value {
        loop {
            let reply = peer.reply().await;
            if reply["id"] == id {
                assert!(reply["error"].is_null(), "{reply}");
                return reply;
            }
            assert!(live || reply["push"]["pub"].is_null(), "before or after its subscription: {reply}");
            self.push(&reply);
        }
    }

    fn push(&mut self, reply: &Value) {
        let push = &reply["push"];
        assert!(push["unsubscribe"].is_null(), "nobody loses a position here: {reply}");
        if push["pub"].is_object() {
            let ledger = self.ledger.clone();
            self.take(&push["pub"], &ledger.live);
        }
    }

    async fn subscribe(&mut self, peer: &mut Peer) {
        self.next_id += 1;
        let mut request = json!({"channel": self.channel});
        if let Some((offset, epoch)) = &self.position {
            request = json!({"channel": self.channel, "recover": true, "offset": offset, "epoch": epoch});
        }
        peer.say(&[json!({"id": self.next_id, "subscribe": request})]).await;
        let reply = self.answer(peer, self.next_id, false).await;
        let result = &reply["subscribe"];
        let offset = result["offset"].as_u64().unwrap_or(0);
        match &self.position {
            Some((asked, _)) => {
                assert_eq!((&result["recovered"], &result["was_recovering"]), (&json!(true), &json!(true)), "{reply}");
                assert_eq!(offset, *asked, "the offset of the request comes back");
                let ledger = self.ledger.clone();
                for publication in result["publications"].as_array().into_iter().flatten() {
                    self.take(publication, &ledger.recovered);
                }
            }
            None => self.position = Some((offset, result["epoch"].as_str().unwrap().to_owned())),
        }
    }

    async fn connect(&mut self, connector: &pubsub_server::transport::listener::MemoryConnector) -> Peer {
        let mut peer = Peer::new(connector.connect(4096).unwrap());
        assert_eq!(peer.upgrade("/connection/websocket", &[]).await, 101);
        self.next_id += 1;
        peer.say(&[json!({"id": self.next_id, "connect": {}})]).await;
        self.answer(&mut peer, self.next_id, false).await;
        peer
    }

    async fn listen(&mut self, peer: &mut Peer, publications: usize) {
        let until = self.got.len() + publications;
        while self.got.len() < until {
            let reply = peer.reply().await;
            self.push(&reply);
        }
    }

    async fn run(mut self, connector: pubsub_server::transport::listener::MemoryConnector, rounds: u64) -> Self {
        for _ in 0..rounds {
            let mut peer = self.connect(&connector).await;
            for _ in 0..self.chance.random_range(1..4u32) {
                self.subscribe(&mut peer).await;
                let publications = self.chance.random_range(0..12usize);
                self.listen(&mut peer, publications).await;
                if self.chance.random_range(0..3u32) > 0 {
                    break;
                }
                self.next_id += 1;
                peer.say(&[json!({"id": self.next_id, "unsubscribe": {"channel": self.channel}})]).await;
                self.answer(&mut peer, self.next_id, true).await;
            }
            if self.chance.random_range(0..2u32) == 0 {
                // Politely: what was on its way still comes, and is not taken.
                peer.frame(pubsub_protocol::websocket::Opcode::Close, &1000u16.to_be_bytes()).await;
                while peer.next().await != Heard::End {}
            }
        }
        self
    }
}

async fn run(rig: &Rig, load: Load, seed: u64) {
    let ledger = Arc::new(Ledger::default());
    let publishers: Vec<_> = (0..load.publishers)
        .map(|publisher| {
            let (ledger, service) = (ledger.clone(), rig.server.service().clone());
            let mut chance = ChaCha12Rng::seed_from_u64(seed ^ publisher << 32);
            tokio::spawn(async move {
                for n in 0.. {
                    if ledger.enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let data = format!("{publisher}-{n}");
                    let params = json!({"channel": load.channel, "data": data});
                    let published = service.publish(serde_json::from_str(&params.to_string()).unwrap()).await.unwrap();
                    ledger.note(published.offset, data);
                    if load.pause {
                        tokio::time::sleep(Duration::from_millis(chance.random_range(0..4))).await;
                    } else {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..load.subscribers)
        .map(|reader| {
            let reader = Reader {
                ledger: ledger.clone(),
                channel: load.channel,
                chance: ChaCha12Rng::seed_from_u64(seed.wrapping_add(1000 + reader)),
                position: None,
                got: Vec::new(),
                next_id: 0,
            };
            tokio::spawn(reader.run(rig.connector.clone(), load.rounds))
        })
        .collect();
    let mut finished = Vec::new();
    for reader in readers {
        finished.push(reader.await.unwrap());
    }
    ledger.enough.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    // Whoever comes back now gets all that is left, and that is all there ever was.
    for mut reader in finished {
        let mut peer = reader.connect(&rig.connector).await;
        reader.subscribe(&mut peer).await;
        let missing = ledger.top() - reader.position.as_ref().unwrap().0;
        assert_eq!(missing, 0, "a recovery goes to the top");
        let published = ledger.published.lock().unwrap();
        for (offset, data) in &reader.got {
            assert_eq!(published.get(offset), Some(data), "what came under {offset} is not what was published");
        }
    }
    assert!(ledger.live.load(Ordering::Relaxed) > 0 && ledger.recovered.load(Ordering::Relaxed) > 0, "put to the test");
    rig.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_between_threads() {
    let rig = Rig::start_threaded(Config::generous(), 3);
    run(&rig, Load { channel: "news", publishers: 3, subscribers: 12, rounds: 10, pause: false }, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_when_the_engine_answers_late() {
    let rig = Rig::start_threaded(Config::generous(), 3);
    run(&rig, Load { channel: "late", publishers: 3, subscribers: 12, rounds: 15, pause: true }, 1).await;
    assert!(rig.engine.late.load(Ordering::Relaxed) > 100);
}

#[tokio::test(start_paused = true)]
async fn nor_under_any_of_many_seeds() {
    for seed in 0..60 {
        let rig = Rig::start_seeded(Config::generous(), seed);
        let channel = if seed % 4 == 0 { "news" } else { "late" };
        run(&rig, Load { channel, publishers: 2, subscribers: 6, rounds: 4, pause: true }, seed).await;
    }
}
