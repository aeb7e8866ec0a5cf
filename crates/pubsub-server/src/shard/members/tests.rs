//! Members against a naive model that knows no states: who is in, what each was answered, and what therefore is due.

use std::collections::BTreeMap;

use proptest::prelude::*;
use pubsub_protocol::push::{self, PushBody};
use pubsub_protocol::{ClientInfo, Format, Payload, Push, Reply};

use super::*;
use crate::hub::Formats;

const HELD_BYTES_MAX: usize = 4096;
const CHANNEL: &str = "news";

fn push() -> Encoded {
    let body = PushBody::Join(ClientInfo::default());
    Encoded::new(&Reply::Push(Push { channel: CHANNEL.to_owned(), body }), Format::Json.into())
}

fn delivery(offset: u64, epoch: u64) -> Delivery {
    Delivery { channel: CHANNEL.into(), offset, epoch, push: push() }
}

fn members() -> Members {
    Members::new(RandomState::with_seeds(1, 2, 3, 4), HELD_BYTES_MAX)
}

/// A shard as far as members go: it keeps each member's place, as sessions do, and what each was given.
struct Harness {
    members: Members,
    name: Arc<str>,
    /// By slot.
    places: BTreeMap<u32, Place>,
    next_join: u64,
    answers: BTreeMap<u64, Option<(u64, u64)>>,
}

#[derive(Debug)]
struct Place {
    join: u64,
    member: u32,
    entered: bool,
    answered: bool,
    positioned: bool,
    listens: bool,
    given: Vec<(u64, u64)>,
    told: usize,
    lost: bool,
}

impl Harness {
    fn new() -> Self {
        Self {
            members: members(),
            name: CHANNEL.into(),
            places: BTreeMap::new(),
            next_join: 1,
            answers: BTreeMap::new(),
        }
    }

    fn subscribe(&mut self, slot: u32, listens: bool) {
        let join = self.next_join;
        self.next_join += 1;
        let place = Place {
            join,
            member: NO_PLACE,
            entered: false,
            answered: false,
            positioned: false,
            listens,
            given: Vec::new(),
            told: 0,
            lost: false,
        };
        self.places.insert(slot, place);
    }

    fn marker(&mut self, slot: u32, join: u64) {
        let Some(place) = self.places.get_mut(&slot).filter(|place| place.join == join) else { return };
        let entry = match (place.answered, self.answers.remove(&join).flatten()) {
            (false, _) => Entry::Unanswered(Format::Json),
            (true, Some((offset, epoch))) => Entry::After(offset, epoch),
            (true, None) => Entry::Everything,
        };
        place.entered = true;
        let listens = place.listens;
        let places = &mut self.places;
        let live = self.members.enter(&self.name, slot, join, entry, listens, |slot| {
            let place = places.get_mut(&slot).expect("whoever is live is there");
            place.member = NO_PLACE;
            place.join
        });
        if let Some(live) = live {
            self.places.get_mut(&slot).unwrap().member = live.member;
        }
    }

    fn answer(&mut self, slot: u32, after: Option<(u64, u64)>) {
        let Some(place) = self.places.get_mut(&slot).filter(|place| !place.answered) else { return };
        place.answered = true;
        place.positioned = after.is_some();
        match self.members.answer(CHANNEL, place.join, after) {
            Answered::NotEntered => drop(self.answers.insert(place.join, after)),
            Answered::Broken => {
                place.lost = true;
                self.leave(slot);
            }
            Answered::Free { held, live } => {
                place.member = live.map_or(NO_PLACE, |live| live.member);
                for held in held {
                    match held {
                        Held::Publication(delivery) => place.given.push((delivery.offset, delivery.epoch)),
                        Held::PresenceEvent(_) => place.told += 1,
                    }
                }
            }
        }
    }

    fn leave(&mut self, slot: u32) -> Option<Place> {
        let place = self.places.remove(&slot)?;
        self.answers.remove(&place.join);
        if let Some(moved) = self.members.leave(CHANNEL, place.member, place.join, place.listens) {
            self.places.get_mut(&moved.slot).expect("whoever is moved is there").member = moved.member;
        }
        Some(place)
    }

