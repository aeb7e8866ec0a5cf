//! Requests and their answers: publish, then read it back from history, and what a refusal looks like.
//!
//! ```console
//! $ cargo run -p pubsub-server
//! $ cargo run -p pubsub-client --example request_response
//! ```

use std::io::Write as _;

use pubsub_client::{Client, ClientConfig, HistoryQuery, RequestError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:8000/connection/websocket".to_owned());
    // One attempt, so that a server that is not there is told rather than waited for.
    let client = Client::connect(ClientConfig::builder(url).reconnect_attempts_max(1u32).build()?).await?;
    let mut out = std::io::stdout();

    client.publish("example:requests", &serde_json::json!({"hello": "world"})).await?;
    let query = HistoryQuery { limit: 1, reverse: true, ..HistoryQuery::default() };
    let history = client.history("example:requests", query).await?;
    for publication in &history.publications {
        writeln!(out, "number {} is {:?}", publication.offset, publication.data)?;
    }

    // The server has no such method; another protocol, or a server with a handler, would answer.
    match client.request::<_, u32>("sum", &[1, 2]).await {
        Ok(sum) => writeln!(out, "the sum is {sum}")?,
        Err(RequestError::Server(error)) => writeln!(out, "refused: {error}")?,
        Err(error) if error.outcome_unknown() => writeln!(out, "it may have been done or not: {error}")?,
        Err(error) => writeln!(out, "not done: {error}")?,
    }
    client.close().await;
    Ok(())
}
