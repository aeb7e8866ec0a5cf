//! No server there: a clear error or a queue within bounds, and nobody hangs.

use std::time::Duration;

use pubsub_client::{Capacity, Client, ClientConfig, ConnectError, PublishError, RequestError, SendError};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::kit::PATIENCE;

/// Where nobody listens, and nobody can while the first is held: a port that is bound and not listened on.
fn nowhere() -> (TcpSocket, String) {
    let held = TcpSocket::new_v4().unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("ws://{}/connection/websocket", held.local_addr().unwrap());
    (held, url)
}

#[tokio::test]
async fn a_client_that_may_try_thrice_says_so_and_why() {
    let (_held, url) = nowhere();
    let config = ClientConfig::builder(url)
        .reconnect_attempts_max(Some(3))
        .reconnect_initial_delay(Duration::from_millis(5))
        .build()
        .unwrap();
    let error = timeout(PATIENCE, Client::connect(config)).await.expect("it gives up").err().unwrap();
    assert!(matches!(error, ConnectError::Closed(_)), "{error:?}");
    assert!(error.to_string().contains("refused"), "it says why: {error}");
}

#[tokio::test]
async fn what_is_said_meanwhile_waits_within_bounds_and_not_for_ever() {
    const BOUND: usize = 100;
    let (_held, url) = nowhere();
    let config = ClientConfig::builder(url)
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
    while let Some(ended) = timeout(PATIENCE, publishing.join_next()).await.expect("nobody hangs") {
        match ended.unwrap().expect_err("there is nobody to publish to") {
            PublishError::NotPublished(RequestError::Timeout { sent: false, .. }) => late += 1,
            PublishError::NotPublished(RequestError::CapacityExceeded { .. }) => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((late, refused), (BOUND, 2 * BOUND), "so many may wait, and the others are told at once");
    let data = pubsub_client::Payload::to_json(&1).unwrap();
    // Those that are out of time have left the queue.
    for _ in 0..BOUND {
        client.send(data.clone()).unwrap();
    }
    let refused = client.send(data).unwrap_err();
    assert!(matches!(refused, SendError::CapacityExceeded { what: Capacity::Commands, limit: BOUND }), "{refused}");
    timeout(PATIENCE, client.close()).await.expect("it can be closed");
}
