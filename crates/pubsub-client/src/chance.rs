//! All chance of a client, from one seed: masks, keys, ids, delays.
//!
//! What happens rarely (a delay, a key, an id) is drawn as `prf(seed, purpose, index)`, so that one draw more or less
//! of one kind moves no other. Masks, one for every frame, come from a stream of their own. ChaCha, because a mask must
//! not be guessable by who chose the payload (RFC 6455, 10.3), and because its output is fixed across versions.

#[expect(clippy::disallowed_types, reason = "the one seam; a seeded client does not come here")]
use rand::rngs::SysRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _, TryRng as _};
use rand_chacha::ChaCha8Rng;

/// What a number is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Delay before reconnect attempt n of the client's life.
    Reconnect = 1,
    /// Delay before resubscribe attempt n of the client's life.
    Resubscribe = 2,
    /// `Sec-WebSocket-Key` of connection n.
    UpgradeKey = 3,
    /// Random part of request id n.
    RequestId = 4,
    /// Mask keys of connection n.
    Masks = 5,
    /// When a refresh that failed is tried again.
    Refresh = 6,
}

/// The seed of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The one place where chance comes from outside: a client that was given no seed.
    pub(crate) fn from_system() -> Self {
        Self(SysRng.try_next_u64().expect("the operating system gives random numbers"))
    }

    /// A generator that depends on nothing but its name.
    pub(crate) fn generator(self, purpose: Purpose, index: u64) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.0.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }

    /// A number in `[0, 1)`.
    pub(crate) fn fraction(self, purpose: Purpose, index: u64) -> f64 {
        self.generator(purpose, index).random()
    }

    /// The random part of a ULID.
    pub(crate) fn ulid_random(self, index: u64) -> u128 {
        let mut generator = self.generator(Purpose::RequestId, index);
        u128::from(generator.next_u64()) << 64 | u128::from(generator.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_its_name_alone() {
        let seed = Seed::new(7);
        let before = seed.fraction(Purpose::Reconnect, 3);
        seed.fraction(Purpose::Reconnect, 2);
        assert_eq!(before.to_bits(), Seed::new(7).fraction(Purpose::Reconnect, 3).to_bits());
        assert_ne!(before.to_bits(), seed.fraction(Purpose::Reconnect, 4).to_bits());
        assert_ne!(before.to_bits(), seed.fraction(Purpose::Resubscribe, 3).to_bits());
        assert_ne!(before.to_bits(), Seed::new(8).fraction(Purpose::Reconnect, 3).to_bits());
    }

    #[test]
    fn two_clients_without_a_seed_differ() {
        assert_ne!(Seed::from_system(), Seed::from_system());
    }
}
