use std::collections::BTreeMap;

use super::generate::{Bug, buggy, good};
use super::mutate::Operator;
use super::*;
use crate::chance::Seed;
use crate::ledger::{Cause, Epoch, Ledger, Place, Policy};

fn judged(events: &[Event]) -> Judgement {
    let mut oracle = Oracle::default();
    events.iter().for_each(|event| oracle.observe(event));
    oracle.judge()
}

/// What is wrong, on which both judges agree.
fn found_by_both(events: &[Event]) -> naive::Verdicts {
    let found: naive::Verdicts = judged(events).findings.keys().copied().collect();
    assert_eq!(found, naive::judge(events), "{}", told(events));
    found
}

fn told(events: &[Event]) -> String {
    let lines: Vec<String> = events.iter().enumerate().map(|(at, event)| format!("{at:3} {event:?}")).collect();
    lines.join("\n")
}

#[test]
fn a_thousand_good_ledgers_are_acquitted_and_every_law_is_looked_at() {
    let mut evaluated = BTreeMap::new();
    for seed in 0..1_000 {
        let events = good(Seed(seed));
        let judgement = judged(&events);
        assert!(judgement.is_clean(), "seed {seed}: {:#?}\n{}", judgement.findings, told(&events));
        for (law, count) in judgement.evaluated {
            *evaluated.entry(law).or_insert(0) += count;
        }
    }
    for law in Law::ALL {
        assert!(evaluated.get(&law).copied().unwrap_or(0) > 0, "{law:?} was never evaluated");
    }
}

#[test]
fn every_way_of_spoiling_is_condemned_and_called_by_its_name() {
    for operator in Operator::ALL {
        let mut applied = 0;
        for seed in 0..400 {
            let mut events = good(Seed(seed));
            let before = events.clone();
            if !operator.apply(&mut events, &mut Seed(seed).chance(1, "mutate")) {
                continue;
            }
            applied += 1;
            let judgement = judged(&events);
            assert!(
                judgement.classes().contains(&operator.condemned_as()),
                "{operator:?} with seed {seed} is {:?}\n{}\nBEFORE\n{}",
                judgement.findings,
                told(&events),
                told(&before)
            );
        }
        assert!(applied >= 20, "{operator:?} found a place in {applied} ledgers only");
    }
}

#[test]
fn bugs_that_everybody_tells_alike_are_found_too() {
    for (bug, class) in [
        (Bug::AppendsTwice, Class::DuplicateAppend),
        (Bug::AppendsLate, Class::Inversion),
        (Bug::ForgetsAcked, Class::AckedThenLost),
        (Bug::ForgetsAll, Class::AckedThenLost),
    ] {
        let found = (0..200).filter(|&seed| judged(&buggy(Seed(seed), bug)).classes().contains(&class)).count();
        assert!(found >= 20, "{bug:?} was called {class:?} in {found} of 200 ledgers");
    }
}

#[test]
fn the_naive_judge_agrees_on_ten_thousand_ledgers() {
    let mut spoiled = 0;
    for seed in 0..10_000 {
        let mut events = good(Seed(seed));
        let mut chance = Seed(seed).chance(2, "spoil");
        let mut operators = Vec::new();
        for _ in 0..chance.below(0..4) {
            let operator = *chance.choose(&Operator::ALL).unwrap();
            if operator.apply(&mut events, &mut chance) {
                operators.push(operator);
            }
        }
        spoiled += usize::from(!operators.is_empty());
        let ours: naive::Verdicts = judged(&events).findings.keys().copied().collect();
        let theirs = naive::judge(&events);
        let only_ours: Vec<_> = ours.difference(&theirs).collect();
        let only_theirs: Vec<_> = theirs.difference(&ours).collect();
        assert!(
            only_ours.is_empty() && only_theirs.is_empty(),
            "seed {seed} after {operators:?}: only ours {only_ours:?}, only theirs {only_theirs:?}\n{}",
            told(&events)
        );
    }
    assert!(spoiled > 5_000, "{spoiled}");
}

