//! Against the real server: over TCP, and over memory under a paused clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pubsub_client::{
    CentrifugeHandler, Client, ClientConfig, ClientConfigBuilder, CloseReason, ConnectError, Connector, DialError,
    Event, Format, HistoryQuery, Payload, Recovery, RequestError, SubscribeError, SubscribeOptions, Target,
    TcpConnector, TokenSource,
};
use pubsub_server::config::Config;
use pubsub_server::config::Secret;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::token::Signer;
use pubsub_server::transport::listener::{MemoryConnector, TcpListener, memory};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::timeout;

/// How long anything may take over a real socket.
const LIMIT: Duration = Duration::from_secs(20);

fn tcp(config: Config) -> (ServerHandle, ClientConfigBuilder) {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 1_024, None).unwrap();
    let server = Server::new(config).start(listener).unwrap();
    let url = format!("ws://{}/connection/websocket", server.local_addr().unwrap());
    (server, ClientConfig::builder(url).seed(1u64))
}

fn speaking(format: Format) -> CentrifugeHandler {
    CentrifugeHandler::default().format(format)
}

async fn connect(config: ClientConfigBuilder) -> Client {
    timeout(LIMIT, Client::connect(config.build().unwrap())).await.unwrap().unwrap()
}

async fn next(subscription: &mut pubsub_client::Subscription) -> Event {
    timeout(LIMIT, subscription.next()).await.expect("an event in time").expect("not the end")
}

/// The next publication's data as a number; says what else came in between.
async fn next_number(subscription: &mut pubsub_client::Subscription, other: &mut Vec<Event>) -> u64 {
    loop {
        match next(subscription).await {
            Event::Publication(publication) => return publication.data.parse().unwrap(),
            event => other.push(event),
        }
    }
}

/// Streams that a test can break, all at once, or stop from delivering anything.
#[derive(Clone, Default)]
struct Switch {
    cuts: Arc<AtomicU64>,
    stalled: Arc<AtomicBool>,
    readers: Arc<Mutex<Vec<Waker>>>,
}

struct Breakable<C> {
    inner: C,
    switch: Switch,
}

struct BreakableStream<S> {
    inner: S,
    switch: Switch,
    born: u64,
}

impl Switch {
    fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        for waker in self.readers.lock().unwrap().drain(..) {
            waker.wake();
        }
    }
}

impl<C: Connector> Connector for Breakable<C> {
    type Stream = BreakableStream<C::Stream>;

