//! Nobody waits for another's flood. Waiting is counted in what flooders are answered meanwhile, not in time: how busy the
//! machine is makes no difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pubsub_protocol::websocket::Opcode;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

use crate::rig::peer::{Heard, Peer};
use crate::rig::{Rig, quiet};

/// Commands of somebody else, one after the other, whose waits are counted.
const ROUNDS: usize = 8;

#[derive(Clone, Copy, Debug)]
enum Flood {
    Subscribes,
    Histories,
    Pings,
}

/// Who says so much at once, and again as soon as all of it is answered.
struct Flooder {
    peer: Peer,
    flood: Flood,
    at_once: usize,
    id: usize,
}

impl Flooder {
    async fn say(&mut self) {
        if let Flood::Pings = self.flood {
            return self.peer.bytes(&Peer::<DuplexStream>::encode(Opcode::Ping, b"x").repeat(self.at_once)).await;
        }
        let ids = self.id + 1..=self.id + self.at_once;
        let commands: Vec<Value> = ids.map(|id| self.command(id)).collect();
        self.id += self.at_once;
        self.peer.say(&commands).await;
    }

    fn command(&self, id: usize) -> Value {
        let channel = json!({"channel": "flooded"});
        match self.flood {
            Flood::Subscribes if id.is_multiple_of(2) => json!({"id": id, "subscribe": channel}),
            Flood::Subscribes => json!({"id": id, "unsubscribe": channel}),
            _ => json!({"id": id, "history": channel}),
        }
    }

    /// Goes on without end. Everything is answered, and in order.
    async fn run(mut self, answered: Arc<AtomicUsize>) {
        let mut next = self.id + 1;
        loop {
            self.say().await;
            for _ in 0..self.at_once {
                match self.peer.next().await {
                    Heard::NativePong(_) => {}
                    Heard::Reply(reply) => assert_eq!((&reply["id"], &reply["error"]), (&json!(next), &Value::Null)),
                    other => panic!("expected an answer, got {other:?}"),
                }
                next += 1;
                answered.fetch_add(1, Relaxed);
            }
        }
    }
}

/// The most that flooders were answered between somebody's publications, so many in one write, and their arrival.
async fn longest_wait(flooders: usize, flood: Flood, at_once: usize, publications: usize) -> usize {
    let rig = Rig::start(quiet());
    let (mut healthy, _) = rig.subscribed("healthy").await;
    let answered = Arc::<AtomicUsize>::default();
    let mut peers = Vec::new();
    for _ in 0..flooders {
        peers.push(rig.connected().await);
    }
    let mut flooding = JoinSet::new();
    for peer in peers {
        flooding.spawn(Flooder { peer, flood, at_once, id: 1 }.run(answered.clone()));
    }
    let mut longest = 0;
    for round in 0..ROUNDS {
        // Each comes at another moment of the flood, the first when all of them have been heard twice.
        let begun = answered.load(Relaxed).max(44 * flooders);
        while answered.load(Relaxed) < begun + 197 {
            tokio::task::yield_now().await;
        }
        let before = answered.load(Relaxed);
        let publish = json!({"id": 3 + round, "publish": {"channel": "healthy", "data": round}}).to_string();
        healthy.bytes(&Peer::<DuplexStream>::encode(Opcode::Text, publish.as_bytes()).repeat(publications)).await;
        let (mut acknowledged, mut arrived) = (0, 0);
        while (acknowledged, arrived) != (publications, publications) {
            let reply = healthy.reply().await;
            acknowledged += usize::from(reply["publish"].is_object());
            arrived += usize::from(reply["push"]["pub"]["data"] == round);
        }
        longest = longest.max(answered.load(Relaxed) - before);
    }
    assert!(flooding.try_join_next().is_none(), "all of them still flood");
    flooding.shutdown().await;
    drop(healthy);
    rig.at_rest().await;
    eprintln!("{flooders} × {flood:?}, {at_once} at once: {publications} publications waited for {longest} answers");
    longest
}

/// What a few turns of the loop deal with, however many wait.
const WAIT_MAX: usize = 1500;

/// In whatever portions the flood comes.
async fn nobody_waits_for(flood: Flood) {
    for (flooders, at_once) in [(40, 300), (160, 300), (160, 20)] {
        let longest = longest_wait(flooders, flood, at_once, 1).await;
        assert!(longest <= WAIT_MAX, "{longest} answers to {flooders} who say {at_once} things at once came first");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_floods_of_subscribes() {
    nobody_waits_for(Flood::Subscribes).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_floods_of_histories() {
    nobody_waits_for(Flood::Histories).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_floods_of_pings() {
    nobody_waits_for(Flood::Pings).await;
}

/// What a busy machine kept back comes all at once. Whoever sent it does not stand behind those who never stop.
#[tokio::test(start_paused = true)]
async fn who_says_a_little_more_does_not_wait_for_a_flood_either() {
    for flooders in [40, 160] {
        let longest = longest_wait(flooders, Flood::Histories, 300, 12).await;
        assert!(longest <= WAIT_MAX, "{longest} answers to {flooders} came first");
    }
}

/// What goes to many is parted by what others say, however much of it a backend publishes at once.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_all_that_goes_to_many() {
    const MEMBERS: u64 = 200;
    const PUBLICATIONS: u64 = 200;
    let rig = Rig::start(quiet());
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(rig.subscribed("large").await.0);
    }
    let mut healthy = rig.connected().await;
    let publishing = async {
        for n in 0..PUBLICATIONS {
            rig.publish("large", json!(n)).await;
        }
    };
    let service = rig.server.service().clone();
    // A task like the server's own: whoever runs the test has its turn after many of theirs.
    let asking = tokio::spawn(async move {
        let (mut delivered, mut longest) = (0, 0);
        for id in 3.. {
            healthy.ask(json!({"id": id, "history": {"channel": "large"}})).await;
            let now = service.metrics().snapshot().deliveries;
            (delivered, longest) = (now, longest.max(now - delivered));
            if delivered == MEMBERS * PUBLICATIONS {
                break;
            }
        }
        longest
    });
    let ((), longest) = tokio::join!(publishing, asking);
    let longest = longest.unwrap();
    assert!(longest < 10_000, "{longest} deliveries came before an answer");
    for mut member in members {
        for n in 0..PUBLICATIONS {
            assert_eq!(member.reply().await["push"]["pub"]["data"], n);
        }
    }
    rig.at_rest().await;
}

/// Whoever gets little is not behind those who get much: of what is written to them at once, a part goes first.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_those_who_get_much() {
    const MEMBERS: usize = 200;
    const BYTES: usize = 20_000;
    let rig = Rig::start(quiet());
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(rig.subscribed("loud").await.0);
    }
    let (mut healthy, _) = rig.subscribed("healthy").await;
    let before = rig.stats().bytes_sent;
    let service = rig.server.service().clone();
    // As above: it hears of it when the server's turn is over.
    let hearing = tokio::spawn(async move {
        healthy.reply().await;
        service.metrics().snapshot().bytes_sent
    });
    rig.publish("loud", json!("x".repeat(BYTES))).await;
    rig.publish("healthy", json!(1)).await;
    let written = usize::try_from(hearing.await.unwrap() - before).unwrap() / BYTES;
    assert!(written <= 2 * 64, "{written} of {MEMBERS} large ones were written first");
    for mut member in members {
        assert_eq!(member.reply().await["push"]["pub"]["data"].as_str().map(str::len), Some(BYTES));
    }
    rig.at_rest().await;
}
