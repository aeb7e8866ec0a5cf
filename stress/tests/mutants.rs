//! The oracle at the wire: bugs planted in a hop between a real server and a peer that mends nothing, each condemned by its name.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

mod common;

use std::time::Duration;

use pubsub_protocol::push::PushBody;
use pubsub_protocol::reply::{Answer, Reply};
use serde_json::json;
use stress::fault::Faults;
use stress::fault::plan::{Aim, Corruption, Direction, Fault, Kind, Mutation, Plan, Target};
use stress::ledger::{Cause, Ledger, Outcome, Place, Policy};
use stress::payload::Header;
use stress::proxy::Hop;
use stress::raw::{Message, RawPeer};
use stress::{Class, Event, Judgement, Law, PublicationId, Seed};
use tokio::net::TcpStream;

const SEED: Seed = Seed(77);
const PUBLICATIONS: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than anything on loopback takes; passes only when something is missing.
const GIVE_UP: Duration = Duration::from_millis(400);

/// A subscriber on the wire: its number is that of its channel and of its connection.
struct Reader {
    sub: u32,
    peer: RawPeer<TcpStream>,
}

impl Reader {
    async fn subscribed(sub: u32, address: &str, ledger: &mut Ledger) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut peer = RawPeer::upgrade(stream, address, SEED.chance(u64::from(sub), "mask")).await.unwrap();
        peer.connect().await.unwrap();
        peer.subscribe(&channel(sub), None).await.unwrap();
        ledger.record(Event::Ask { at: Duration::ZERO, sub, generation: 1, from: None });
        let mut reader = Self { sub, peer };
        while !reader.take(ledger).await {}
        reader
    }

    /// Takes one message. True if it was the answer to the subscribe.
    async fn take(&mut self, ledger: &mut Ledger) -> bool {
        let (at, sub, generation) = (Duration::ZERO, self.sub, 1);
        let message = tokio::time::timeout(PATIENCE, self.peer.next()).await.unwrap();
        let replies = match message {
            Ok(Message::Replies(replies)) => replies,
            Ok(Message::Garbage(what)) => {
                ledger.record(Event::Checked { law: Law::I16, count: 1, wrong: vec![what] });
                return false;
            }
            Ok(Message::End | Message::Close { .. }) | Err(_) => {
                ledger.record(Event::Break { at, sub, generation, cause: Cause::Disconnected(1006) });
                return false;
            }
        };
        let mut answered = false;
        for reply in replies {
            match reply {
                Reply::Answer { outcome: Ok(Answer::Subscribe(result)), .. } => {
                    answered = true;
                    let place =
                        result.positioned.then(|| Place { epoch: (&*result.epoch).into(), offset: result.offset });
                    let (recovered, was_recovering) = (result.recovered, result.was_recovering);
                    let (batch, batch_follows) = (Vec::new(), false);
                    ledger.record(Event::Reply {
                        at,
                        sub,
                        generation,
                        recovered,
                        was_recovering,
                        place,
                        batch,
                        batch_follows,
                    });
                }
                Reply::Push(push) => {
                    let PushBody::Publication(publication) = &push.body else { continue };
                    let content = Header::verify(SEED, publication.data.as_bytes()).map(|header| header.id);
                    let channel = push.channel.trim_start_matches("mutant").parse().unwrap();
                    let epoch = (!publication.epoch.is_empty()).then(|| (&*publication.epoch).into());
                    let offset = publication.offset;
                    ledger.record(Event::Push { at, sub, generation, channel, epoch, offset, content });
                }
                _ => {}
            }
        }
        answered
    }

    /// Takes what there is until nothing comes any more.
    async fn drain(&mut self, ledger: &mut Ledger) {
        while let Ok(()) = tokio::time::timeout(GIVE_UP, async {
            self.take(ledger).await;
        })
        .await
        {
            if ledger.tally().breaks > 0 {
                return;
            }
        }
    }
}

fn channel(number: u32) -> String {
    format!("mutant{number}")
}

