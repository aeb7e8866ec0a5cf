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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_at_their_numbers_whatever_their_order() {
        let mut letters = Numbered::default();
        for (number, letter) in [(3, 'd'), (0, 'a'), (1, 'b')] {
            letters.insert(number, letter);
        }
        assert_eq!(letters.values().collect::<String>(), "abd");
        assert_eq!((letters.get(2), letters.get(3)), (None, Some(&'d')));
        assert_eq!(letters.get(u32::MAX), None, "asking for any number costs nothing");
    }

    #[test]
    #[should_panic(expected = "536870912 follows 1: that is no numbering")]
    fn a_number_out_of_nowhere_is_refused_and_takes_no_memory() {
        let mut letters = Numbered::default();
        letters.insert(0, 'a');
        letters.insert(1 << 29, 'b');
    }
}
