use std::task::{Context, Poll, Waker};

use super::*;
use crate::mailbox::{Read, Start};

const EPOCH: &str = "e";

fn topic() -> Topic {
    Topic::from("c")
}

fn publication(offset: u64) -> pubsub_protocol::Publication {
    let data = Payload::to_json(&offset).unwrap();
    pubsub_protocol::Publication { data, info: None, offset, tags: Default::default(), epoch: String::new() }
}

fn recoverable(offset: u64) -> SubscribeResult {
    SubscribeResult { recoverable: true, positioned: true, epoch: EPOCH.into(), offset, ..Default::default() }
}

fn recovered(asked: u64, offsets: impl IntoIterator<Item = u64>) -> SubscribeResult {
    let publications = offsets.into_iter().map(publication).collect();
    SubscribeResult { recovered: true, was_recovering: true, publications, ..recoverable(asked) }
}

fn attach(registry: &Registry, capacity: usize) -> Arc<Mailbox> {
    let local = Arc::new(Mailbox::new(capacity));
    registry.attach(&topic(), &SubscribeOptions::default(), local.clone()).unwrap();
    local
}

fn in_force(result: SubscribeResult) -> (Registry, Arc<Mailbox>) {
    let registry = Registry::new();
    let local = attach(&registry, 16);
    assert_eq!(subscribing(&registry), None);
    registry.subscribed(&topic(), result, 1);
    read(&local);
    (registry, local)
}

fn subscribing(registry: &Registry) -> Option<u64> {
    registry.with(&topic(), Entry::subscribing).unwrap().map(|position| position.offset)
}

fn step(registry: &Registry) -> Step {
    registry.with(&topic(), |entry| entry.step()).unwrap()
}

/// What happened, in a word each.
fn read(local: &Mailbox) -> Vec<String> {
    let cx = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    while let Poll::Ready(Read::Event(event) | Read::EventAndCatchUp(event)) = local.poll_read(&cx) {
        seen.push(match event {
            Event::Publication(publication) => publication.offset.to_string(),
            Event::Subscribed(subscribed) => subscribed.recovery.to_string(),
            Event::Interrupted { code, .. } => format!("interrupted {code}"),
            Event::Unsubscribed { code, .. } => format!("unsubscribed {code}"),
            Event::Lagged { missed } => format!("missed {missed}"),
            Event::Join(_) => "join".into(),
            Event::Leave(_) => "leave".into(),
        });
    }
    seen
}

fn publish(registry: &Registry, offsets: impl IntoIterator<Item = u64>) -> Vec<Verdict> {
    offsets.into_iter().map(|offset| registry.publication(&topic(), publication(offset))).collect()
}

/// Every pair of phase and wish.
#[test]
fn what_is_done_depends_on_what_is_and_what_is_wanted() {
    use Phase::{FetchingToken, Idle, InForce, Subscribing, Unsubscribing, WaitingRetry};
    let table = [
        // phase, wanted, wanted anew, unwanted
        (Idle, Step::Subscribe, Step::Subscribe, Step::Forget),
        (FetchingToken { number: 1 }, Step::Nothing, Step::Nothing, Step::Forget),
        (WaitingRetry, Step::Nothing, Step::Nothing, Step::Forget),
        (Subscribing, Step::Nothing, Step::Nothing, Step::Nothing),
        (InForce, Step::Nothing, Step::Unsubscribe, Step::Unsubscribe),
        (Unsubscribing, Step::Nothing, Step::Nothing, Step::Nothing),
    ];
    for (phase, wanted, anew, unwanted) in table {
        let mut entry = Entry { phase, ..Entry::new(SubscribeOptions::default()) };
        assert_eq!(entry.step(), unwanted, "{phase:?}");
        entry.locals.push(Arc::new(Mailbox::new(2)));
        assert_eq!(entry.step(), wanted, "{phase:?}");
        entry.restart = true;
        assert_eq!(entry.step(), anew, "{phase:?}");
    }
}

