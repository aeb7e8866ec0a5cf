//! What the server says of itself, held against the ledger (I14).

use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::ledger::Event;
use crate::oracle::Law;
use crate::server::http;

/// How long the server may take to notice that somebody has gone.
const AT_REST_MAX: Duration = Duration::from_secs(5);

/// Asks the server how many connections and subscriptions it has until the answer is the expected one or time is up, and
/// writes what it said last into the ledger: at rest it must be exact.
///
/// # Errors
/// When it does not answer.
pub async fn compare(fleet: &Fleet, address: &str, clients: u64, subscriptions: u64) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + AT_REST_MAX;
    let mut told = info(address).await?;
    while told != (clients, subscriptions) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        told = info(address).await?;
    }
    let mut ledger = fleet.ledger();
    for (name, expected, actual) in [("num_clients", clients, told.0), ("num_subs", subscriptions, told.1)] {
        let (expected, actual) = (expected as f64, actual as f64);
        ledger.record(Event::Compare { law: Law::I14, name: name.to_owned(), expected, actual, tolerance: 0.0 });
    }
    Ok(())
}

/// Connections and subscriptions, by the server's own count.
///
/// # Errors
/// When it does not answer.
pub async fn info(address: &str) -> anyhow::Result<(u64, u64)> {
    let info = http::call(address, "info", &json!({})).await?;
    let nodes = info["nodes"].as_array().cloned().unwrap_or_default();
    let sum = |field: &str| nodes.iter().filter_map(|node: &Value| node[field].as_u64()).sum();
    Ok((sum("num_clients"), sum("num_subs")))
}

/// A number of `/metrics`, all its labels together. What is not listed has never happened: 0.
///
/// # Errors
/// When the server does not answer.
pub async fn metric(address: &str, name: &str) -> anyhow::Result<f64> {
    let (status, text) = http::get(address, "/metrics").await?;
    anyhow::ensure!(status == 200, "{address}/metrics answers {status}");
    let text = String::from_utf8_lossy(&text);
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // `name value` or `name{labels} value`, not a longer name that begins alike.
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.split(' ').next()?.parse::<f64>().ok()
    });
    Ok(values.sum())
}
