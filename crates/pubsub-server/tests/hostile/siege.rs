//! A crowd does one thing to the server while healthy clients are served; what that costs is measured from outside.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::healthy::Healthy;
use crate::table;
use crate::victim::Victim;

/// How large a crowd, and how strictly it is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) peers: usize,
    /// How long a flood lasts, and twice a measurement before it.
    pub(crate) lasts: Duration,
    /// A 99th percentile below this is good, whatever it is elsewhere: a shared machine has hiccups of its own. None: times
    /// are not judged. In the normal tests they are the machine's; there `behaviour/fairness.rs` counts instead.
    pub(crate) good_enough: Option<Duration>,
}

impl Size {
    pub(crate) fn small() -> Self {
        Self { peers: 20, lasts: Duration::from_millis(500), good_enough: None }
    }

    pub(crate) fn large() -> Self {
        let peers = std::env::var("PUBSUB_STRESS_CLIENTS").map_or(1000, |n| n.parse().expect("a number of clients"));
        Self { peers, lasts: Duration::from_secs(5), good_enough: Some(Duration::from_millis(5)) }
    }
}

/// What is done, and what of it is to be seen.
pub(crate) struct Siege {
    pub(crate) name: &'static str,
    /// What the crowd gets, as the table says it.
    pub(crate) answer: &'static str,
    pub(crate) settings: &'static [&'static str],
    /// The most that one of the crowd may cost in memory.
    pub(crate) bytes_each: u64,
    /// Metrics that together count at least the whole crowd.
    pub(crate) counted: &'static [&'static str],
}

/// What a server with nothing to do may grow by while it does something: caches of the allocator, buffers of shards.
const SLACK_BYTES: u64 = 24 << 20;

/// How much slower healthy clients may be served than those of a server that nobody besieges, in the same moments.
const SLOWER: f64 = 2.0;

/// Lets a crowd loose on a server, and judges. Beside it stands another server with the same healthy clients and no
/// crowd: whatever the machine and the mere work of the crowd do to latencies, they do to both.
pub(crate) async fn withstand(size: Size, siege: Siege, attack: impl AsyncFnOnce(&Victim)) {
    let Siege { name, settings, bytes_each, counted, .. } = siege;
    let (mut victim, beside) = (Victim::start(settings).await, Victim::start(settings).await);
    let mut healthy = Healthy::start([victim.address, beside.address]);
    // The first moments are those of a cold server.
    sleep(size.lasts / 2).await;
    let calm = Instant::now();
    sleep(size.lasts / 2).await;
    let before = healthy.lateness(calm..Instant::now()).await;
    let [before, _] = before.unwrap_or_else(|error| panic!("{name}: before it began: {error}{}", victim.said()));
    let (resident, cpu, descriptors) = (victim.resident(), victim.cpu(), victim.descriptors());
    let queued = victim.queued();
    let count = victim.counted(counted).await;
    // A crowd has processors of its own. Here it gets what server and healthy clients leave, so that what is measured is
    // what the server does about it and not how the kernel shares two cores.
    yield_to_others();

    let begun = Instant::now();
    let mut peak = resident;
    {
        let mut attack = std::pin::pin!(attack(&victim));
        loop {
            tokio::select! {
                () = &mut attack => break,
                () = sleep(Duration::from_millis(20)) => peak = peak.max(victim.resident()),
            }
        }
    }
    let (took, cpu) = (begun.elapsed(), victim.cpu() - cpu);
    // Some crowds are done in an instant. What they leave behind is part of what they cost.
    sleep(size.lasts.saturating_sub(took)).await;
    let during = healthy.lateness(begun..Instant::now()).await;
    let queued = victim.queued() - queued;
    let [during, elsewhere] = during.unwrap_or_else(|error| panic!("{name}: {error}{}", victim.said()));
    peak = peak.max(victim.resident());
    let count = victim.counts_up_to(counted, count + size.peers as f64).await - count;

    let peers = size.peers as u64;
    let grown = peak - resident;
    assert!(during.arrivals > 0 && elsewhere.arrivals > 0, "{name}: healthy clients got nothing at all");
    let slower = during.p99.as_secs_f64() / elsewhere.p99.as_secs_f64();
    let good_enough = size.good_enough.is_none_or(|good_enough| during.p99 <= good_enough);
    let held = match (slower <= SLOWER, good_enough) {
        (true, _) => "yes",
        (false, true) => "below the floor",
        (false, false) => "**no**",
    };
    table::tell(
        &siege,
        &format!(
            "{peers} | {:.1} KiB | {:.2} s in {:.1} s | {} | {} → {} | {slower:.1}, {held}",
            grown as f64 / 1024.0 / size.peers as f64,
            cpu.as_secs_f64(),
            took.as_secs_f64(),
            ms(before.p99),
            ms(elsewhere.p99),
            ms(during.p99),
        ),
    );
    assert!(count >= size.peers as f64, "{name}: only {count} of {peers} were counted as {counted:?}");
    let most = SLACK_BYTES + peers * bytes_each;
    assert!(grown <= most, "{name}: the server grew by {grown} bytes, {most} were allowed");
    assert!(
        slower <= SLOWER || good_enough,
        "{name}: p99 of healthy clients was {during:?} ({before:?} before, {elsewhere:?} at the server beside): {slower:.1} times \
         as much; its threads ran for {cpu:?} and stood in line for a processor for {queued:?}"
    );
    healthy.finish().unwrap_or_else(|error| panic!("{name}: {error}{}", victim.said()));
    let until = Instant::now() + Duration::from_secs(20);
    while victim.descriptors() > descriptors {
        assert!(Instant::now() < until, "{name}: {} descriptors stayed behind", victim.descriptors() - descriptors);
        sleep(Duration::from_millis(50)).await;
    }
    victim.is_well().await;
}

/// Gives this thread, which is the crowd, what no other wants of the processors: by the scheduler's idle class, or, where
/// the command that sets it is missing, by the lowest priority.
fn yield_to_others() {
    let thread = rustix::thread::gettid().as_raw_pid().to_string();
    let idle = std::process::Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    if !idle.is_ok_and(|status| status.success()) {
        rustix::process::nice(19).unwrap();
    }
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// Declares attacks: each as a small test that always runs, and a large one that is ignored.
macro_rules! sieges {
    ($($name:ident)+) => {
        mod small {
            $(#[tokio::test] async fn $name() { super::$name(crate::siege::Size::small()).await })+
        }
        mod large {
            $(#[tokio::test] #[ignore = "takes long, and the machine"] async fn $name() {
                super::$name(crate::siege::Size::large()).await
            })+
        }
    };
}
pub(crate) use sieges;

/// Runs one thing for each of the crowd, all at once.
pub(crate) async fn crowd<F: Future<Output = ()> + Send + 'static>(peers: usize, one: impl Fn(usize) -> F) {
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..peers {
        crowd.spawn(one(n));
        // A crowd that comes all in one moment measures the backlog.
        if n % 100 == 99 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    while let Some(ended) = crowd.join_next().await {
        ended.unwrap();
    }
}
