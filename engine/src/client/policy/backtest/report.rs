//! A backtest, told: for people, as data, and for a pull request.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::tally::{Act, Counts, Tally};

/// Differences that are told one by one.
const SHOWN: usize = 20;

fn list(of: &BTreeMap<&'static str, u64>) -> String {
    if of.is_empty() {
        return "none".to_owned();
    }
    of.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
}

fn headline(tally: &Tally, count: u64, refused: u64) -> String {
    let targets: std::collections::BTreeSet<_> = tally.acts.iter().map(|it| &it.3).collect();
    let shadow: u64 = tally.policies.values().map(|it| it.shadow).sum();
    format!(
        "{count} signals: would have acted {} times on {} workloads, denied {}, {shadow} in shadow, {} asked for nothing, {refused} unreadable",
        tally.ran(),
        targets.len(),
        tally.denied(),
        tally.silent.values().sum::<u64>()
    )
}

/// What only the one set does, and what only the other.
fn differences<'a>(tried: &'a Tally, other: &'a Tally) -> (Vec<&'a Act>, Vec<&'a Act>) {
    let missing = |a: &'a Tally, b: &'a Tally| {
        let mut left: BTreeMap<&Act, u64> = BTreeMap::new();
        b.acts.iter().for_each(|it| *left.entry(it).or_default() += 1);
        let mut found = Vec::new();
        for act in &a.acts {
            match left.get_mut(act).filter(|it| **it > 0) {
                Some(count) => *count -= 1,
                None => found.push(act),
            }
        }
        found
    };
    (missing(tried, other), missing(other, tried))
}

fn line((at, policy, kind, target): &Act) -> String {
    format!("{} {kind} {target} by {policy}", at.strftime("%Y-%m-%d %H:%M:%S"))
}

pub(super) fn text(told: &[Tally], count: u64, refused: u64) -> String {
    let Some(tried) = told.first() else { return String::new() };
    let mut text = headline(tried, count, refused) + "\n";
    // Writing into a String cannot fail.
    for (policy, it) in &tried.policies {
        let _ = writeln!(text, "\n{policy}   ran {}, waited {}, shadow {}", it.ran, it.waited, it.shadow);
        let _ = writeln!(text, "  denied    {}", list(&it.denied));
        let _ = writeln!(text, "  outcomes  {}", list(&it.outcomes));
        if it.unevaluated > 0 {
            let _ = writeln!(text, "  its condition could not be evaluated {} times", it.unevaluated);
        }
        for (target, count) in busiest(it) {
            let _ = writeln!(text, "  {count:>6} x {target}");
        }
    }
    if let Some(other) = told.get(1) {
        let (more, fewer) = differences(tried, other);
        let _ = writeln!(text, "\nAgainst the other set: {} actions more, {} fewer", more.len(), fewer.len());
        for (mark, acts) in [("+", more), ("-", fewer)] {
            for act in acts.iter().take(SHOWN) {
                let _ = writeln!(text, "  {mark} {}", line(act));
            }
            if acts.len() > SHOWN {
                let _ = writeln!(text, "  {mark} and {} more", acts.len() - SHOWN);
            }
        }
    }
    text
}

/// The five workloads that were acted on most.
fn busiest(it: &Counts) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = it.targets.iter().map(|(target, count)| (target.to_string(), *count)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(5);
    all
}

pub(super) fn json(told: &[Tally], count: u64, refused: u64) -> String {
    let set = |it: &Tally| -> Value {
        let policies: serde_json::Map<String, Value> = it
            .policies
            .iter()
            .map(|(name, it)| {
                let targets: BTreeMap<String, u64> = it.targets.iter().map(|(a, b)| (a.to_string(), *b)).collect();
                let told = json!({"ran": it.ran, "waited": it.waited, "shadow": it.shadow, "denied": it.denied,
                    "outcomes": it.outcomes, "unevaluated": it.unevaluated, "targets": targets});
                (name.to_string(), told)
            })
            .collect();
        json!({"ran": it.ran(), "denied": it.denied(), "silent": it.silent, "policies": policies})
    };
    let mut all = json!({"signals": count, "unreadable": refused, "tried": told.first().map(set)});
    if let (Some(tried), Some(other)) = (told.first(), told.get(1)) {
        let (more, fewer) = differences(tried, other);
        all["against"] = set(other);
        all["more"] = more.into_iter().map(line).collect();
        all["fewer"] = fewer.into_iter().map(line).collect();
    }
    serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
}

pub(super) fn markdown(told: &[Tally], count: u64, refused: u64) -> String {
    let Some(tried) = told.first() else { return String::new() };
    let mut text = format!("### Backtest\n\n{}.\n\n", headline(tried, count, refused));
    text.push_str("| policy | ran | waited | shadow | denied | outcomes |\n|---|---|---|---|---|---|\n");
    for (policy, it) in &tried.policies {
        let row =
            [it.ran.to_string(), it.waited.to_string(), it.shadow.to_string(), list(&it.denied), list(&it.outcomes)];
        // Writing into a String cannot fail.
        let _ = writeln!(text, "| `{policy}` | {} |", row.join(" | "));
    }
    if let Some(other) = told.get(1) {
        let (more, fewer) = differences(tried, other);
        let _ =
            writeln!(text, "\nAgainst the set in force: **{}** actions more, **{}** fewer.\n", more.len(), fewer.len());
        for (mark, acts) in [("+", more), ("-", fewer)] {
            for act in acts.iter().take(SHOWN) {
                let _ = writeln!(text, "- `{mark}` {}", line(act));
            }
            if acts.len() > SHOWN {
                let _ = writeln!(text, "- `{mark}` and {} more", acts.len() - SHOWN);
            }
        }
    }
    text
}
