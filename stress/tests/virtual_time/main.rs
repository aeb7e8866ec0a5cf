//! Virtual time keeps its word: the same seed is the same run, to the byte; nothing asks the machine for time or chance; what is
//! wrong is found and made small, and what is right is left alone.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stress::explore::{self, Options};
use stress::fault::plan::{Plan, Sessions, Topology, Workload};
use stress::fault::{Fault, Kind, Target};
use stress::virtual_time::world::{Look, run};
use stress::{Class, Seed};

const SEEDS: u64 = 4;

fn stress() -> Command {
    Command::new(env!("CARGO_BIN_EXE_stress"))
}

/// The last words of an exploration: how many rounds, and the fingerprint of all.
fn explored(mut command: Command, jobs: &str, out: &Path) -> String {
    command.args(["explore", "--seeds", &SEEDS.to_string(), "--from", "100", "--jobs", jobs, "--out"]).arg(out);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("fingerprint"));
    line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

#[test]
fn a_seed_is_the_same_run_in_every_process_on_one_processor_and_on_several() {
    let out = tempfile::tempdir().unwrap();
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0", env!("CARGO_BIN_EXE_stress")]);
    let alone = explored(pinned, "1", out.path());
    let free = explored(stress(), "1", out.path());
    let side_by_side = explored(stress(), "2", out.path());
    assert_eq!(alone, free);
    assert_eq!(alone, side_by_side);
}

#[test]
fn another_seed_is_another_run() {
    let fingerprints: std::collections::BTreeSet<u64> =
        (0..4).map(|seed| explore::one(Seed(seed), &Options::default()).unwrap().1.fingerprint).collect();
    assert_eq!(fingerprints.len(), 4);
}

/// A plan with a bit of everything, so many seconds long.
fn plan(seconds: u64) -> Plan {
    let sessions = Sessions {
        ping_interval: Duration::from_secs(5),
        pong_timeout: Duration::from_secs(2),
        token_ttl: Some(Duration::from_secs(10)),
        departures: 0.5,
        requests: 2.0,
        by_api: 0.3,
        ..Sessions::default()
    };
    let topology = Topology { connections: 6, channels: 3, subscriptions_each: 2, sessions, ..Topology::default() };
    let workload = Workload { publishers: 6, publications: seconds * 20, rate: 20.0, payload_bytes: 200 };
    let second = Duration::from_secs(1);
    let some = |id: &str, kind: Kind| {
        Fault::new(id, kind).target(Target::Percent(50.0)).between(second, Duration::from_secs(seconds / 2))
    };
    let faults = vec![some("reset", Kind::Reset), some("half open", Kind::HalfOpen), some("killed", Kind::Kill)];
    Plan { seed: Seed(3), topology, workload, faults }
}

/// Something between a process and the machine's clock and randomness.
struct Witness {
    directory: tempfile::TempDir,
    library: PathBuf,
}

/// What a run came to, and how often it asked the machine for time and for chance.
#[derive(Debug)]
struct Told {
    last_words: String,
    clocks: u64,
    randoms: u64,
}

impl Witness {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("witness.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/virtual_time/witness.c");
        let made = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        assert!(made.expect("whoever links Rust has a cc").success(), "the witness does not compile");
        Self { directory, library }
    }

    /// Runs a command that the machine's clock and randomness lie to, the more the larger `lie` is.
    fn hears(&self, mut command: Command, lie: u64) -> Told {
        let told = self.directory.path().join("told");
        let under = command.env("LD_PRELOAD", &self.library).env("WITNESS", &told).env("LIE", lie.to_string());
        let output = under.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let counts = std::fs::read_to_string(told).unwrap();
        let mut counts = counts.split_whitespace().map(|number| number.parse().unwrap());
        let last_words = text.lines().last().unwrap_or_default().to_owned();
        Told { last_words, clocks: counts.next().unwrap(), randoms: counts.next().unwrap() }
    }

    fn replay(&self, plan: &Plan, lie: u64) -> Told {
        let file = self.directory.path().join("plan.json");
        std::fs::write(&file, serde_json::to_string(plan).unwrap()).unwrap();
        let mut command = stress();
        command.arg("replay").arg(&file);
        self.hears(command, lie)
    }
}