    fn publish(&mut self, delivery: &Delivery) {
        match self.members.advance(delivery) {
            Continuity::Nothing => return,
            Continuity::Next => {}
            Continuity::Gap => {
                for slot in self.members.live(CHANNEL).to_vec() {
                    if self.places[&slot].positioned {
                        self.leave(slot);
                    }
                }
            }
        }
        let mut slots = self.members.live(CHANNEL).to_vec();
        let Settled { live, ready, lost } = self.members.settle(delivery);
        for live in &live {
            self.places.get_mut(&live.slot).unwrap().member = live.member;
        }
        slots.extend(live.iter().map(|live| live.slot).chain(ready));
        for slot in slots {
            let place = self.places.get_mut(&slot).expect("whoever is live is there");
            place.given.push((delivery.offset, delivery.epoch));
        }
        for slot in lost {
            self.leave(slot);
        }
    }

    /// Every live member stands where its place says.
    fn check(&self) {
        let live = self.members.live(CHANNEL);
        for (member, slot) in live.iter().enumerate() {
            assert_eq!(self.places[slot].member as usize, member, "slot {slot} does not know its place");
        }
        let placed = self.places.values().filter(|place| place.member != NO_PLACE).count();
        assert_eq!(placed, live.len(), "a place without a member");
        let entered = self.places.values().filter(|place| place.entered).count();
        assert_eq!(self.members.census().1, entered, "members that nobody knows");
        let listens = self.places.values().any(|place| place.entered && place.listens);
        assert_eq!(self.members.has_listeners(CHANNEL), listens);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A connection in this slot subscribes: its marker enters the queue.
    Subscribe(u32),
    /// The engine answers it, up to what is published so far (or without a position).
    Answer(u32, bool),
    /// The shard takes so many messages of its queue.
    Take(usize),
    /// Somebody publishes into the stream.
    Publish,
    /// Somebody publishes past the stream.
    PublishUnkept,
    /// It goes.
    Leave(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = 0u32..5;
    prop::collection::vec(
        prop_oneof![
            2 => slot.clone().prop_map(Step::Subscribe),
            3 => (slot.clone(), prop::bool::weighted(0.8)).prop_map(|(slot, positioned)| Step::Answer(slot, positioned)),
            4 => (1usize..6).prop_map(Step::Take),
            4 => Just(Step::Publish),
            1 => Just(Step::PublishUnkept),
            1 => slot.prop_map(Step::Leave),
        ],
        1..80,
    )
}

#[derive(Debug)]
enum Message {
    Marker(u32, u64),
    Publication(Delivery),
}

/// Runs steps as a hub and an engine would order them. Returns what each subscription that was ever answered was
/// given, beside the offset its answer spoke up to.
fn run(steps: Vec<Step>) {
    const EPOCH: u64 = 77;
    let mut harness = Harness::new();
    let mut queue = std::collections::VecDeque::new();
    let mut top = 0;
    let mut unkept = 0;
    // By slot: where the answer stood, and how many publications without offset were published since the marker.
    let mut answered: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    let take = |harness: &mut Harness, message| match message {
        Message::Marker(slot, join) => harness.marker(slot, join),
        Message::Publication(delivery) => harness.publish(&delivery),
    };
    let due = |place: &Place, after: Option<u64>, top: u64| {
        let offsets: Vec<u64> = place.given.iter().map(|(offset, _)| *offset).filter(|offset| *offset > 0).collect();
        if let Some(after) = after {
            // In order, none missing, none twice; all of them if the queue is empty.
            let expected: Vec<u64> = (after + 1..=after + offsets.len() as u64).collect();
            assert_eq!(offsets, expected, "after an answer up to {after}");
            assert!(after + offsets.len() as u64 <= top);
        } else {
            assert!(offsets.is_sorted_by(|a, b| a + 1 == *b), "{offsets:?}");
        }
    };
    for step in steps {
        match step {
            Step::Subscribe(slot) if !harness.places.contains_key(&slot) => {
                harness.subscribe(slot, slot % 2 == 0);
                queue.push_back(Message::Marker(slot, harness.places[&slot].join));
            }
            Step::Answer(slot, positioned) if harness.places.get(&slot).is_some_and(|place| !place.answered) => {
                harness.answer(slot, positioned.then_some((top, EPOCH)));
                assert!(harness.places.contains_key(&slot), "a whole stream breaks no subscription");
                answered.insert(slot, positioned.then_some(top));
            }
            Step::Take(n) => {
                for message in queue.drain(..n.min(queue.len())) {
                    take(&mut harness, message);
                }
            }
            Step::Publish => {
                top += 1;
                queue.push_back(Message::Publication(delivery(top, EPOCH)));
            }
            Step::PublishUnkept => {
                unkept += 1;
                queue.push_back(Message::Publication(delivery(0, 0)));
            }
            Step::Leave(slot) => {
                if let Some(place) = harness.leave(slot)
                    && let Some(after) = answered.remove(&slot)
                {
                    due(&place, after, top);
                }
            }
            _ => {}
        }
        harness.check();
    }
    for message in queue.drain(..) {
        take(&mut harness, message);
        harness.check();
    }
    for (slot, after) in answered {
        let place = &harness.places[&slot];
        due(place, after, top);
        if let Some(after) = after {
            let last = place.given.iter().map(|(offset, _)| *offset).max().unwrap_or(0).max(after);
            assert_eq!(last, top, "slot {slot} did not come to the top");
        }
        assert!(place.given.iter().filter(|(offset, _)| *offset == 0).count() <= unkept);
    }
    let slots: Vec<u32> = harness.places.keys().copied().collect();
    for slot in slots {
        harness.leave(slot);
        harness.check();
    }
    assert_eq!(harness.members.census(), (0, 0, 0), "left behind");
    assert!(harness.answers.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_member_gets_what_its_answer_leaves_open(steps in steps()) {
        run(steps);
    }
}

#[test]
fn a_gap_costs_positioned_members_their_subscription_wherever_they_stand() {
    for taken_before in [false, true] {
        let mut harness = Harness::new();
        for slot in 0..4 {
            harness.subscribe(slot, false);
            let join = harness.places[&slot].join;
            if slot == 3 {
                // Answered before its marker came, further on than the shard is.
                harness.answer(3, Some((3, 7)));
            }
            harness.marker(slot, join);
        }
        harness.answer(0, Some((0, 7)));
        harness.answer(1, None);
        if taken_before {
            harness.publish(&delivery(1, 7));
            harness.publish(&delivery(2, 7));
        }
        // 4 and 5 are missing: slot 0 stands at 2 (or 0), slot 3 at 3, slot 2 is not answered yet.
        harness.publish(&delivery(6, 7));
        harness.check();
        assert!(!harness.places.contains_key(&0), "live or waiting, it has lost its position");
        assert!(!harness.places.contains_key(&3), "the shard's own gap is not its own, but it has one too");
        assert_eq!(harness.places[&1].given.last(), Some(&(6, 7)), "without a position nothing is lost");
        harness.answer(2, Some((5, 7)));
        assert_eq!(harness.places[&2].given, [(6, 7)], "answered up to 5, it is whole");
        harness.publish(&delivery(7, 7));
        assert_eq!(harness.places[&2].given, [(6, 7), (7, 7)]);
    }
}

#[test]
fn another_epoch_is_a_gap_and_those_who_know_it_already_go_on() {
    let mut harness = Harness::new();
    for (slot, after) in [(0, (5, 7)), (1, (0, 8))] {
        harness.subscribe(slot, false);
        harness.answer(slot, Some(after));
        let join = harness.places[&slot].join;
        harness.marker(slot, join);
    }
    harness.publish(&delivery(1, 8));
    assert!(!harness.places.contains_key(&0));
    assert_eq!(harness.places[&1].given, [(1, 8)]);
    harness.check();
}

#[test]
fn held_publications_that_do_not_continue_the_answer_break_it() {
    for (held, after, whole) in [
        (vec![(4, 7), (5, 7)], (3, 7), true),
        (vec![(4, 7), (5, 7)], (5, 7), true),
        (vec![(4, 7), (5, 7)], (2, 7), false),
        (vec![(4, 7), (5, 7)], (3, 8), false),
        (vec![(4, 7), (1, 8)], (0, 8), false),
        (vec![(1, 8)], (0, 8), true),
    ] {
        let mut harness = Harness::new();
        harness.subscribe(0, false);
        harness.marker(0, 1);
        for &(offset, epoch) in &held {
            harness.publish(&delivery(offset, epoch));
        }
        harness.answer(0, Some(after));
        assert_eq!(harness.places.contains_key(&0), whole, "{held:?} behind an answer up to {after:?}");
        harness.check();
    }
}

/// How many publications are held back for the member that came first.
fn held_for_first(harness: &Harness) -> Option<usize> {
    match &harness.members.channels.get(CHANNEL).unwrap().waiting.as_ref().unwrap()[0].answer {
        Answer::Pending { held, .. } => Some(held.len()),
        _ => None,
    }
}

#[test]
fn what_is_held_back_is_bounded() {
    let mut harness = Harness::new();
    harness.subscribe(0, true);
    harness.marker(0, 1);
    let each = size_of::<Held>() + push().bytes();
    for offset in 1..1000 {
        harness.publish(&delivery(offset, 7));
        let held = held_for_first(&harness).unwrap_or_default() * each;
        assert!(held <= HELD_BYTES_MAX + each, "{held} bytes");
    }
    harness.answer(0, Some((0, 7)));
    assert!(harness.places.is_empty(), "it comes back and recovers");
    harness.check();
}

/// In a channel with members of both formats everybody had room for half as much.
#[test]
fn what_others_are_spoken_to_in_is_held_at_nobodys_expense() {
    let held = |others: &[Format]| {
        let mut harness = Harness::new();
        harness.subscribe(0, false);
        harness.marker(0, 1);
        let mut formats = Formats::from(Format::Json);
        others.iter().for_each(|&format| formats.add(format));
        let push = Push { channel: CHANNEL.to_owned(), body: PushBody::Join(ClientInfo::default()) };
        let push = Encoded::new(&Reply::Push(push), formats);
        let mut most = 0;
        for offset in 1..1000 {
            harness.publish(&Delivery { push: push.clone(), ..delivery(offset, 7) });
            most = most.max(held_for_first(&harness).unwrap_or_default());
        }
        most
    };
    assert!(held(&[]) > 10);
    assert_eq!(held(&[Format::Protobuf]), held(&[]));
}

#[test]
fn one_that_is_larger_than_the_bound_is_held_back_as_well() {
    let body = PushBody::Message(push::Message { data: Payload::from_bytes(&vec![b'1'; HELD_BYTES_MAX]) });
    let push = Encoded::new(&Reply::Push(Push { channel: CHANNEL.to_owned(), body }), Format::Json.into());
    let mut harness = Harness::new();
    harness.subscribe(0, false);
    harness.marker(0, 1);
    harness.publish(&Delivery { push, ..delivery(1, 7) });
    assert_eq!(held_for_first(&harness), Some(1));
    harness.publish(&delivery(2, 7));
    assert_eq!(held_for_first(&harness), None, "and nothing behind it");
}

#[test]
fn joins_and_leaves_are_held_back_with_the_rest() {
    let mut harness = Harness::new();
    harness.subscribe(0, true);
    harness.marker(0, 1);
    assert!(harness.members.presence_event(CHANNEL, &push()).is_empty());
    harness.publish(&delivery(1, 7));
    harness.answer(0, Some((0, 7)));
    assert_eq!((harness.places[&0].told, &harness.places[&0].given[..]), (1, &[(1, 7)][..]));
}
