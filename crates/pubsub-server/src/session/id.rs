//! The id of a connection: a UUID that strangers can not guess and that we can find our way back from.
//!
//! Shard and slot are hidden in it, so that the server API finds a connection by its id without a map of all
//! of them. They are masked with a hash of the random rest under a secret of this server, so that an id
//! tells nobody how many connections there are.

use std::fmt;

use ahash::RandomState;
use rand::Rng;
use uuid::Uuid;

/// Names one connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Uuid);

/// Where a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its shard.
    pub shard: u16,
    /// Its slot in the shard.
    pub slot: u32,
}

impl ClientId {
    /// A new id for a connection at `place`.
    pub fn new(place: Place, chance: &mut impl Rng, secret: &RandomState) -> Self {
        let mut bytes = [0; 16];
        chance.fill_bytes(&mut bytes[6..]);
        // Version and variant are set before the mask is taken, since they are part of what is hashed.
        let rest = *uuid::Builder::from_custom_bytes(bytes).as_uuid().as_bytes();
        let mask = secret.hash_one(&rest[6..]).to_be_bytes();
        bytes = rest;
        bytes[..2].copy_from_slice(&place.shard.to_be_bytes());
        bytes[2..6].copy_from_slice(&place.slot.to_be_bytes());
        for (byte, mask) in bytes[..6].iter_mut().zip(mask) {
            *byte ^= mask;
        }
        Self(Uuid::from_bytes(bytes))
    }

    /// Where the connection lived when it got this id. An id that is not ours gives any place at all: compare
    /// the whole id with that of the connection found there.
    pub fn place(&self, secret: &RandomState) -> Place {
        let mut bytes = *self.0.as_bytes();
        let mask = secret.hash_one(&bytes[6..]).to_be_bytes();
        for (byte, mask) in bytes[..6].iter_mut().zip(mask) {
            *byte ^= mask;
        }
        Place {
            shard: u16::from_be_bytes([bytes[0], bytes[1]]),
            slot: u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]),
        }
    }

    /// Reads an id that somebody gave.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    #[test]
    fn an_id_leads_back_to_its_place_and_is_never_twice_the_same() {
        let secret = RandomState::with_seeds(1, 2, 3, 4);
        let mut chance = ChaCha12Rng::seed_from_u64(7);
        let mut seen = std::collections::BTreeSet::new();
        for slot in [0, 1, 77, u32::MAX] {
            for shard in [0, 1, u16::MAX] {
                let place = Place { shard, slot };
                for _ in 0..10 {
                    let id = ClientId::new(place, &mut chance, &secret);
                    assert_eq!(id.place(&secret), place);
                    assert_eq!(ClientId::parse(&id.to_string()), Some(id));
                    assert_eq!(id.0.get_version_num(), 8);
                    assert!(seen.insert(id));
                }
            }
        }
    }
}
