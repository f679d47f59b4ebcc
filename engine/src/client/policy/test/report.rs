//! What the cases came to: for people, as data, and for CI systems.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use super::cases::Case;
use super::run::Seen;

/// A case that has been run.
pub(super) struct Ended {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) failures: Vec<String>,
    pub(super) took: Duration,
}

/// What the cases have met.
#[derive(Default)]
pub(super) struct Totals {
    policies: BTreeMap<String, bool>,
    reasons: BTreeSet<&'static str>,
}

impl Totals {
    pub(super) fn met(&mut self, case: &Case, seen: &[Seen]) {
        for policy in case.set.policies() {
            let met = seen.iter().any(|it| it.policy.as_deref() == Some(&*policy.name));
            *self.policies.entry(policy.name.to_string()).or_default() |= met;
        }
        self.reasons.extend(seen.iter().flat_map(|it| &it.reasons));
    }

    pub(super) fn untested(&self) -> BTreeSet<String> {
        self.policies.iter().filter(|(_, met)| !**met).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn percent(&self) -> u32 {
        let met = self.policies.values().filter(|it| **it).count();
        u32::try_from(met * 100 / self.policies.len().max(1)).unwrap_or(100)
    }
}

pub(super) fn text(ended: &[Ended], totals: Option<&Totals>) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    for it in ended {
        let word = if it.failures.is_empty() { "PASS" } else { "FAIL" };
        let _ = writeln!(text, "{word} {}: {} ({:.1} ms)", it.file, it.name, it.took.as_secs_f64() * 1_000.0);
        for failure in &it.failures {
            let _ = writeln!(text, "     {}", failure.replace('\n', "\n     "));
        }
    }
    if let Some(totals) = totals {
        let untested = totals.untested();
        let _ =
            writeln!(text, "\npolicies: {} of {} met", totals.policies.len() - untested.len(), totals.policies.len());
        if !untested.is_empty() {
            let _ = writeln!(text, "  not met: {}", untested.into_iter().collect::<Vec<_>>().join(", "));
        }
        let met: Vec<&str> = totals.reasons.iter().copied().collect();
        let _ = writeln!(text, "reasons met: {}", if met.is_empty() { "none".to_owned() } else { met.join(", ") });
    }
    text
}

pub(super) fn json(ended: &[Ended], totals: &Totals) -> String {
    let cases: Vec<_> = ended
        .iter()
        .map(|it| json!({"file": it.file, "name": it.name, "passed": it.failures.is_empty(), "failures": it.failures, "seconds": it.took.as_secs_f64()}))
        .collect();
    let told = json!({"cases": cases, "policies": totals.policies, "reasons": totals.reasons});
    serde_json::to_string_pretty(&told).unwrap_or_default() + "\n"
}

pub(super) fn junit(ended: &[Ended]) -> String {
    let failed = ended.iter().filter(|it| !it.failures.is_empty()).count();
    let seconds: f64 = ended.iter().map(|it| it.took.as_secs_f64()).sum();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"flyball policy test\" tests=\"{}\" failures=\"{failed}\" time=\"{seconds:.3}\">\n",
        ended.len()
    );
    for it in ended {
        let _ = write!(
            text,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.4}\"",
            escaped(&it.file),
            escaped(&it.name),
            it.took.as_secs_f64()
        );
        if it.failures.is_empty() {
            text.push_str("/>\n");
        } else {
            let told = escaped(&it.failures.join("\n"));
            let _ = write!(text, ">\n      <failure message=\"not as expected\">{told}</failure>\n    </testcase>\n");
        }
    }
    text + "  </testsuite>\n</testsuites>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
