//! Parts that the server can not do without: its shards, the accept loop, housekeeping.
//!
//! A panic while a connection is visited costs that connection ([`crate::shard`]). A panic anywhere else ends the part
//! it happens in, and a server that goes on with the rest would only look alive: half of its connections are gone,
//! nothing is accepted, publishers wait for a shard that never takes anything. So it is told at once, to the log and to
//! whoever runs the server ([`crate::server::ServerHandle::failed`]), who ends it.

use std::sync::Arc;

use tokio::sync::watch;

/// Told when a part has ended by a panic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarm(Arc<watch::Sender<Option<String>>>);

/// Held by a part for as long as it runs.
#[derive(Debug)]
pub(crate) struct Vital {
    part: String,
    alarm: Alarm,
}

impl Alarm {
    /// For a part to hold.
    pub(crate) fn part(&self, part: impl Into<String>) -> Vital {
        Vital { part: part.into(), alarm: self.clone() }
    }

    /// Waits until a part has ended by a panic, and names it.
    pub(crate) async fn raised(&self) -> String {
        let mut raised = self.0.subscribe();
        match raised.wait_for(Option::is_some).await {
            Ok(part) => part.clone().unwrap_or_default(),
            // Its sender is this very alarm.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Vital {
    pub(crate) fn name(&self) -> &str {
        &self.part
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(part = self.part, "a bug in the server ended a part that it can not do without");
            self.alarm.0.send_if_modified(|first| first.replace(self.part.clone()).is_none());
        }
    }
}