async fn publish(address: &str, number: u32, n: u64, ledger: &mut Ledger) {
    let id = PublicationId { run: 1, publisher: number, n };
    let data: serde_json::Value =
        serde_json::from_str(&Header::encode(SEED, id, Duration::ZERO, Duration::ZERO, 200)).unwrap();
    ledger.record(Event::Invoke { at: Duration::ZERO, id });
    let result = stress::server::http::call::<serde_json::Value>(
        address,
        "publish",
        &json!({ "channel": channel(number), "data": data }),
    )
    .await;
    let result = result.unwrap();
    let place = Place { epoch: result["epoch"].as_str().unwrap().into(), offset: result["offset"].as_u64().unwrap() };
    ledger.record(Event::Done { at: Duration::ZERO, id, outcome: Outcome::Ok(Some(place)) });
}

/// Two readers, each on a channel of its own; `kind` strikes the first one's fourth publication.
async fn judged(kind: Option<Kind>) -> Judgement {
    let (server, address) = common::serving(300);
    let faults = Faults::new(&Plan { seed: SEED, ..Plan::default() });
    let mut ledger = Ledger::keeping();
    let policy = Policy { history_size: 300, history_ttl: Duration::from_secs(300), recovery_max: 300 };
    for number in 0..2 {
        ledger.record(Event::Channel { channel: number, policy });
        ledger.record(Event::Publisher { publisher: number, channel: number });
        ledger.record(Event::Subscription { sub: number, channel: number, bystander: false });
    }
    // The hop numbers connections as they come. It follows frames from the first byte on; the mutant's moment comes later.
    let hop = Hop::before(&address, faults.clone()).unwrap();
    let mut first = Reader::subscribed(0, &hop.address(), &mut ledger).await;
    let mut second = Reader::subscribed(1, &hop.address(), &mut ledger).await;
    let mut guard = None;
    for n in 1..=PUBLICATIONS {
        if n == 4 {
            guard = kind.clone().map(|kind| {
                let fault = Fault::new("mutant", kind).aimed(Aim::Reply("push".into())).direction(Direction::In);
                faults.inject(fault.target(Target::Connections(vec![0])))
            });
        }
        publish(&address, 0, n, &mut ledger).await;
        publish(&address, 1, n, &mut ledger).await;
        // One frame per publication: what comes together may travel together.
        let _one = tokio::time::timeout(GIVE_UP, first.take(&mut ledger)).await;
        let _one = tokio::time::timeout(GIVE_UP, second.take(&mut ledger)).await;
    }
    for number in 0..2 {
        ledger.record(Event::Sentinel {
            channel: number,
            id: PublicationId { run: 1, publisher: number, n: PUBLICATIONS },
        });
    }
    first.drain(&mut ledger).await;
    second.drain(&mut ledger).await;
    ledger.record(Event::Census { at: Duration::ZERO });
    if kind.is_some() {
        assert_eq!(faults.counts()["mutant"].1.applied, 1, "the mutant was at work");
    }
    drop(guard);
    drop(server);
    ledger.judge()
}

#[tokio::test]
async fn without_a_mutant_nothing_is_found() {
    let judgement = judged(None).await;
    assert!(judgement.is_clean(), "{:#?}", judgement.findings);
    assert!(judgement.unevaluated(&[Law::I1, Law::I2, Law::I4, Law::I8, Law::I9]).is_empty());
}

macro_rules! mutants {
    ($($name:ident: $kind:expr => $($class:ident),+;)+) => {$(
        #[tokio::test]
        async fn $name() {
            let judgement = judged(Some($kind)).await;
            for class in [$(Class::$class),+] {
                assert!(judgement.classes().contains(&class), "{class:?} is not among {:#?}", judgement.findings);
            }
        }
    )+};
}

mutants! {
    a_dropped_frame_is_a_loss: Kind::Mutant(Mutation::Drop) => Loss;
    a_doubled_frame_is_a_duplicate: Kind::Mutant(Mutation::Duplicate) => Duplicate;
    swapped_frames_are_a_reorder: Kind::Mutant(Mutation::Swap) => Reorder;
    a_replayed_frame_is_a_duplicate: Kind::Mutant(Mutation::Replay(3)) => Duplicate;
    lost_bytes_break_the_protocol_and_leave_one_stuck: Kind::Mutant(Mutation::LoseBytes) => Stuck;
    a_stray_frame_is_a_misroute_here_and_a_loss_there: Kind::Mutant(Mutation::WrongSocket) => Misroute, Loss;
    a_flipped_bit_is_a_corruption: Kind::Corrupt(Corruption::Payload) => Corruption;
    a_silent_stall_leaves_one_stuck: Kind::Mutant(Mutation::SilentStall) => Stuck;
}
