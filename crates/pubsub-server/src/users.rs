//! Connections by user, for those who are somebody: the server API names people, not connections.

use std::sync::Arc;

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use smallvec::SmallVec;

use crate::session::id::Place;
use crate::sparse::is_sparse;

/// Lock stripes of the map. Fixed, so that runs do not differ by the machine's number of cores.
const STRIPES: usize = 64;

/// Where each user's connections live. The anonymous user is not in it: it has no end of connections, and
/// nothing is ever asked about it alone.
pub struct Users(DashMap<Arc<str>, SmallVec<[Place; 2]>, RandomState>);

/// The user has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Users {
    /// Nobody yet. `hasher` keys the hashing of user ids.
    pub fn new(hasher: RandomState) -> Self {
        Self(DashMap::with_hasher_and_shard_amount(hasher, STRIPES))
    }

    /// Enters a connection, unless the user has `connections_max` already (0: any number).
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn enter(&self, user: &Arc<str>, place: Place, connections_max: usize) -> Result<(), TooMany> {
        if user.is_empty() {
            return Ok(());
        }
        let mut places = self.0.entry(user.clone()).or_default();
        if connections_max > 0 && places.len() >= connections_max {
            return Err(TooMany);
        }
        if !places.contains(&place) {
            places.push(place);
        }
        Ok(())
    }

    /// Takes a connection out, if it was in.
    pub fn leave(&self, user: &str, place: Place) {
        if user.is_empty() {
            return;
        }
        if let Entry::Occupied(mut entry) = self.0.entry(user.into()) {
            entry.get_mut().retain(|other| *other != place);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    /// Gives memory back that the map needed when it had many more users.
    pub fn shrink(&self) {
        if is_sparse(self.0.len(), self.0.capacity()) {
            self.0.shrink_to_fit();
        }
    }

    /// Where a user's connections live.
    pub fn places(&self, user: &str) -> SmallVec<[Place; 2]> {
        self.0.get(user).map(|places| places.clone()).unwrap_or_default()
    }

    /// Where the newest of a user's connections lives.
    pub fn newest(&self, user: &str) -> Option<Place> {
        self.0.get(user)?.last().copied()
    }

    /// How many users have a connection, without the anonymous one.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many users have a connection, and how many connections they have. Goes through all of them.
    pub fn count(&self) -> (u64, u64) {
        self.0.iter().fold((0, 0), |(users, connections), places| (users + 1, connections + places.len() as u64))
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_while_one_connection_is_left_and_never_past_the_limit() {
        let users = Users::new(RandomState::with_seeds(1, 2, 3, 4));
        let (anna, nobody): (Arc<str>, Arc<str>) = ("anna".into(), "".into());
        let place = |slot| Place { shard: 0, slot };
        assert_eq!(users.enter(&anna, place(1), 2), Ok(()));
        assert_eq!(users.enter(&anna, place(2), 2), Ok(()));
        assert_eq!(users.enter(&anna, place(3), 2), Err(TooMany));
        assert_eq!(users.enter(&nobody, place(4), 1), Ok(()));
        assert_eq!(users.places("anna")[..], [place(1), place(2)]);
        assert_eq!((users.newest("anna"), users.newest("ben")), (Some(place(2)), None));
        users.leave("anna", place(3));
        users.leave("anna", place(1));
        assert_eq!((users.len(), users.places("anna").len()), (1, 1));
        users.leave("anna", place(2));
        assert!(users.is_empty());
    }
}