#[test]
fn small_ledgers_are_judged_too() {
    assert!(judged(&[]).is_clean());
    assert!(judged(&[Event::Census { at: Duration::ZERO }]).is_clean());
    assert!(judged(&[]).unevaluated(&Law::ALL).len() == 19, "an empty ledger has proved nothing");
}

#[test]
fn an_answer_that_was_on_its_way_when_the_memory_went_promises_nothing() {
    let policy = Policy { history_size: 10, history_ttl: Duration::from_secs(60), recovery_max: 10 };
    let (at, channel) = (Duration::ZERO, 0);
    let id = |n| PublicationId { run: 1, publisher: 0, n };
    let with = |amnesia: &[Event]| {
        let mut events = vec![
            Event::Channel { channel, policy },
            Event::Publisher { publisher: 0, channel },
            Event::Invoke { at, id: id(1) },
        ];
        events.extend_from_slice(amnesia);
        events.extend([
            Event::Done { at, id: id(1), outcome: Outcome::Ok(None) },
            Event::Invoke { at, id: id(2) },
            Event::Done { at, id: id(2), outcome: Outcome::Ok(None) },
            Event::History {
                at,
                channel,
                request: None,
                top: Place { epoch: Epoch(1), offset: 1 },
                entries: vec![(1, Ok(id(2)))],
            },
            Event::Census { at },
        ]);
        found_by_both(&events)
    };
    assert!(with(&[Event::Amnesia]).is_empty());
    assert_eq!(with(&[]), [(Class::AckedThenLost, Subject::Channel(channel))].into());
}

/// A backend's publish may be answered by a server that is on its way down, and tell of a stream that nobody sees again.
#[test]
fn a_place_that_was_told_of_after_the_memory_went_promises_nothing() {
    let policy = Policy { history_size: 10, history_ttl: Duration::from_secs(60), recovery_max: 10 };
    let (at, channel) = (Duration::ZERO, 0);
    let id = |n| PublicationId { run: 1, publisher: 0, n };
    let place = |epoch| Place { epoch: Epoch(epoch), offset: 1 };
    let with = |amnesia: &[Event]| {
        let mut events = vec![
            Event::Channel { channel, policy },
            Event::Publisher { publisher: 0, channel },
            Event::Invoke { at, id: id(1) },
        ];
        events.extend_from_slice(amnesia);
        events.extend([
            Event::Done { at, id: id(1), outcome: Outcome::Ok(Some(place(1))) },
            Event::Invoke { at, id: id(2) },
            Event::Done { at, id: id(2), outcome: Outcome::Ok(None) },
            Event::History { at, channel, request: None, top: place(2), entries: vec![(1, Ok(id(2)))] },
            Event::Census { at },
        ]);
        found_by_both(&events)
    };
    assert!(with(&[Event::Amnesia]).is_empty());
    assert_eq!(with(&[]), [(Class::AckedThenLost, Subject::Channel(channel))].into());
}

/// The answer of a server that has ended may come when the next one has long begun.
#[test]
fn an_answer_of_the_server_before_says_nothing_of_the_one_after() {
    let policy = Policy { history_size: 10, history_ttl: Duration::from_secs(60), recovery_max: 10 };
    let (at, channel, request) = (Duration::ZERO, 0, 7);
    let id = |n| PublicationId { run: 1, publisher: 0, n };
    let place = |epoch| Place { epoch: Epoch(epoch), offset: 1 };
    let publish = |n, epoch| {
        let outcome = Outcome::Ok(Some(place(epoch)));
        [Event::Invoke { at, id: id(n) }, Event::Done { at, id: id(n), outcome }]
    };
    let with = |asked_before: bool| {
        let asked = [Event::Request { request, channel: Some(channel) }];
        let (before, after) = if asked_before { (&asked[..], &[][..]) } else { (&[][..], &asked[..]) };
        let mut events = vec![Event::Channel { channel, policy }, Event::Publisher { publisher: 0, channel }];
        events.extend(publish(1, 1));
        events.extend_from_slice(before);
        events.push(Event::Amnesia);
        events.extend(publish(2, 2));
        events.extend_from_slice(after);
        events.extend([
            Event::History { at, channel, request: Some(request), top: place(1), entries: vec![(1, Ok(id(1)))] },
            Event::Completion { request },
            Event::Census { at },
        ]);
        found_by_both(&events)
    };
    assert!(with(true).is_empty());
    assert_eq!(with(false), [(Class::AckedThenLost, Subject::Channel(channel))].into());
}

