//! What we depend on keeps to `deny.toml`: licences, sources, banned crates, no open versions.
//!
//! `cargo deny` is the tool for that and takes minutes to build, longer than all else in CI; `make deny` runs it where it is
//! installed. This test reads the same policy from the same file and always runs. It believes what a crate says of its
//! licence, where `cargo deny` also reads licence files.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What `deny.toml` says.
struct Policy {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
    registries: BTreeSet<String>,
}

impl Policy {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
        let policy: toml::Table = text.parse().unwrap();
        let list = |section: &str, key: &str| policy[section][key].as_array().unwrap().clone();
        let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
        Self {
            licences: list("licenses", "allow").iter().map(text).collect(),
            banned: list("bans", "deny").iter().map(|ban| text(&ban["crate"])).collect(),
            registries: list("sources", "allow-registry").iter().map(|url| format!("registry+{}", text(url))).collect(),
        }
    }

    fn takes_licence(&self, licence: &str) -> bool {
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
        expression.is_ok_and(|expression| expression.evaluate(|one| self.licences.contains(&one.to_string())))
    }

    /// What is wrong with a crate of this name and licence.
    fn faults(&self, name: &str, licence: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if self.banned.contains(name) {
            faults.push(format!("{name} is banned"));
        }
        if !self.takes_licence(licence) {
            faults.push(format!("{name} has the licence {licence:?}"));
        }
        faults
    }

    /// What a lock file takes from elsewhere.
    fn foreign(&self, lock: &str) -> Vec<String> {
        let lock: toml::Table = lock.parse().unwrap();
        let packages = lock["package"].as_array().unwrap();
        let sources = packages.iter().filter_map(|package| Some((&package["name"], package.get("source")?.as_str()?)));
        let foreign = sources.filter(|(_, source)| !self.registries.contains(*source));
        foreign.map(|(name, source)| format!("{name} comes from {source}")).collect()
    }
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Name and licence of all that a build on this machine may need, with every feature. `cargo metadata` would also list
/// what no feature asks for.
fn needed() -> BTreeSet<(String, String)> {
    let arguments = ["tree", "--locked", "--workspace", "--all-features", "--edges", "normal,build,dev"];
    let tree = cargo(&[&arguments[..], &["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"]].concat());
    let line = |line: &str| {
        let (package, licence) = line.rsplit_once('|')?;
        // Ours stand there with their path.
        (!package.contains(" (")).then(|| (package.split(' ').next().unwrap().to_owned(), licence.to_owned()))
    };
    // Macros stand there with their kind.
    tree.replace(" (proc-macro)", "").lines().filter_map(line).collect()
}

#[test]
fn what_we_depend_on_keeps_to_the_policy() {
    let policy = Policy::read();
    let needed = needed();
    assert!(needed.len() > 100, "{} crates can not be all", needed.len());
    let mut faults: Vec<_> = needed.iter().flat_map(|(name, licence)| policy.faults(name, licence)).collect();
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        faults.extend(policy.foreign(&std::fs::read_to_string(root().join(lock)).unwrap()));
    }
    faults.extend(open_versions(&cargo(&["metadata", "--format-version", "1", "--no-deps"])));
    assert!(faults.is_empty(), "against deny.toml:\n{}", faults.join("\n"));
}

/// Dependencies of ours of which any version will do.
fn open_versions(metadata: &str) -> Vec<String> {
    let metadata: Value = serde_json::from_str(metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let dependencies = packages.flat_map(|package| package["dependencies"].as_array().unwrap());
    let open = dependencies.filter(|dependency| dependency["req"] == "*" && dependency["path"].is_null());
    open.map(|dependency| format!("any version of {} will do", dependency["name"])).collect()
}

#[test]
fn the_policy_refuses_what_it_is_there_to_refuse() {
    let policy = Policy::read();
    let faults = |licence: &str| policy.faults("good", licence).len();
    for licence in ["MIT OR Apache-2.0", "MIT/Apache-2.0", "GPL-3.0-only OR MIT", "(MIT OR ISC) AND Unicode-3.0"] {
        assert_eq!(faults(licence), 0, "{licence}");
    }
    for licence in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0 WITH no-such", "", "mine"]
    {
        assert_eq!(faults(licence), 1, "{licence}");
    }
    assert_eq!(policy.faults("openssl", "MIT").len(), 1);
    let lock =
        |source: &str| format!("[[package]]\nname = \"ours\"\n[[package]]\nname = \"it\"\nsource = \"{source}\"");
    assert_eq!(policy.foreign(&lock(policy.registries.first().unwrap())).len(), 0);
    assert_eq!(policy.foreign(&lock("git+https://example.com/it#1")).len(), 1);
    let ours = |version: &str| {
        let dependency = serde_json::json!({"name": "any", "req": version, "path": null});
        serde_json::json!({"packages": [{"dependencies": [dependency]}]}).to_string()
    };
    assert_eq!((open_versions(&ours("*")).len(), open_versions(&ours("^1")).len()), (1, 0));
}
