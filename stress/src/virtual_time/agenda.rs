//! What is due when: publications at their rate, members that leave and come, questions, the node's own faults, samples.
//!
//! Everything is drawn from the plan and known before it happens; nothing here looks at a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::chance::Chance;
use crate::fault::plan::{Plan, Sessions};

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The fault of this number in the plan ends, and the node is back.
    NodeUp(usize),
    /// It begins, and the node is down.
    NodeDown(usize),
    /// Somebody comes to this member's place.
    Arrival(u64),
    /// A member leaves: the draw says which.
    Departure,
    /// A member asks something.
    Question,
    /// The next publication.
    Publication,
    /// Look at what is used.
    Sample,
    /// The plan is over.
    End,
}

/// The agenda of one run.
#[derive(Debug)]
pub struct Agenda {
    entries: BinaryHeap<Reverse<(Duration, Due)>>,
    sessions: Sessions,
    rate: f64,
    publications: u64,
    published: u64,
    sample_every: Option<Duration>,
    departures: Chance,
    questions: Chance,
    begin: Duration,
    end: Duration,
}

/// Of a rate of events, the gap until the next: exponential, so that they come as they would from many.
fn gap(rate: f64, chance: &mut Chance) -> Duration {
    Duration::from_secs_f64((-(1.0 - chance.uniform()).ln() / rate).min(1e9))
}

impl Agenda {
    /// Of a plan whose load begins at `begin`. Samples are taken at multiples of `sample_every`.
    #[must_use]
    pub fn new(plan: &Plan, begin: Duration, sample_every: Option<Duration>) -> Self {
        let sessions = plan.topology.sessions.clone();
        let rate = if plan.workload.rate > 0.0 { plan.workload.rate } else { 100.0 };
        let load = Duration::from_secs_f64(plan.workload.publications as f64 / rate);
        let faults_end = plan.faults.iter().map(|fault| fault.until.unwrap_or(fault.from)).max().unwrap_or_default();
        let mut agenda = Self {
            entries: BinaryHeap::new(),
            rate,
            publications: plan.workload.publications,
            published: 0,
            sample_every,
            departures: plan.seed.chance(0, "departures"),
            questions: plan.seed.chance(0, "questions"),
            begin,
            end: (begin + load).max(faults_end),
            sessions,
        };
        agenda.put(agenda.end, Due::End);
        if agenda.publications > 0 {
            agenda.put(begin, Due::Publication);
        }
        for (number, fault) in plan.faults.iter().enumerate().filter(|(_, fault)| fault.kind.is_of_node()) {
            agenda.put(fault.from, Due::NodeDown(number));
            agenda.put(fault.until.unwrap_or(fault.from).max(fault.from), Due::NodeUp(number));
        }
        agenda.again(begin, Due::Departure);
        agenda.again(begin, Due::Question);
        agenda.again(begin, Due::Sample);
        agenda
    }

    fn put(&mut self, at: Duration, due: Due) {
        self.entries.push(Reverse((at, due)));
    }

    /// What comes again and again: the next time after `at`, unless the plan is over by then.
    fn again(&mut self, at: Duration, due: Due) {
        let (sessions, chance) = (&self.sessions, (&mut self.departures, &mut self.questions));
        let next = match due {
            Due::Departure if sessions.departures > 0.0 => at + gap(sessions.departures, chance.0),
            Due::Question if sessions.requests > 0.0 => at + gap(sessions.requests, chance.1),
            Due::Sample => match self.sample_every {
                Some(every) => at + every,
                None => return,
            },
            _ => return,
        };
        if next <= self.end {
            self.put(next, due);
        }
    }

    /// When the next thing is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.entries.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next thing.
    pub fn take(&mut self) -> Option<(Duration, Due)> {
        let Reverse((at, due)) = self.entries.pop()?;
        if due == Due::Publication {
            self.published += 1;
            if self.published < self.publications {
                // From the number, not from the last time: a rate has no rounding to add up.
                let before = self.published - self.published % self.sessions.burst.max(1);
                self.put(self.begin + Duration::from_secs_f64(before as f64 / self.rate), due);
            }
        }
        self.again(at, due);
        Some((at, due))
    }

    /// Somebody comes back after having been away.
    pub fn comes_back(&mut self, at: Duration, member: u64) {
        self.put(at + self.sessions.away, Due::Arrival(member));
    }

    /// Which of so many members leaves, and whether it stays connected and only unsubscribes.
    pub fn leaver(&mut self, members: u64) -> (u64, bool) {
        (self.departures.below(0..members), self.departures.bernoulli(0.3))
    }

    /// Who asks, and which of two questions.
    pub fn asker(&mut self, members: u64) -> (u64, bool) {
        (self.questions.below(0..members), self.questions.bernoulli(0.5))
    }

    /// When the plan is over.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Seed;
    use crate::fault::plan::{Topology, Workload};

    /// When each of seven publications is due at 10 a second, in milliseconds after a load that begins at one second.
    fn due(burst: u64) -> Vec<u128> {
        let begin = Duration::from_secs(1);
        let sessions = Sessions { burst, ..Sessions::default() };
        let topology = Topology { sessions, ..Topology::default() };
        let workload = Workload { publications: 7, rate: 10.0, ..Workload::default() };
        let plan = Plan { seed: Seed(1), topology, workload, faults: Vec::new() };
        let mut agenda = Agenda::new(&plan, begin, None);
        let all = std::iter::from_fn(|| agenda.take());
        all.filter(|&(_, due)| due == Due::Publication).map(|(at, _)| (at - begin).as_millis()).collect()
    }

    #[test]
    fn publications_come_one_by_one_at_their_rate() {
        assert_eq!(due(1), [0, 100, 200, 300, 400, 500, 600]);
        assert_eq!(due(0), due(1), "a plan written by hand may say 0");
    }

    #[test]
    fn a_burst_is_due_at_the_time_of_its_first() {
        assert_eq!(due(3), [0, 0, 0, 300, 300, 300, 600]);
        assert_eq!(due(100), [0; 7]);
    }

    #[test]
    fn the_end_comes_after_all_that_is_due() {
        let mut agenda = Agenda::new(&Plan::default(), Duration::ZERO, Some(Duration::from_millis(400)));
        let all: Vec<(Duration, Due)> = std::iter::from_fn(|| agenda.take()).collect();
        assert_eq!(all.last(), Some(&(agenda.end(), Due::End)));
        assert_eq!(all.iter().filter(|(_, due)| *due == Due::Publication).count(), 100);
        assert_eq!(all.iter().filter(|(_, due)| *due == Due::Sample).count(), 2);
        assert!(all.is_sorted_by_key(|&(at, _)| at));
    }
}