/// A subscriber has got the first publication, and the rest are published so many seconds after each other; it asks for them
/// a second after the last. The first may have been on its way to it for all that time.
#[test]
fn what_ran_out_between_two_publications_need_not_be_recovered() {
    let policy = Policy { history_size: 10, history_ttl: Duration::from_secs(5), recovery_max: 10 };
    let (channel, sub) = (0, 0);
    let id = |n| PublicationId { run: 1, publisher: 0, n };
    let place = |offset| Place { epoch: Epoch(1), offset };
    let with = |gaps: &[u64]| {
        let mut events = vec![
            Event::Channel { channel, policy },
            Event::Publisher { publisher: 0, channel },
            Event::Subscription { sub, channel, bystander: false },
        ];
        let mut seconds = 0;
        let mut top = 0;
        for gap in [&0].into_iter().chain(gaps) {
            seconds += gap;
            top += 1;
            let (at, id) = (Duration::from_secs(seconds), id(top));
            events.extend([Event::Invoke { at, id }, Event::Done { at, id, outcome: Outcome::Ok(Some(place(top))) }]);
        }
        let at = Duration::from_secs(seconds + 1);
        for (generation, from, top) in [(1, None, 1), (2, Some(place(1)), top)] {
            let (recovered, batch, batch_follows) = (false, Vec::new(), false);
            let (was_recovering, place) = (from.is_some(), Some(place(top)));
            events.extend([
                Event::Ask { at, sub, generation, from },
                Event::Reply { at, sub, generation, recovered, was_recovering, place, batch, batch_follows },
                Event::Break { at, sub, generation, cause: Cause::Disconnected(1006) },
            ]);
        }
        found_by_both(&events).contains(&(Class::NeedlessFailure, Subject::Subscription(sub)))
    };
    assert!(with(&[4, 4, 4]), "each refreshed what was there");
    assert!(with(&[5, 4, 4]), "only what the subscriber has got ran out");
    assert!(!with(&[4, 5, 4]), "the second had run out when the third came");
    assert!(!with(&[4, 4, 5]));
}

#[test]
fn an_answer_owes_what_was_acknowledged_when_it_was_asked_for() {
    let policy = Policy { history_size: 10, history_ttl: Duration::from_secs(60), recovery_max: 10 };
    let (at, channel, request) = (Duration::ZERO, 0, 7);
    let id = |n| PublicationId { run: 1, publisher: 0, n };
    let place = |offset| Place { epoch: Epoch(1), offset };
    let with = |acknowledged_before: bool| {
        let mut acknowledged =
            vec![Event::Invoke { at, id: id(2) }, Event::Done { at, id: id(2), outcome: Outcome::Ok(Some(place(2))) }];
        let mut asked = vec![Event::Request { request, channel: Some(channel) }];
        let mut events = vec![
            Event::Channel { channel, policy },
            Event::Publisher { publisher: 0, channel },
            Event::Invoke { at, id: id(1) },
            Event::Done { at, id: id(1), outcome: Outcome::Ok(Some(place(1))) },
        ];
        if acknowledged_before {
            events.append(&mut acknowledged);
            events.append(&mut asked);
        } else {
            events.append(&mut asked);
            events.append(&mut acknowledged);
        }
        let entries = vec![(1, Ok(id(1)))];
        events.extend([
            Event::History { at, channel, request: Some(request), top: place(1), entries },
            Event::Completion { request },
            Event::Census { at },
        ]);
        found_by_both(&events)
    };
    assert!(with(false).is_empty());
    assert_eq!(with(true), [(Class::AckedThenLost, Subject::Channel(channel))].into());
}

