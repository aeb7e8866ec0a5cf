//! The command line as a process: what it says and with which code it ends, above all when something is wrong.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use stress::Verdict;
use stress::report::read_all;

const STRESS: &str = env!("CARGO_BIN_EXE_stress");
/// The shortest of all.
const QUICK: &str = "10000_concurrent_connections";

/// Runs it, with the server binary if `arguments` are a run's.
fn stress(arguments: &[&str]) -> Output {
    let mut command = Command::new(STRESS);
    command.args(arguments);
    let has_server = ["--server", "--target"].iter().any(|option| arguments.contains(option));
    if matches!(arguments.first(), Some(&("run" | "replay" | "limits"))) && !has_server {
        command.arg("--server").arg(common::binary());
    }
    command.output().unwrap()
}

/// Everything it said, and that it ended with `code`.
fn said(output: &Output, code: i32) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// That it ends with `code` and says all of `words`.
fn tells(arguments: &[&str], code: i32, words: &[&str]) -> String {
    let text = said(&stress(arguments), code);
    for word in words {
        assert!(text.contains(word), "`{word}` is not in what `stress {}` says:\n{text}", arguments.join(" "));
    }
    text
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn scenarios_are_listed_with_their_claims() {
    let text = tells(&["list"], 0, &["claim"]);
    for scenario in stress::scenario::all() {
        assert!(text.contains(scenario.name()), "{}", scenario.name());
    }
}

#[test]
fn a_run_says_what_it_is_writes_its_report_and_is_replayed_from_it() {
    let out = tempfile::tempdir().unwrap();
    let text = tells(&["run", QUICK, "--seed", "0x2a", "--scale", "0.002", "--out", path(out.path())], 0, &["1 held"]);
    let first = text.lines().next().unwrap();
    for word in ["commit", "seed 0x2a", "scale 0.002", "build", path(out.path())] {
        assert!(first.contains(word), "{first}");
    }
    let found = read_all(out.path());
    assert_eq!((found.reports.len(), found.unreadable.len()), (1, 0));
    let report = &found.reports[0];
    assert!(report.seed == 42 && report.plan.topology.connections == 20 && report.seconds > 0.0);
    for file in ["README.md", "10000_concurrent_connections.timeline.svg", "10000_concurrent_connections.latency.svg"] {
        assert!(out.path().join(file).is_file(), "{file}");
    }

    let again = tempfile::tempdir().unwrap();
    let file = out.path().join(format!("{QUICK}.json"));
    tells(&["replay", path(&file), "--out", path(again.path())], 0, &["seed 0x2a", "scale 0.002"]);
    let replayed = &read_all(again.path()).reports[0];
    assert_eq!((&replayed.plan, &replayed.replay), (&report.plan, &report.replay));

    // A scenario that plans something else now says so, and what stands in the report is run by itself.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("other.json");
    let text = std::fs::read_to_string(&file).unwrap().replacen("\"connections\": 20", "\"connections\": 21", 1);
    std::fs::write(&other, text).unwrap();
    tells(&["replay", path(&other)], 0, &["not as in the report: the topology was"]);
    tells(&["replay", path(&other), "--plan"], 0, &["plan: held"]);

    let (page, plots, modes) = (out.path().join("page.md"), out.path().join("plots"), out.path().join("modes.md"));
    let pages = ["--write", path(&page), "--plots", path(&plots), "--failure-modes", path(&modes)];
    tells(&[&["report", path(out.path())][..], &pages].concat(), 0, &["wrote"]);
    let told = std::fs::read_to_string(&modes).unwrap();
    assert!(told.contains("scale 0.002") && told.contains("not measured yet"), "{told}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("](plots/10000_concurrent_connections.latency.svg)"));
    tells(&["report", path(out.path())], 0, &["1 scenarios: 1 held"]);
}

#[test]
fn a_plan_is_run_against_a_server_if_one_is_named_and_in_virtual_time_if_none_is() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("plan.json");
    let plan = r#"{"seed":3,"topology":{"connections":12,"channels":3},"workload":{"publishers":3,"publications":60},
        "faults":[{"id":"cut","kind":"reset","target":{"connections":[1,2]},"from":0.2,"until":0.6}]}"#;
    std::fs::write(&file, plan).unwrap();
    let text = tells(&["replay", path(&file)], 0, &["plan: held"]);
    assert!(!text.contains("virtual"), "{text}");
    let output = Command::new(STRESS).args(["replay", path(&file)]).output().unwrap();
    assert!(said(&output, 0).contains("virtual"));
    let stops = plan.replace("\"reset\",\"target\":{\"connections\":[1,2]}", "\"pause\"");
    assert_ne!(stops, plan);
    std::fs::write(&file, stops).unwrap();
    let output = Command::new(STRESS).args(["replay", path(&file)]).output().unwrap();
    assert!(said(&output, 2).contains("virtual time has no process for `cut` (pause)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_target_is_replayed_against_that_target() {
    let (server, address) = common::serving(1_000);
    let out = tempfile::tempdir().unwrap();
    let url = format!("http://{address}");
    tells(&["run", QUICK, "--scale", "0.002", "--target", &url, "--out", path(out.path())], 0, &["1 held"]);
    let file = out.path().join(format!("{QUICK}.json"));
    let output = Command::new(STRESS).args(["replay", path(&file)]).output().unwrap();
    assert!(said(&output, 0).contains(&format!("server the one at {address}")));
    drop(server);
}

#[test]
fn a_server_that_panics_is_told_of_although_it_lives_on() {
    let home = tempfile::tempdir().unwrap();
    let panicky = home.path().join("panicky");
    let server = common::binary();
    let script =
        format!("#!/bin/sh\necho \"thread 'shard' panicked at hub.rs:1\" >&2\nexec {} \"$@\"\n", path(&server));
    std::fs::write(&panicky, script).unwrap();
    std::fs::set_permissions(&panicky, std::fs::Permissions::from_mode(0o755)).unwrap();
    let arguments = ["run", QUICK, "--scale", "0.002", "--server", path(&panicky)];
    tells(&arguments, 1, &["BROKEN Crash × 1 (I19", "panicked at hub.rs:1"]);
}

#[test]
fn a_hop_stands_between_anybodys_client_and_server_and_tells_what_its_faults_came_to() {
    use std::io::Write as _;
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = echo.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in echo.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let home = tempfile::tempdir().unwrap();
    let plan = home.path().join("plan.json");
    std::fs::write(&plan, r#"{"seed":1,"faults":[{"id":"cut","kind":"reset","aim":{"byte":4},"direction":"in"}]}"#)
        .unwrap();
    for (connects, code, told) in
        [(true, 0, "| cut | reset | byte | 1 | 1 | 1 |"), (false, 2, "`cut` was never applied")]
    {
        let mut hop = Command::new(STRESS)
            .args(["proxy", "--to", &server, "--plan", path(&plan)])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(hop.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next()).unwrap();
        if connects {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(b"hello").unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap_err();
            assert!(heard.len() <= 4, "{heard:?}");
        }
        kill_process(Pid::from_child(&hop), Signal::INT).unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert_eq!(hop.wait().unwrap().code(), Some(code), "{rest}");
        assert!(rest.contains(told), "{rest}");
    }
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let taken = std::net::TcpListener::bind(&busy).unwrap();
    tells(&["proxy", "--to", &server, "--listen", &busy], 2, &["cannot listen at", "--listen", "in use"]);
    drop(taken);
}

#[test]
fn limits_are_climbed_rung_by_rung_and_kept() {
    let out = tempfile::tempdir().unwrap();
    let text = tells(&["limits", "--scale", "0.001", "--out", path(out.path())], 0, &["is the last that held"]);
    let limits = read_all(out.path()).limits.unwrap();
    assert_eq!(limits.climbs.len(), 4, "{text}");
    assert!(limits.climbs.iter().all(|climb| !climb.rungs.is_empty() && text.contains(climb.ladder.unit())), "{text}");
}

#[test]
fn what_is_broken_ends_with_1_and_the_line_that_shows_it_again() {
    // A server that forgets: whatever the configuration says, it keeps one publication.
    let home = tempfile::tempdir().unwrap();
    let forgetful = home.path().join("forgetful");
    let server = common::binary();
    let script = format!("#!/bin/sh\nexec {} \"$@\" --set channel.without_namespace.history_size=1\n", path(&server));
    std::fs::write(&forgetful, script).unwrap();
    std::fs::set_permissions(&forgetful, std::fs::Permissions::from_mode(0o755)).unwrap();
    let arguments = ["run", "random_connection_drops", "--scale", "0.01", "--server", path(&forgetful)];
    tells(&arguments, 1, &["BROKEN", "1 broken", "again: stress run random_connection_drops --seed 0x1 --scale 0.01"]);
}

#[test]
fn an_unknown_scenario_is_told_with_those_there_are() {
    tells(&["run", "nonsense"], 2, &["no scenario `nonsense`", QUICK]);
    tells(&["run"], 2, &["--all"]);
    tells(&["run", QUICK, "--scale", "0"], 2, &["--scale"]);
}

#[test]
fn no_server_is_told_with_what_to_do() {
    tells(
        &["run", QUICK, "--server", "/nowhere/pubsub-server"],
        2,
        &["/nowhere/pubsub-server", "cargo build", "1 without a result"],
    );
}

#[test]
fn a_target_that_is_no_such_server_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    tells(&["run", QUICK, "--target", &format!("http://{address}")], 2, &[&address, "http_api.insecure"]);
    tells(&["run", QUICK, "--target", "https://example.org"], 2, &["no TLS"]);
}

#[test]
fn a_busy_port_is_told_in_the_servers_own_words() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = stress::server::ServerConfig { port, ..Default::default() };
    let started = runtime.block_on(stress::server::Server::start(&common::binary(), config));
    let error = started.unwrap_err().to_string();
    assert!(error.contains("ended") && error.contains(&port.to_string()), "{error}");
}