#[test]
fn local_subscribers_share_one_subscription_and_the_last_to_leave_ends_it() {
    let (registry, first) = in_force(recoverable(5));
    let second = attach(&registry, 16);
    assert_eq!(read(&second), ["fresh"], "who joins later begins where the stream stands");
    assert_eq!(publish(&registry, [6]), [Verdict::Delivered]);
    assert_eq!((read(&first), read(&second)), (vec!["6".to_owned()], vec!["6".to_owned()]));
    assert!(!registry.detach(&topic(), &first));
    assert_eq!(step(&registry), Step::Nothing);
    assert!(registry.detach(&topic(), &second));
    assert_eq!(step(&registry), Step::Unsubscribe);
    registry.with(&topic(), |entry| entry.phase = Phase::Idle);
    assert_eq!(step(&registry), Step::Forget);
    registry.forget(&topic());
    assert_eq!(registry.len(), 0);
}

#[test]
fn who_comes_back_at_once_begins_anew_and_hears_nothing_of_before() {
    let (registry, first) = in_force(recoverable(5));
    registry.detach(&topic(), &first);
    let second = attach(&registry, 16);
    assert_eq!(step(&registry), Step::Unsubscribe);
    assert_eq!(publish(&registry, [6]), [Verdict::Stray]);
    registry.forget(&topic());
    assert_eq!(registry.len(), 1, "somebody wants it again");
    registry.with(&topic(), |entry| entry.phase = Phase::Idle);
    assert_eq!(subscribing(&registry), None, "no position is inherited");
    registry.subscribed(&topic(), recoverable(6), 1);
    assert_eq!(read(&second), ["fresh"]);
}

#[test]
fn a_subscription_asked_for_by_others_is_not_taken_over() {
    let registry = Registry::new();
    let first = attach(&registry, 16);
    subscribing(&registry);
    registry.detach(&topic(), &first);
    let second = attach(&registry, 16);
    registry.subscribed(&topic(), recoverable(5), 1);
    assert_eq!(step(&registry), Step::Unsubscribe);
    registry.with(&topic(), |entry| entry.phase = Phase::Idle);
    subscribing(&registry);
    registry.subscribed(&topic(), recoverable(5), 1);
    assert_eq!((step(&registry), read(&second)), (Step::Nothing, vec!["fresh".to_owned()]));
}

#[test]
fn options_that_differ_are_refused() {
    let (registry, _local) = in_force(recoverable(0));
    let other = SubscribeOptions::default().join_leave(true);
    assert_eq!(registry.attach(&topic(), &other, Arc::new(Mailbox::new(2))), Err(()));
    let same = SubscribeOptions::default().token("other");
    assert_eq!(registry.attach(&topic(), &same, Arc::new(Mailbox::new(2))), Ok(false));
}

#[test]
fn recovered_publications_come_before_live_ones_and_each_once() {
    let (registry, local) = in_force(recoverable(5));
    publish(&registry, [6, 7]);
    registry.connection_lost(1006, "lost", false);
    assert_eq!(subscribing(&registry), Some(7));
    registry.subscribed(&topic(), recovered(7, [8, 9]), 2);
    assert_eq!(publish(&registry, [9, 10]), [Verdict::Duplicate, Verdict::Delivered]);
    assert_eq!(read(&local), ["6", "7", "interrupted 1006", "recovered", "8", "9", "10"]);
}

#[test]
fn what_cannot_be_recovered_is_said() {
    let (registry, local) = in_force(recoverable(5));
    registry.connection_lost(1006, "lost", false);
    subscribing(&registry);
    let reborn = SubscribeResult { epoch: "new".into(), was_recovering: true, ..recoverable(2) };
    registry.subscribed(&topic(), reborn, 2);
    assert_eq!(publish(&registry, [3]), [Verdict::Delivered]);
    assert_eq!(read(&local), ["interrupted 1006", "not recovered", "3"]);
}

