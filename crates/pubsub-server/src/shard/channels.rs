//! A shard's channels by name, in a map that grows a little at a time.
//!
//! A hash map that is full moves everything to one twice as large, and nobody on the shard is served meanwhile: 30 to 65 ms
//! with 131,072 channels. Here each of [`STRIPES`] small maps moves when it is full itself.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

/// One of them moves 2,000 channels where all have 131,072.
const STRIPES: usize = 64;

type Stripe<T> = HashTable<(Arc<str>, T)>;

/// What there is of each channel.
#[derive(Debug)]
pub(super) struct Channels<T> {
    stripes: Box<[Stripe<T>; STRIPES]>,
    hasher: RandomState,
}

impl<T> Channels<T> {
    /// None. `hasher` keys the hashing of names.
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { stripes: Box::new([const { Stripe::new() }; STRIPES]), hasher }
    }

    pub(super) fn get(&self, name: &str) -> Option<&T> {
        let hash = self.hasher.hash_one(name);
        self.stripes[stripe(hash)].find(hash, |(other, _)| **other == *name).map(|(_, channel)| channel)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        let hash = self.hasher.hash_one(name);
        self.stripes[stripe(hash)].find_mut(hash, |(other, _)| **other == *name).map(|(_, channel)| channel)
    }

    /// With this name, which is given it if there is none.
    pub(super) fn get_or_default(&mut self, name: &Arc<str>) -> &mut T
    where
        T: Default,
    {
        let Self { stripes, hasher } = self;
        let hash = hasher.hash_one(&**name);
        let same = |(other, _): &(Arc<str>, T)| **other == **name;
        let entry = stripes[stripe(hash)].entry(hash, same, |(other, _)| hasher.hash_one(&**other));
        &mut entry.or_insert_with(|| (Arc::clone(name), T::default())).into_mut().1
    }

    /// Takes it out, and gives memory back when most of it is unused.
    pub(super) fn remove(&mut self, name: &str) {
        let Self { stripes, hasher } = self;
        let hash = hasher.hash_one(name);
        let stripe = &mut stripes[stripe(hash)];
        if let Ok(entry) = stripe.find_entry(hash, |(other, _)| **other == *name) {
            entry.remove();
        }
        if stripe.len() * 8 < stripe.capacity() {
            stripe.shrink_to(stripe.len() * 2, |(other, _)| hasher.hash_one(&**other));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.stripes.iter().flatten().map(|(name, channel)| (&**name, channel))
    }
}

/// The maps themselves go by the lowest and the highest bits.
fn stripe(hash: u64) -> usize {
    usize::from((hash >> 40) as u8) % STRIPES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_there_until_it_is_taken_out() {
        let mut channels: Channels<u32> = Channels::new(RandomState::with_seeds(1, 2, 3, 4));
        let names: Vec<Arc<str>> = (0..10_000).map(|i| format!("channel{i}").into()).collect();
        for (i, name) in (0..).zip(&names) {
            *channels.get_or_default(name) += i;
            *channels.get_or_default(name) += 1;
        }
        let largest = channels.stripes.iter().map(HashTable::len).max();
        assert!(largest < Some(2 * names.len() / STRIPES), "{largest:?} in one of {STRIPES}");
        for (i, name) in (0..).zip(&names) {
            assert_eq!(channels.get(name), Some(&(i + 1)));
        }
        for name in &names[..9_999] {
            channels.remove(name);
        }
        *channels.get_mut("channel9999").unwrap() = 7;
        assert_eq!(channels.iter().collect::<Vec<_>>(), [("channel9999", &7)]);
        assert_eq!(channels.get_mut("channel0"), None);
        let capacity: usize = channels.stripes.iter().map(HashTable::capacity).sum();
        assert!(capacity < 64, "{capacity} places are kept for one");
    }
}
