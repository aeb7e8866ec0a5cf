//! A circuit breaker: after repeated failures nobody tries any more, but for a single probe now and then.
//!
//! Back-off slows one client down; a breaker that many clients share (a fleet in one process, a pool) keeps all of them
//! off a server that is down, and lets one find out when it is back. Time is an argument; no clock in here.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// When a breaker opens and for how long.
///
/// ```
/// use std::time::Duration;
/// use pubsub_client::{BreakerConfig, ClientConfig};
///
/// let breaker = BreakerConfig { failures_max: 3, open_for: Duration::from_secs(30) };
/// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").breaker(breaker).build()?;
/// # let _ = config;
/// # Ok::<(), pubsub_client::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it. At least 1.
    pub failures_max: u32,
    /// How long it stays open before the next probe.
    pub open_for: Duration,
}

impl Default for BreakerConfig {
    /// Opens after 8 failures, for 10 s: with the default back-off a client alone has then tried for half a minute, so
    /// that a rolling restart never opens it.
    fn default() -> Self {
        Self { failures_max: 8, open_for: Duration::from_secs(10) }
    }
}

/// What a breaker lets through.
///
/// ```
/// use pubsub_client::{BreakerState, CircuitBreaker};
///
/// assert_eq!(CircuitBreaker::new(Default::default()).state(), BreakerState::Closed);
/// assert_eq!(BreakerState::HalfOpen.to_string(), "half-open");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everybody.
    Closed,
    /// Nobody.
    Open,
    /// One probe, which is on its way.
    HalfOpen,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// The answer to "may I try?".
///
/// ```
/// use pubsub_client::{Admission, CircuitBreaker};
/// use tokio::time::Instant;
///
/// match CircuitBreaker::new(Default::default()).ask(Instant::now()) {
///     Admission::Go(permit) => permit.succeeded(),
///     Admission::Wait(until) => println!("not before {until:?}"),
/// }
/// ```
#[derive(Debug)]
pub enum Admission {
    /// Yes. Say how it went through the permit.
    Go(Permit),
    /// Not before this moment. Ask again then.
    Wait(Instant),
}

/// A circuit breaker. Cloning shares it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use std::time::Duration;
/// use pubsub_client::{Admission, BreakerConfig, BreakerState, CircuitBreaker};
/// use tokio::time::Instant;
///
/// let breaker = CircuitBreaker::new(BreakerConfig { failures_max: 1, open_for: Duration::from_secs(5) });
/// let now = Instant::now();
/// let Admission::Go(permit) = breaker.ask(now) else { panic!("closed") };
/// permit.failed(now);
/// assert_eq!(breaker.state(), BreakerState::Open);
/// assert!(matches!(breaker.ask(now), Admission::Wait(until) if until == now + Duration::from_secs(5)));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: BreakerConfig,
    inner: Mutex<Inner>,
    state: watch::Sender<BreakerState>,
}

#[derive(Debug)]
enum Inner {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// The probe set out at `since`; who asks meanwhile is told to come back later.
    HalfOpen {
        since: Instant,
    },
}

