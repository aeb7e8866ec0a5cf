//! The one seam to the wall clock. Everything else counts from `tokio::time`, which a test can pause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since the server started; never jumps. Deadlines are kept in it, in eight bytes.
    pub ms: u64,
    /// Milliseconds since 1970; may jump. Only tokens and people care.
    pub unix_ms: i64,
}

impl Now {
    /// Seconds since 1970.
    pub fn unix(self) -> i64 {
        self.unix_ms.div_euclid(1000)
    }

    /// When, on the clock that never jumps, it will be `unix` seconds since 1970.
    pub fn ms_at(self, unix: i64) -> u64 {
        let ahead = unix.saturating_mul(1000).saturating_sub(self.unix_ms);
        self.ms.saturating_add_signed(ahead)
    }
}

/// Tells the time.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    wall: Wall,
}

#[derive(Clone, Debug)]
enum Wall {
    System,
    Virtual { start_unix_ms: i64 },
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self { start: Instant::now(), wall: Wall::System }
    }

    /// A wall clock that moves with `tokio::time` and reads `unix` seconds since 1970 now.
    pub fn starting_at(unix: i64) -> Self {
        Self { start: Instant::now(), wall: Wall::Virtual { start_unix_ms: unix.saturating_mul(1000) } }
    }

    /// Whether it is the machine's.
    pub fn is_system(&self) -> bool {
        matches!(self.wall, Wall::System)
    }

    /// The time.
    pub fn now(&self) -> Now {
        let ms = millis(self.start.elapsed());
        let unix_ms = match self.wall {
            Wall::System => system_unix_ms(),
            Wall::Virtual { start_unix_ms } => start_unix_ms.saturating_add_unsigned(ms),
        };
        Now { ms, unix_ms }
    }

    /// The `tokio::time` instant of a moment counted in [`Now::ms`].
    pub fn instant(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[allow(clippy::disallowed_methods, reason = "this is the seam")]
fn system_unix_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // A machine whose clock stands before 1970: tokens that expire at all are then not yet expired.
        Err(_) => 0,
    }
}
