//! When the client comes back, how long it waits, and when it stays away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use pubsub_client::{
    BreakerConfig, BreakerState, CentrifugeHandler, CircuitBreaker, Client, CloseReason, ConnectError, ConnectionState,
    DialError, PipeConnector, PublishError,
};
use pubsub_protocol::push::{Disconnect, PushBody};
use pubsub_protocol::reply::{Answer, ConnectResult};
use pubsub_protocol::websocket::Opcode;
use pubsub_protocol::{Push, Reply};
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A connector with nobody at the other end.
fn nobody() -> PipeConnector {
    PipeConnector::new(64).0
}

#[tokio::test(start_paused = true)]
async fn every_state_is_passed_through_and_can_be_watched() {
    let (client, mut mock) = started(config());
    let mut watch = client.watch_state();
    assert_eq!(client.state(), ConnectionState::Disconnected);
    assert!(!client.is_connected());
    let stream = mock.stream().await;
    assert_eq!(*watch.borrow_and_update(), ConnectionState::Connecting);
    let mut peer = Peer::upgrade(stream, b"").await;
    let connect = peer.command().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), ConnectionState::Authenticating);
    peer.answer(connect.id, Answer::Connect(Default::default())).await;
    client.ready().await.unwrap();
    assert!(client.is_connected());
    peer.close(3001, "shutdown").await;
    watch.wait_for(|state| *state == ConnectionState::Reconnecting { attempt: 1 }).await.unwrap();
    assert!(matches!(client.last_loss(), Some(CloseReason::Server { code: 3001, .. })));
    let _peer = mock.connected().await;
    client.ready().await.unwrap();
    assert_eq!(client.stats().connections, 2);
}

#[tokio::test(start_paused = true)]
async fn delays_lie_under_a_ceiling_that_doubles_and_come_from_the_seed() {
    let run = async |seed: u64| {
        let config = config().seed(seed).reconnect_max_delay(8 * SECOND).reconnect_attempts_max(7u32);
        let client = start(config, nobody(), CentrifugeHandler::default());
        // An attempt fails at once: the times between two states are the delays.
        let mut watch = client.watch_state();
        let mut times = Vec::new();
        loop {
            watch.changed().await.unwrap();
            match *watch.borrow_and_update() {
                ConnectionState::Reconnecting { attempt } => {
                    assert_eq!(attempt as usize, times.len() + 1);
                    times.push(Instant::now());
                }
                ConnectionState::Closed => break,
                _ => {}
            }
        }
        times.push(Instant::now());
        let delays: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(client.stats().attempts, 7);
        match ended(&client).await {
            CloseReason::AttemptsExhausted { attempts: 7, last } => {
                assert!(matches!(*last, CloseReason::Dial(DialError::Transport { .. })), "{last}");
            }
            other => panic!("{other}"),
        }
        delays
    };
    let delays = run(1).await;
    for (delay, ceiling) in delays.iter().zip([500, 1_000, 2_000, 4_000, 8_000, 8_000]) {
        // A timer's grain is a millisecond.
        assert!(*delay <= Duration::from_millis(ceiling + 1), "{delays:?}");
    }
    assert_eq!(delays.len(), 6);
    assert!(delays.iter().any(|delay| *delay > SECOND), "they grow: {delays:?}");
    assert_eq!(delays, run(1).await);
    assert_ne!(delays, run(2).await);
}

#[tokio::test(start_paused = true)]
async fn codes_that_say_stay_away_are_heeded() {
    for (code, returns) in
        [(1000, true), (1009, false), (3001, true), (3500, false), (3503, false), (4000, true), (4500, false)]
    {
        let (client, mut mock, peer) = connected(config()).await;
        peer.close(code, "told by the test").await;
        if returns {
            let _peer = mock.connected().await;
            client.ready().await.unwrap();
        } else {
            match ended(&client).await {
                CloseReason::Server { code: told, reason } => {
                    assert_eq!((told, &*reason), (u32::from(code), "told by the test"));
                }
                other => panic!("{other}"),
            }
            assert!(!mock.is_dialled_within(100 * SECOND).await);
        }
    }
}

/// Looks at a client in the moment in which somebody who waits is told something.
struct Look {
    client: Client,
    seen: Mutex<Vec<(ConnectionState, bool)>>,
}

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        self.seen.lock().unwrap().push((self.client.state(), self.client.close_reason().is_some()));
    }
}

