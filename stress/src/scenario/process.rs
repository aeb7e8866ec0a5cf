//! What is done to the server's process: no stream can tell that such a fault struck, so whoever does it says so.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Subject;
use super::stage::restart;
use crate::fault::plan::{Fault, Kind, Plan};
use crate::fault::{FaultGuard, Faults};
use crate::fleet::Recorder;
use crate::ledger::Event;
use crate::server::{Server, ServerError};

/// The server, which has to be ours.
///
/// # Errors
/// When it is not a child of the lab's.
pub(super) fn child(subject: &Subject) -> anyhow::Result<&Server> {
    subject.server().ok_or_else(no_child)
}

/// The same, to wait for.
///
/// # Errors
/// When it is not a child of the lab's.
pub(super) fn child_mut(subject: &mut Subject) -> anyhow::Result<&mut Server> {
    subject.server.as_mut().ok_or_else(no_child)
}

fn no_child() -> anyhow::Error {
    anyhow::anyhow!("the server is not a child of the lab's: nothing is done to its process")
}

/// Does it, and counts that it was due and done. The fault holds until the guard is dropped, which undoes nothing.
///
/// # Errors
/// When it cannot be done: the process is gone.
pub(super) fn strike(
    faults: &Faults,
    fault: Fault,
    deed: impl FnOnce() -> Result<(), ServerError>,
) -> anyhow::Result<FaultGuard> {
    let id = fault.id.clone();
    let guard = faults.inject(fault);
    let counters = faults.counters(&id).ok_or_else(|| anyhow::anyhow!("fault `{id}` is not counted"))?;
    counters.attempt();
    deed()?;
    counters.apply();
    Ok(guard)
}

/// Waits until the server has ended, and starts it again, without its memory.
///
/// # Errors
/// When it does not start.
pub(super) async fn again(subject: &mut Subject, recorder: &Recorder) -> anyhow::Result<()> {
    child_mut(subject)?.wait().await?;
    recorder.record(Event::Amnesia);
    restart(subject).await?;
    recorder.healed();
    Ok(())
}

/// Does to the process what a plan wants, each fault at its time; one that comes while another still holds waits for its end, and
/// then lasts as long as it would have. Returns whether it was started again meanwhile.
///
/// # Errors
/// When the server is none of ours, or does not start again, or is to stand still for no time or for ever.
pub(super) async fn run(
    plan: &Plan,
    faults: &Faults,
    subject: &mut Subject,
    recorder: &Recorder,
) -> anyhow::Result<bool> {
    let mut due: Vec<&Fault> = plan.faults.iter().filter(|fault| fault.kind.is_of_node()).collect();
    due.sort_by_key(|fault| fault.from);
    let began = Instant::now().checked_sub(faults.elapsed()).unwrap_or_else(Instant::now);
    let until = |at: Duration| sleep((began + at).saturating_duration_since(Instant::now()));
    let mut started_again = false;
    for fault in due {
        let lasts = fault.until.unwrap_or(fault.from).saturating_sub(fault.from);
        anyhow::ensure!(
            fault.kind != Kind::Pause || !lasts.is_zero(),
            "fault `{}`: a process that is to stand still needs an `until` after its `from`",
            fault.id
        );
        until(fault.from).await;
        let server = child(subject)?;
        let _held = strike(faults, fault.clone(), || match fault.kind {
            Kind::Pause => server.pause(),
            Kind::Restart => server.terminate(),
            _ => server.kill(),
        })?;
        sleep(lasts).await;
        if fault.kind == Kind::Pause {
            child(subject)?.resume()?;
        } else {
            again(subject, recorder).await?;
            started_again = true;
        }
    }
    Ok(started_again)
}
