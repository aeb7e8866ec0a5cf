//! What the machine lets us have: descriptors and ports, looked at before the start, and anything cut down said aloud.

use std::net::{IpAddr, Ipv4Addr};

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors that a process needs besides its connections: runtime, files, pipes, the API, publishers.
const DESCRIPTORS_ASIDE: u64 = 200;
/// What the kernel hands out where it does not say otherwise.
const PORTS_BY_DEFAULT: u64 = 28_232;
/// Source addresses there are for us: 127.0.1.1 to 127.0.1.250.
const SOURCES_MAX: u64 = 250;

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
        Self::within(wanted, limit, ports_per_address())
    }

    /// The same under given limits of descriptors, and of ports of one address.
    #[must_use]
    pub fn within(wanted: u64, descriptors: u64, ports: u64) -> Self {
        let mut clamped = Vec::new();
        let by_descriptors = wanted.min(descriptors.saturating_sub(DESCRIPTORS_ASIDE));
        if by_descriptors < wanted {
            clamped.push(format!(
                "{by_descriptors} connections instead of {wanted}: this process may have {descriptors} descriptors and \
                 needs {DESCRIPTORS_ASIDE} besides (raise it with `ulimit -n {}`)",
                wanted + DESCRIPTORS_ASIDE
            ));
        }
        // Half of them only: a herd that comes back finds its old ports in TIME_WAIT.
        let each = (ports / 2).max(1);
        let connections = by_descriptors.min(each * SOURCES_MAX);
        if connections < by_descriptors {
            clamped.push(format!(
                "{connections} connections instead of {by_descriptors}: an address has {ports} ports \
                 (`net.ipv4.ip_local_port_range`), half of them are kept for those that come back, and there are {SOURCES_MAX} addresses"
            ));
        }
        // Twice as many as that: the scenario before left its own in TIME_WAIT.
        let sources = (1..=(2 * connections.div_ceil(each)).clamp(2, SOURCES_MAX))
            .map(|n| IpAddr::V4(Ipv4Addr::new(127, 0, 1, u8::try_from(n).unwrap_or(u8::MAX))))
            .collect();
        Self { connections, sources, clamped }
    }
}

/// Takes as many descriptors as this process may have without asking anybody. Children have as many.
pub fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it is refused we keep what we have, and the budget says what that is.
    let _refused = setrlimit(Resource::Nofile, limit);
}

/// By the kernel's own range.
fn ports_per_address() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ends: Vec<u64> = range.split_whitespace().filter_map(|end| end.parse().ok()).collect();
    match ends[..] {
        [first, last] if last >= first => last - first + 1,
        _ => PORTS_BY_DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_that_fits_is_left_alone() {
        let small = Budget::within(10_000, 20_000, 28_232);
        assert_eq!((small.connections, small.sources.len(), small.clamped.len()), (10_000, 2, 0));
        assert_eq!(Budget::within(19_000, 20_000, 28_232).sources.len(), 4);
    }

    #[test]
    fn a_fleet_too_large_is_cut_down_aloud() {
        let large = Budget::within(50_000, 20_000, 28_232);
        assert_eq!(large.connections, 19_800);
        assert!(large.clamped[0].contains("ulimit -n 50200"), "{}", large.clamped[0]);
        let few_ports = Budget::within(10_000, 20_000, 60);
        assert_eq!((few_ports.connections, few_ports.sources.len()), (7_500, 250));
        assert!(few_ports.clamped[0].contains("ip_local_port_range"), "{}", few_ports.clamped[0]);
        assert_eq!(Budget::within(10, 100, 28_232).connections, 0);
    }
}
