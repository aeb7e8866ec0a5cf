//! What a whole run came to, so that a stranger knows in twenty seconds.

use std::collections::{BTreeMap, BTreeSet};

use super::plot::RECOVERY;
use super::{Report, markdown, number};
use crate::oracle::Class;
use crate::verdict::Verdict;

/// The number that [`Stage`](crate::scenario) keeps of memory per connection.
const KIB_PER_CONNECTION: &str = "server_kib_per_connection";

/// The summary of all reports.
#[must_use]
pub fn text(reports: &[Report]) -> String {
    let parts = [verdicts(reports), headline(reports), losses(reports), scenarios(reports), doubts(reports)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// The one sentence.
fn verdicts(reports: &[Report]) -> String {
    let of = |verdict: Verdict| {
        let named: Vec<String> = reports.iter().filter(|r| r.verdict == verdict).map(|r| link(r) + &why(r)).collect();
        let names = if verdict == Verdict::Held || named.is_empty() {
            String::new()
        } else {
            format!(" ({})", named.join(", "))
        };
        format!("{} {verdict}{names}", named.len())
    };
    let all = reports.len();
    format!("**{all} scenarios: {}, {}, {}.**", of(Verdict::Held), of(Verdict::Broken), of(Verdict::Inconclusive))
}

/// Which thresholds did not hold. What was wrong with deliveries stands in the table below.
fn why(report: &Report) -> String {
    let missed = report.thresholds.iter().filter(|threshold| threshold.binding && !threshold.held);
    let told = missed.filter_map(|threshold| {
        let measured = number::with_unit(threshold.measured?, &threshold.unit);
        Some(format!("{}: {measured}, {}", threshold.name, markdown::limit(threshold)))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join("; ")) }
}

fn link(report: &Report) -> String {
    format!("[{0}](#{0})", report.name)
}

fn headline(reports: &[Report]) -> String {
    let sum = |of: &dyn Fn(&Report) -> u64| number::count(reports.iter().map(of).sum());
    let most = |of: &dyn Fn(&Report) -> u64| {
        reports.iter().max_by_key(|report| of(report)).map(|report| (of(report), link(report)))
    };
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
    if let Some((connections, name)) = most(&|report| report.plan.topology.connections) {
        let all = sum(&|report| report.plan.topology.connections);
        row("connections", format!("{} at once ({name}), {all} altogether", number::count(connections)));
    }
    if let Some((subscriptions, name)) = most(&subscriptions) {
        row("subscriptions", format!("{} at once ({name})", number::count(subscriptions)));
    }
    // A day in memory has more of everything than all sockets together: neither may pass for the other.
    let parts = |of: &dyn Fn(&Report) -> u64| {
        let virtual_ones = reports.iter().filter(|report| report.is_virtual()).map(of).sum::<u64>();
        match virtual_ones {
            0 => sum(of),
            _ => format!("{}, {} of them in virtual time", sum(of), number::count(virtual_ones)),
        }
    };
    row("deliveries judged one by one", parts(&Report::deliveries));
    row("of publications", parts(&|report| report.tally.invoked));
    let violations = sum(&|report| report.violations.values().map(|violation| violation.count).sum());
    row("lost, doubled, reordered, damaged or otherwise wrong", violations);
    let kinds: BTreeSet<&str> = reports
        .iter()
        .flat_map(|report| report.faults.values())
        .filter(|fault| fault.counts.applied > 0)
        .map(|fault| fault.fault.kind.name())
        .collect();
    row(
        "faults applied",
        format!(
            "{}; {} kinds",
            parts(&|report| report.faults.values().map(|fault| fault.counts.applied).sum()),
            kinds.len()
        ),
    );
    row("breaks of continuity, each told to its subscriber", parts(&|report| report.tally.breaks));
    let recovery = |report: &Report| report.latencies.get(RECOVERY).map(|latency| latency.service);
    let herd = reports.iter().filter(|report| recovery(report).is_some_and(|back| back.count > 0));
    if let Some((report, back)) =
        herd.filter_map(|report| Some((report, recovery(report)?))).max_by_key(|(_, back)| back.count)
    {
        let [p50, p99, max] = [back.p50, back.p99, back.max].map(number::millis);
        let count = number::count(back.count);
        row(
            "back after the largest cut",
            format!("{count} clients: p50 {p50}, p99 {p99}, last {max} ({})", link(report)),
        );
    }
    if let Some((kib, report)) = reports.iter().find_map(|r| Some((*r.numbers.get(KIB_PER_CONNECTION)?, r))) {
        let text = format!(
            "{} while idle, each subscribed to a channel of its own ({})",
            number::with_unit(kib, "KiB"),
            link(report)
        );
        row("server's memory per connection", text);
    }
    row("took", number::seconds(reports.iter().map(|report| report.seconds).sum()));
    markdown::table(&["in short", ""], rows.into_iter().map(Vec::from))
}

fn subscriptions(report: &Report) -> u64 {
    report.plan.topology.subscriptions()
}

/// Each class of violation, also those of which there were none: what was looked for is what "none" is worth.
fn losses(reports: &[Report]) -> String {
    let mut evaluated: BTreeMap<&str, u64> = BTreeMap::new();
    for (law, count) in reports.iter().flat_map(|report| &report.evaluated) {
        *evaluated.entry(law).or_default() += count;
    }
    let rows = Class::ALL.into_iter().filter(|class| *class != Class::HarnessFault).map(|class| {
        let (name, law) = (format!("{class:?}"), format!("{:?}", class.law()));
        let found: u64 = reports.iter().filter_map(|report| report.violations.get(&name)).map(|v| v.count).sum();
        let checks = evaluated.get(law.as_str()).copied().unwrap_or(0);
        let found = match (found, checks) {
            // Nothing was found where nothing was looked for: that is no zero.
            (0, 0) => "not looked for".to_owned(),
            (0, _) => "0".to_owned(),
            _ => format!("**{}**", number::count(found)),
        };
        let checks = number::count(checks);
        vec![words(&name), found, checks, format!("{law}: {}", class.law().statement())]
    });
    let table = markdown::table(&["class", "found", "law looked at", "law"], rows);
    let lab = evaluated.get("I11").copied().unwrap_or(0);
    format!(
        "### Violations by class\n\n{table}\n\nI11, {}, is about the lab and not about the server: broken, it makes a scenario inconclusive. It was looked at {} times.",
        Class::HarnessFault.law().statement(),
        number::count(lab)
    )
}

/// `FalseRecovery` is "false recovery".
fn words(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

fn scenarios(reports: &[Report]) -> String {
    let rows = reports.iter().map(|report| {
        let nearest = markdown::tightest(report).map_or_else(String::new, |(threshold, _)| {
            let measured = threshold.measured.map_or_else(String::new, |m| number::with_unit(m, &threshold.unit));
            format!("{}: {measured} ({})", threshold.name, markdown::limit(threshold))
        });
        let missed = report.thresholds.iter().filter(|threshold| !threshold.binding && !threshold.held).count();
        let goals = match missed {
            0 => String::new(),
            1 => ", 1 goal missed".to_owned(),
            _ => format!(", {missed} goals missed"),
        };
        vec![
            link(report),
            format!("{}{goals}", markdown::verdict(report.verdict)),
            number::count(report.plan.topology.connections),
            number::count(report.deliveries()),
            nearest,
            number::seconds(report.seconds),
        ]
    });
    let head = ["scenario", "verdict", "connections", "deliveries", "nearest to its limit", "took"];
    format!("### Scenarios\n\n{}", markdown::table(&head, rows))
}

/// What the whole page is to be doubted for.
fn doubts(reports: &[Report]) -> String {
    let mut lines = Vec::new();
    let mut distinct = |what: &str, of: &dyn Fn(&Report) -> String| {
        if reports.iter().map(of).collect::<BTreeSet<_>>().len() > 1 {
            lines.push(format!("- these reports are of different {what}: they are not one run"));
        }
    };
    distinct("commits", &|report| report.commit.clone());
    distinct("machines", &|report| report.machine.to_string());
    distinct("scales", &|report| report.options.get("scale").cloned().unwrap_or_default());
    let scale = |report: &Report| report.options.get("scale").and_then(|scale| scale.parse::<f64>().ok());
    if reports.iter().any(|report| scale(report).is_some_and(|scale| scale < 1.0)) {
        lines.push("- a scale below 1 was asked for: names and claims speak of the full size".to_owned());
    }
    if reports.iter().any(|report| report.commit.ends_with("-dirty")) {
        lines.push("- the working tree had changes that the commit does not name".to_owned());
    }
    for report in reports {
        lines.extend(report.doubts.iter().map(|doubt| format!("- {}: {doubt}", link(report))));
    }
    if lines.is_empty() { String::new() } else { format!("### Doubts\n\n{}", lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{VIRTUAL, Violation};
    use crate::threshold::Threshold;

    fn report(name: &str, verdict: Verdict) -> Report {
        let mut report = Report { name: name.to_owned(), verdict, ..Report::empty() };
        report.tally.pushed = 1_000_000;
        report.plan.topology.connections = 10_000;
        report.evaluated.insert("I4".to_owned(), 999);
        report
    }

    #[test]
    fn verdicts_are_counted_and_those_that_did_not_hold_are_named() {
        let mut day = report("c", Verdict::Inconclusive);
        day.options.insert("server".to_owned(), VIRTUAL.to_owned());
        let text = text(&[report("a", Verdict::Held), report("b", Verdict::Broken), day]);
        assert!(text.starts_with("**3 scenarios: 1 held, 1 broken ([b](#b)), 1 inconclusive ([c](#c)).**"), "{text}");
        assert!(text.contains("| 3,000,000, 1,000,000 of them in virtual time |"), "{text}");
        assert!(text.contains("| of publications | 0 |"), "{text}");
        assert!(text.contains("| connections | 10,000 at once ([c](#c)), 30,000 altogether |"), "{text}");
    }

    #[test]
    fn why_it_did_not_hold_is_in_the_first_sentence() {
        let mut slow = report("b", Verdict::Broken);
        slow.thresholds.push(Threshold::at_most("all back", 5.0, "s", "plan").measured(7.5));
        slow.thresholds.push(Threshold::at_most("p99", 1.0, "s", "plan").goal().measured(2.0));
        let text = text(&[slow]);
        assert!(text.contains("1 broken ([b](#b): all back: 7.50 s, ≤ 5 s), 0"), "{text}");
        assert!(text.contains(", 1 goal missed |"), "{text}");
    }

    #[test]
    fn a_class_that_was_found_stands_out_and_a_law_that_was_never_looked_at_says_so() {
        let mut broken = report("b", Verdict::Broken);
        broken.violations.insert("Loss".to_owned(), Violation { count: 7, ..Violation::default() });
        let text = text(&[report("a", Verdict::Held), broken]);
        assert!(text.contains("| loss | **7** | 1,998 | I4"), "{text}");
        assert!(text.contains("| duplicate | 0 | 1,998 | I4"), "{text}");
        assert!(text.contains("| presence drift | not looked for | 0 | I18"), "{text}");
        assert!(text.contains("lost, doubled, reordered, damaged or otherwise wrong | 7 |"), "{text}");
    }

    #[test]
    fn reports_that_are_not_of_one_run_are_doubted() {
        let other = Report { commit: "other-dirty".to_owned(), ..report("b", Verdict::Held) };
        let text = text(&[report("a", Verdict::Held), other]);
        assert!(text.contains("different commits") && text.contains("working tree had changes"), "{text}");
        assert!(!text.contains("different machines"), "{text}");
    }
}
