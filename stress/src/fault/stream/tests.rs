use std::task::Waker;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::pump::READ_BYTES;
use super::*;
use crate::chance::Seed;
use crate::fault::frames::tests::frame;
use crate::fault::memory::{MemoryStream, pair};
use crate::fault::plan::{Aim, Corruption, Fault, Latency, Mutation, Plan, Target, Topology};

const MS: fn(u64) -> Duration = Duration::from_millis;
const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";

fn faults() -> Faults {
    let topology = Topology { connections: 10, ..Topology::default() };
    Faults::new(&Plan { seed: Seed(11), topology, ..Plan::default() })
}

/// A client's end under `faults` and the server's bare end.
fn connected(faults: &Faults) -> (FaultyStream<MemoryStream>, MemoryStream) {
    let (ours, theirs) = pair(1 << 20);
    (faults.stream(0, ours), theirs)
}

fn fixed(id: &str, delay: Duration) -> Fault {
    Fault::new(id, Kind::Latency(Latency { min: delay, max: delay, correlation: 0.0 }))
}

/// 8 KiB that no shift of leaves alike.
fn noise() -> Vec<u8> {
    let mut chance = Seed(5).chance(0, "noise");
    (0..1 << 10).flat_map(|_| chance.bits().to_le_bytes()).collect()
}

/// Sends noise both ways at once and checks that exactly it arrives.
async fn noise_passes(mut ours: FaultyStream<MemoryStream>, mut theirs: MemoryStream) {
    let (sent, answer) = (noise(), noise().into_iter().rev().collect::<Vec<u8>>());
    let peer = async {
        let mut heard = Vec::new();
        let (mut read, mut write) = tokio::io::split(&mut theirs);
        tokio::join!(async { write.write_all(&answer).await.unwrap() }, async {
            read.read_to_end(&mut heard).await.unwrap();
        });
        drop(theirs);
        heard
    };
    let us = async {
        let mut heard = Vec::new();
        let (mut read, mut write) = tokio::io::split(&mut ours);
        let ((), ()) = tokio::join!(
            async {
                for part in sent.chunks(777) {
                    write.write_all(part).await.unwrap();
                }
                write.shutdown().await.unwrap();
            },
            async {
                read.read_to_end(&mut heard).await.unwrap();
            }
        );
        heard
    };
    let (heard_there, heard_here) = tokio::join!(peer, us);
    assert!(heard_there == sent, "what we sent");
    assert!(heard_here == answer, "what they sent");
}

