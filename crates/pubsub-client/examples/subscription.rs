//! A subscription through a reconnect: kill and restart the server, or cut the network, and watch what is told.
//!
//! ```console
//! $ cargo run -p pubsub-server
//! $ cargo run -p pubsub-client --example subscription
//! ```

use std::io::Write as _;
use std::time::Duration;

use pubsub_client::{Client, ClientConfig, Event, Recovery};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:8000/connection/websocket".to_owned());
    let count = std::env::args().nth(2).map_or(Ok(u64::MAX), |count| count.parse())?;
    let client = Client::builder(ClientConfig::builder(url).build()?).start()?;
    let mut ticks = client.subscribe("example:ticks").await?;
    let mut out = std::io::stdout();

    // Something to listen to.
    let publisher = client.clone();
    let publishing = tokio::spawn(async move {
        for tick in 1u64.. {
            // Not sent again if its outcome is not known: better a tick too few than one twice.
            let _ = publisher.publish("example:ticks", &tick).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });

    let mut seen = 0;
    while seen < count
        && let Some(event) = ticks.next().await
    {
        match event {
            Event::Publication(publication) => {
                seen += 1;
                writeln!(out, "{:>6} {:?}", publication.offset, publication.data)?;
            }
            Event::Interrupted { code, reason } => writeln!(out, "interrupted: {code} {reason}")?,
            Event::Subscribed(subscribed) => match subscribed.recovery {
                Recovery::Fresh => writeln!(out, "subscribed")?,
                Recovery::Recovered => writeln!(out, "back: what was missed follows")?,
                Recovery::NotRecovered => writeln!(out, "back: something is lost, load the state anew")?,
            },
            other => writeln!(out, "{other:?}")?,
        }
    }
    publishing.abort();
    client.close().await;
    Ok(())
}
