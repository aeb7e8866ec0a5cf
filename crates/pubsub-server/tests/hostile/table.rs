//! The table of `docs/security.md`: each crowd has a row, and `make hostile` brings its figures up to date.

use crate::siege::Siege;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md");

/// Set, if the figures are to be kept.
const KEEP: &str = "PUBSUB_HOSTILE_KEEP";

/// Prints a crowd's row; puts it into the page that is to keep it. Fails if the page says something else of this crowd than
/// what is tested here.
pub(crate) fn tell(siege: &Siege, figures: &str) {
    let claim = claim(siege);
    let row = format!("{claim} {figures} |");
    eprintln!("{row}");
    let text = std::fs::read_to_string(PAGE).unwrap();
    let old = text.lines().find(|line| line.starts_with(&claim));
    let old = old.unwrap_or_else(|| panic!("docs/security.md has no row that begins with\n{claim}"));
    if std::env::var_os(KEEP).is_some() {
        std::fs::write(PAGE, text.replace(old, &row)).unwrap();
    }
}

/// What the table says of a crowd, apart from figures.
fn claim(siege: &Siege) -> String {
    let mut counted: Vec<String> = siege.counted.iter().map(|metric| in_words(metric)).collect();
    counted.dedup();
    format!("| {} | {} | {} |", siege.name, siege.answer, counted.join(", "))
}

fn in_words(metric: &str) -> String {
    let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
    let words = name.trim_start_matches("pubsub_").trim_end_matches("_total").replace('_', " ");
    match labels.split_once("reason=\"") {
        Some((_, reason)) => format!("{words}: `{}`", reason.trim_end_matches("\"}")),
        None => words,
    }
}
