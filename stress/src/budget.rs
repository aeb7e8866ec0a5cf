//! What the machine lets us have: descriptors and ports, looked at before the start, and anything cut down said aloud.

use std::net::{IpAddr, Ipv4Addr};

use rustix::process::{Resource, getrlimit};

/// Descriptors that a process needs besides its connections: runtime, files, pipes, the API.
const DESCRIPTORS_ASIDE: u64 = 200;
/// Ports of one source address that are used: the kernel's range (28,232), less what lingers in TIME_WAIT from before.
const PORTS_PER_ADDRESS: u64 = 20_000;

/// What a fleet may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Connections.
    pub connections: u64,
    /// Addresses to connect from, each connection from one of them by turns.
    pub sources: Vec<IpAddr>,
    /// What was cut down, in words.
    pub clamped: Vec<String>,
}

impl Budget {
    /// For so many connections in this process, to a server with as many descriptors as we have.
    #[must_use]
    pub fn plan(wanted: u64) -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::within(wanted, limit)
    }

    /// The same under a given limit of descriptors.
    #[must_use]
    pub fn within(wanted: u64, descriptors: u64) -> Self {
        let most = descriptors.saturating_sub(DESCRIPTORS_ASIDE);
        let mut clamped = Vec::new();
        let connections = wanted.min(most);
        if connections < wanted {
            clamped.push(format!(
                "{connections} connections instead of {wanted}: this process may have {descriptors} descriptors and \
                 needs {DESCRIPTORS_ASIDE} besides (raise it with `ulimit -n {}`)",
                wanted + DESCRIPTORS_ASIDE
            ));
        }
        let addresses = connections.div_ceil(PORTS_PER_ADDRESS).clamp(1, 250);
        // Twice as many as needed: a herd that comes back finds its old ports in TIME_WAIT.
        let sources = (0..(addresses * 2).min(250))
            .map(|n| IpAddr::V4(Ipv4Addr::new(127, 0, 1, u8::try_from(n + 1).unwrap_or(u8::MAX))))
            .collect();
        Self { connections, sources, clamped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_too_large_is_cut_down_aloud() {
        let small = Budget::within(10_000, 20_000);
        assert_eq!((small.connections, small.sources.len(), small.clamped.len()), (10_000, 2, 0));
        let large = Budget::within(50_000, 20_000);
        assert_eq!(large.connections, 19_800);
        assert!(large.clamped[0].contains("ulimit -n 50200"), "{}", large.clamped[0]);
    }
}
