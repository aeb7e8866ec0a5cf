//! The commit that this was built from.

use std::process::Command;

/// What `make` said when it had this compiled: true whatever was committed since. If it was built by hand, the commit of the
/// source now, while it is still where it was and git tells.
#[must_use]
pub fn commit() -> String {
    if let Some(built) = option_env!("PUBSUB_COMMIT").filter(|built| !built.is_empty()) {
        return built.to_owned();
    }
    // Looking must not lock: somebody may be committing at this moment.
    let git = Command::new("git")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=10"])
        .output();
    let told = git.ok().filter(|output| output.status.success());
    told.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