#[test]
fn a_gap_restarts_with_recovery_and_delivers_nothing_early() {
    let (registry, local) = in_force(recoverable(5));
    assert_eq!(publish(&registry, [6, 8, 9]), [Verdict::Delivered, Verdict::Gap, Verdict::Stray]);
    assert_eq!(step(&registry), Step::Unsubscribe);
    registry.with(&topic(), |entry| entry.phase = Phase::Idle);
    assert_eq!(subscribing(&registry), Some(6));
    registry.subscribed(&topic(), recovered(6, [7, 8, 9]), 1);
    assert_eq!(read(&local), ["6", "interrupted 2500", "recovered", "7", "8", "9"]);
}

#[test]
fn a_hole_inside_a_recovery_is_a_gap_too() {
    let (registry, local) = in_force(recoverable(5));
    registry.connection_lost(1006, "lost", false);
    subscribing(&registry);
    registry.subscribed(&topic(), recovered(5, [6, 8]), 2);
    assert_eq!(step(&registry), Step::Unsubscribe);
    assert_eq!(read(&local), ["interrupted 1006", "recovered", "6", "interrupted 2500"]);
}

#[test]
fn a_stream_that_was_reborn_is_a_gap() {
    let (registry, _local) = in_force(recoverable(5));
    let reborn = pubsub_protocol::Publication { epoch: "new".into(), ..publication(1) };
    assert_eq!(registry.publication(&topic(), reborn), Verdict::Gap);
}

#[test]
fn an_unknown_epoch_is_adopted_from_the_first_publication() {
    let (registry, _local) = in_force(SubscribeResult { epoch: String::new(), ..recoverable(0) });
    let first = pubsub_protocol::Publication { epoch: "born".into(), ..publication(1) };
    assert_eq!(registry.publication(&topic(), first), Verdict::Delivered);
    registry.connection_lost(1006, "lost", false);
    let asked = registry.with(&topic(), Entry::subscribing).unwrap().unwrap();
    assert_eq!(asked, StreamPosition::new(1, "born"));
}

#[test]
fn a_hole_without_recovery_is_told_and_passed() {
    let (registry, local) = in_force(SubscribeResult { recoverable: false, ..recoverable(5) });
    assert_eq!(publish(&registry, [6, 9]), [Verdict::Delivered; 2]);
    assert_eq!(read(&local), ["6", "missed 2", "9"]);
}

#[test]
fn without_positions_everything_is_delivered() {
    let (registry, local) = in_force(SubscribeResult::default());
    assert_eq!(publish(&registry, [0, 7, 1, 0]), [Verdict::Delivered; 4]);
    registry.connection_lost(1006, "lost", false);
    assert_eq!(subscribing(&registry), None);
    assert_eq!(read(&local), ["0", "7", "1", "0", "interrupted 1006"]);
}

#[test]
fn a_publication_outside_history_moves_no_position() {
    let (registry, local) = in_force(recoverable(5));
    publish(&registry, [6, 0, 7]);
    registry.connection_lost(1006, "lost", false);
    assert_eq!(subscribing(&registry), Some(7));
    assert_eq!(read(&local), ["6", "0", "7", "interrupted 1006"]);
}

#[test]
fn one_that_lags_recovers_and_the_others_see_nothing_of_it() {
    let (registry, quick) = in_force(recoverable(0));
    let slow = attach(&registry, 2);
    publish(&registry, 1..=5);
    assert_eq!(read(&quick), ["1", "2", "3", "4", "5"]);
    // Room for two, of which the beginning took one.
    assert_eq!(read(&slow), ["fresh", "1"]);
    registry.catch_up(&topic());
    assert_eq!(step(&registry), Step::Unsubscribe);
    registry.with(&topic(), |entry| entry.phase = Phase::Idle);
    assert_eq!(subscribing(&registry), Some(1), "from where the slow one stands");
    registry.subscribed(&topic(), recovered(1, 2..=6), 1);
    assert_eq!(read(&quick), ["6"], "what came meanwhile, and nothing twice");
    assert_eq!(read(&slow), ["recovered", "2", "3", "4", "5", "6"], "all of it, though there is room for two");
}

