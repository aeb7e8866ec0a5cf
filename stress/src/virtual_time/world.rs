//! A plan at work: node, fleet, faults and ledger in one runtime whose clock is paused, from the first connect to the
//! last thing that is left behind.
//!
//! Phases as in every scenario: connect, load under faults, quiet point (everything healed), sentinels, census; then
//! everybody leaves, what may run out runs out, and whatever a map still holds is a leak.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use pubsub_client::Payload;
use pubsub_server::api::Service;
use pubsub_server::api::publish::Publish;
use pubsub_server::shard::ANSWER_BYTES_MAX;
use tokio::time::Instant;

use super::agenda::{Agenda, Due};
use super::fingerprint::{Fingerprint, Site};
use super::network::Network;
use super::node::{Holdings, Node};
use crate::fault::plan::Plan;
use crate::fault::{Fault, FaultCounts, FaultGuard, Faults, Kind};
use crate::fleet::coming::Question;
use crate::fleet::{Breaks, Fleet, FleetOptions};
use crate::histogram::Latencies;
use crate::ledger::{Event, Outcome as Published, Place};
use crate::oracle::{Judgement, Law, Tally};

mod bystanders;
mod ending;
mod watching;

use bystanders::{bystanders, is_calm};
use ending::leave;
use watching::Watching;

/// How long everybody may take to be there at first.
const CONNECT_MAX: Duration = Duration::from_secs(60);
/// Publications without an answer at one time, beyond which the next are not begun.
const UNANSWERED_MAX: usize = 4_096;
/// What a run may take in virtual time beyond its plan; a run that takes longer hangs.
const HANG_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Publications after which it is looked at what waits in outboxes.
const OUTBOXES_EVERY: u64 = 8;
/// What a publication's frame is longer than its payload at most, and any other frame.
pub(crate) const FRAME_BYTES: usize = 512;

/// How to look at a run while it goes.
#[derive(Default)]
pub struct Look<'a> {
    /// Take a sample so often.
    pub sample_every: Option<Duration>,
    /// Tells the bytes that are allocated now.
    pub live_bytes: Option<fn() -> u64>,
    /// Is told how far the plan is.
    pub progress: Option<&'a dyn Fn(Duration)>,
}

/// What was used at one moment of the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// When, since the run began.
    pub at: Duration,
    /// Bytes allocated by node, clients and lab together.
    pub live_bytes: u64,
    /// Of these, what the ledger holds.
    pub ledger_bytes: u64,
    /// What the node held.
    pub holdings: Holdings,
    /// Subscriptions in force.
    pub live: u64,
    /// Whether this moment is like the others: everybody there, no fault at work.
    pub is_level: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The oracle's.
    pub judgement: Judgement,
    /// Deliveries in numbers.
    pub tally: Tally,
    /// What each fault counted.
    pub faults: BTreeMap<String, (Fault, FaultCounts)>,
    /// The run in one number.
    pub fingerprint: u64,
    /// How many notes that is made of.
    pub notes: u64,
    /// How long it took, in virtual time.
    pub virtual_time: Duration,
    /// From due to arrival, in virtual time.
    pub latencies: Latencies,
    /// Breaks of continuity, by code.
    pub breaks: BTreeMap<u32, Breaks>,
    /// What was used meanwhile.
    pub samples: Vec<Sample>,
    /// Publications that were begun, of those planned.
    pub offered: (u64, u64),
    /// Bytes a direction of a stream held back at most.
    pub lane_peak: usize,
}

/// Runs a plan to its end. Blocks the thread for as long as that takes to compute.
///
/// # Errors
/// When there is no runtime to be had, or the node does not start: nothing was shown then.
pub fn run(plan: &Plan, look: &Look<'_>) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let watching = Watching::begin();
    runtime.block_on(tokio::task::unconstrained(World::go(plan, look, &watching)))
}

struct World<'a> {
    plan: &'a Plan,
    look: &'a Look<'a>,
    node: Node,
    fleet: Fleet,
    faults: Faults,
    fingerprint: Fingerprint,
    /// Members that are away, and whether they are still connected.
    away: BTreeMap<u64, bool>,
    manners: Vec<Manner>,
    /// Publishers with a publication that has to be answered before their next.
    busy: BTreeSet<u64>,
    requests: u64,
    samples: Vec<Sample>,
    offered: u64,
    /// Whose turn it is to publish.
    turn: u64,
    /// The node is on its way down.
    ending: Option<BoxFuture<'static, ()>>,
    held: BTreeMap<usize, FaultGuard>,
}

