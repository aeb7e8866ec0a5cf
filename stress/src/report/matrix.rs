//! Which kinds of fault have struck at which moments of the conversation: the empty cells are work left.

use std::collections::BTreeMap;

use super::Report;
use crate::fault::{Aim, Kind};

/// How often each kind was applied at each family of aims.
pub type Cells = BTreeMap<(&'static str, &'static str), u64>;

/// Those of reports.
#[must_use]
pub fn reached(reports: &[Report]) -> Cells {
    let mut cells = BTreeMap::new();
    for fault in reports.iter().flat_map(|report| report.faults.values()) {
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
    for (at, row) in rows(cells).into_iter().enumerate() {
        if at == 0 {
            table.set_header(row);
        } else {
            table.add_row(row);
        }
    }
    table.to_string()
}

/// For a document.
#[must_use]
pub fn markdown(reports: &[Report]) -> String {
    let rows = rows(&reached(reports));
    let mut lines: Vec<String> = rows.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    lines.insert(1, format!("|{}", "---|".repeat(rows[0].len())));
    lines.join("\n")
}

fn rows(cells: &Cells) -> Vec<Vec<String>> {
    let mut rows = vec![std::iter::once("applied").chain(Aim::FAMILIES).map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(Kind::NAMES.map(|kind| {
        let cell = |family: &'static str| cells.get(&(kind, family)).map_or(String::new(), u64::to_string);
        std::iter::once(kind.to_owned()).chain(Aim::FAMILIES.into_iter().map(cell)).collect()
    }));
    rows
}
