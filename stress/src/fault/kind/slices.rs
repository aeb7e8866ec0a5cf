//! N1: no read or write moves more than so many bytes. Nothing may change but the number of calls.

use tokio::time::Instant;

use super::{Allow, Shape};

pub(super) struct Slices(usize);

impl Slices {
    pub(super) fn new(bytes: usize) -> Self {
        Self(bytes.max(1))
    }
}

impl Shape for Slices {
    fn allow(&mut self, _: Instant, want: usize) -> Allow {
        Allow::Bytes(want.min(self.0))
    }
}