/// How a publisher publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Through its client, which tells when it does not know.
    Plain,
    /// The same with keys, one after the other.
    Keyed,
    /// As a backend, by the server's API.
    Api,
}

/// Something under way: whose publication it was, if somebody waits for it.
type Pending = FuturesUnordered<BoxFuture<'static, Option<u64>>>;

impl<'a> World<'a> {
    async fn go(plan: &'a Plan, look: &'a Look<'a>, watching: &Watching) -> anyhow::Result<Outcome> {
        let fingerprint = Fingerprint::begin();
        let network = Network::new(fingerprint.clone());
        let mut node = Node::new(plan, network.clone());
        node.start()?;
        let faults = Faults::new(plan);
        let options = FleetOptions { credentials: node.credentials(plan), ..FleetOptions::default() };
        let fleet = Fleet::in_memory(plan, faults.clone(), network, options);
        let manners = (0..plan.workload.publishers.max(plan.topology.channels)).map(|n| manner(plan, n)).collect();
        let mut world = Self {
            plan,
            look,
            node,
            fleet,
            faults,
            fingerprint,
            away: BTreeMap::new(),
            manners,
            busy: BTreeSet::new(),
            requests: 0,
            samples: samples_for(plan, look),
            offered: 0,
            turn: 0,
            ending: None,
            held: BTreeMap::new(),
        };
        let recorder = world.fleet.recorder();
        let limit = plan_end(plan) + HANG_AFTER;
        let mut hang = Vec::new();
        let done = tokio::time::timeout(limit, world.live()).await;
        if done.is_err() {
            hang.push(format!("the run did not end within {limit:?} of virtual time"));
        }
        let World { node, fleet, faults, fingerprint, samples, offered, .. } = world;
        let (latencies, breaks, virtual_time) = (fleet.latencies(), fleet.breaks(), fleet.now());
        // A node that has lost a part that it can not do without answers nothing any more.
        let leaving = leave(plan, node, fleet, &faults, &recorder);
        if hang.is_empty() && tokio::time::timeout(HANG_AFTER, leaving).await.is_err() {
            hang.push(format!("not everybody could leave within {HANG_AFTER:?} of virtual time"));
        }
        let mut wrong = watching.told();
        wrong.append(&mut hang);
        recorder.record(Event::Checked { law: Law::I19, count: 1, wrong });
        let ledger = recorder.ledger();
        Ok(Outcome {
            judgement: ledger.judge(),
            tally: ledger.tally(),
            faults: faults.counts(),
            fingerprint: fingerprint.value(),
            notes: fingerprint.notes(),
            virtual_time,
            latencies,
            breaks,
            samples,
            offered: (offered, plan.workload.publications),
            lane_peak: faults.lane_peak(),
        })
    }

    /// From the first connect to the census.
    async fn live(&mut self) {
        let plan = self.plan;
        let streams = plan.of_streams();
        let faults = self.faults.clone();
        let hurting = tokio::spawn(async move { faults.run(&streams).await });
        let untouched = bystanders(plan, &self.faults);
        let connections = plan.topology.connections;
        self.fleet.watch(is_calm(plan, &self.faults));
        // Those who cannot come in time are waited for at the quiet point; what keeps them may be a fault of the plan.
        self.fleet.connect(0..connections, CONNECT_MAX, |member| untouched.contains(&member), |_| {}).await;
        let mut publishers = self.fleet.connect_publishers(publisher_connections(plan), CONNECT_MAX).await;
        let mut pending = Pending::new();
        if publishers.is_ok() {
            self.load(&mut pending).await;
        }
        hurting.abort();
        // Over or given up: either way its guards are gone now.
        drop(hurting.await);
        self.held.clear();
        if publishers.is_err() {
            publishers = self.fleet.connect_publishers(publisher_connections(plan), CONNECT_MAX).await;
        }
        while pending.next().await.is_some() {}
        if let Err(error) = publishers {
            let wrong = vec![format!("no publisher could connect, though nothing stood in its way: {error}")];
            self.fleet.ledger().record(Event::Checked { law: Law::I8, count: 1, wrong });
            return;
        }
        self.rest().await;
    }