#[tokio::test(start_paused = true)]
async fn the_bytes_are_the_same_under_no_fault_and_under_every_harmless_one() {
    let harmless = [
        Fault::new("slices", Kind::Slices { bytes: 1 }),
        Fault::new("coalesce", Kind::Coalesce { window: MS(5) }),
        Fault::new("yields", Kind::Yields { chance: 0.5 }),
        fixed("latency", MS(50)),
        Fault::new("jitter", Kind::Latency(Latency { min: MS(1), max: MS(90), correlation: 0.5 })),
        Fault::new("spikes", Kind::Spikes { turn_bad: 0.9, turn_good: 0.3, delays: vec![MS(200), MS(800)] }),
        Fault::new("bandwidth", Kind::Bandwidth { bytes_per_second: 100_000, burst: 1_000, shared: false }),
        Fault::new("drip", Kind::Drip { bytes: 100, every: MS(3) }),
    ];
    let clean = faults();
    let (ours, theirs) = connected(&clean);
    assert!(ours.parts.as_ref().unwrap().machine.is_none(), "nothing holds, so nothing stands in the way");
    noise_passes(ours, theirs).await;
    for fault in &harmless {
        let faults = faults();
        let _guard = faults.inject(fault.clone());
        let (ours, theirs) = connected(&faults);
        noise_passes(ours, theirs).await;
        assert_eq!(faults.counts()[&fault.id].1.applied, 2, "{} was at work both ways", fault.id);
    }
    let faults = faults();
    let _guards: Vec<_> = harmless.into_iter().map(|fault| faults.inject(fault)).collect();
    let (ours, theirs) = connected(&faults);
    noise_passes(ours, theirs).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_of_latency_is_a_second_and_not_one_message_per_second() {
    let faults = faults();
    let _guard = faults.inject(fixed("far", MS(1_000)).direction(Direction::Out));
    let (mut ours, mut theirs) = connected(&faults);
    let begun = Instant::now();
    let writer = async {
        for n in 0..100u8 {
            ours.write_all(&[n]).await.unwrap();
            ours.flush().await.unwrap();
            tokio::time::sleep(MS(1)).await;
        }
        // Whoever waits for an answer keeps reading; this drives the line.
        let _closed = ours.read(&mut [0]).await;
    };
    let reader = async {
        for n in 0..100u8 {
            assert_eq!(theirs.read_u8().await.unwrap(), n);
            let took = begun.elapsed() - MS(u64::from(n));
            assert!(took >= MS(1_000) && took < MS(1_003), "byte {n} took {took:?}");
        }
        drop(theirs);
    };
    tokio::join!(writer, reader);
    assert!(begun.elapsed() < MS(1_200));
}

#[tokio::test(start_paused = true)]
async fn a_reset_keeps_what_has_arrived_and_loses_what_has_not() {
    let faults = faults();
    let _far = faults.inject(fixed("far", MS(100)));
    let (mut ours, mut theirs) = connected(&faults);
    theirs.write_all(b"early").await.unwrap();
    ours.write_all(b"sent").await.unwrap();
    assert!(tokio::time::timeout(MS(0), ours.read(&mut [0; 9])).await.is_err());
    tokio::time::sleep(MS(150)).await;
    // This poll takes in "late", which is then on the way.
    theirs.write_all(b"late").await.unwrap();
    let mut heard = [0; 3];
    assert_eq!(ours.read(&mut heard).await.unwrap(), 3);
    ours.write_all(b"unsent").await.unwrap();
    let _reset = faults.inject(Fault::new("reset", Kind::Reset));
    let mut rest = [0; 9];
    assert_eq!(ours.read(&mut rest).await.unwrap(), 2);
    assert_eq!(&rest[..2], b"ly");
    assert_eq!(ours.read(&mut rest).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(ours.read(&mut rest).await.unwrap(), 0);
    assert_eq!(ours.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(ours.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let mut there = Vec::new();
    assert_eq!(theirs.read_to_end(&mut there).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(there, b"sent");
    assert_eq!(faults.counts()["reset"].1.applied, 1);
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_cut_after_exactly_k_bytes_and_then_fin_or_reset() {
    for (kind, ends) in [(Kind::Fin, Ok(0)), (Kind::Reset, Err(io::ErrorKind::ConnectionReset))] {
        let faults = faults();
        let _far = faults.inject(fixed("far", MS(10)));
        let _cut = faults.inject(Fault::new("cut", kind).aimed(Aim::Byte(40)).direction(Direction::Out));
        let (mut ours, mut theirs) = connected(&faults);
        let mut bytes = HEAD.to_vec();
        bytes.extend(frame(0x81, Some([1, 2, 3, 4]), b"{\"id\":1,\"publish\":{}}"));
        ours.write_all(&bytes).await.unwrap();
        let us = tokio::spawn(async move {
            let mut nothing = [0; 1];
            let _end = ours.read(&mut nothing).await;
            ours
        });
        let mut heard = vec![0; 40];
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, bytes[..40]);
        assert_eq!(theirs.read(&mut [0; 9]).await.map_err(|e| e.kind()), ends);
        drop(theirs);
        us.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_stream_still_hears_and_its_next_write_is_not_received() {
    let faults = faults();
    let (mut ours, mut theirs) = connected(&faults);
    ours.write_all(b"before").await.unwrap();
    let _fin = faults.inject(Fault::new("fin", Kind::Fin).direction(Direction::Out));
    assert_eq!(ours.write(b"after").await.unwrap(), 5, "written is not received");
    assert_eq!(ours.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"before");
    theirs.write_all(b"still here").await.unwrap();
    let mut back = [0; 10];
    ours.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"still here");
}

#[tokio::test(start_paused = true)]
async fn a_stream_given_up_and_dropped_ends_for_the_peer_after_what_was_on_the_way() {
    let faults = faults();
    let _far = faults.inject(fixed("far", MS(2_000)).direction(Direction::Out));
    let (mut ours, mut theirs) = connected(&faults);
    ours.write_all(b"late").await.unwrap();
    let _over = faults.inject(Fault::new("over", Kind::Fin).direction(Direction::In));
    assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0, "we believe it is over");
    let begun = Instant::now();
    // No shutdown: whoever believes that it is over just drops it. It used to linger for two minutes without a FIN.
    drop(ours);
    let mut heard = String::new();
    theirs.read_to_string(&mut heard).await.unwrap();
    assert_eq!((heard.as_str(), begun.elapsed()), ("late", MS(2_000)));
}

#[tokio::test(start_paused = true)]
async fn a_full_fin_drains_the_peers_input_so_that_it_sees_no_reset() {
    let faults = faults();
    let (mut ours, mut theirs) = connected(&faults);
    let _fin = faults.inject(Fault::new("fin", Kind::Fin));
    theirs.write_all(b"unread").await.unwrap();
    assert_eq!(ours.read(&mut [0; 9]).await.unwrap(), 0, "we believe it is over");
    drop(ours);
    assert_eq!(theirs.read(&mut [0; 9]).await.unwrap(), 0, "a FIN and not a reset");
}

#[tokio::test(start_paused = true)]
async fn a_half_open_stream_that_is_dropped_ends_for_its_peer_when_it_is_healed() {
    for aim in [Aim::At, Aim::Byte(4)] {
        let faults = faults();
        let (mut ours, mut theirs) = connected(&faults);
        let guard = faults.inject(Fault::new("dead", Kind::HalfOpen).aimed(aim));
        ours.write_all(b"abcdefgh").await.unwrap();
        drop(ours);
        let mut heard = Vec::new();
        assert!(tokio::time::timeout(60_000 * MS(1), theirs.read_to_end(&mut heard)).await.is_err(), "{heard:?}");
        drop(guard);
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"abcdefgh");
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_open_stream_pends_without_a_wake_until_it_is_healed_and_loses_nothing() {
    let faults = faults();
    let (ours, mut theirs) = connected(&faults);
    let guard = faults.inject(Fault::new("gone", Kind::HalfOpen));
    let (mut read, mut write) = tokio::io::split(ours);
    write.write_all(b"into the void").await.unwrap();
    theirs.write_all(b"hello?").await.unwrap();
    let mut reading = tokio_test_task(async move {
        let mut heard = [0; 6];
        read.read_exact(&mut heard).await.unwrap();
        heard
    });
    assert!(reading.poll().is_pending());
    let wakes = reading.wakes();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(reading.wakes(), wakes, "nobody wakes a half-open stream");
    assert!(reading.poll().is_pending());
    guard.heal();
    assert_eq!(reading.wakes(), wakes + 1, "healing does");
    assert_eq!(reading.poll(), Poll::Ready(*b"hello?"));
    let mut there = [0; 13];
    theirs.read_exact(&mut there).await.unwrap();
    assert_eq!(&there, b"into the void");
}

/// A future polled by hand, its wakes counted.
struct Task<F> {
    future: Pin<Box<F>>,
    wakes: Arc<std::sync::atomic::AtomicUsize>,
}

struct CountWakes(Arc<std::sync::atomic::AtomicUsize>);

impl std::task::Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

fn tokio_test_task<F: Future>(future: F) -> Task<F> {
    Task { future: Box::pin(future), wakes: Arc::default() }
}

impl<F: Future> Task<F> {
    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::new(CountWakes(Arc::clone(&self.wakes))));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn wakes(&self) -> usize {
        self.wakes.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_lets_the_pipe_fill_instead_of_reading_ahead() {
    let faults = faults();
    let (ours, theirs) = pair(4_096);
    let mut ours = faults.stream(0, ours);
    let guard = faults.inject(Fault::new("stall", Kind::Stall).direction(Direction::In));
    let mut theirs = theirs;
    let poll_read = |stream: &mut FaultyStream<MemoryStream>| {
        let mut bytes = [0; 16];
        let mut buf = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(stream).poll_read(&mut cx, &mut buf).map(|read| read.map(|()| buf.filled().len()).unwrap())
    };
    let mut sent = 0;
    while let Ok(count) = tokio::time::timeout(MS(1), theirs.write(&[7; 1_000])).await {
        sent += count.unwrap();
        assert!(poll_read(&mut ours).is_pending());
    }
    assert_eq!(sent, 4_096, "the wrapper's own queue took nothing");
    guard.heal();
    assert_eq!(poll_read(&mut ours), Poll::Ready(16));
}

#[tokio::test(start_paused = true)]
async fn without_a_fault_of_its_own_a_slow_reader_is_felt_too() {
    // Some fault holds, so the machine is in between; but this reader does not read.
    let faults = faults();
    let _far = faults.inject(fixed("far", MS(1)));
    let (ours, mut theirs) = pair(4_096);
    let mut ours = faults.stream(0, ours);
    let mut sent = 0;
    while let Ok(count) = tokio::time::timeout(MS(10), theirs.write(&[7; 1_000])).await {
        sent += count.unwrap();
        ours.flush().await.unwrap();
        tokio::time::sleep(MS(5)).await;
    }
    assert!(sent <= 4_096 + READ_BYTES, "{sent} bytes were taken from a peer whose reader reads nothing");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_a_drop_arrives_all_the_same() {
    let faults = faults();
    let _far = faults.inject(fixed("far", MS(1_000)));
    let (mut ours, mut theirs) = connected(&faults);
    ours.write_all(b"last words").await.unwrap();
    ours.shutdown().await.unwrap();
    drop(ours);
    let begun = Instant::now();
    let mut heard = String::new();
    theirs.read_to_string(&mut heard).await.unwrap();
    assert_eq!((heard.as_str(), begun.elapsed()), ("last words", MS(1_000)));
}

#[tokio::test(start_paused = true)]
async fn aims_see_the_conversation() {
    let faults = faults();
    let aim = Aim::Command("publish".into());
    let _cut = faults.inject(Fault::new("cut", Kind::Reset).aimed(aim).direction(Direction::Out));
    let (mut ours, mut theirs) = connected(&faults);
    let before = frame(0x81, Some([1, 2, 3, 4]), br#"{"id":1,"connect":{}}"#);
    let publish = frame(0x81, Some([5, 6, 7, 8]), br#"{"id":2,"publish":{"channel":"a","data":1}}"#);
    ours.write_all(HEAD).await.unwrap();
    ours.write_all(&before).await.unwrap();
    assert_eq!(faults.counts()["cut"].1.attempted, 0);
    ours.write_all(&publish).await.unwrap();
    assert_eq!(ours.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!(heard, [HEAD, &before].concat(), "everything before the publish and nothing of it");
}

#[tokio::test(start_paused = true)]
async fn a_blow_strikes_each_connection_once_and_what_lasts_stays_on_its_stream() {
    let faults = faults();
    let stall = Fault::new("stall", Kind::Stall).aimed(Aim::Byte(3)).direction(Direction::Out);
    let _guard = faults.inject(stall);
    let (mut ours, mut theirs) = connected(&faults);
    ours.write_all(b"abcdef").await.unwrap();
    let mut heard = [0; 3];
    theirs.read_exact(&mut heard).await.unwrap();
    assert!(tokio::time::timeout(MS(1_000), theirs.read(&mut [0; 1])).await.is_err(), "stalled behind 3 bytes");
    // The same connection dials again: this stream is whole.
    let (mut again, mut there) = connected(&faults);
    again.write_all(b"abcdef").await.unwrap();
    let mut heard = [0; 6];
    there.read_exact(&mut heard).await.unwrap();
    assert_eq!(faults.counts()["stall"].1.applied, 1);
}

#[tokio::test(start_paused = true)]
async fn corruption_and_mutants_change_what_they_name() {
    let frames: Vec<Vec<u8>> = (0..4u8).map(|n| frame(0x81, None, &[b'a' + n; 9])).collect();
    for (kind, expected) in [
        (Kind::Mutant(Mutation::Drop), [0, 2, 3].map(|n| frames[n].clone()).concat()),
        (Kind::Mutant(Mutation::Duplicate), [0, 1, 1, 2, 3].map(|n| frames[n].clone()).concat()),
        (Kind::Mutant(Mutation::Swap), [0, 2, 1, 3].map(|n| frames[n].clone()).concat()),
        (Kind::Corrupt(Corruption::Opcode), {
            let mut bad = frames.clone();
            bad[1][0] |= 3;
            bad.concat()
        }),
    ] {
        let faults = faults();
        let _guard = faults.inject(Fault::new("f", kind).aimed(Aim::Frame(1)).direction(Direction::In));
        let (mut ours, mut theirs) = connected(&faults);
        theirs.write_all(HEAD).await.unwrap();
        theirs.write_all(&frames.concat()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).await.unwrap();
        assert_eq!(&heard[HEAD.len()..], expected);
        assert_eq!(faults.counts()["f"].1.applied, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_cut_in_its_header_behind_the_first_byte() {
    let faults = faults();
    let fault = Fault::new("cut", Kind::Fin).aimed(Aim::MidHeader).direction(Direction::In);
    let guard = faults.inject(fault);
    let (mut ours, mut theirs) = connected(&faults);
    let (ping, data) = (frame(0x89, None, b"a control frame is none"), frame(0x81, None, &[7; 300]));
    theirs.write_all(&[HEAD, &ping, &data].concat()).await.unwrap();
    let mut heard = Vec::new();
    ours.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, [HEAD, &ping, &data[..1]].concat());
    assert_eq!(faults.counts()["cut"].1.applied, 1);
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_stray_frame_arrives_at_the_next_connection() {
    let faults = faults();
    let fault = Fault::new("stray", Kind::Mutant(Mutation::WrongSocket)).aimed(Aim::Frame(0)).direction(Direction::In);
    let _guard = faults.inject(fault.target(Target::Connections(vec![0])));
    let (mut ours, mut theirs) = connected(&faults);
    let (other, _other_peer) = pair(64);
    let mut other = faults.stream(1, other);
    let lost = frame(0x81, None, b"for zero");
    theirs.write_all(&[HEAD, &lost].concat()).await.unwrap();
    let mut head = [0; HEAD.len()];
    ours.read_exact(&mut head).await.unwrap();
    let mut found = vec![0; lost.len()];
    other.read_exact(&mut found).await.unwrap();
    assert_eq!(found, lost);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connect_fails_and_a_blackholed_one_hangs_until_healed() {
    let faults = faults();
    let refuse = faults.inject(Fault::new("refuse", Kind::Refuse));
    assert_eq!(faults.connect(0).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    refuse.heal();
    let hole = faults.inject(Fault::new("hole", Kind::Blackhole).target(Target::Connections(vec![0])));
    faults.connect(1).await.unwrap();
    let dialler = faults.clone();
    let dialling = tokio::spawn(async move { dialler.connect(0).await });
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!dialling.is_finished());
    hole.heal();
    dialling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_plan_begins_and_ends_its_faults_at_their_times() {
    let mut plan = Plan { seed: Seed(1), ..Plan::default() };
    plan.faults.push(fixed("first", MS(1)).between(MS(100), MS(200)));
    plan.faults.push(fixed("second", MS(1)).between(MS(150), MS(300)));
    plan.faults.push(Fault { from: MS(250), ..fixed("stays", MS(1)) });
    let faults = Faults::new(&plan);
    let driver = tokio::spawn({
        let (faults, plan) = (faults.clone(), plan.clone());
        async move { faults.run(&plan).await }
    });
    let ids = || faults.active_for(0).iter().map(|active| active.fault.id.clone()).collect::<Vec<_>>();
    for (at, expected) in [(50, vec![]), (120, vec!["first"]), (170, vec!["first", "second"]), (220, vec!["second"])] {
        tokio::time::sleep_until(faults_began(&faults) + MS(at)).await;
        assert_eq!(ids(), expected, "at {at} ms");
    }
    let held = driver.await.unwrap();
    assert_eq!((faults.elapsed(), ids(), held.len()), (MS(300), vec!["stays".to_owned()], 1));
}

fn faults_began(faults: &Faults) -> Instant {
    Instant::now() - faults.elapsed()
}

#[tokio::test]
async fn on_a_real_socket_a_reset_is_a_reset_and_a_fin_is_a_fin() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (kind, expected) in [(Kind::Reset, Err(io::ErrorKind::ConnectionReset)), (Kind::Fin, Ok(0))] {
        let faults = faults();
        let (ours, theirs) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let (mut ours, (mut theirs, _)) = (faults.stream(0, ours.unwrap()), theirs.unwrap());
        theirs.write_all(b"unread").await.unwrap();
        let us = tokio::spawn({
            let faults = faults.clone();
            async move {
                let guard = faults.inject(Fault::new("end", kind));
                let _end = ours.read(&mut [0; 64]).await;
                drop(ours);
                guard
            }
        });
        let end = tokio::time::timeout(Duration::from_secs(10), theirs.read(&mut [0; 9])).await.unwrap();
        assert_eq!(end.map_err(|error| error.kind()), expected);
        drop(us.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_still_on_the_way_when_a_reset_comes_never_arrives() {
    let faults = faults();
    let _far = faults.inject(fixed("far", MS(100)).direction(Direction::In));
    let (mut ours, mut theirs) = connected(&faults);
    theirs.write_all(b"on the way").await.unwrap();
    assert!(tokio::time::timeout(MS(50), ours.read(&mut [0; 16])).await.is_err());
    assert_eq!(ours.held_back(), (10, 0), "taken in, not arrived");
    let _reset = faults.inject(Fault::new("reset", Kind::Reset));
    assert_eq!(ours.read(&mut [0; 16]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(ours.held_back(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_with_input_that_has_arrived_and_is_unread_resets_the_peer() {
    for (wait, expected) in [(200, Err(io::ErrorKind::ConnectionReset)), (0, Ok(0))] {
        let faults = faults();
        let _far = faults.inject(fixed("far", MS(100)).direction(Direction::In));
        let (mut ours, mut theirs) = connected(&faults);
        theirs.write_all(b"never read").await.unwrap();
        ours.flush().await.unwrap();
        tokio::time::sleep(MS(wait)).await;
        drop(ours);
        let end = theirs.read(&mut [0; 4]).await.map_err(|error| error.kind());
        assert_eq!(end, expected, "dropped {wait} ms after the input was sent, which takes 100 ms");
    }
}