/// Two that lag, of which the first asks for what it lacks: it stands at 3, the other at 2 and with no room.
fn one_catches_up_beside_one_that_is_full() -> (Registry, Arc<Mailbox>, Arc<Mailbox>) {
    let (registry, _) = in_force(recoverable(0));
    let (slow, full) = (attach(&registry, 4), attach(&registry, 3));
    publish(&registry, 1..=5);
    assert_eq!(read(&slow), ["fresh", "1", "2", "3"]);
    registry.catch_up(&topic());
    registry.with(&topic(), |entry| entry.phase = Phase::Idle);
    (registry, slow, full)
}

#[test]
fn one_that_is_full_is_left_out_until_it_reads_and_does_not_grow() {
    let (registry, slow, full) = one_catches_up_beside_one_that_is_full();
    registry.with(&topic(), |entry| entry.locals.remove(0));
    for top in 6..20 {
        assert_eq!(subscribing(&registry), Some(slow.offset()), "from where the one with room stands");
        registry.subscribed(&topic(), recovered(slow.offset(), slow.offset() + 1..=top), 1);
        assert_eq!((full.len(), full.offset()), (3, 2));
        registry.connection_lost(1006, "lost", false);
        read(&slow);
    }
    assert_eq!(read(&full), ["fresh", "1", "2", "recovered"]);
    subscribing(&registry);
    registry.subscribed(&topic(), recovered(2, 3..=19), 1);
    assert_eq!(read(&full)[..2], ["recovered", "3"]);
    assert_eq!(full.offset(), 19);
}

#[test]
fn one_that_was_left_out_and_has_read_meanwhile_is_next() {
    let (registry, slow, full) = one_catches_up_beside_one_that_is_full();
    registry.with(&topic(), |entry| entry.locals.remove(0));
    assert_eq!(subscribing(&registry), Some(3));
    // Before the answer: it asks, while nothing is in force that could begin anew.
    assert_eq!(read(&full), ["fresh", "1", "2"]);
    registry.catch_up(&topic());
    registry.subscribed(&topic(), recovered(3, 4..=6), 1);
    assert_eq!(read(&slow), ["recovered", "4", "5", "6"]);
    assert_eq!((read(&full), full.offset()), (vec![], 2), "a gap is not handed over");
    assert_eq!(step(&registry), Step::Unsubscribe);
    registry.with(&topic(), |entry| entry.phase = Phase::Idle);
    assert_eq!(subscribing(&registry), Some(2));
    registry.subscribed(&topic(), recovered(2, 3..=6), 1);
    assert_eq!(read(&full), ["recovered", "3", "4", "5", "6"]);
    assert_eq!((step(&registry), read(&slow)), (Step::Nothing, vec![]));
}

#[test]
fn one_that_lags_too_far_takes_nobody_with_it() {
    let (registry, quick) = in_force(recoverable(0));
    let (slow, slower) = (attach(&registry, 4), attach(&registry, 3));
    publish(&registry, 1..=5);
    assert_eq!(read(&quick), ["1", "2", "3", "4", "5"]);
    assert_eq!(read(&slow), ["fresh", "1", "2", "3"]);
    assert_eq!(read(&slower), ["fresh", "1", "2"]);
    registry.connection_lost(1006, "lost", false);
    // 6 is published while nobody is connected, and the server keeps what comes after 4.
    let gone = SubscribeResult { was_recovering: true, ..recoverable(6) };
    for asks in [2, 3] {
        assert_eq!(subscribing(&registry), Some(asks));
        registry.subscribed(&topic(), gone.clone(), 2);
        assert_eq!(publish(&registry, [7]), [Verdict::Stray], "nothing is delivered before its turn");
        assert_eq!(step(&registry), Step::Unsubscribe);
        registry.with(&topic(), |entry| entry.phase = Phase::Idle);
    }
    assert_eq!(subscribing(&registry), Some(5), "from where the quick one stands");
    registry.subscribed(&topic(), recovered(5, [6, 7]), 2);
    assert_eq!(step(&registry), Step::Nothing);
    assert_eq!(read(&quick), ["interrupted 1006", "recovered", "6", "7"]);
    for behind in [slow, slower] {
        assert_eq!(read(&behind), ["not recovered", "6", "7"]);
    }
}

