//! The publishers of a fleet. Publications leave at their planned times whether or not earlier ones were answered, since
//! waiting would hide a slow server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use pubsub_client::{Payload, PublishError};
use tokio::time::Instant;

use super::{Fleet, PUBLISHER_CONNECTIONS, channel_name, number, run_number};
use crate::ledger::{Event, Outcome};
use crate::payload::{Header, PublicationId};

/// How late the last publication may be before the rate counts as not offered.
const LAST_LATE_MAX: Duration = Duration::from_millis(50);

/// How publishing went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Offered {
    /// Publications begun.
    pub publications: u64,
    /// Planned duration by actual duration of beginning them: below 0.99 the load was not offered.
    pub ratio: f64,
}

impl Fleet {
    /// Connects the publishers, `connections` of them sharing the plan's publisher numbers: those that are missing, or have given up.
    ///
    /// # Errors
    /// When one cannot connect within `limit`.
    pub async fn connect_publishers(&mut self, connections: u64, limit: Duration) -> anyhow::Result<()> {
        self.publishers.retain(|client| client.close_reason().is_none());
        for n in self.publishers.len() as u64..connections.max(1) {
            let client = self.client(PUBLISHER_CONNECTIONS + n);
            tokio::time::timeout(limit, client.ready()).await??;
            self.publishers.push(client);
        }
        Ok(())
    }

    /// Publishes `publications`, in turn by the plan's publishers, at `rate` per second altogether (0: one after the other,
    /// `window` of them unanswered), and waits for all answers.
    pub async fn publish(&mut self, publications: u64, rate: f64, window: usize, progress: impl Fn(u64)) -> Offered {
        let planned = if rate > 0.0 { Duration::from_secs_f64(publications as f64 / rate) } else { Duration::ZERO };
        let began = Instant::now();
        let mut waiting = FuturesUnordered::new();
        let bound = if rate > 0.0 { 32_768 } else { window.max(1) };
        for n in 0..publications {
            if rate > 0.0 {
                let due = began + Duration::from_secs_f64(n as f64 / rate);
                // Answers are taken while waiting, so that they are noted when they come.
                loop {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(due) => break,
                        Some(()) = waiting.next(), if !waiting.is_empty() => {},
                    }
                }
            }
            while waiting.len() >= bound {
                let _answered: Option<()> = waiting.next().await;
            }
            let due = if rate > 0.0 { began + Duration::from_secs_f64(n as f64 / rate) } else { Instant::now() };
            let publisher = n % self.numbers.len() as u64;
            let due = due.saturating_duration_since(self.common.began);
            if let Some(publishing) = self.begin_publish(publisher, due, false).1 {
                waiting.push(publishing);
            }
            progress(n);
        }
        let took = began.elapsed();
        while waiting.next().await.is_some() {}
        // A hiccup before the last one is no lack of rate; a generator that cannot keep up falls behind further and further.
        let took = took.saturating_sub(LAST_LATE_MAX).max(planned);
        let ratio = if rate > 0.0 { planned.as_secs_f64() / took.as_secs_f64().max(1e-9) } else { 1.0 };
        Offered { publications, ratio }
    }

    /// The next publication of a publisher, begun by the ledger: its channel and its payload. For those who send it by
    /// another way than the fleet's publishers, and say so with [`publication_done`](Self::publication_done).
    pub fn next_publication(&mut self, publisher: u64, due: Duration) -> (PublicationId, String, String) {
        let at = usize::try_from(publisher).unwrap_or(0);
        let plan = &self.common.plan;
        let id = PublicationId { run: run_number(plan), publisher: number(publisher), n: self.numbers[at] };
        self.numbers[at] += 1;
        let sent = self.common.now();
        let payload = Header::encode(plan.seed, id, due, sent, self.payload_bytes);
        let channel = channel_name(publisher % plan.topology.channels.max(1));
        self.ledger().record(Event::Invoke { at: sent, id });
        (id, channel, payload)
    }

    /// What came of it.
    pub fn publication_done(&self, id: PublicationId, outcome: Outcome) {
        self.ledger().record(Event::Done { at: self.now(), id, outcome });
    }

    /// Begins one publish: it is on its way when this returns, and the future waits for its answer. With a key it is sent
    /// again if its answer is lost.
    pub(crate) fn begin_publish(
        &mut self,
        publisher: u64,
        due: Duration,
        keyed: bool,
    ) -> (PublicationId, Option<BoxFuture<'static, ()>>) {
        let at = usize::try_from(publisher).unwrap_or(0);
        let (id, channel, payload) = self.next_publication(publisher, due);
        let client = self.publishers[at % self.publishers.len()].clone();
        let common = Arc::clone(&self.common);
        let mut publishing = async move {
            let payload = Payload::from_bytes(payload.as_bytes());
            let published = if keyed {
                client.publish_idempotent(channel, payload, id.to_string()).await
            } else {
                client.publish_raw(channel, payload).await
            };
            let outcome = match published {
                Ok(()) => Outcome::Ok(None),
                Err(PublishError::OutcomeUnknown(_)) => Outcome::Unknown,
                Err(_) => Outcome::Failed,
            };
            let at = common.now();
            common.ledger().record(Event::Done { at, id, outcome });
        }
        .boxed();
        // The first poll puts it into the client's queue: publications leave in the order of their numbers.
        let done = (&mut publishing).now_or_never().is_some();
        (id, (!done).then_some(publishing))
    }
}
