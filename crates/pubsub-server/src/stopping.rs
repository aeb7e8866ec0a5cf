//! Told once: the server stops.
//!
//! tokio's `watch` would do, but wakes those who wait in an order drawn by chance of its own, and a run in virtual time would not be
//! the same twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// See the module. Cloning shares.
#[derive(Clone, Debug, Default)]
pub struct Stopping(Arc<(AtomicBool, Notify)>);

impl Stopping {
    /// The server stops now.
    pub fn tell(&self) {
        let (stops, told) = &*self.0;
        stops.store(true, Ordering::SeqCst);
        told.notify_waiters();
    }

    /// Waits until it does.
    pub async fn told(&self) {
        let (stops, told) = &*self.0;
        let mut notified = std::pin::pin!(told.notified());
        // Registered before the look: what is told in between is not missed.
        notified.as_mut().enable();
        if !stops.load(Ordering::SeqCst) {
            notified.await;
        }
    }
}