    /// What the agenda says, until its end.
    async fn load(&mut self, pending: &mut Pending) {
        let began = Instant::now() - self.fleet.now();
        let mut agenda = Agenda::new(self.plan, self.fleet.now(), self.look.sample_every);
        while let Some(at) = agenda.next_at() {
            let due = began + at;
            // What is due together happens together: only to wait is a moment to look at answers.
            while Instant::now() < due {
                tokio::select! {
                    biased;
                    Some(answered) = pending.next(), if !pending.is_empty() => self.answered(answered),
                    () = tokio::time::sleep_until(due) => break,
                }
            }
            let Some((at, due)) = agenda.take() else { break };
            match due {
                Due::Publication => {
                    self.publish(at, pending);
                    self.check_outboxes().await;
                }
                Due::Departure => self.depart(at, &mut agenda, pending),
                Due::Arrival(member) => self.arrive(member),
                Due::Question => self.ask(&mut agenda, pending),
                Due::NodeDown(fault) => self.node_down(fault).await,
                Due::NodeUp(fault) => self.node_up(fault).await,
                Due::Sample => self.sample(at).await,
                Due::End => {}
            }
        }
        for member in self.away.keys().copied().collect::<Vec<_>>() {
            self.arrive(member);
        }
        if self.node.server().is_none() {
            self.node_up(usize::MAX).await;
        }
    }

    fn answered(&mut self, publisher: Option<u64>) {
        if let Some(publisher) = publisher {
            self.busy.remove(&publisher);
        }
    }

    fn publish(&mut self, due: Duration, pending: &mut Pending) {
        if pending.len() >= UNANSWERED_MAX {
            return;
        }
        let publishers = self.manners.len() as u64;
        let turn = self.turn;
        let free = (0..publishers).map(|n| (turn + n) % publishers).find(|publisher| !self.busy.contains(publisher));
        let Some(publisher) = free else { return };
        self.turn = (publisher + 1) % publishers;
        match self.manners[usize::try_from(publisher).unwrap_or(0)] {
            Manner::Api => {
                // A backend that cannot reach the node has nothing to send it.
                let Some(server) = self.node.server() else { return };
                let service = Arc::clone(server.service());
                self.offered += 1;
                let (id, channel, payload) = self.fleet.next_publication(publisher, due);
                let recorder = self.fleet.recorder();
                // An engine that hesitates may do the second first, unless one waits for the other.
                let waits = !self.plan.topology.sessions.hesitates.is_zero();
                if waits {
                    self.busy.insert(publisher);
                }
                pending.push(Box::pin(async move {
                    recorder.done(id, by_api(&service, channel, &payload).await);
                    waits.then_some(publisher)
                }));
            }
            manner => {
                let keyed = manner == Manner::Keyed;
                self.offered += 1;
                if let Some(publishing) = self.fleet.begin_publish(publisher, due, keyed).1 {
                    if keyed {
                        self.busy.insert(publisher);
                    }
                    pending.push(Box::pin(async move {
                        publishing.await;
                        keyed.then_some(publisher)
                    }));
                }
            }
        }
    }

    fn depart(&mut self, at: Duration, agenda: &mut Agenda, pending: &mut Pending) {
        let (member, stays_connected) = agenda.leaver(self.plan.topology.connections);
        if self.away.contains_key(&member) {
            return;
        }
        self.away.insert(member, stays_connected);
        self.fingerprint.note(member, Site::Agenda, b"departs");
        agenda.comes_back(at, member);
        if stays_connected {
            self.fleet.unsubscribe(&[member]);
            return;
        }
        let leaving = self.fleet.depart(member);
        pending.push(Box::pin(async move {
            leaving.await;
            None
        }));
    }

    fn arrive(&mut self, member: u64) {
        let Some(is_connected) = self.away.remove(&member) else { return };
        self.fingerprint.note(member, Site::Agenda, b"arrives");
        let arrived = if is_connected { self.fleet.subscribe_again(member) } else { self.fleet.arrive(member) };
        if let Err(error) = arrived {
            // A client that has ended; that it should not have is said in the end, with its reason.
            self.fingerprint.note(member, Site::Failure, error.to_string().as_bytes());
        }
    }

    fn ask(&mut self, agenda: &mut Agenda, pending: &mut Pending) {
        let (member, history) = agenda.asker(self.plan.topology.connections);
        let question = if history { Question::History } else { Question::Presence };
        let Some(channel) = self.plan.topology.channels_of(member).next() else { return };
        self.requests += 1;
        let asking = self.fleet.ask(self.requests, member, channel, question);
        pending.push(Box::pin(async move {
            asking.await;
            None
        }));
    }