#[tokio::test(start_paused = true)]
async fn who_hears_that_an_answer_is_lost_finds_a_client_that_knows_it() {
    for (code, state) in [(1009, ConnectionState::Closed), (3001, ConnectionState::Reconnecting { attempt: 1 })] {
        let (client, _mock, mut peer) = connected(config()).await;
        let look = Arc::new(Look { client: client.clone(), seen: Mutex::default() });
        let mut publishing = pin!(client.publish("news", &1));
        let waker = Waker::from(Arc::clone(&look));
        assert!(publishing.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        peer.command().await.unwrap();
        peer.close(code, "told by the test").await;
        settle().await;
        let seen = look.seen.lock().unwrap().clone();
        assert_eq!(seen, [(state, state == ConnectionState::Closed)]);
        assert!(matches!(publishing.await, Err(PublishError::OutcomeUnknown(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_cut_at_any_point_of_the_handshake_is_tried_again() {
    for cut in 0..4 {
        let (client, mut mock) = started(config());
        match cut {
            0 => drop(mock.stream().await),
            1 => {
                let mut stream = mock.stream().await;
                request_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 101 Swi").await.unwrap();
            }
            2 => drop(mock.upgraded().await),
            _ => {
                let mut peer = mock.upgraded().await;
                peer.command().await.unwrap();
            }
        }
        let _peer = mock.connected().await;
        client.ready().await.unwrap();
        assert_eq!(client.stats().attempts, 2, "cut {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_anywhere_ends_at_the_connect_timeout() {
    for stage in 0..3 {
        let (client, mut mock) = started(config().connect_timeout(3 * SECOND).reconnect_attempts_max(1u32));
        let start = Instant::now();
        let stream = mock.stream().await;
        let _held: Box<dyn std::any::Any> = match stage {
            0 => Box::new(stream),
            1 => {
                let mut stream = stream;
                request_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 101 Swi").await.unwrap();
                Box::new(stream)
            }
            _ => {
                let mut peer = Peer::upgrade(stream, b"").await;
                peer.command().await.unwrap();
                Box::new(peer)
            }
        };
        match ended(&client).await {
            CloseReason::AttemptsExhausted { attempts: 1, last } => {
                assert!(matches!(*last, CloseReason::Dial(DialError::Timeout { .. })), "{last}");
            }
            other => panic!("{other}"),
        }
        assert_eq!(start.elapsed().as_secs(), 3, "stage {stage}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_servers_wish_to_be_left_alone_is_added_to_the_delay() {
    let (_client, mut mock) = started(config());
    let mut stream = mock.stream().await;
    request_head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\n\r\n").await.unwrap();
    let start = Instant::now();
    let _peer = mock.connected().await;
    let waited = start.elapsed();
    assert!(waited >= 30 * SECOND && waited < 31 * SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_keeps_a_whole_fleet_away_but_for_one_probe() {
    let breaker = CircuitBreaker::new(BreakerConfig { failures_max: 5, open_for: 10 * SECOND });
    let (connector, mut mock) = mock();
    let clients: Vec<Client> = (0..20u64)
        .map(|i| {
            let config = config().seed(i).connect_timeout(SECOND).reconnect_max_delay(SECOND).build().unwrap();
            Client::builder(config).connector(connector.clone()).breaker(breaker.clone()).start().unwrap()
        })
        .collect();
    let attempts = || clients.iter().map(|client| client.stats().attempts).sum::<u64>();
    let mut watch = breaker.watch();
    // Nobody answers: each attempt runs into its timeout. The first wave opens the breaker.
    let refuse = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(mock.stream().await);
        }
    });
    watch.wait_for(|state| *state == BreakerState::Open).await.unwrap();
    let first_wave = attempts();
    assert!(first_wave <= 20, "{first_wave}");
    watch.wait_for(|state| *state == BreakerState::HalfOpen).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(attempts(), first_wave + 1, "one probe and nobody else");
    watch.wait_for(|state| *state == BreakerState::Open).await.unwrap();
    refuse.abort();
    for client in &clients {
        client.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_lets_everybody_in() {
    let breaker = CircuitBreaker::new(BreakerConfig { failures_max: 1, open_for: 10 * SECOND });
    let (connector, mut mock) = mock();
    let clients: Vec<Client> = (0..5u64)
        .map(|i| {
            let config = config().seed(i).build().unwrap();
            Client::builder(config).connector(connector.clone()).breaker(breaker.clone()).start().unwrap()
        })
        .collect();
    for _ in 0..5 {
        drop(mock.stream().await);
    }
    settle().await;
    assert_eq!(breaker.state(), BreakerState::Open);
    let (mut peers, mut times) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        peers.push(mock.connected().await);
        times.push(Instant::now());
    }
    for client in &clients {
        client.ready().await.unwrap();
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    times.dedup();
    assert_eq!(times.len(), 5, "no two at one moment");
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_the_count_of_failures_and_the_growth_of_delays() {
    let config = config().reconnect_initial_delay(SECOND).reconnect_jitter(0.0).reconnect_attempts_max(2u32);
    let (client, mut mock) = started(config);
    for _ in 0..5 {
        drop(mock.stream().await);
        let peer = mock.connected().await;
        client.ready().await.unwrap();
        let lost = Instant::now();
        drop(peer);
        drop(mock.stream().await);
        // A timer's grain is a millisecond.
        assert!(lost.elapsed() <= SECOND + Duration::from_millis(1), "{:?}", lost.elapsed());
        let _peer = mock.connected().await;
        client.ready().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_around_a_goodbye_in_the_same_read_is_neither_answered_nor_heard() {
    let (client, mut mock) = started(config());
    let pings = ConnectResult { client: "id".into(), ping: 25, pong: true, ..Default::default() };
    let mut peer = mock.connected_with(pings).await;
    client.ready().await.unwrap();
    let goodbye = PushBody::Disconnect(Disconnect { code: 3001, reason: "shutdown".into(), reconnect: true });
    let push = |channel: &str, body| Reply::Push(Push { channel: channel.into(), body });
    let replies =
        [Reply::Ping, push("", goodbye), push("c", PushBody::Publication(publication(1)))].map(|one| encoded(&one));
    peer.send(&replies.join(&b'\n')).await;
    // Nothing that was meant for the old connection comes before the credentials.
    let _peer = mock.connected().await;
    client.ready().await.unwrap();
    assert!(matches!(client.last_loss(), Some(CloseReason::Server { code: 3001, .. })));
    assert_eq!(client.stats().strays, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_superseded_connection_still_says_is_not_heard() {
    let (client, mut mock, mut old, mut subscription) =
        subscribed(config().ping_interval(5 * SECOND).pong_timeout(2 * SECOND), 3).await;
    // The old connection falls silent: the client gives it up and makes another.
    let mut new = mock.connected().await;
    let (id, _) = new.subscribe().await;
    new.answer(id, Answer::Subscribe(recovered(3, []))).await;
    assert_eq!(read(&mut subscription, 2).await, ["interrupted 1006", "recovered"]);
    // Only now its bytes arrive: a publication that would be in order, and a close that would be final.
    old.publish("c", [4]).await;
    old.bytes(&frame(Opcode::Close, &pubsub_protocol::websocket::close_payload(3500, ""))).await;
    settle().await;
    assert!(client.is_connected());
    assert_eq!(read_now(&mut subscription), [""; 0]);
    new.publish("c", [4]).await;
    assert_eq!(read(&mut subscription, 1).await, ["4"]);
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_the_connection_and_not_the_client() {
    for bytes in [
        frame(Opcode::Text, b"{not json"),
        frame(Opcode::Binary, b"\x00"),
        vec![0xFF; 20],
        frame(Opcode::Text, b"\xFF"),
    ] {
        let (client, mut mock, mut peer) = connected(config()).await;
        peer.bytes(&bytes).await;
        assert!(matches!(peer.hear().await, Some(Heard::Close(1002 | 1003 | 1007))), "{bytes:?}");
        let _peer = mock.connected().await;
        client.ready().await.unwrap();
        assert!(matches!(client.last_loss(), Some(CloseReason::Protocol(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_limit_is_final() {
    let (client, _mock, mut peer) = connected(config().message_bytes_max(2_000usize)).await;
    peer.send(&vec![b' '; 2_001]).await;
    assert_eq!(peer.hear().await, Some(Heard::Close(1009)));
    assert!(ended(&client).await.to_string().contains("2000"), "{}", ended(&client).await);
}

#[tokio::test(start_paused = true)]
async fn a_frame_in_the_same_segment_as_the_upgrade_is_heard() {
    let (client, mut mock) = started(config().auth_on_connect(false));
    let ping = frame(Opcode::Ping, b"early");
    let mut peer = Peer::upgrade(mock.stream().await, &ping).await;
    assert_eq!(peer.hear().await, Some(Heard::Pong(b"early".to_vec())));
    assert!(client.is_connected());
}

#[tokio::test(start_paused = true)]
async fn settings_that_cannot_work_are_refused_before_anything_is_dialled() {
    let config = pubsub_client::ClientConfig::new("http://wrong");
    let error = Client::builder(config).start().unwrap_err();
    assert!(matches!(error, ConnectError::Config(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_granted_while_closing_changes_nothing() {
    let (client, mut mock) = started(config());
    let mut peer = mock.upgraded().await;
    let command = peer.command().await.expect("a connect command");
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close().await }
    });
    assert_eq!(peer.hear().await, Some(Heard::Close(1000)));
    // The answer was on its way already. It used to end the client's task in a panic, and `close` never returned.
    peer.answer(command.id, Answer::Connect(ConnectResult { client: "id".into(), ..Default::default() })).await;
    peer.close(1000, "").await;
    tokio::time::timeout(Duration::from_secs(60), closing).await.expect("closing ends").unwrap();
    assert!(matches!(client.close_reason(), Some(CloseReason::Requested)));
}