#[test]
fn too_few_descriptors_are_said_before_the_start_and_prove_nothing() {
    let server = common::binary();
    let script = format!("ulimit -n 300; exec {STRESS} run {QUICK} --scale 0.02 --server {}", path(&server));
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = said(&output, 2);
    assert!(text.contains("cut down: 100 connections instead of 200") && text.contains("ulimit -n 400"), "{text}");
    assert!(text.contains("1 inconclusive"), "{text}");
}

#[test]
fn an_unwritable_directory_is_told_before_anything_is_run() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    for out in [file.join("out"), file.clone()] {
        let text = tells(&["run", QUICK, "--out", path(&out)], 2, &["--out", path(&file), "is a file"]);
        assert!(!text.contains("commit"), "{text}");
    }
}

#[test]
fn a_report_that_cannot_be_written_does_not_cost_the_others() {
    let out = tempfile::tempdir().unwrap();
    // Where its report should go there is a directory.
    std::fs::create_dir(out.path().join(format!("{QUICK}.json"))).unwrap();
    let arguments = ["run", QUICK, "50000_subscriptions_cascade", "--scale", "0.002", "--out", path(out.path())];
    tells(&arguments, 2, &["cannot write", "only on this terminal", "2 held"]);
    let names: Vec<String> = read_all(out.path()).reports.into_iter().map(|report| report.name).collect();
    assert_eq!(names, ["50000_subscriptions_cascade"]);
}

