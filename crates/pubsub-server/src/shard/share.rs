//! The time that a turn has for one kind of thing.

use std::time::Duration;

use tokio::time::Instant;

/// Whoever says something meanwhile waits for a turn or two. The counts beside it say the same for a fast machine and cheap
/// commands, and alone where time stands still.
const TURN_TIME: Duration = Duration::from_millis(1);

/// A turn's share of time for one kind of thing, which begins with the first of it: a turn that has nothing to do looks at no
/// clock.
#[derive(Default)]
pub(super) struct Share(Option<Instant>);

impl Share {
    /// Whether there is time for one more. For the first there always is.
    pub(super) fn has_more(&mut self) -> bool {
        let Some(began) = self.0 else {
            self.0 = Some(Instant::now());
            return true;
        };
        began.elapsed() < TURN_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_done_whatever_it_takes_and_no_other_past_the_time() {
        let mut share = Share::default();
        tokio::time::advance(TURN_TIME * 2).await;
        assert!(share.has_more(), "the clock begins with the first");
        tokio::time::advance(TURN_TIME / 2).await;
        assert!(share.has_more());
        tokio::time::advance(TURN_TIME / 2).await;
        assert!(!share.has_more());
    }
}
