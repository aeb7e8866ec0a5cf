//! Clients that do nothing wrong: one publishes at a steady pace, the others measure how late that reaches them, and
//! that nothing is missing. What is measured is named by when it was *due*: a publication that is still on its way when
//! an attack is over belongs to that attack, and is waited for.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use crate::frame::{CLOSE, PATIENCE, close, frame, short, text};
use crate::peer::Peer;

const SUBSCRIBERS: usize = 10;
const PACE: Duration = Duration::from_millis(5);

/// Healthy clients of two servers, on one thread of their own: what keeps that thread from running is in both measures.
pub(crate) struct Healthy {
    begun: Instant,
    groups: [Arc<Group>; 2],
    thread: Option<JoinHandle<Result<(), String>>>,
}

/// The healthy clients of one server.
struct Group {
    begun: Instant,
    enough: AtomicBool,
    /// How many publications there were, once the last of them is out.
    published: AtomicU64,
    /// What each subscriber has, in order.
    arrived: [Mutex<Vec<Arrival>>; SUBSCRIBERS],
}

/// A publication that reached somebody; times in microseconds since the beginning.
#[derive(Clone, Copy)]
struct Arrival {
    due_us: u64,
    at_us: u64,
}

/// How late what was due in a span of time reached everybody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lateness {
    pub(crate) p99: Duration,
    pub(crate) arrivals: usize,
    /// The worst of it, and when that was due, from the beginning of the span.
    #[allow(dead_code, reason = "shown when a siege fails")]
    pub(crate) worst: (Duration, Duration),
}

impl Healthy {
    pub(crate) fn start(servers: [SocketAddr; 2]) -> Self {
        let begun = Instant::now();
        let groups = servers.map(|_| Arc::new(Group::new(begun)));
        let theirs = groups.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let [first, second] = theirs;
                tokio::try_join!(serve(servers[0], first), serve(servers[1], second)).map(drop)
            })
        });
        Self { begun, groups, thread: Some(thread) }
    }

    /// How late the publications due in a span of time were, at each of the servers. Waits until all of them are there.
    ///
    /// # Errors
    /// What befell a healthy client.
    pub(crate) async fn lateness(&mut self, due: Range<Instant>) -> Result<[Lateness; 2], String> {
        let us = |instant: Instant| micros(instant - self.begun);
        let (from, to) = (us(due.start), us(due.end));
        let until = Instant::now() + 3 * PATIENCE;
        while !self.groups.iter().all(|group| group.has(to)) {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                self.ended()?;
                return Err("healthy clients ended before their time".to_owned());
            }
            if Instant::now() > until {
                return Err("healthy clients wait for publications without end".to_owned());
            }
            sleep(PACE).await;
        }
        Ok([0, 1].map(|server| self.groups[server].lateness(from..to)))
    }

    /// Ends, once everybody has everything.
    ///
    /// # Errors
    /// Who was cut or lacks anything, and why.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        for group in &self.groups {
            group.enough.store(true, Ordering::Relaxed);
        }
        self.ended()
    }

    fn ended(&mut self) -> Result<(), String> {
        let thread = self.thread.take().expect("it ends once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Group {
    fn new(begun: Instant) -> Self {
        Self { begun, enough: AtomicBool::new(false), published: AtomicU64::new(0), arrived: Default::default() }
    }

    /// Whether everybody has something that was due at this time or later.
    fn has(&self, due_us: u64) -> bool {
        self.arrived.iter().all(|arrived| arrived.lock().unwrap().last().is_some_and(|last| last.due_us >= due_us))
    }

    fn lateness(&self, due: Range<u64>) -> Lateness {
        let mut late: Vec<(u64, u64)> = Vec::new();
        for arrived in &self.arrived {
            let arrived = arrived.lock().unwrap();
            let theirs = arrived.iter().filter(|arrival| due.contains(&arrival.due_us));
            late.extend(theirs.map(|one| (one.at_us.saturating_sub(one.due_us), one.due_us - due.start)));
        }
        late.sort_unstable();
        let at = (late.len() * 99).div_ceil(100).saturating_sub(1);
        let [p99, worst] = [late.get(at), late.last()].map(|late| late.copied().unwrap_or_default());
        Lateness {
            p99: Duration::from_micros(p99.0),
            arrivals: late.len(),
            worst: (Duration::from_micros(worst.0), Duration::from_micros(worst.1)),
        }
    }
}

async fn serve(address: SocketAddr, group: Arc<Group>) -> Result<(), String> {
    let mut clients = JoinSet::new();
    for n in 0..SUBSCRIBERS {
        let mut peer = Peer::raw(address).await.connected().await;
        peer.say(r#"{"id":2,"subscribe":{"channel":"healthy"}}"#).await;
        // The joins of others may come before and after the answer.
        while peer.hear().await["id"] != 2 {}
        clients.spawn(listen(n, peer, group.clone()));
    }
    let Peer { reader, writer } = Peer::raw(address).await.connected().await;
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    clients.spawn(hear_answers(reader, writer.clone(), group.clone()));
    clients.spawn(publish(writer, group));
    let mut failed = Vec::new();
    let mut until = Instant::now() + Duration::from_secs(3600);
    while let Ok(Some(ended)) = timeout_at(until, clients.join_next()).await {
        if let Err(error) = ended {
            // One that cannot write any more seldom knows why. Another has the close frame.
            until = until.min(Instant::now() + Duration::from_secs(1));
            failed.push(error.to_string());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Publications go out when they are due, whatever became of those before.
async fn publish(writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>, group: Arc<Group>) {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 1.. {
        let due_us = micros(ticks.tick().await - group.begun);
        let last = group.enough.load(Ordering::Relaxed);
        let data = format!(r#"{{"n":{n},"due":{due_us},"last":{last}}}"#);
        let command = format!(r#"{{"id":{n},"publish":{{"channel":"healthy","data":{data}}}}}"#);
        if last {
            group.published.store(n, Ordering::Relaxed);
        }
        let sent = writer.lock().await.write_all(&text(&command).bytes()).await;
        sent.unwrap_or_else(|error| panic!("publication {n} can not be sent: {error}"));
        if last {
            return;
        }
    }
}

async fn hear_answers(
    mut reader: BufReader<OwnedReadHalf>,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    group: Arc<Group>,
) {
    let mut answered = 0;
    while answered == 0 || answered != group.published.load(Ordering::Relaxed) {
        let frame = frame(&mut reader).await;
        let frame = frame.unwrap_or_else(|error| panic!("the publisher, after {answered} answers: {error}"));
        if frame.payload == b"{}" {
            writer.lock().await.write_all(&text("{}").bytes()).await.expect("a ping can be answered");
            continue;
        }
        let answer = frame.opcode != CLOSE && frame.payload.ends_with(br#","publish":{}}"#);
        assert!(answer, "the publisher, after {answered} answers: {}", short(&frame));
        answered += 1;
    }
    writer.lock().await.write_all(&close(1000, "").bytes()).await.expect("a connection that is closed in order");
}

async fn listen(subscriber: usize, mut peer: Peer, group: Arc<Group>) {
    let mut expected = 1;
    loop {
        let publication = peer.hear().await;
        let data = &publication["push"]["pub"]["data"];
        let Some(n) = data["n"].as_u64() else { continue };
        assert_eq!(n, expected, "nothing is missing, nothing comes twice");
        expected += 1;
        let (due_us, at_us) = (data["due"].as_u64().unwrap(), micros(group.begun.elapsed()));
        group.arrived[subscriber].lock().unwrap().push(Arrival { due_us, at_us });
        if data["last"] == true {
            return;
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}