    async fn node_down(&mut self, fault: usize) {
        let Some(fault_of_plan) = self.plan.faults.get(fault) else { return };
        self.held.insert(fault, self.faults.inject(fault_of_plan.clone()));
        let Some(counters) = self.faults.counters(&fault_of_plan.id) else { return };
        counters.attempt();
        if self.node.server().is_none() {
            return;
        }
        counters.apply();
        self.fingerprint.note(fault as u64, Site::Agenda, b"down");
        if fault_of_plan.kind == Kind::Restart {
            let ending = tokio::spawn(self.node.shut_down());
            self.ending = Some(Box::pin(async move { drop(ending.await) }));
        } else {
            self.node.kill().await;
        }
    }

    async fn node_up(&mut self, fault: usize) {
        self.held.remove(&fault);
        if let Some(ending) = self.ending.take() {
            ending.await;
        }
        if self.node.server().is_some() {
            return;
        }
        // Its memory is gone, and with it the streams: what was acknowledged so far may be lost, by declaration.
        self.fleet.recorder().record(Event::Amnesia);
        self.fingerprint.note(fault as u64, Site::Agenda, b"up");
        self.node.start().expect("it has started before with the same configuration");
    }

    /// Now and then: what waits for connections is bounded.
    async fn check_outboxes(&mut self) {
        // Looking costs as much as there are connections: only where the wire is looked at as well.
        let watched = self.plan.topology.sessions.wires > 0 && self.offered.is_multiple_of(OUTBOXES_EVERY);
        if !watched || self.node.server().is_none() {
            return;
        }
        let (topology, census) = (&self.plan.topology, self.node.holdings().await.census);
        let frame = self.plan.workload.payload_bytes + FRAME_BYTES;
        let asked = if topology.sessions.requests > 0.0 { topology.history_size } else { 0 };
        let recovered = topology.history_size.min(topology.sessions.recovery_max);
        let answered = usize::try_from(asked.max(recovered)).unwrap_or(usize::MAX);
        // Each bound is looked at before something is added: a push, or an answer, at most one with a history in it.
        let pushes = topology.sessions.queue_bytes + frame + FRAME_BYTES;
        let answers = ANSWER_BYTES_MAX + frame * answered + FRAME_BYTES * 8;
        for (what, expected, actual) in
            [("pushes", pushes, census.outbox_push_bytes_max), ("answers", answers, census.outbox_answer_bytes_max)]
        {
            let (name, expected, actual) = (format!("bytes of {what} in one outbox"), expected as f64, actual as f64);
            self.fleet.ledger().record(Event::Compare { law: Law::I15, name, expected, actual, tolerance: 0.0 });
        }
    }

    async fn sample(&mut self, at: Duration) {
        let (topology, live) = (&self.plan.topology, self.fleet.live());
        let all = topology.subscriptions() + topology.sessions.wires;
        let live_bytes = self.look.live_bytes.map_or(0, |bytes| bytes());
        let ledger_bytes = self.fleet.ledger().bytes();
        let holdings = self.node.holdings().await;
        self.samples.push(Sample { at, live_bytes, ledger_bytes, holdings, live, is_level: live == all });
        if let Some(progress) = self.look.progress {
            progress(at);
        }
    }
}

/// Publishes as a backend does.
async fn by_api(service: &Service, channel: String, payload: &str) -> Published {
    let data = Some(Payload::from_bytes(payload.as_bytes()));
    match service.publish(Publish { channel, data, ..Publish::default() }).await {
        Ok(published) if published.epoch.is_empty() => Published::Ok(None),
        Ok(published) => Published::Ok(Some(Place { epoch: (&*published.epoch).into(), offset: published.offset })),
        Err(_) => Published::Failed,
    }
}

fn manner(plan: &Plan, publisher: u64) -> Manner {
    let sessions = &plan.topology.sessions;
    let draw = plan.seed.chance(publisher, "manner").uniform();
    if draw < sessions.by_api {
        Manner::Api
    } else if draw < sessions.by_api + sessions.keyed {
        Manner::Keyed
    } else {
        Manner::Plain
    }
}

/// Room for all samples at once: a list that grows would be seen in what it lists.
fn samples_for(plan: &Plan, look: &Look<'_>) -> Vec<Sample> {
    let count = look.sample_every.map_or(0, |every| plan_end(plan).as_secs() / every.as_secs().max(1) + 2);
    Vec::with_capacity(usize::try_from(count).unwrap_or(0))
}

/// Connections that the publishers share.
fn publisher_connections(plan: &Plan) -> u64 {
    plan.workload.publishers.clamp(1, 4)
}

/// When the plan is over, at the latest: after its load has begun as late as it may.
fn plan_end(plan: &Plan) -> Duration {
    Agenda::new(plan, CONNECT_MAX * 2, None).end()
}
