//! F5, F9, F10: nothing passes until healed. A stall closes one way, a half-open connection both.

use tokio::time::Instant;

use super::{Allow, Shape};

pub(super) struct Gate;

impl Shape for Gate {
    fn allow(&mut self, _: Instant, _: usize) -> Allow {
        Allow::Never
    }
}
