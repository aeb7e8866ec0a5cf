//! What goes by a number that the lab has given: they begin at 0 and leave few out, so the number is the place.

/// So many numbers may be left out in a row.
const GAP_MAX: usize = 1 << 20;

/// Values by number.
#[derive(Debug)]
pub(super) struct Numbered<T>(Vec<Option<T>>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Numbered<T> {
    pub(super) fn insert(&mut self, number: u32, value: T) {
        let at = number as usize;
        assert!(at <= self.0.len() + GAP_MAX, "{number} follows {}: that is no numbering", self.0.len());
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some(value);
    }

    /// A payload may say any number.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.0.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.0.get_mut(number as usize)?.as_mut()
    }

    /// In the order of their numbers.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }
}
