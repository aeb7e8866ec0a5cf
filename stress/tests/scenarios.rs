//! Every scenario, small, against a server inside this process or a child; and at full size, against the server binary, when
//! asked:
//!
//! `cargo test -p stress --release -- --ignored`, with `PUBSUB_STRESS_CLIENTS` (what 10,000 stands for in the plan of the
//! first scenario; all others shrink or grow alike) or `PUBSUB_STRESS_SCALE` (the same as a factor), `PUBSUB_STRESS_SEED`,
//! `PUBSUB_STRESS_SERVER` (the binary) and `PUBSUB_STRESS_OUT` (where reports go).
//!
//! Each is a test of its name: `small_NAME`, and `test_stress_NAME`, which is ignored. Small ones mostly wait, so that more
//! of them run at once than there are processors; full ones run alone.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]

mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread::available_parallelism;

use libtest_mimic::{Arguments, Failed, Trial};
use stress::scenario::{self, Context, Scenario};
use stress::{Seed, Verdict};
use tokio::runtime::Runtime;

const AT_ONCE_PER_PROCESSOR: usize = 3;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let at_once = if arguments.ignored || arguments.include_ignored {
        1
    } else {
        AT_ONCE_PER_PROCESSOR * available_parallelism().map_or(1, usize::from)
    };
    arguments.test_threads.get_or_insert(at_once);
    let small = scenario::all().into_iter().map(|scenario| {
        let name = format!("small_{}", scenario.name());
        Trial::test(name, move || small(&*scenario))
    });
    let full = scenario::all().into_iter().map(|scenario| {
        let name = format!("test_stress_{}", scenario.name());
        Trial::test(name, move || full(&*scenario)).with_ignored_flag(true)
    });
    libtest_mimic::run(&arguments, small.chain(full).collect()).exit_code()
}

fn small(scenario: &dyn Scenario) -> Result<(), Failed> {
    Runtime::new()?.block_on(async {
        if scenario.takes_target() {
            let (server, address) = common::serving(1_000);
            let context = Context { target: Some(address), scale: 0.01, ..Context::default() };
            let report = scenario.run(&context).await?;
            drop(server);
            return common::held(&report);
        }
        // A day stays a day: of a thousandth of the members.
        let scale = if scenario.name().starts_with("24hour") { 0.001 } else { 0.01 };
        let context = Context { server: Some(common::binary()), scale, ..Context::default() };
        common::held(&scenario.run(&context).await?)
    })
}

fn full(scenario: &dyn Scenario) -> Result<(), Failed> {
    let clients = variable::<u64>("PUBSUB_STRESS_CLIENTS").map(|clients| clients as f64 / 10_000.0);
    let scale = variable("PUBSUB_STRESS_SCALE").or(clients).unwrap_or(1.0);
    let seed = Seed(variable("PUBSUB_STRESS_SEED").unwrap_or(1));
    let (server, out) = (variable("PUBSUB_STRESS_SERVER"), variable::<PathBuf>("PUBSUB_STRESS_OUT"));
    let server = server.or_else(|| Some(common::binary()));
    let context = Context { scale, seed, server, alone: true, ..Context::default() };
    let report = Runtime::new()?.block_on(scenario.run(&context))?;
    if let Some(out) = out {
        report.write(&out)?;
    }
    if report.verdict == Verdict::Held { Ok(()) } else { Err(serde_json::to_string_pretty(&report)?.into()) }
}

fn variable<T: FromStr<Err: std::fmt::Display>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
