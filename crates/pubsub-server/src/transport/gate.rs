//! Who is let in: limits that are looked at before a WebSocket exists.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::rate::Bucket;

/// Counts connections and refuses those that are too many.
#[derive(Debug)]
pub struct Gate {
    open: AtomicUsize,
    limit: usize,
    closed: AtomicBool,
    emptied: Notify,
    rate_per_s: u32,
    rate: Mutex<Bucket>,
    rate_per_address_per_s: u32,
    addresses: Mutex<BTreeMap<IpAddr, Bucket>>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `client.connection_limit`
    #[error("this server has as many connections as it may")]
    Limit,
    /// `client.connection_rate_limit`
    #[error("too many new connections at once")]
    Rate,
    /// `client.connection_rate_limit_per_address`
    #[error("too many new connections from this address at once")]
    AddressRate,
    /// The server is going down.
    #[error("this server is shutting down")]
    Draining,
}

/// A connection that is let in, counted for as long as this lives.
#[derive(Debug)]
pub struct Slot(Arc<Gate>);

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

impl Gate {
    /// An open gate. Each limit: 0 for none.
    pub fn new(limit: usize, rate_per_s: u32, rate_per_address_per_s: u32) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            limit,
            closed: AtomicBool::new(false),
            emptied: Notify::new(),
            rate_per_s,
            rate: Mutex::default(),
            rate_per_address_per_s,
            addresses: Mutex::default(),
        })
    }

    /// Lets a connection in, or says why not.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>, now_ms: u64) -> Result<Slot, Refused> {
        if self.is_closed() {
            return Err(Refused::Draining);
        }
        if self.open.fetch_add(1, Ordering::AcqRel) >= self.limit && self.limit > 0 {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return Err(Refused::Limit);
        }
        let slot = Slot(self.clone());
        // First: an address that comes too often takes nothing of what all have together.
        if let (Some(address), rate @ 1..) = (address, self.rate_per_address_per_s) {
            let mut addresses = self.addresses.lock();
            if !addresses.entry(network(address)).or_default().take(rate, rate, now_ms) {
                return Err(Refused::AddressRate);
            }
        }
        if self.rate_per_s > 0 && !self.rate.lock().take(self.rate_per_s, self.rate_per_s, now_ms) {
            return Err(Refused::Rate);
        }
        Ok(slot)
    }

    /// Forgets addresses that have not come for a while. Called by the server's housekeeping.
    pub fn sweep(&self, now_ms: u64) {
        if self.rate_per_address_per_s > 0 {
            self.addresses.lock().retain(|_, bucket| !bucket.is_full(now_ms));
        }
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether nobody is let in any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until no connection is left.
    pub async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.connections() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

/// What counts as one address: of IPv6 the first 64 bits, since whoever has one address there has all behind it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_who_is_there() {
        let gate = Gate::new(2, 0, 0);
        let (first, _second) = (gate.enter(None, 0).unwrap(), gate.enter(None, 0).unwrap());
        assert_eq!(gate.enter(None, 0).unwrap_err(), Refused::Limit);
        drop(first);
        let _third = gate.enter(None, 0).unwrap();
        assert_eq!(gate.connections(), 2);
    }

    #[test]
    fn an_address_beyond_its_rate_takes_nothing_of_everybodys() {
        let gate = Gate::new(0, 10, 2);
        let (one, other) = (Some(IpAddr::from([127, 0, 0, 1])), Some(IpAddr::from([127, 0, 0, 2])));
        let let_in = (0..100).filter(|_| gate.enter(one, 0).is_ok()).count();
        assert_eq!(let_in, 2);
        assert!(gate.enter(other, 0).is_ok());
    }

    #[test]
    fn one_address_can_not_use_up_the_rate_of_another() {
        let gate = Gate::new(0, 0, 2);
        let (one, other) = (Some(IpAddr::from([127, 0, 0, 1])), Some(IpAddr::from([127, 0, 0, 2])));
        assert!(gate.enter(one, 0).is_ok() && gate.enter(one, 0).is_ok());
        assert_eq!(gate.enter(one, 0).unwrap_err(), Refused::AddressRate);
        assert!(gate.enter(other, 0).is_ok());
        assert!(gate.enter(one, 500).is_ok());
        assert_eq!(gate.connections(), 0, "a slot that was dropped does not count");
        gate.sweep(10_000);
        assert!(gate.addresses.lock().is_empty());
    }

    #[test]
    fn whoever_has_a_network_has_one_address() {
        let same = |one: &str, other: &str| network(one.parse().unwrap()) == network(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn a_closed_gate_lets_nobody_in() {
        let gate = Gate::new(0, 0, 0);
        gate.close();
        assert_eq!(gate.enter(None, 0).unwrap_err(), Refused::Draining);
    }
}
