//! Whether what was done to one direction was felt at either end of it: the third number of a fault.
//!
//! Once for each time it was done:
//!
//! - a delay, when the first bytes behind it are handed over;
//! - an end, when the owner is told of one: its own, or the peer's answer to a FIN;
//! - a stop, when somebody gives the stream up while nothing passes, or when what was held up comes after all;
//! - damage, when somebody ends the stream over it; a flipped bit of a payload, when it is handed over.
//!
//! What nobody had the time to feel stays applied and unseen.

use std::sync::Arc;

use crate::fault::injector::Active;
use crate::fault::plan::{Corruption, Kind};

/// Faults that were applied here and that nobody has felt yet.
#[derive(Debug, Default)]
pub(super) struct Felt(Vec<Arc<Active>>);

impl Felt {
    /// It has been done.
    pub(super) fn applied(&mut self, active: &Arc<Active>) {
        active.counters.apply();
        self.0.push(Arc::clone(active));
    }

    /// Bytes have been handed over.
    pub(super) fn moved(&mut self) {
        self.see(|active| match active.fault.kind {
            Kind::Stall | Kind::HalfOpen => active.is_healed(),
            Kind::Corrupt(kind) => matches!(kind, Corruption::Payload | Corruption::Byte),
            Kind::Reset | Kind::Fin => false,
            _ => true,
        });
    }

    /// The owner has been told that the stream ended.
    pub(super) fn ended(&mut self) {
        self.see(|active| !is_delay(&active.fault.kind));
        self.0.clear();
    }

    /// The owner has dropped the stream.
    pub(super) fn given_up(&mut self) {
        self.see(|active| {
            let kind = &active.fault.kind;
            !active.is_healed() && !is_delay(kind) && !matches!(kind, Kind::Reset | Kind::Fin)
        });
    }

    fn see(&mut self, when: impl Fn(&Active) -> bool) {
        self.0.retain(|active| {
            let felt = when(active);
            if felt {
                active.counters.see();
            }
            !felt
        });
    }
}

/// Bytes come late or in pieces, and that is all.
fn is_delay(kind: &Kind) -> bool {
    !matches!(kind, Kind::Reset | Kind::Fin | Kind::Stall | Kind::HalfOpen | Kind::Corrupt(_) | Kind::Mutant(_))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::fault::frames::tests::frame;
    use crate::fault::memory::{MemoryStream, pair};
    use crate::fault::plan::{Aim, Direction, Fault, Latency, Plan};
    use crate::fault::{Faults, FaultyStream};

    const SECOND: Duration = Duration::from_secs(1);

    fn connected(faults: &Faults) -> (FaultyStream<MemoryStream>, MemoryStream) {
        let (ours, theirs) = pair(1 << 16);
        (faults.stream(0, ours), theirs)
    }

    /// Of the fault `x`: applied, and felt.
    fn counted(faults: &Faults) -> (u64, u64) {
        let counts = faults.counts()["x"].1;
        (counts.applied, counts.seen)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_is_felt_when_its_reader_is_told() {
        let faults = Faults::new(&Plan::default());
        let (mut ours, _theirs) = connected(&faults);
        let _guard = faults.inject(Fault::new("x", Kind::Reset));
        ours.flush().await.unwrap();
        assert_eq!(counted(&faults), (1, 0));
        ours.read(&mut [0]).await.unwrap_err();
        assert_eq!(counted(&faults), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fin_towards_the_peer_is_felt_when_it_answers() {
        let faults = Faults::new(&Plan::default());
        let (mut ours, mut theirs) = connected(&faults);
        let _guard = faults.inject(Fault::new("x", Kind::Fin).direction(Direction::Out));
        ours.flush().await.unwrap();
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(counted(&faults), (1, 0));
        drop(theirs);
        assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(counted(&faults), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_felt_when_what_is_late_arrives_and_not_before() {
        let faults = Faults::new(&Plan::default());
        let latency = Kind::Latency(Latency { min: SECOND, max: SECOND, correlation: 0.0 });
        let _guard = faults.inject(Fault::new("x", latency).direction(Direction::In));
        let (mut ours, mut theirs) = connected(&faults);
        theirs.write_all(b"late").await.unwrap();
        tokio::time::timeout(SECOND / 2, ours.read_u8()).await.unwrap_err();
        assert_eq!(counted(&faults), (1, 0));
        ours.read_u8().await.unwrap();
        assert_eq!(counted(&faults), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_is_felt_by_whoever_gives_up_or_gets_late_what_it_held() {
        for (heal, send, felt) in [(false, false, 1), (true, false, 0), (true, true, 1)] {
            let faults = Faults::new(&Plan::default());
            let guard = faults.inject(Fault::new("x", Kind::HalfOpen));
            let (mut ours, mut theirs) = connected(&faults);
            tokio::time::timeout(SECOND, ours.read_u8()).await.unwrap_err();
            if heal {
                guard.heal();
            }
            if send {
                theirs.write_all(b"x").await.unwrap();
                ours.read_u8().await.unwrap();
            }
            drop(ours);
            assert_eq!(counted(&faults), (1, felt), "healed {heal}, sent {send}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn damage_is_felt_when_somebody_ends_the_stream_over_it() {
        let faults = Faults::new(&Plan::default());
        let (mut ours, mut theirs) = connected(&faults);
        theirs.write_all(b"HTTP/1.1 101 x\r\n\r\n").await.unwrap();
        ours.read_exact(&mut [0; 18]).await.unwrap();
        let fault = Fault::new("x", Kind::Corrupt(Corruption::Rsv)).aimed(Aim::Frame(0)).direction(Direction::In);
        let _guard = faults.inject(fault);
        theirs.write_all(&frame(0x81, None, b"{}")).await.unwrap();
        ours.read_u8().await.unwrap();
        assert_eq!(counted(&faults), (1, 0));
        drop(ours);
        assert_eq!(counted(&faults), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connect_that_hangs_is_felt_by_whoever_tried() {
        let faults = Faults::new(&Plan::default());
        let _guard = faults.inject(Fault::new("x", Kind::Blackhole));
        tokio::time::timeout(SECOND, faults.connect(0)).await.unwrap_err();
        assert_eq!(counted(&faults), (1, 1));
    }
}
