//! No server there: a clear error or a queue within bounds, and nobody hangs.

use std::time::Duration;

use pubsub_client::{Capacity, Client, ClientConfig, ConnectError, PublishError, RequestError, SendError};
use tokio::time::{Instant, timeout};

/// Where nobody listens: a port that was just free.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("ws://{}/connection/websocket", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_client_that_may_try_thrice_says_so_and_why() {
    let config = ClientConfig::builder(nowhere())
        .reconnect_attempts_max(Some(3))
        .reconnect_initial_delay(Duration::from_millis(5))
        .build()
        .unwrap();
    let begun = Instant::now();
    let error = timeout(Duration::from_secs(10), Client::connect(config)).await.expect("it gives up").err().unwrap();
    assert!(matches!(error, ConnectError::Closed(_)), "{error:?}");
    assert!(error.to_string().contains("refused"), "it says why: {error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_is_said_meanwhile_waits_within_bounds_and_not_for_ever() {
    const BOUND: usize = 100;
    let config = ClientConfig::builder(nowhere())
        .command_capacity(BOUND)
        .pending_requests_max(BOUND)
        .request_timeout(Duration::from_millis(300))
        .reconnect_initial_delay(Duration::from_millis(5))
        .build()
        .unwrap();
    let client = Client::builder(config).start().unwrap();
    let mut publishing = tokio::task::JoinSet::new();
    for n in 0..3 * BOUND {
        let client = client.clone();
        publishing.spawn(async move { client.publish("nobody", &n).await });
    }
    let (mut late, mut refused) = (0, 0);
    while let Some(ended) = timeout(Duration::from_secs(10), publishing.join_next()).await.expect("nobody hangs") {
        match ended.unwrap().expect_err("there is nobody to publish to") {
            PublishError::NotPublished(RequestError::Timeout { .. })
            | PublishError::OutcomeUnknown(RequestError::Timeout { .. }) => late += 1,
            PublishError::NotPublished(RequestError::CapacityExceeded { .. }) => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((late, refused), (BOUND, 2 * BOUND), "so many may wait, and the others are told at once");
    let data = pubsub_client::Payload::to_json(&1).unwrap();
    let refused = (0..=2 * BOUND).find_map(|_| client.send(data.clone()).err()).expect("a bound");
    assert!(matches!(refused, SendError::CapacityExceeded { what: Capacity::Commands, limit: BOUND }), "{refused}");
    timeout(Duration::from_secs(5), client.close()).await.expect("it can be closed");
}
