//! Failures at a rate, or aimed at one kind of operation.

use serde::{Deserialize, Serialize};

use crate::chance::{Chance, Seed};

/// What a user of the client is about to do: where an aimed failure strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Opening the connection.
    Connect,
    /// Beginning a subscription.
    Subscribe,
    /// Publishing.
    Publish,
    /// Taking a publication.
    Receive,
    /// Ending a subscription.
    Unsubscribe,
}

/// Says, operation by operation, whether it is to fail.
///
/// ```
/// use stress::{FailureInjector, Operation, Seed};
///
/// let mut injector = FailureInjector::new(0.2).aimed(Operation::Publish).seeded(Seed(7), 0);
/// let failures = (0..1_000).filter(|_| injector.should_fail_at(Operation::Publish)).count();
/// assert!((150..250).contains(&failures));
/// assert!(!injector.should_fail_at(Operation::Subscribe), "it aims at something else");
/// assert_eq!(injector.asked(), 1_000);
/// ```
#[derive(Clone, Debug)]
pub struct FailureInjector {
    failure_rate: f64,
    aim: Option<Operation>,
    chance: Chance,
    asked: u64,
    failed: u64,
}

impl FailureInjector {
    /// Fails with probability `failure_rate` (0 never, 1 always).
    #[must_use]
    pub fn new(failure_rate: f64) -> Self {
        let chance = Seed::default().chance(0, "failure");
        Self { failure_rate: failure_rate.clamp(0.0, 1.0), aim: None, chance, asked: 0, failed: 0 }
    }

    /// Fails this one kind of operation and no other.
    #[must_use]
    pub fn aimed(mut self, operation: Operation) -> Self {
        self.aim = Some(operation);
        self
    }

    /// The chances of one entity (a client, say) under one seed.
    #[must_use]
    pub fn seeded(mut self, seed: Seed, entity: u64) -> Self {
        self.chance = seed.chance(entity, "failure");
        self
    }

    /// Whether the operation at hand is to fail.
    pub fn should_fail(&mut self) -> bool {
        self.asked += 1;
        let fails = self.chance.bernoulli(self.failure_rate);
        self.failed += u64::from(fails);
        fails
    }

    /// Whether this operation is to fail. One that is not aimed at does not count as asked and draws no chance, so
    /// that more of those do not move the failures of the others.
    pub fn should_fail_at(&mut self, operation: Operation) -> bool {
        self.aim.is_none_or(|aim| aim == operation) && self.should_fail()
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// How often it said yes.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_rate_are_never_and_always() {
        let mut never = FailureInjector::new(0.0).seeded(Seed(1), 1);
        let mut always = FailureInjector::new(1.0).seeded(Seed(1), 1);
        assert!((0..1_000).all(|_| !never.should_fail() && always.should_fail()));
        assert_eq!((never.asked(), never.failed(), always.failed()), (1_000, 0, 1_000));
    }

    #[test]
    fn operations_beside_the_aim_do_not_move_the_failures() {
        let make = || FailureInjector::new(0.5).aimed(Operation::Publish).seeded(Seed(9), 4);
        let (mut alone, mut among) = (make(), make());
        for _ in 0..100 {
            assert!(!among.should_fail_at(Operation::Subscribe));
            assert_eq!(alone.should_fail_at(Operation::Publish), among.should_fail_at(Operation::Publish));
        }
    }
}