#[test]
fn what_the_server_subscribed_and_ends_is_not_asked_for_again() {
    for code in [2000, 2500] {
        let registry = Registry::new();
        let local = attach(&registry, 4);
        registry.server_subscribed(&topic(), recoverable(3), 1);
        assert!(!registry.unsubscribed(&topic(), code, "r"));
        assert_eq!(read(&local), ["fresh".to_owned(), format!("unsubscribed {code}")]);
    }
}

#[test]
fn unsubscribe_codes_say_what_is_kept() {
    for (code, back, asks, token) in [
        (2000, false, None, None),
        (2500, true, Some(6), Some("t")),
        (2501, true, Some(6), None),
        (2502, true, None, None),
        (2999, true, Some(6), Some("t")),
    ] {
        let (registry, local) = in_force(recoverable(5));
        registry.with(&topic(), |entry| entry.token = Some(Arc::from("t")));
        publish(&registry, [6]);
        assert_eq!(registry.unsubscribed(&topic(), code, "r"), back, "{code}");
        if back {
            assert_eq!(step(&registry), Step::Subscribe);
            assert_eq!(subscribing(&registry), asks, "{code}");
            let kept = registry.with(&topic(), |entry| entry.token.clone()).unwrap();
            assert_eq!(kept.as_deref(), token, "{code}");
            registry.subscribed(&topic(), recoverable(9), 1);
            // Also where the position was thrown away on the server's word: something may be missing.
            assert_eq!(read(&local), ["6", &format!("interrupted {code}"), "not recovered"]);
        } else {
            assert_eq!(read(&local), ["6", "unsubscribed 2000"]);
            assert_eq!(registry.len(), 0);
        }
    }
}

#[test]
fn a_position_from_an_earlier_run_is_recovered_from() {
    let registry = Registry::new();
    let local = Arc::new(Mailbox::new(8));
    let options = SubscribeOptions::default().since(StreamPosition::new(3, EPOCH));
    registry.attach(&topic(), &options, local.clone()).unwrap();
    assert_eq!(subscribing(&registry), Some(3));
    registry.subscribed(&topic(), recovered(3, [4]), 1);
    assert_eq!(read(&local), ["recovered", "4"]);
}

#[test]
fn a_refusal_ends_the_topic_for_all() {
    let registry = Registry::new();
    let (first, second) = (attach(&registry, 4), attach(&registry, 4));
    subscribing(&registry);
    registry.refused(&topic(), 103, "permission denied");
    for local in [first, second] {
        assert_eq!(local.start(), Start::Refused { code: 103, reason: "permission denied".into() });
        assert_eq!(read(&local), ["unsubscribed 103"]);
    }
    assert_eq!(registry.len(), 0);
}

#[test]
fn topics_survive_a_disconnect_unless_nobody_wants_them() {
    let (registry, local) = in_force(recoverable(5));
    registry.connection_lost(3001, "shutdown", false);
    assert_eq!((registry.len(), step(&registry)), (1, Step::Subscribe));
    registry.connection_lost(1006, "again", false);
    assert_eq!(read(&local), ["interrupted 3001"], "an interruption is told once");
    registry.detach(&topic(), &local);
    registry.connection_lost(1006, "lost", false);
    assert_eq!(registry.len(), 0);
}
