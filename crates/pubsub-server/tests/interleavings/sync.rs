//! The checker's twin of `src/sync.rs`.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::task::Waker;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.0.lock().expect("no model panics under a lock")
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;

#[derive(Default)]
pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

impl AtomicWaker {
    pub(crate) fn register(&self, waker: &Waker) {
        self.0.register_by_ref(waker);
    }

    pub(crate) fn wake(&self) {
        self.0.wake();
    }

    pub(crate) fn take(&self) -> Option<Waker> {
        self.0.take_waker()
    }
}

/// A map whose entries are locked: all of them by one lock, as those are that share a stripe.
pub(crate) struct DashMap<K, V, S>(Mutex<BTreeMap<K, V>>, PhantomData<S>);

/// An entry, and with it the lock.
pub(crate) struct Ref<'a, K: Ord, V> {
    map: Guard<'a, BTreeMap<K, V>>,
    key: K,
}

pub(crate) enum Entry<'a, K: Ord, V> {
    Occupied(Occupied<'a, K, V>),
    Vacant(Vacant<'a, K, V>),
}

pub(crate) struct Occupied<'a, K: Ord, V>(Ref<'a, K, V>);

pub(crate) struct Vacant<'a, K: Ord, V>(Ref<'a, K, V>);

#[allow(dead_code, reason = "as much as any of the files asks of a map")]
impl<K: Ord + Clone, V, S> DashMap<K, V, S> {
    pub(crate) fn with_hasher_and_shard_amount(_: S, _: usize) -> Self {
        Self(Mutex::new(BTreeMap::new()), PhantomData)
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Ref<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let map = self.0.lock();
        let key = map.get_key_value(key)?.0.clone();
        Some(Ref { map, key })
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Ref<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        self.get(key)
    }

    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.lock().contains_key(key)
    }

    pub(crate) fn entry(&self, key: K) -> Entry<'_, K, V> {
        let map = self.0.lock();
        let occupied = map.contains_key(&key);
        let entry = Ref { map, key };
        if occupied { Entry::Occupied(Occupied(entry)) } else { Entry::Vacant(Vacant(entry)) }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.len()
    }

    pub(crate) fn shrink_to_fit(&self) {}

    /// No model asks for all of them.
    pub(crate) fn iter(&self) -> std::iter::Empty<Ref<'_, K, V>> {
        std::iter::empty()
    }
}

impl<'a, K: Ord, V> Entry<'a, K, V> {
    pub(crate) fn or_default(self) -> Ref<'a, K, V>
    where
        K: Clone,
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    pub(crate) fn or_insert_with(self, value: impl FnOnce() -> V) -> Ref<'a, K, V>
    where
        K: Clone,
    {
        match self {
            Self::Occupied(entry) => entry.0,
            Self::Vacant(entry) => entry.insert(value()),
        }
    }
}

impl<'a, K: Ord, V> Occupied<'a, K, V> {
    pub(crate) fn get_mut(&mut self) -> &mut V {
        &mut self.0
    }

    pub(crate) fn remove(mut self) -> V {
        self.0.map.remove(&self.0.key).expect("it is occupied")
    }

    pub(crate) fn into_ref(self) -> Ref<'a, K, V> {
        self.0
    }
}

impl<'a, K: Ord + Clone, V> Vacant<'a, K, V> {
    pub(crate) fn insert(mut self, value: V) -> Ref<'a, K, V> {
        self.0.map.insert(self.0.key.clone(), value);
        self.0
    }
}

impl<K: Ord, V> Ref<'_, K, V> {
    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    pub(crate) fn pair_mut(&mut self) -> (&K, &mut V) {
        let Self { map, key } = self;
        (key, map.get_mut(key).expect("nobody else has the lock"))
    }

    pub(crate) fn value(&self) -> &V {
        self
    }

    pub(crate) fn value_mut(&mut self) -> &mut V {
        self
    }
}

impl<K: Ord, V> Deref for Ref<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.map[&self.key]
    }
}

impl<K: Ord, V> DerefMut for Ref<'_, K, V> {
    fn deref_mut(&mut self) -> &mut V {
        self.map.get_mut(&self.key).expect("nobody else has the lock")
    }
}