    async fn connect(&self, target: &Target, attempt: u64) -> io::Result<Self::Stream> {
        let inner = self.inner.connect(target, attempt).await?;
        Ok(BreakableStream { inner, switch: self.switch.clone(), born: self.switch.cuts.load(Ordering::SeqCst) })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BreakableStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.switch.readers.lock().unwrap().push(cx.waker().clone());
        if self.switch.cuts.load(Ordering::SeqCst) > self.born {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.switch.stalled.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BreakableStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn requests_are_answered_and_publications_arrive() {
    answers_and_publications(Format::Json).await;
}

#[tokio::test]
async fn in_protobuf_requests_are_answered_and_publications_arrive() {
    answers_and_publications(Format::Protobuf).await;
}

async fn answers_and_publications(format: Format) {
    let (_server, config) = tcp(Config::open_default());
    let builder = Client::builder(config.build().unwrap()).handler(speaking(format));
    let client = timeout(LIMIT, builder.connect()).await.unwrap().unwrap();
    assert!(client.session().unwrap().server_ping.is_some());
    let mut news = client.subscribe_with("news", SubscribeOptions::default().join_leave(true)).await.unwrap();
    assert!(matches!(next(&mut news).await, Event::Subscribed(one) if one.recovery == Recovery::Fresh));
    for i in 1..=3u64 {
        client.publish("news", &i).await.unwrap();
    }
    for i in 1..=3u64 {
        assert_eq!(next_number(&mut news, &mut Vec::new()).await, i);
    }
    let history = client.history("news", HistoryQuery { limit: 2, reverse: true, ..Default::default() }).await.unwrap();
    assert_eq!(history.publications.iter().map(|one| one.offset).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(history.position.offset, 3);
    let presence = client.presence("news").await.unwrap();
    assert!(presence.contains_key(&client.session().unwrap().client), "{presence:?}");
    assert_eq!(client.presence_stats("news").await.unwrap().num_clients, 1);
    let no_handler = client.request::<_, u32>("sum", &[1, 2]).await.unwrap_err();
    assert!(matches!(&no_handler, RequestError::Server(error) if error.code == 108), "{no_handler}");
    client.close().await;
    assert_eq!(
        next(&mut news).await,
        Event::Unsubscribed { code: Event::CONNECTION_CLOSED, reason: "closed by this client".into() }
    );
}

#[tokio::test]
async fn bytes_of_any_kind_go_through_protobuf_and_reach_json_in_base64() {
    let mut config = Config::open_default();
    config.channel.without_namespace.join_leave = false;
    let (_server, config) = tcp(config);
    let in_json = connect(config.clone()).await;
    let builder = Client::builder(config.build().unwrap()).handler(speaking(Format::Protobuf));
    let client = timeout(LIMIT, builder.connect()).await.unwrap().unwrap();
    let mut subscriptions = [client.subscribe("c").await.unwrap(), in_json.subscribe("c").await.unwrap()];
    client.publish_raw("c", Payload::opaque(b"\xff\x00")).await.unwrap();
    in_json.publish("c", "text").await.unwrap();
    for (subscription, bytes) in subscriptions.iter_mut().zip([&b"\xff\x00"[..], b"\"/wA=\""]) {
        assert!(matches!(next(subscription).await, Event::Subscribed(_)));
        for expected in [bytes, b"\"text\""] {
            match next(subscription).await {
                Event::Publication(publication) => assert_eq!(publication.data.as_bytes(), expected),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_reconnect_restores_subscriptions_and_recovers_what_was_missed() {
    recovery_after_cuts(Format::Json).await;
}

#[tokio::test]
async fn in_protobuf_a_reconnect_recovers_what_was_missed() {
    recovery_after_cuts(Format::Protobuf).await;
}

async fn recovery_after_cuts(format: Format) {
    let (_server, config) = tcp(Config::open_default());
    let publisher = connect(config.clone()).await;
    let switch = Switch::default();
    let connector = Breakable { inner: TcpConnector::default(), switch: switch.clone() };
    let built = config.reconnect_initial_delay(Duration::from_millis(20)).build().unwrap();
    let builder = Client::builder(built).connector(connector).handler(speaking(format));
    let client = timeout(LIMIT, builder.connect()).await.unwrap().unwrap();
    let mut subscriptions: Vec<_> =
        client.subscribe_many(["a", "b", "c"]).await.into_iter().map(|(_, one)| one.unwrap()).collect();
    let mut others = Vec::new();
    for round in 0..10u64 {
        for i in 0..5 {
            for topic in ["a", "b", "c"] {
                publisher.publish(topic, &(round * 5 + i)).await.unwrap();
            }
            if i == 2 {
                switch.cut();
            }
        }
        for subscription in &mut subscriptions {
            for i in 0..5 {
                assert_eq!(next_number(subscription, &mut others).await, round * 5 + i);
            }
        }
    }
    assert!(client.stats().connections > 5, "it was cut: {:?}", client.stats());
    let lost =
        others.iter().any(|event| matches!(event, Event::Subscribed(one) if one.recovery == Recovery::NotRecovered));
    assert!(!lost, "{others:?}");
}

#[tokio::test]
async fn a_publish_whose_answer_was_lost_is_repeated_and_published_once() {
    let (_server, config) = tcp(Config::open_default());
    let watcher = connect(config.clone()).await;
    let mut news = watcher.subscribe("news").await.unwrap();
    let switch = Switch::default();
    let connector = Breakable { inner: TcpConnector::default(), switch: switch.clone() };
    let built = config.reconnect_initial_delay(Duration::from_millis(20)).build().unwrap();
    let handler = CentrifugeHandler::default().server_honours_idempotency_keys(true);
    let builder = Client::builder(built).connector(connector).handler(handler);
    let client = timeout(LIMIT, builder.connect()).await.unwrap().unwrap();
    switch.stall(true);
    let publishing = tokio::spawn({
        let client = client.clone();
        async move { client.publish_idempotent("news", Payload::from_json("7").unwrap(), "key").await }
    });
    // It is published, and its publisher can not know.
    assert_eq!(next_number(&mut news, &mut Vec::new()).await, 7);
    switch.cut();
    switch.stall(false);
    timeout(LIMIT, publishing).await.unwrap().unwrap().unwrap();
    assert_eq!(client.stats().connections, 2, "the answer came on another connection");
    client.publish("news", &8).await.unwrap();
    assert_eq!(next_number(&mut news, &mut Vec::new()).await, 8, "nothing came twice");
}

#[tokio::test]
async fn tokens_open_the_door_and_their_absence_keeps_it_shut() {
    let mut config = Config::open_default();
    config.client.insecure = false;
    config.client.token.hmac_secret_key = Some(Secret::new("a secret that is long enough"));
    config.channel.without_namespace.allow_subscribe_for_client = true;
    let (_server, config) = tcp(config);
    let signer = Signer::hs256("a secret that is long enough");

    let wrong = Client::connect(config.clone().token("not a token").build().unwrap());
    let error = timeout(LIMIT, wrong).await.unwrap().unwrap_err();
    assert!(matches!(&error, ConnectError::Closed(CloseReason::Dial(DialError::Closed { code: 3500, .. }))), "{error}");

    // The first is expired, the second good.
    let asked = Arc::new(AtomicU64::new(0));
    let tokens = [signer.connection("ann", Some(1)), signer.connection("ann", None)];
    let source = TokenSource::callback({
        let asked = asked.clone();
        move |_| {
            let token = tokens[asked.fetch_add(1, Ordering::Relaxed).min(1) as usize].clone();
            async move { Ok(token) }
        }
    });
    let client = connect(config.token(source).reconnect_initial_delay(Duration::from_millis(20))).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let _open = client.subscribe("open").await.unwrap();
    // A private channel wants a token of its own.
    match client.subscribe("$mine").await.unwrap_err() {
        SubscribeError::Failed { code: 103, topic, .. } => assert_eq!(topic.as_str(), "$mine"),
        other => panic!("{other}"),
    }
    let options = SubscribeOptions::default().token(signer.subscription("ann", "$mine", None));
    let _mine = client.subscribe_with("$mine", options).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_timeout_and_a_silent_server_is_left() {
    let (_server, config) = tcp(Config::open_default());
    let switch = Switch::default();
    let connector = Breakable { inner: TcpConnector::default(), switch: switch.clone() };
    let built = config.request_timeout(Duration::from_millis(200)).build().unwrap();
    let client = timeout(LIMIT, Client::builder(built).connector(connector).connect()).await.unwrap().unwrap();
    switch.stall(true);
    let error = client.presence_stats("c").await.unwrap_err();
    assert!(matches!(error, RequestError::Timeout { .. }), "{error}");
    switch.stall(false);
    timeout(LIMIT, client.presence_stats("c")).await.unwrap().unwrap();
    assert_eq!(client.stats().strays, 1, "the answer that came too late");
}

#[tokio::test]
async fn ten_thousand_requests_in_flight() {
    const COUNT: usize = 10_000;
    let (_server, config) = tcp(Config::generous());
    let limits = config.pending_requests_max(COUNT).command_capacity(COUNT).request_timeout(LIMIT);
    let client = connect(limits.subscription_capacity(2 * COUNT)).await;
    let mut subscription = client.subscribe("c").await.unwrap();
    let publishes: Vec<_> = (0..COUNT as u64)
        .map(|i| {
            tokio::spawn({
                let client = client.clone();
                async move { client.publish("c", &i).await }
            })
        })
        .collect();
    for publish in publishes {
        timeout(LIMIT, publish).await.unwrap().unwrap().unwrap();
    }
    let mut seen: Vec<u64> = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        seen.push(next_number(&mut subscription, &mut Vec::new()).await);
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..COUNT as u64));
    let stats = client.stats();
    assert_eq!((stats.pending_requests, stats.queued_commands), (0, 0));
}

#[tokio::test]
async fn quick_cycles_leave_nothing_behind_on_either_side() {
    let (server, config) = tcp(Config::open_default());
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    connect(config.clone()).await.close().await;
    let before = tasks();
    for i in 0..60u64 {
        let client = Client::builder(config.clone().seed(i).build().unwrap()).start().unwrap();
        let subscription = client.try_subscribe("c", &SubscribeOptions::default()).unwrap();
        if i % 3 > 0 {
            timeout(LIMIT, client.ready()).await.unwrap().unwrap();
        }
        if i % 3 > 1 {
            timeout(LIMIT, subscription.in_force(LIMIT)).await.unwrap().unwrap();
        }
        timeout(LIMIT, client.close()).await.unwrap();
        let stats = client.stats();
        assert_eq!((stats.pending_requests, stats.queued_commands, stats.topics), (0, 0, 0));
    }
    // The server sees the last of them go a moment later.
    timeout(LIMIT, async {
        while server.connections() > 0 || tasks() > before {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("connections or tasks were left behind");
}

/// Leads wherever the server is now.
struct Moving(Arc<AtomicU64>);

impl Connector for Moving {
    type Stream = tokio::net::TcpStream;

    async fn connect(&self, target: &Target, attempt: u64) -> io::Result<Self::Stream> {
        let mut target = target.clone();
        target.port = u16::try_from(self.0.load(Ordering::SeqCst)).unwrap();
        TcpConnector::default().connect(&target, attempt).await
    }
}

#[tokio::test]
async fn a_graceful_restart_is_told_by_its_code_and_survived() {
    let (server, config) = tcp(Config::open_default());
    let port = |server: &ServerHandle| u64::from(server.local_addr().unwrap().port());
    let moving = Arc::new(AtomicU64::new(port(&server)));
    let built = config.reconnect_initial_delay(Duration::from_millis(20)).build().unwrap();
    let connecting = Client::builder(built).connector(Moving(moving.clone())).connect();
    let client = timeout(LIMIT, connecting).await.unwrap().unwrap();
    let mut subscription = client.subscribe("c").await.unwrap();
    client.publish("c", &1).await.unwrap();
    timeout(LIMIT, server.shutdown()).await.unwrap();
    let (restarted, _) = tcp(Config::open_default());
    moving.store(port(&restarted), Ordering::SeqCst);
    let (mut told, mut seen) = (Vec::new(), Vec::new());
    loop {
        match next(&mut subscription).await {
            Event::Interrupted { code, .. } => told.push(code),
            Event::Publication(publication) => seen.push(publication.offset),
            // Another process, another epoch: honest about it.
            Event::Subscribed(subscribed) if subscribed.generation > 1 => {
                assert_eq!(subscribed.recovery, Recovery::NotRecovered);
                break;
            }
            other => assert!(matches!(other, Event::Subscribed(_) | Event::Join(_)), "{other:?}"),
        }
    }
    assert_eq!((told, seen), (vec![3001], vec![1]));
}

/// The server's own in-memory listener, as a connector.
struct InMemory(MemoryConnector);

impl Connector for InMemory {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Target, _: u64) -> io::Result<DuplexStream> {
        self.0.connect(64 * 1_024)
    }
}

/// One virtual minute of publications with a cut every other second: what was told, and when it ended.
fn a_minute_of_cuts(seed: u64) -> (Vec<u64>, u64, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let start = tokio::time::Instant::now();
        let (listener, connector) = memory();
        let server = Server::new(Config::generous()).seed(seed).on_current_runtime().start(listener).unwrap();
        let connector = Arc::new(InMemory(connector));
        let switch = Switch::default();
        let config = |seed| ClientConfig::builder("ws://memory/connection/websocket").seed(seed).build().unwrap();
        let publisher = Client::builder(config(seed)).connector(connector.clone()).connect().await.unwrap();
        let breakable = Breakable { inner: connector, switch: switch.clone() };
        let client = Client::builder(config(seed + 1)).connector(breakable).connect().await.unwrap();
        let mut subscription = client.subscribe("c").await.unwrap();
        let publishing = tokio::spawn(async move {
            for i in 1..=600u64 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                publisher.publish_raw("c", Payload::to_json(&i).unwrap()).await.unwrap();
                if i % 20 == 0 && i < 600 {
                    switch.cut();
                }
            }
        });
        let mut told = Vec::new();
        let mut others = Vec::new();
        while told.last() != Some(&600) {
            told.push(next_number(&mut subscription, &mut others).await);
        }
        publishing.await.unwrap();
        let connections = client.stats().connections;
        drop(server);
        (told, connections, start.elapsed())
    })
}

#[test]
fn in_virtual_time_every_publication_comes_once_and_a_seed_gives_one_run() {
    let (told, connections, ended) = a_minute_of_cuts(1);
    assert!(told.iter().copied().eq(1..=600), "{told:?}");
    assert!(connections > 20, "{connections}");
    assert_eq!(a_minute_of_cuts(1), (told, connections, ended));
}

#[tokio::test]
async fn over_tls_the_certificate_is_checked_and_everything_works() {
    use pubsub_client::{AnyConnector, TlsConnector};
    use pubsub_server::transport::tls::TlsAcceptor;

    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (file("cert.pem", &made.cert.pem()), file("key.pem", &made.signing_key.serialize_pem()));
    let mut config = Config::open_default();
    config.http_server.tls.enabled = true;
    config.http_server.tls.cert_pem_file = Some(cert.clone());
    config.http_server.tls.key_pem_file = Some(key);
    let acceptor = TlsAcceptor::new(config.http_server.tls.key_pair().unwrap()).unwrap();
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 16, Some(acceptor)).unwrap();
    let server = Server::new(config).start(listener).unwrap();
    let url = format!("wss://localhost:{}/connection/websocket", server.local_addr().unwrap().port());

    let build = || ClientConfig::builder(&*url).reconnect_attempts_max(1u32).build().unwrap();
    let tls = TlsConnector::with_root_file(TcpConnector::default(), &cert).unwrap();
    let connector = AnyConnector::with_tls(TcpConnector::default(), tls);
    let client = timeout(LIMIT, Client::builder(build()).connector(connector).connect()).await.unwrap().unwrap();
    let mut subscription = client.subscribe("c").await.unwrap();
    client.publish("c", &7).await.unwrap();
    assert_eq!(next_number(&mut subscription, &mut Vec::new()).await, 7);

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let stranger = TlsConnector::with_roots(TcpConnector::default(), [other.cert.der().clone()]).unwrap();
    let refused = Client::builder(build()).connector(stranger).connect();
    let error = timeout(LIMIT, refused).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let plain = Client::builder(build()).connect();
    let error = timeout(LIMIT, plain).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("AnyConnector::with_tls"), "{error}");
}