/// The lint names the functions that must not be called. This asks whether it shows, whoever calls them, libraries included:
/// tokio reads the machine's clock to count how busy it is, and may.
#[test]
fn a_machine_whose_clock_and_randomness_lie_changes_nothing() {
    let witness = Witness::new();
    let date = |lie: u64| {
        let mut command = Command::new("date");
        command.arg("+%Y");
        witness.hears(command, lie).last_words.parse::<u64>().unwrap()
    };
    assert_eq!(date(7), date(0) + 7, "nobody listens to the witness, so it proves nothing");

    let honest = witness.replay(&plan(20), 0);
    assert!(honest.last_words.contains("fingerprint") && honest.clocks > 0, "{honest:?}");
    for lie in [1_000, 77] {
        let told = witness.replay(&plan(20), lie);
        assert_eq!(told.last_words, honest.last_words, "time ran {lie} times as fast, and chance was another");
    }
    let longer = witness.replay(&plan(200), 0);
    assert_eq!(longer.randoms, honest.randoms, "a longer run draws more of the machine's randomness");
}

#[test]
fn rounds_without_a_bug_are_clean_and_one_thread_or_two_make_no_difference() {
    let options = Options::default();
    let alone = explore::many(1, 12, &options, 1, &|_| true);
    let side_by_side = explore::many(1, 12, &options, 2, &|_| true);
    assert_eq!(alone.other_ways(&side_by_side), []);
    let found: Vec<_> = alone.broken.iter().map(|broken| (broken.seed, &broken.judgement.findings)).collect();
    assert!(found.is_empty() && alone.errors.is_empty(), "{found:#?} {:?}", alone.errors);
    assert!(alone.delivered > 100);
}

/// Each was found by `stress explore`, and was the lab's own mistake or the server's. Seeds mean other worlds from time to time; a
/// plan stays what it is. One that is broken again is told of by `stress replay FILE`.
#[test]
fn worlds_that_were_broken_once_are_clean() {
    let worlds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/virtual_time/worlds");
    let mut files: Vec<PathBuf> = std::fs::read_dir(worlds).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let plan: Plan = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let outcome = run(&plan, &Look::default()).unwrap();
        assert!(outcome.judgement.is_clean(), "{}: {:#?}", file.display(), outcome.judgement.findings);
    }
}

#[test]
fn frames_that_go_wrong_are_found_and_made_small() {
    let options = Options { faults: vec!["mutant".to_owned()], ..Options::default() };
    let explored = explore::many(1, 60, &options, 2, &|_| true);
    let lossy = |broken: &&explore::Broken| {
        let classes = broken.judgement.classes();
        [Class::Loss, Class::Duplicate, Class::Reorder, Class::Regression, Class::Stuck]
            .iter()
            .any(|c| classes.contains(c))
    };
    let broken = explored.broken.iter().find(lossy).expect("sixty rounds of mutants and nothing was lost or doubled");
    let small = explore::make_small(broken, 60);
    assert!(small.faults.len() <= broken.plan.faults.len());
    assert!(small.workload.publications <= broken.plan.workload.publications);
    let again = run(&small, &Look::default()).unwrap();
    assert!(!again.judgement.classes().is_disjoint(&broken.judgement.classes()), "{:#?}", again.judgement.findings);
    let text = serde_json::to_string(&small).unwrap();
    let replayed = run(&serde_json::from_str(&text).unwrap(), &Look::default()).unwrap();
    assert_eq!(replayed.fingerprint, again.fingerprint, "what is written down is what was run");
}