impl CircuitBreaker {
    /// A closed breaker.
    ///
    /// ```
    /// use pubsub_client::{BreakerConfig, CircuitBreaker};
    ///
    /// let breaker = CircuitBreaker::new(BreakerConfig::default());
    /// let the_same = breaker.clone();
    /// # let _ = the_same;
    /// ```
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        let inner = Mutex::new(Inner::Closed { failures: 0 });
        Self { shared: Arc::new(Shared { config, inner, state: watch::Sender::new(BreakerState::Closed) }) }
    }

    /// What it lets through now.
    ///
    /// ```
    /// use pubsub_client::{BreakerState, CircuitBreaker};
    ///
    /// assert_eq!(CircuitBreaker::new(Default::default()).state(), BreakerState::Closed);
    /// ```
    #[must_use]
    pub fn state(&self) -> BreakerState {
        *self.shared.state.borrow()
    }

    /// Follows its state. States that last no time at all may be skipped.
    ///
    /// ```no_run
    /// # async fn example(breaker: pubsub_client::CircuitBreaker) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut state = breaker.watch();
    /// while state.changed().await.is_ok() {
    ///     println!("the breaker is {}", *state.borrow_and_update());
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BreakerState> {
        self.shared.state.subscribe()
    }

    /// Whether an attempt may be made at `now`. The first to ask after the open time becomes the probe.
    ///
    /// ```
    /// use pubsub_client::{Admission, CircuitBreaker};
    /// use tokio::time::Instant;
    ///
    /// let breaker = CircuitBreaker::new(Default::default());
    /// assert!(matches!(breaker.ask(Instant::now()), Admission::Go(_)));
    /// ```
    #[must_use]
    pub fn ask(&self, now: Instant) -> Admission {
        let mut inner = self.shared.lock();
        match *inner {
            Inner::Closed { .. } => Admission::Go(self.permit(false)),
            Inner::Open { until } if now < until => Admission::Wait(until),
            Inner::Open { .. } => {
                *inner = Inner::HalfOpen { since: now };
                self.shared.tell(&inner);
                Admission::Go(self.permit(true))
            }
            // Half the open time: late enough not to hammer this lock, early enough to follow a probe that succeeded.
            Inner::HalfOpen { .. } => Admission::Wait(now + self.shared.config.open_for / 2),
        }
    }

    fn permit(&self, probe: bool) -> Permit {
        Permit { breaker: self.clone(), probe, reported: false }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, inner: &Inner) {
        let state = match inner {
            Inner::Closed { .. } => BreakerState::Closed,
            Inner::Open { .. } => BreakerState::Open,
            Inner::HalfOpen { .. } => BreakerState::HalfOpen,
        };
        let changed = self.state.send_if_modified(|current| std::mem::replace(current, state) != state);
        if changed {
            tracing::info!(%state, "circuit breaker");
        }
    }
}

/// Leave to make one attempt. Dropped without a word it counts as not made: a probe's place is free again at once.
///
/// ```
/// use pubsub_client::{Admission, CircuitBreaker};
/// use tokio::time::Instant;
///
/// let breaker = CircuitBreaker::new(Default::default());
/// let Admission::Go(permit) = breaker.ask(Instant::now()) else { panic!("it is closed") };
/// match std::net::TcpStream::connect("127.0.0.1:8000") {
///     Ok(_) => permit.succeeded(),
///     Err(_) => permit.failed(Instant::now()),
/// }
/// ```
#[derive(Debug)]
#[must_use = "say how the attempt went"]
pub struct Permit {
    breaker: CircuitBreaker,
    probe: bool,
    reported: bool,
}

impl Permit {
    /// Whether this attempt is the probe of an open breaker.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pubsub_client::{Admission, BreakerConfig, CircuitBreaker};
    /// use tokio::time::Instant;
    ///
    /// let (now, open_for) = (Instant::now(), Duration::from_secs(5));
    /// let breaker = CircuitBreaker::new(BreakerConfig { failures_max: 1, open_for });
    /// let Admission::Go(first) = breaker.ask(now) else { panic!("it is closed") };
    /// assert!(!first.is_probe());
    /// first.failed(now);
    /// let Admission::Go(second) = breaker.ask(now + open_for) else { panic!("a probe is due") };
    /// assert!(second.is_probe());
    /// ```
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// It worked: the breaker closes, all failures are forgotten.
    ///
    /// ```
    /// use pubsub_client::{Admission, BreakerState, CircuitBreaker};
    /// use tokio::time::Instant;
    ///
    /// let breaker = CircuitBreaker::new(Default::default());
    /// let Admission::Go(permit) = breaker.ask(Instant::now()) else { panic!("it is closed") };
    /// permit.succeeded();
    /// assert_eq!(breaker.state(), BreakerState::Closed);
    /// ```
    pub fn succeeded(mut self) {
        self.reported = true;
        let mut inner = self.breaker.shared.lock();
        *inner = Inner::Closed { failures: 0 };
        self.breaker.shared.tell(&inner);
    }

