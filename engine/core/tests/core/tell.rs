//! Verdicts as text.

use flyball_core::deny::DenyReason;
use flyball_core::guardrail::Verdict;

/// `pass`, or `defer`/`deny` with every reason as it is stored.
pub(crate) fn told<T>(verdict: Verdict<T>) -> String {
    let (word, objections) = match verdict {
        Verdict::Pass(_) => return "pass".to_owned(),
        Verdict::Defer(objections) => ("defer", objections),
        Verdict::Deny(objections) => ("deny", objections),
    };
    format!("{word} {}", reasons(&objections.reasons))
}

/// `Word field=value …`, ids and nothing left out.
pub(crate) fn reasons(list: &[DenyReason]) -> String {
    let one = |reason: &DenyReason| {
        let serde_json::Value::Object(fields) = serde_json::to_value(reason).unwrap() else { unreachable!() };
        let fields = fields.iter().filter(|(name, value)| {
            !["reason", "last", "intent", "pause"].contains(&name.as_str()) && !value.is_null()
        });
        let fields = fields.map(|(name, value)| format!(" {name}={}", value.to_string().replace("2026-01-10T", "")));
        format!("{}{}", reason.label(), fields.collect::<String>()).replace('"', "")
    };
    list.iter().map(one).collect::<Vec<_>>().join("; ")
}
