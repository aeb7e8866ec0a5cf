//! Failures at a rate, or aimed at one moment of a conversation.
//!
//! [`FailureInjector::should_fail`] is the plain face, for code that asks before each operation.
//! [`FailureInjector::wrap`] puts a stream under it, which then fails by itself when its moment comes.

use serde::{Deserialize, Serialize};

use super::carrier::Carrier;
use super::plan::{Aim, Fault, Kind};
use super::stream::FaultyStream;
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

impl From<Operation> for Aim {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Connect => Self::Connect,
            Operation::Subscribe => Self::Command("subscribe".to_owned()),
            Operation::Publish => Self::Command("publish".to_owned()),
            Operation::Receive => Self::Reply("push".to_owned()),
            Operation::Unsubscribe => Self::Command("unsubscribe".to_owned()),
        }
    }
}

/// Says, operation by operation or stream by stream, whether it is to fail.
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
///
/// Half of a client's streams are reset in the middle of a frame:
///
/// ```
/// use std::io;
/// use std::sync::Mutex;
///
/// use pubsub_client::{Connector, Target, TcpConnector};
/// use stress::{Aim, FailureInjector, FaultyStream, Seed};
/// use tokio::net::TcpStream;
///
/// struct Fragile(Mutex<FailureInjector>);
///
/// impl Connector for Fragile {
///     type Stream = FaultyStream<TcpStream>;
///
///     async fn connect(&self, target: &Target, attempt: u64) -> io::Result<Self::Stream> {
///         let stream = TcpConnector::default().connect(target, attempt).await?;
///         Ok(self.0.lock().unwrap().wrap(stream))
///     }
/// }
///
/// let connector = Fragile(Mutex::new(FailureInjector::new(0.5).aimed(Aim::MidPayload).seeded(Seed(7), 0)));
/// ```
#[derive(Clone, Debug)]
pub struct FailureInjector {
    failure_rate: f64,
    aim: Option<Aim>,
    kind: Kind,
    chance: Chance,
    asked: u64,
    failed: u64,
}

impl FailureInjector {
    /// Fails with probability `failure_rate` (0 never, 1 always).
    #[must_use]
    pub fn new(failure_rate: f64) -> Self {
        let chance = Seed::default().chance(0, "failure");
        Self { failure_rate: failure_rate.clamp(0.0, 1.0), aim: None, kind: Kind::Reset, chance, asked: 0, failed: 0 }
    }

    /// Fails at this moment and no other: at an [`Operation`], or, in a stream, at whatever an [`Aim`] may wait for: a byte,
    /// a frame, the middle of one.
    #[must_use]
    pub fn aimed(mut self, moment: impl Into<Aim>) -> Self {
        self.aim = Some(moment.into());
        self
    }

    /// What happens to a stream that fails, where a reset is not what is wanted.
    #[must_use]
    pub fn failing_by(mut self, kind: Kind) -> Self {
        self.kind = kind;
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
        self.aim.as_ref().is_none_or(|aim| *aim == operation.into()) && self.should_fail()
    }

    /// Puts a stream under it. Whether it fails is drawn now, by the rate; it does when its moment comes, or at once if none was
    /// aimed at. There is a stream already, so the moment of connecting is its handshake.
    pub fn wrap<S: Carrier>(&mut self, stream: S) -> FaultyStream<S> {
        let aim = match &self.aim {
            None => Aim::At,
            Some(Aim::Connect) => Aim::Handshake,
            Some(aim) => aim.clone(),
        };
        let fault = self.should_fail().then(|| Fault::new("failure", self.kind.clone()).aimed(aim));
        FaultyStream::alone(Seed(self.chance.bits()), fault, stream)
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::fault::memory::pair;

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
    /// What of a thousand bytes comes out on the other side of a stream.
    async fn passes(injector: &mut FailureInjector) -> usize {
        let (ours, mut peers) = pair(4_096);
        let mut stream = injector.wrap(ours);
        let _failed = stream.write_all(&[7; 1_000]).await;
        drop(stream);
        let mut came = Vec::new();
        let _failed = peers.read_to_end(&mut came).await;
        came.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_fails_at_the_byte_that_was_aimed_at_and_so_many_of_them_as_the_rate_says() {
        let mut injector = FailureInjector::new(0.3).aimed(Aim::Byte(600)).failing_by(Kind::Fin).seeded(Seed(7), 0);
        let mut came = Vec::new();
        for _ in 0..200 {
            came.push(passes(&mut injector).await);
        }
        let failed = came.iter().filter(|&&bytes| bytes == 600).count();
        assert_eq!(came.iter().filter(|&&bytes| bytes == 1_000).count(), 200 - failed, "{came:?}");
        assert_eq!((injector.asked(), injector.failed()), (200, failed as u64));
        assert!((40..80).contains(&failed), "{failed} of 200 failed at a rate of 0.3");
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_aim_a_stream_fails_at_once() {
        assert_eq!(passes(&mut FailureInjector::new(1.0)).await, 0);
        assert_eq!(passes(&mut FailureInjector::new(1.0).aimed(Operation::Connect)).await, 0);
        assert_eq!(passes(&mut FailureInjector::new(0.0)).await, 1_000);
    }
}