#[test]
fn only_what_nobody_knows_of_may_come_after_later_ones() {
    let policy = Policy { history_size: 0, history_ttl: Duration::from_secs(60), recovery_max: 0 };
    let (at, channel, sub, generation) = (Duration::ZERO, 0, 0, 1);
    let id = |n| PublicationId { run: 1, publisher: 0, n };
    let push = |n| Event::Push { at, sub, generation, channel, epoch: None, offset: 0, content: Ok(id(n)) };
    let with = |first: Outcome| {
        let events = [
            Event::Channel { channel, policy },
            Event::Publisher { publisher: 0, channel },
            Event::Subscription { sub, channel, bystander: false },
            Event::Ask { at, sub, generation, from: None },
            Event::Reply {
                at,
                sub,
                generation,
                recovered: false,
                was_recovering: false,
                place: None,
                batch: Vec::new(),
                batch_follows: false,
            },
            Event::Invoke { at, id: id(1) },
            Event::Done { at, id: id(1), outcome: first },
            Event::Invoke { at, id: id(2) },
            Event::Done { at, id: id(2), outcome: Outcome::Ok(None) },
            push(2),
            push(1),
            Event::Census { at },
        ];
        found_by_both(&events)
    };
    assert!(with(Outcome::Unknown).is_empty());
    assert_eq!(with(Outcome::Ok(None)), [(Class::Reorder, Subject::Subscription(sub))].into());
}

#[test]
fn what_nobody_knows_of_does_not_say_where_a_subscription_begins() {
    let policy = Policy { history_size: 0, history_ttl: Duration::from_secs(60), recovery_max: 0 };
    let (at, channel, sub, generation) = (Duration::ZERO, 0, 0, 1);
    let id = |n| PublicationId { run: 1, publisher: 0, n };
    let with = |first: Outcome, arrive: &[u64]| {
        let (recovered, was_recovering, place, batch_follows) = (false, false, None, false);
        let mut events = vec![
            Event::Channel { channel, policy },
            Event::Publisher { publisher: 0, channel },
            Event::Subscription { sub, channel, bystander: false },
        ];
        for n in 1..=4 {
            events.push(Event::Invoke { at, id: id(n) });
            let outcome = if n == 1 { first } else { Outcome::Ok(None) };
            // The last one is on its way when the subscription begins.
            if n == 4 {
                events.extend([
                    Event::Ask { at, sub, generation, from: None },
                    Event::Reply {
                        at,
                        sub,
                        generation,
                        recovered,
                        was_recovering,
                        place,
                        batch: Vec::new(),
                        batch_follows,
                    },
                ]);
            }
            events.push(Event::Done { at, id: id(n), outcome });
        }
        let content =
            |&n: &u64| Event::Push { at, sub, generation, channel, epoch: None, offset: 0, content: Ok(id(n)) };
        events.extend(arrive.iter().map(content));
        events.push(Event::Census { at });
        found_by_both(&events).into_iter().map(|(class, _)| class).collect::<Vec<_>>()
    };
    let known = Outcome::Ok(None);
    for arrive in [&[1][..], &[1, 4], &[4, 1], &[1, 3, 4], &[1, 2, 3, 4], &[3, 1, 4], &[3, 4]] {
        assert_eq!(with(Outcome::Unknown, arrive), [], "{arrive:?}");
    }
    assert_eq!(with(known, &[1, 4]), [Class::Loss], "2 and 3 come after it");
    assert_eq!(with(known, &[4, 1]), [Class::Regression]);
    assert_eq!(with(Outcome::Unknown, &[1, 2, 4]), [Class::Loss], "3 came between");
    assert_eq!(with(Outcome::Unknown, &[1, 1]), [Class::Duplicate]);
    assert_eq!(with(Outcome::Unknown, &[1, 4, 1]), [Class::Duplicate]);
    assert_eq!(with(Outcome::Unknown, &[4, 3]), [Class::Regression]);
    assert_eq!(with(Outcome::Unknown, &[2, 4, 3]), [Class::Reorder]);
}

