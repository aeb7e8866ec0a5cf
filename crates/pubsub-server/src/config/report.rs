//! What loading finds: mistakes, warnings, and where each key was written.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{Origin, Problem, Problems};
use super::section::Later;

/// Gathers everything before anything is told.
#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    written: BTreeMap<String, Origin>,
    /// Keys whose value could not be read: they hold a default that nobody asked for.
    failed: BTreeSet<String>,
    /// The file could not be read: nothing can be said of how keys fit together.
    nothing_known: bool,
}

impl Report {
    pub(crate) fn error(&mut self, problem: Problem) {
        match (problem.key.as_str(), &problem.origin) {
            ("", Origin::File(_)) => self.nothing_known = true,
            (key, _) => {
                self.failed.insert(key.to_owned());
            }
        }
        self.errors.push(problem);
    }

    pub(crate) fn warning(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    /// A key that is Centrifugo's and not supported here yet.
    pub(crate) fn later(&mut self, key: String, origin: Origin, later: Later) {
        let (Later::Refuse(why) | Later::Warn(why)) = later;
        let what = format!("known to Centrifugo, not supported here yet: {why}");
        match later {
            Later::Refuse(_) => {
                let what = format!("{what}. Remove it, or switch it off");
                self.errors.push(Problem { key, origin, what });
            }
            Later::Warn(_) => self.warnings.push(Problem { key, origin, what }),
        }
    }

    /// A key was read; a layer of more weight may read it again.
    pub(crate) fn read(&mut self, key: &str, origin: Origin) {
        self.written.insert(key.to_owned(), origin);
    }

    /// Where a key was written last; one inside a list was written with that list.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        upwards(key).find_map(|path| self.written.get(path)).cloned().unwrap_or(Origin::Default)
    }

    /// Whether any layer wrote this key.
    pub(crate) fn is_written(&self, key: &str) -> bool {
        self.written.contains_key(key)
    }

    /// A mistake in how keys fit together; the first is the one to change. Nothing is said of keys that could not be
    /// read.
    pub(crate) fn conflict(&mut self, keys: &[&str], what: String) {
        if self.are_known(keys) {
            let origin = self.origin(keys[0]);
            self.errors.push(Problem { key: keys[0].to_owned(), origin, what });
        }
    }

    /// The same as a warning.
    pub(crate) fn doubt(&mut self, keys: &[&str], what: String) {
        if self.are_known(keys) {
            let origin = self.origin(keys[0]);
            self.warnings.push(Problem { key: keys[0].to_owned(), origin, what });
        }
    }

    fn are_known(&self, keys: &[&str]) -> bool {
        !self.nothing_known && !keys.iter().any(|key| upwards(key).any(|path| self.failed.contains(path)))
    }

    /// The warnings, or all that is wrong.
    pub(crate) fn finish(self) -> Result<Vec<Problem>, Problems> {
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Problems { errors: self.errors, warnings: self.warnings })
        }
    }
}

/// A path, that of what it stands in, and so on: `a.b[c].d`, `a.b[c]`, `a.b`, `a`.
pub(crate) fn upwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        // The name of a list's item may have dots of its own.
        let end = if path.ends_with(']') {
            path.rfind('[')
        } else {
            path.rfind(['.', ']']).map(|at| at + usize::from(path.as_bytes()[at] == b']'))
        };
        end.map(|end| &path[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_up_through_items_and_sections() {
        let up = |path| upwards(path).collect::<Vec<_>>();
        assert_eq!(up("a.b[c.d].e"), ["a.b[c.d].e", "a.b[c.d]", "a.b", "a"]);
        assert_eq!(up("a"), ["a"]);
    }

    #[test]
    fn nothing_is_concluded_from_a_key_that_could_not_be_read() {
        let mut report = Report::default();
        report.error(Problem { key: "a.b".to_owned(), origin: Origin::Default, what: String::new() });
        report.conflict(&["c", "a.b.d"], String::new());
        report.conflict(&["c", "a"], String::new());
        assert_eq!(report.finish().unwrap_err().errors.len(), 2);
    }
}