    /// It failed at `now`.
    ///
    /// ```
    /// use pubsub_client::{Admission, BreakerConfig, BreakerState, CircuitBreaker};
    /// use tokio::time::Instant;
    ///
    /// let breaker = CircuitBreaker::new(BreakerConfig { failures_max: 1, ..Default::default() });
    /// let Admission::Go(permit) = breaker.ask(Instant::now()) else { panic!("it is closed") };
    /// permit.failed(Instant::now());
    /// assert_eq!(breaker.state(), BreakerState::Open);
    /// ```
    pub fn failed(mut self, now: Instant) {
        self.reported = true;
        let shared = &self.breaker.shared;
        let mut inner = shared.lock();
        let open = Inner::Open { until: now + shared.config.open_for };
        match &mut *inner {
            Inner::Closed { failures } => {
                *failures += 1;
                if *failures >= shared.config.failures_max {
                    *inner = open;
                }
            }
            Inner::HalfOpen { .. } if self.probe => *inner = open,
            // An attempt that set out before the breaker opened: it is known already.
            Inner::HalfOpen { .. } | Inner::Open { .. } => {}
        }
        shared.tell(&inner);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.reported {
            let mut inner = self.breaker.shared.lock();
            if let Inner::HalfOpen { since } = *inner {
                *inner = Inner::Open { until: since };
                self.breaker.shared.tell(&inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn breaker(failures_max: u32) -> CircuitBreaker {
        CircuitBreaker::new(BreakerConfig { failures_max, open_for: OPEN_FOR })
    }

    fn go(breaker: &CircuitBreaker, now: Instant) -> Permit {
        match breaker.ask(now) {
            Admission::Go(permit) => permit,
            Admission::Wait(until) => panic!("refused until {until:?} in state {}", breaker.state()),
        }
    }

    fn wait(breaker: &CircuitBreaker, now: Instant) -> Instant {
        match breaker.ask(now) {
            Admission::Wait(until) => until,
            Admission::Go(_) => panic!("let through in state {}", breaker.state()),
        }
    }

    /// Opened at the returned moment.
    fn open(failures_max: u32) -> (CircuitBreaker, Instant) {
        let (breaker, now) = (breaker(failures_max), Instant::now());
        for _ in 0..failures_max {
            go(&breaker, now).failed(now);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        (breaker, now)
    }

    #[test]
    fn it_opens_at_the_given_number_of_failures_in_a_row() {
        let (breaker, now) = (breaker(3), Instant::now());
        go(&breaker, now).failed(now);
        go(&breaker, now).failed(now);
        go(&breaker, now).succeeded();
        go(&breaker, now).failed(now);
        go(&breaker, now).failed(now);
        assert_eq!(breaker.state(), BreakerState::Closed, "a success in between starts the count again");
        go(&breaker, now).failed(now);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(wait(&breaker, now), now + OPEN_FOR);
    }

    #[test]
    fn one_probe_passes_and_nobody_else() {
        let (breaker, opened) = open(2);
        let later = opened + OPEN_FOR;
        wait(&breaker, later - Duration::from_nanos(1));
        let probe = go(&breaker, later);
        assert!(probe.is_probe());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(wait(&breaker, later) > later, "who waits for the probe must not spin");
        wait(&breaker, later + OPEN_FOR * 100);
        probe.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(!go(&breaker, later).is_probe());
    }

    #[test]
    fn a_failed_probe_opens_it_for_another_time() {
        let (breaker, opened) = open(2);
        let later = opened + OPEN_FOR;
        go(&breaker, later).failed(later);
        assert_eq!(wait(&breaker, later), later + OPEN_FOR);
    }

    #[test]
    fn a_probe_that_is_given_up_frees_its_place() {
        let (breaker, opened) = open(2);
        drop(go(&breaker, opened + OPEN_FOR));
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(go(&breaker, opened + OPEN_FOR).is_probe());
    }

    #[test]
    fn a_late_failure_neither_ends_the_probe_nor_prolongs_the_open_time() {
        let (breaker, now) = (breaker(1), Instant::now());
        let late = [go(&breaker, now), go(&breaker, now)];
        go(&breaker, now).failed(now);
        let [first, second] = late;
        first.failed(now + OPEN_FOR / 2);
        let probe = go(&breaker, now + OPEN_FOR);
        second.failed(now + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        probe.succeeded();
    }

    #[test]
    fn it_can_be_watched() {
        let breaker = breaker(1);
        let watch = breaker.watch();
        go(&breaker, Instant::now()).failed(Instant::now());
        assert!(watch.has_changed().unwrap());
        assert_eq!(*watch.borrow(), BreakerState::Open);
    }
}
