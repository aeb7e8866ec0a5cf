//! Clients that do nothing wrong: one publishes at a steady pace, the others measure how late that reaches them, and
//! that nothing is missing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::frame::{CLOSE, close, frame, short, text};
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
    /// Microseconds from the moment each publication was due to its arrival.
    late_us: Mutex<Vec<u64>>,
}

impl Healthy {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let shared =
            Arc::new(Shared { begun: Instant::now(), enough: AtomicBool::new(false), late_us: Mutex::default() });
        let their = shared.clone();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve(address, their));
        });
        Self { shared, thread }
    }

    /// Begins to measure anew.
    pub(crate) fn forget(&self) {
        self.shared.late_us.lock().unwrap().clear();
    }

    /// The 99th percentile since then, and of how many.
    pub(crate) fn p99(&self) -> (Duration, usize) {
        let mut late = self.shared.late_us.lock().unwrap().clone();
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
    for _ in 0..SUBSCRIBERS {
        let mut peer = Peer::raw(address).await.connected().await;
        peer.say(r#"{"id":2,"subscribe":{"channel":"healthy"}}"#).await;
        // The joins of others may come before and after the answer.
        while peer.hear().await["id"] != 2 {}
        subscribers.spawn(listen(peer, shared.clone()));
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
        let due_us = ticks.tick().await.duration_since(shared.begun).as_micros();
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

async fn listen(mut peer: Peer, shared: Arc<Shared>) {
    let mut expected = 1;
    loop {
        let publication = peer.hear().await;
        let data = &publication["push"]["pub"]["data"];
        let Some(n) = data["n"].as_u64() else { continue };
        assert_eq!(n, expected, "nothing is missing, nothing comes twice");
        expected += 1;
        let now_us = u64::try_from(shared.begun.elapsed().as_micros()).unwrap();
        shared.late_us.lock().unwrap().push(now_us.saturating_sub(data["due"].as_u64().unwrap()));
        if data["last"] == true {
            return;
        }
    }
}
