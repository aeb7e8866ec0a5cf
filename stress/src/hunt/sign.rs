//! What each planted bug shows as: the classes that name it, and by which way it comes to light.
//!
//! Several classes stand where one mistake breaks several laws and chance decides which is seen first, or where a second
//! line of defence turns the mistake into another one; then that is said.

use pubsub_client::planted::Bug as Client;
use pubsub_server::planted::Bug as Server;

use super::Bug;
use crate::oracle::Class;

/// What a bug shows as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Any of these names it.
    pub classes: &'static [Class],
    /// How it comes to light.
    pub how: &'static str,
}

const fn sign(classes: &'static [Class], how: &'static str) -> Sign {
    Sign { classes, how }
}

impl Bug {
    /// What it has to be found as.
    #[must_use]
    pub fn sign(self) -> Sign {
        match self {
            Self::Server(bug) => of_server(bug),
            Self::Client(bug) => of_client(bug),
        }
    }
}

fn of_server(bug: Server) -> Sign {
    use Class::*;
    match bug {
        Server::RecoveryOffByOne => sign(
            &[NeedlessFailure],
            "the check of the batch sees that it does not begin behind the position, and refuses what could be recovered",
        ),
        Server::HistoryBeforeRegistration => sign(
            &[Cascade, Loss, FalseRecovery],
            "what is published between the two is in neither; the watch over positions ends the subscription for it",
        ),
        Server::NoDeduplication => sign(
            &[Duplicate, FalseRecovery, Regression],
            "a peer on the wire gets a publication twice; one that has just begun, what lies before its beginning",
        ),
        Server::LagSwallowed => sign(&[Loss, FalseRecovery], "what came while the answer was late is missing"),
        Server::TrimmedYetRecovered => sign(&[FalseRecovery, Stuck], "the batch does not begin where it was asked to"),
        Server::EpochKeptOverRestart => sign(
            &[Disagreement, DuplicateAppend, Regression, FalseRecovery, Inversion],
            "two publications claim one place",
        ),
        Server::EpochRenewedPerSubscribe => sign(
            &[DuplicateAppend, Stuck, AckedThenLost, Cascade, SilentGap],
            "each subscriber tells of another stream, and no position holds",
        ),
        Server::FanOutOvertaken => sign(
            &[Reorder, Cascade, Loss, Inversion, Stuck, Regression],
            "channels without history swap; in others the watch over positions ends everybody's subscription",
        ),
        Server::OldestDropped => {
            sign(&[Loss, SilentGap, FalseRecovery], "a number is missing, and no break was announced")
        }
        Server::SlowKeptInHub => sign(&[Leak], "the hub has members when everybody has gone"),
        Server::PushAfterUnsubscribe => sign(
            &[Ghost, Leak, Duplicate, Drift, Misroute],
            "publications after the unsubscribe's answer; members left at the end",
        ),
        Server::CountedTwiceOnReset => sign(&[Drift], "more connections have ended than began"),
        Server::IdempotencyIgnored => sign(&[DuplicateAppend], "one publication has two places"),
        Server::OffsetResetOnExpiry => sign(
            &[Regression, Disagreement, AckedThenLost, Duplicate, Inversion, DuplicateAppend, Stuck],
            "offsets of one epoch come again",
        ),
        Server::OutboxUnbounded => sign(&[Leak], "outboxes hold more than they may"),
        Server::PresenceKeptOnNoPong => sign(&[PresenceDrift, Leak], "presence names more than are there"),
        Server::HalfOpenKept => sign(&[Drift, PresenceDrift, Leak], "connections stay whose peers are gone"),
        Server::AcceptLoopDies => sign(&[Stuck], "nobody comes back"),
        Server::BatchReversed => sign(&[FalseRecovery, Stuck, Reorder, Crash], "the batch does not go upwards"),
        Server::BatchCapped => sign(&[FalseRecovery, Stuck], "the batch ends before what had been acknowledged"),
        Server::HubCollision => sign(&[Misroute], "a publication of another channel arrives"),
        Server::LiveBeginsLate => sign(&[Loss, FalseRecovery], "the first live publication is missing"),
        Server::MovedMemberForgotten => {
            sign(&[Stuck, Leak, Crash, Loss, Ghost], "the wrong member is taken out, and the right one stays")
        }
        Server::TrimmedOneTooMany => sign(&[NeedlessFailure], "what is said to be kept can not be recovered"),
        Server::HoleInHistory => {
            sign(&[AckedThenLost, FalseRecovery], "an acknowledged publication is not in its place")
        }
        Server::PartialFrameParsed => {
            sign(&[Stuck, Cascade, Protocol, LostCompletion], "a frame in two parts is held against its sender")
        }
        Server::AnswerOvertaken => sign(&[SilentGap, Loss], "a peer on the wire gets publications before the answer"),
        Server::RanOutUnseen => sign(&[Leak], "publications are in memory when all have run out"),
    }
}

fn of_client(bug: Client) -> Sign {
    use Class::*;
    match bug {
        Client::LagSwallowed => sign(&[Loss], "a slow reader lacks what did not fit"),
        Client::TailLostOnClose => {
            sign(&[Loss, FalseRecovery], "what was there before the connection ended never arrives")
        }
        Client::PingTimerOutlivesConnection => {
            sign(&[Crash, Stuck, LostCompletion], "an old deadline strikes while there is no connection")
        }
        Client::ResubscribeFailsSilently => sign(&[Stuck, Drift], "the sentinel does not arrive"),
        Client::PositionAdoptedEarly => sign(&[Loss, FalseRecovery], "what was recovered is taken for seen"),
        Client::ResumedOnePast => sign(&[Loss, NeedlessFailure, FalseRecovery], "one publication is never asked for"),
        Client::OldEpochKept => sign(
            &[Disagreement, SilentGap, Stuck, NeedlessFailure, DuplicateAppend, Cascade],
            "publications are told of under an epoch that is over",
        ),
        Client::RecoveryTakenForGranted => sign(&[FalseRecovery], "an unclosed gap is told as closed"),
        Client::SentAgain => sign(&[DuplicateAppend, Aborted], "one publication has two places"),
        Client::StaysAwayAfterSlow => sign(&[Stuck], "who was cut is never there again"),
    }
}
