//! A hop between anybody's client and server, with the faults of a plan in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures_util::FutureExt as _;

use super::{address, run, runtime, say};
use crate::fault::{Faults, Plan};
use crate::proxy::Hop;
use crate::report::markdown;
use crate::verdict::Verdict;

/// Between whom, and what is done there.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// Host and port of the server.
    pub to: String,
    /// Where clients connect to.
    pub listen: SocketAddr,
    /// A file with the faults.
    pub plan: Option<PathBuf>,
}

/// Passes bytes on until it is interrupted, and tells what each fault came to. Held if every one of them was applied.
///
/// # Errors
/// When the plan cannot be read, or the address is taken.
pub fn proxy(options: &ProxyOptions) -> anyhow::Result<Verdict> {
    let ProxyOptions { to, listen, plan } = options;
    let to = &address("--to", to)?;
    let plan = plan.as_deref().map(read).transpose()?.unwrap_or_default();
    let faults = Faults::new(&plan);
    let runtime = runtime()?;
    let taken = runtime.block_on(async {
        // Both before anybody is told where to come: a signal is to find us, and a client the faults that hold from the beginning.
        let mut signal = std::pin::pin!(run::interrupted());
        let mut hurting = std::pin::pin!(faults.run(&plan));
        let (early, mut held) = (signal.as_mut().now_or_never(), hurting.as_mut().now_or_never());
        let hop = Hop::at(*listen, to, faults.clone())
            .with_context(|| format!("cannot listen at {listen}; another address may be named with --listen"))?;
        say(&format!("listening on {}, passing on to {to}, faults planned: {}", hop.address(), plan.faults.len()));
        let hurting = async {
            if held.is_none() {
                held = Some(hurting.await);
            }
            std::future::pending::<()>().await;
        };
        let signal = match early {
            Some(signal) => signal,
            None => tokio::select! {
                biased;
                signal = signal => signal,
                () = hurting => unreachable!("it waits for ever"),
            },
        };
        say(&format!("stress: {signal}"));
        anyhow::Ok(hop.taken())
    })?;
    // What was under way ends here, and what it felt of that counts.
    drop(runtime);
    let counts = faults.counts();
    say(&format!("connections: {taken}"));
    let rows = counts.iter().map(|(id, (fault, counts))| {
        let numbers = [counts.attempted, counts.applied, counts.seen].map(|count| count.to_string());
        [vec![id.clone(), fault.kind.name().to_owned(), fault.aim.family().to_owned()], numbers.to_vec()].concat()
    });
    if !counts.is_empty() {
        say(&markdown::table(&["fault", "kind", "aim", "attempted", "applied", "seen"], rows));
    }
    let idle = plan.faults.iter().find(|fault| counts.get(&fault.id).is_none_or(|(_, counts)| counts.applied == 0));
    if let Some(fault) = idle {
        say(&format!("inconclusive: fault `{}` was never applied", fault.id));
    }
    Ok(if idle.is_some() { Verdict::Inconclusive } else { Verdict::Held })
}

fn read(file: &Path) -> anyhow::Result<Plan> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}: not a plan that this lab understands", file.display()))
}