/// Runs these until each of the lines has been said, ends it by a signal to its process group, which is what Ctrl-C on a
/// terminal does, and returns what it then says. Its servers, of which there are `servers`, end with it.
fn interrupted(arguments: &[&str], out: &Path, lines: &[&str], signal: Signal, servers: usize) -> String {
    let server = common::binary();
    let mut all = vec!["run", "--scale", "0.002", "--server", path(&server), "--out", path(out)];
    all.extend(arguments);
    interrupt(&all, lines, signal, servers)
}

/// The same of any command.
fn interrupt(arguments: &[&str], lines: &[&str], signal: Signal, servers: usize) -> String {
    let mut lab = Command::new(STRESS);
    let (rest, ended) = interrupt_at(lab.args(arguments), lines, signal, |lab| {
        let children = children(lab);
        assert_eq!(children.len(), servers, "{children:?}");
        children
    });
    assert_eq!(ended.code(), Some(2), "{rest}");
    rest
}

/// The same of any process, of which those that it has to take along are found before the signal.
fn interrupt_at(
    command: &mut Command,
    lines: &[&str],
    signal: Signal,
    find: impl FnOnce(u32) -> Vec<u32>,
) -> (String, ExitStatus) {
    let mut lab = command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
    let mut said = BufReader::new(lab.stdout.take().unwrap());
    let mut awaited: Vec<&str> = lines.to_vec();
    while !awaited.is_empty() {
        let mut line = String::new();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended before it could be interrupted");
        awaited.retain(|awaited| !line.starts_with(awaited));
    }
    let found = find(lab.id());
    kill_process_group(Pid::from_child(&lab), signal).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let ended = lab.wait().unwrap();
    assert!(found.iter().all(|process| is_gone(*process)), "a process is still there");
    (rest, ended)
}

#[test]
fn an_interrupted_run_leaves_no_server_and_keeps_what_it_had() {
    for signal in [Signal::INT, Signal::TERM] {
        let out = tempfile::tempdir().unwrap();
        let rest = interrupted(
            &[QUICK, "half_open_peers"],
            out.path(),
            &["half_open_peers: publish over dead links"],
            signal,
            1,
        );
        assert!(rest.contains("half_open_peers, of which there is") && rest.contains("2 reports are in"), "{rest}");
        let reports = read_all(out.path()).reports;
        let names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
        assert_eq!(names, [QUICK, "half_open_peers"]);
        let partial = &reports[1];
        assert_eq!(partial.verdict, Verdict::Inconclusive);
        assert!(partial.inconclusive[0].contains("terminated") || partial.inconclusive[0].contains("interrupted"));
        assert!(partial.inconclusive[0].contains("`publish over dead links`"), "{:?}", partial.inconclusive);
        // What was seen until then: members came, faults held, processes were watched.
        assert!(partial.tally.live > 0 && partial.tally.invoked > 0, "{:?}", partial.tally);
        assert!(!partial.faults.is_empty() && partial.resources.contains_key("server"));
        assert!(partial.timeline.phases.len() > 1 && partial.violations.is_empty(), "{:?}", partial.violations);
    }
}

