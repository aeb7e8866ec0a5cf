//! Which kinds of fault have struck at which moments of the conversation: the empty cells are work left, those with a stroke have no
//! meaning.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, markdown, number};
use crate::fault::sense::{self, makes_sense};
use crate::fault::{Aim, Kind};

/// What an empty cell says.
const EMPTY: &str = "·";
/// What a cell says that means nothing.
const SENSELESS: &str = "–";

/// How often each kind was applied at each family of aims.
pub type Cells = BTreeMap<(&'static str, &'static str), u64>;

/// Those of reports. A fault that was never applied has reached nothing.
#[must_use]
pub fn reached(reports: &[Report]) -> Cells {
    let mut cells = BTreeMap::new();
    for fault in reports.iter().flat_map(|report| report.faults.values()).filter(|fault| fault.counts.applied > 0) {
        *cells.entry((fault.fault.kind.name(), fault.fault.aim.family())).or_insert(0) += fault.counts.applied;
    }
    cells
}

/// For a terminal.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    table_of(&reached(reports))
}

/// The same of cells.
#[must_use]
pub fn table_of(cells: &Cells) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(head());
    for row in rows(cells) {
        table.add_row(row);
    }
    table.to_string()
}

/// For a document.
#[must_use]
pub fn document(reports: &[Report]) -> String {
    let cells = reached(reports);
    let (reached, all) = (cells.keys().filter(|(kind, family)| makes_sense(kind, family)).count(), sense::cells());
    let table = markdown::table(&head(), rows(&cells));
    let (in_memory, on_sockets): (Vec<&Report>, Vec<&Report>) = reports.iter().partition(|report| report.is_virtual());
    let kinds = |reports: &[&Report]| -> BTreeSet<&str> {
        let faults = reports.iter().flat_map(|report| report.faults.values());
        faults.filter(|fault| fault.counts.applied > 0).map(|fault| fault.fault.kind.name()).collect()
    };
    let (there, here) = (kinds(&in_memory), kinds(&on_sockets));
    let only: Vec<&str> = there.difference(&here).copied().collect();
    let only = match only.len() {
        0 => String::new(),
        _ => format!(" In virtual time only, as faults of a plan: {}.", only.join(", ")),
    };
    format!(
        "How often each kind of fault was applied, by the moment it waited for. {reached} of {all} cells; an empty one ({EMPTY}) was \
         not reached by this run, and one with a stroke ({SENSELESS}) has no such moment. `at` means no moment of the conversation: from when the fault began. The scenarios in virtual time are counted along.{only} \
         What else was done to the server's process (limits, a starved processor) is no cell: it has scenarios of its own. Mutants (a hop \
         that loses, doubles or swaps frames) are what the oracle is tested with, and in no scenario.\n\n{table}"
    )
}

fn head() -> Vec<&'static str> {
    std::iter::once("kind").chain(Aim::FAMILIES).collect()
}

fn rows(cells: &Cells) -> Vec<Vec<String>> {
    let cell = |kind, family| match cells.get(&(kind, family)) {
        Some(&applied) => number::count(applied),
        None if makes_sense(kind, family) => EMPTY.to_owned(),
        None => SENSELESS.to_owned(),
    };
    let row = |kind: &'static str| {
        std::iter::once(kind.to_owned()).chain(Aim::FAMILIES.into_iter().map(|family| cell(kind, family))).collect()
    };
    Kind::NAMES.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, FaultCounts};
    use crate::report::FaultReport;

    #[test]
    fn a_cell_counts_what_was_applied_and_a_fault_that_never_bit_leaves_it_empty() {
        let mut report = Report::empty();
        let mut fault = |id: &str, kind: Kind, aim: Aim, applied: u64| {
            let counts = FaultCounts { attempted: applied + 1, applied, seen: 0 };
            report.faults.insert(id.to_owned(), FaultReport { fault: Fault::new(id, kind).aimed(aim), counts });
        };
        fault("a", Kind::Reset, Aim::MidPayload, 1_000);
        fault("b", Kind::Reset, Aim::MidPayload, 500);
        fault("c", Kind::Fin, Aim::Ping, 0);
        let reports = [report];
        assert_eq!(reached(&reports), BTreeMap::from([(("reset", "mid_payload"), 1_500)]));
        let text = document(&reports);
        let cells = format!("1 of {} cells", sense::cells());
        assert!(text.contains("| 1,500 |") && text.contains(&cells), "{text}");
        let table = table(&reports);
        let row = |kind: &str| table.lines().find(|line| line.contains(kind)).unwrap().to_owned();
        assert!(!row("fin").contains('1') && row("fin").contains(EMPTY), "{table}");
        for (kind, meant) in
            [("kill", 1), ("restart", 1), ("pause", 1), ("refuse", 1), ("corrupt", 10), ("latency", 14), ("reset", 13)]
        {
            assert_eq!(row(kind).matches(SENSELESS).count(), Aim::FAMILIES.len() - meant, "{kind}: {table}");
        }
    }
}