#[test]
fn who_is_stuck_is_said_though_everybody_leaves_afterwards() {
    let policy = Policy { history_size: 10, history_ttl: Duration::from_secs(60), recovery_max: 10 };
    let (at, channel, sub, generation) = (Duration::ZERO, 0, 0, 1);
    let id = PublicationId { run: 1, publisher: 0, n: 1 };
    let with = |arrives: bool| {
        let place = Some(Place { epoch: Epoch(1), offset: 0 });
        let (recovered, was_recovering, batch, batch_follows) = (false, false, Vec::new(), false);
        let mut events = vec![
            Event::Channel { channel, policy },
            Event::Publisher { publisher: 0, channel },
            Event::Subscription { sub, channel, bystander: false },
            Event::Ask { at, sub, generation, from: None },
            Event::Reply { at, sub, generation, recovered, was_recovering, place, batch, batch_follows },
            Event::Invoke { at, id },
            Event::Done { at, id, outcome: Outcome::Ok(Some(Place { epoch: Epoch(1), offset: 1 })) },
            Event::Sentinel { channel, id },
        ];
        if arrives {
            events.push(Event::Push { at, sub, generation, channel, epoch: None, offset: 1, content: Ok(id) });
        }
        events.extend([Event::Census { at }, Event::Left { at, sub, generation }]);
        found_by_both(&events)
    };
    assert!(with(true).is_empty());
    assert_eq!(with(false), [(Class::Stuck, Subject::Subscription(sub))].into());
}

/// What a ledger holds when so many subscribers have all received so many publications of one channel.
fn bytes_held(subscribers: u32, publications: u64) -> u64 {
    let at = Duration::ZERO;
    let place = |offset| Place { epoch: Epoch(1), offset };
    let policy = Policy { history_size: 10, history_ttl: Duration::from_secs(300), recovery_max: 300 };
    let mut ledger = Ledger::new();
    ledger.record(Event::Channel { channel: 0, policy });
    ledger.record(Event::Publisher { publisher: 0, channel: 0 });
    for sub in 0..subscribers {
        ledger.record(Event::Subscription { sub, channel: 0, bystander: false });
        ledger.record(Event::Ask { at, sub, generation: 1, from: None });
        let (recovered, was_recovering, batch, batch_follows) = Default::default();
        let place = Some(place(0));
        ledger.record(Event::Reply { at, sub, generation: 1, recovered, was_recovering, place, batch, batch_follows });
    }
    for n in 1..=publications {
        let id = PublicationId { run: 1, publisher: 0, n };
        ledger.record(Event::Invoke { at, id });
        ledger.record(Event::Done { at, id, outcome: Outcome::Ok(Some(place(n))) });
        for sub in 0..subscribers {
            let epoch = Some(Epoch(1));
            ledger.record(Event::Push { at, sub, generation: 1, channel: 0, epoch, offset: n, content: Ok(id) });
        }
    }
    assert_eq!(ledger.tally().pushed, u64::from(subscribers) * publications);
    ledger.bytes()
}

#[test]
fn a_subscriber_takes_as_much_room_however_much_it_has_received() {
    let each = |publications| bytes_held(200, publications) - bytes_held(100, publications);
    let (few, many) = (each(100), each(10_000));
    assert!(few > 0 && many == few, "100 subscribers hold {few} bytes after 100 publications, {many} after 10,000");
    // Those of a channel share one list of what was published in it: 8 bytes for each, and room to grow.
    let publications = bytes_held(1, 100_000) - bytes_held(1, 100);
    assert!((100_000 * 8..100_000 * 32).contains(&publications), "{publications} bytes for 100,000 publications");
}