/// `make` and its shell get the signal too, and have to wait for what the lab has yet to write.
#[test]
fn an_interrupted_make_keeps_what_the_lab_had_and_leaves_the_pages_alone() {
    let home = tempfile::tempdir().unwrap();
    let release = home.path().join("target").join("release");
    std::fs::create_dir_all(&release).unwrap();
    std::os::unix::fs::symlink(STRESS, release.join("stress")).unwrap();
    std::os::unix::fs::symlink(common::binary(), release.join("pubsub-server")).unwrap();
    std::fs::write(home.path().join("stress_results.md"), "of the last whole run").unwrap();
    let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/../Makefile");
    let mut make = Command::new("make");
    make.args(["-f", makefile, "stress-extreme", "CARGO=true", "CARGO_TARGET_DIR=target", "ARGS=--scale 0.002"]);
    let (rest, ended) =
        interrupt_at(make.current_dir(home.path()), &["50000_subscriptions_cascade: wave 1"], Signal::INT, descendants);
    assert!(!ended.success());
    assert!(rest.contains("stress: interrupted during") && rest.contains("stopped: stress_results.md"), "{rest}");
    let page = std::fs::read_to_string(home.path().join("target/stress-extreme/README.md")).unwrap();
    assert!(page.contains("## 10000_concurrent_connections") && page.contains("**not run: "), "{page}");
    let kept = std::fs::read_to_string(home.path().join("stress_results.md")).unwrap();
    assert_eq!(kept, "of the last whole run");
}

#[test]
fn of_small_ones_side_by_side_each_keeps_what_it_had() {
    let out = tempfile::tempdir().unwrap();
    let rest = interrupted(
        &["half_open_peers", "idle_timeouts", QUICK, "--jobs", "2"],
        out.path(),
        &["half_open_peers: publish", "idle_timeouts: "],
        Signal::INT,
        2,
    );
    assert!(rest.contains("during half_open_peers, idle_timeouts, of which there is"), "{rest}");
    assert!(rest.contains("2 inconclusive, 1 without a result, of 3"), "{rest}");
    for report in read_all(out.path()).reports {
        assert!(report.doubts.iter().any(|doubt| doubt.contains("at the same time")), "{:?}", report.doubts);
    }
    tells(&["run", QUICK, "--jobs", "2"], 2, &["--jobs 2", "below --scale 0.5"]);
    tells(&["run", QUICK, "--jobs", "0"], 2, &["--jobs 0"]);
}

#[test]
fn an_interrupted_exploration_tells_how_far_it_came() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["explore", "--seeds", "1000000", "--out", path(out.path())];
    let rest = interrupt(&arguments, &["explore: rounds"], Signal::INT, 0);
    assert!(rest.contains("0 broken") && rest.contains("stress: interrupted after"), "{rest}");
    assert!(rest.contains("of 1000000 rounds; no summary was written"), "{rest}");
    assert!(std::fs::read_dir(out.path()).unwrap().next().is_none(), "half an exploration was written down");
}

#[test]
fn files_that_are_no_reports_are_told() {
    let home = tempfile::tempdir().unwrap();
    tells(&["report", path(home.path())], 2, &["no reports in"]);
    tells(&["replay", path(&home.path().join("nothing.json"))], 2, &["cannot read"]);
    let file = home.path().join("odd.json");
    std::fs::write(&file, "{}").unwrap();
    tells(&["replay", path(&file)], 2, &["odd.json", "neither a report"]);
}

/// Processes that it has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let read = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let all: Vec<String> = tasks.map(read).collect();
    all.iter().flat_map(|one| one.split_whitespace()).map(|pid| pid.parse().unwrap()).collect()
}

/// Those, what they have started, and so on.
fn descendants(pid: u32) -> Vec<u32> {
    let children = children(pid);
    let all: Vec<u32> = children.iter().flat_map(|&child| descendants(child)).collect();
    [children, all].concat()
}

/// Whether it does nothing any more: ended, and perhaps not yet taken note of by the process that inherited it.
fn is_gone(pid: u32) -> bool {
    let deadline = std::time::Duration::from_secs(10);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let gone = async {
        loop {
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) if !stat.contains(") Z ") => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                _ => return,
            }
        }
    };
    runtime.block_on(async { tokio::time::timeout(deadline, gone).await }).is_ok()
}
