//! Clients that do nothing wrong: one publishes at a steady pace, the others measure how late that reaches them, and
//! that nothing is missing. What is measured is named by when it was *due*: a publication that is still on its way when
//! an attack is over belongs to that attack, and is waited for.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::frame::{CLOSE, PATIENCE, close, frame, short, text};
use crate::peer::Peer;

const SUBSCRIBERS: usize = 10;
const PACE: Duration = Duration::from_millis(5);

/// Healthy clients, on a thread of their own.
pub(crate) struct Healthy {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    begun: Instant,
    enough: AtomicBool,
    /// What each subscriber has, in order.
    arrived: [Mutex<Vec<Arrival>>; SUBSCRIBERS],
}

/// A publication that reached somebody; times in microseconds since the beginning.
#[derive(Clone, Copy)]
struct Arrival {
    due_us: u64,
    at_us: u64,
}

impl Healthy {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let shared =
            Arc::new(Shared { begun: Instant::now(), enough: AtomicBool::new(false), arrived: Default::default() });
        let their = shared.clone();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve(address, their));
        });
        Self { shared, thread }
    }

    /// The 99th percentile of how late the publications due in a span of time reached everybody, and how many arrivals
    /// that is of. Waits until all of them are there.
    pub(crate) async fn p99(&self, due: Range<Instant>) -> (Duration, usize) {
        let us = |instant: Instant| micros(instant - self.shared.begun);
        let (from, to) = (us(due.start), us(due.end));
        let until = Instant::now() + 3 * PATIENCE;
        for arrived in &self.shared.arrived {
            while arrived.lock().unwrap().last().is_none_or(|last| last.due_us < to) {
                assert!(!self.thread.is_finished(), "a healthy client has ended");
                assert!(Instant::now() < until, "healthy clients wait for publications without end");
                sleep(PACE).await;
            }
        }
        let mut late: Vec<u64> = Vec::new();
        for arrived in &self.shared.arrived {
            let arrived = arrived.lock().unwrap();
            let due = arrived.iter().filter(|arrival| (from..to).contains(&arrival.due_us));
            late.extend(due.map(|arrival| arrival.at_us.saturating_sub(arrival.due_us)));
        }
        late.sort_unstable();
        let at = (late.len() * 99).div_ceil(100).saturating_sub(1);
        (Duration::from_micros(late.get(at).copied().unwrap_or(0)), late.len())
    }

    /// Ends, once everybody has everything. Fails if anybody was cut, or lacks anything.
    pub(crate) fn finish(self) {
        self.shared.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("healthy clients get everything, in order");
    }
}

async fn serve(address: SocketAddr, shared: Arc<Shared>) {
    let mut subscribers = JoinSet::new();
    for n in 0..SUBSCRIBERS {
        let mut peer = Peer::raw(address).await.connected().await;
        peer.say(r#"{"id":2,"subscribe":{"channel":"healthy"}}"#).await;
        // The joins of others may come before and after the answer.
        while peer.hear().await["id"] != 2 {}
        subscribers.spawn(listen(n, peer, shared.clone()));
    }
    let Peer { mut reader, writer } = Peer::raw(address).await.connected().await;
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    let pongs = writer.clone();
    // Publications go out when they are due, whatever became of those before.
    let answers = tokio::spawn(async move {
        let mut answered = 0;
        while let Ok(frame) = frame(&mut reader).await {
            if frame.opcode == CLOSE {
                break;
            }
            if frame.payload == b"{}" {
                pongs.lock().await.write_all(&text("{}").bytes()).await.unwrap();
                continue;
            }
            assert!(frame.payload.ends_with(br#","publish":{}}"#), "{}", short(&frame));
            answered += 1;
        }
        answered
    });
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut n = 0;
    loop {
        let due_us = micros(ticks.tick().await - shared.begun);
        let last = shared.enough.load(Ordering::Relaxed);
        n += 1;
        let data = format!(r#"{{"n":{n},"due":{due_us},"last":{last}}}"#);
        let command = format!(r#"{{"id":{n},"publish":{{"channel":"healthy","data":{data}}}}}"#);
        writer.lock().await.write_all(&text(&command).bytes()).await.unwrap();
        if last {
            break;
        }
    }
    while let Some(ended) = subscribers.join_next().await {
        ended.unwrap();
    }
    writer.lock().await.write_all(&close(1000, "").bytes()).await.unwrap();
    assert_eq!(answers.await.unwrap(), n, "every publication of a healthy publisher is answered");
}

async fn listen(subscriber: usize, mut peer: Peer, shared: Arc<Shared>) {
    let mut expected = 1;
    loop {
        let publication = peer.hear().await;
        let data = &publication["push"]["pub"]["data"];
        let Some(n) = data["n"].as_u64() else { continue };
        assert_eq!(n, expected, "nothing is missing, nothing comes twice");
        expected += 1;
        let (due_us, at_us) = (data["due"].as_u64().unwrap(), micros(shared.begun.elapsed()));
        shared.arrived[subscriber].lock().unwrap().push(Arrival { due_us, at_us });
        if data["last"] == true {
            return;
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}
