//! A map that mostly holds one entry or none, and then without a node of its own.

use std::collections::BTreeMap;

/// See the module.
#[derive(Debug)]
pub(super) struct Few<K, V> {
    one: Option<(K, V)>,
    more: BTreeMap<K, V>,
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self { one: None, more: BTreeMap::new() }
    }
}

impl<K: Ord, V> Few<K, V> {
    /// In the place of what was there under this key.
    pub(super) fn insert(&mut self, key: K, value: V) {
        match &mut self.one {
            Some((known, one)) if *known == key => *one = value,
            None if !self.more.contains_key(&key) => self.one = Some((key, value)),
            _ => drop(self.more.insert(key, value)),
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        match self.one.take_if(|(known, _)| known == key) {
            Some((_, value)) => Some(value),
            None => self.more.remove(key),
        }
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.one.as_ref().is_some_and(|(known, _)| known == key) || self.more.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.more.len()
    }

    pub(super) fn clear(&mut self) {
        self.one = None;
        self.more.clear();
    }

    /// In no order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.one.iter().map(|(key, _)| key).chain(self.more.keys())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in proptest::collection::vec((0..4_u8, any::<bool>(), any::<u8>()), 0..40)) {
            let (mut few, mut map) = (Few::default(), BTreeMap::new());
            for (key, put, value) in steps {
                if put {
                    few.insert(key, value);
                    map.insert(key, value);
                } else {
                    prop_assert_eq!(few.remove(&key), map.remove(&key));
                }
                prop_assert_eq!(few.len(), map.len());
                let mut keys: Vec<u8> = few.keys().copied().collect();
                keys.sort_unstable();
                prop_assert_eq!(keys, map.keys().copied().collect::<Vec<_>>());
                prop_assert!((0..4).all(|key| few.contains_key(&key) == map.contains_key(&key)));
            }
        }
    }
}
