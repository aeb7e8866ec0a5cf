//! N2: what comes within one window arrives together, at its end.

use std::time::Duration;

use tokio::time::Instant;

use super::Shape;

pub(super) struct Coalescing {
    window: Duration,
    began: Instant,
}

impl Coalescing {
    pub(super) fn new(window: Duration, began: Instant) -> Self {
        Self { window, began }
    }
}

impl Shape for Coalescing {
    fn delay(&mut self, now: Instant) -> Duration {
        let window = self.window.as_nanos();
        if window == 0 {
            return Duration::ZERO;
        }
        let into = now.saturating_duration_since(self.began).as_nanos() % window;
        Duration::from_nanos(u64::try_from(window - into).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_within_a_window_arrives_at_its_end() {
        let began = Instant::now();
        let mut shape = Coalescing::new(Duration::from_millis(10), began);
        for offset in [0, 1, 5, 9] {
            let now = began + Duration::from_millis(20 + offset);
            assert_eq!(now + shape.delay(now), began + Duration::from_millis(30));
        }
    }
}
