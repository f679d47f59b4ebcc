//! A case, run, and what it came to held against what was expected.

use std::fmt;

use flyball_core::action::ActionRequest;
use flyball_core::deny::{DenyReason, NoAction};
use flyball_core::expr::Unevaluated;
use flyball_core::intent::{Intent, Stage};
use flyball_core::signal::Signal;
use flyball_sim::{Decided, Rehearsal, Witness};
use jiff::{SignedDuration, Timestamp};

use super::cases::{Case, Expectation, start};
use crate::view::time::short;

/// After the last signal so long is rehearsed: longer than any verification.
const AFTER: SignedDuration = SignedDuration::from_hours(2);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: SignedDuration,
    /// The result's word, or the outcome's.
    pub(super) word: &'static str,
    /// It is the end of an action.
    pub(super) ends: bool,
    pub(super) policy: Option<String>,
    pub(super) action: Option<String>,
    pub(super) target: String,
    pub(super) reasons: Vec<&'static str>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{} {}", short(self.at), self.word)?;
        for part in [&self.action, &self.policy].into_iter().flatten() {
            write!(f, " {part}")?;
        }
        write!(f, " {}", self.target)?;
        if !self.reasons.is_empty() {
            write!(f, " ({})", self.reasons.join(", "))?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Log(Vec<Seen>);

impl Log {
    fn add(&mut self, at: Timestamp, word: &'static str, request: &ActionRequest, reasons: &[DenyReason]) {
        self.0.push(Seen {
            at: at.duration_since(start()),
            word,
            ends: false,
            policy: Some(request.policy.name.to_string()),
            action: Some(request.action.kind().as_str().to_owned()),
            target: request.target.to_string(),
            reasons: reasons.iter().map(DenyReason::label).collect(),
        });
    }

    fn told(&mut self, at: Timestamp, what: &Decided<'_>, signal: Option<&Signal>) {
        match what {
            Decided::Nothing(why) => self.silence(at, *why, signal),
            Decided::Denied(it) => self.add(at, "denied", &it.request, &it.reasons),
            Decided::Deferred(it) => self.add(at, "deferred", &it.request, &it.reasons),
            Decided::Joined(request) => self.add(at, "joined", request, &[]),
            Decided::Admitted(_, request) => self.add(at, "permitted", request, &[]),
        }
    }

    fn silence(&mut self, at: Timestamp, why: NoAction, signal: Option<&Signal>) {
        self.0.push(Seen {
            at: at.duration_since(start()),
            word: "none",
            ends: false,
            policy: None,
            action: None,
            target: signal.map(|it| it.subject.to_string()).unwrap_or_default(),
            reasons: vec![why.label()],
        });
    }
}

impl Witness for Log {
    fn decided(&mut self, at: Timestamp, signal: &Signal, what: Decided<'_>) {
        self.told(at, &what, Some(signal));
    }

    fn shadow(&mut self, at: Timestamp, _: &Signal, request: &ActionRequest, reasons: &[DenyReason]) {
        self.add(at, "shadow", request, reasons);
    }

    fn unevaluated(&mut self, _: Timestamp, _: &Signal, _: &str, _: &Unevaluated) {}

    fn released(&mut self, at: Timestamp, _: &ActionRequest, what: Decided<'_>) {
        self.told(at, &what, None);
    }

    fn closed(&mut self, at: Timestamp, intent: &Intent) {
        let Stage::Closed { outcome, .. } = intent.stage() else { return };
        let request = intent.request();
        self.0.push(Seen {
            at: at.duration_since(start()),
            word: outcome.label(),
            ends: true,
            policy: Some(request.policy.name.to_string()),
            action: Some(request.action.kind().as_str().to_owned()),
            target: request.target.to_string(),
            reasons: Vec::new(),
        });
    }
}

/// Runs a case.
pub(super) fn run(case: &Case) -> Vec<Seen> {
    let mut log = Log::default();
    let mut rehearsal = Rehearsal::new(case.set.clone(), start(), true);
    for object in &case.objects {
        rehearsal.cluster().put(object);
    }
    let mut last = start();
    for (at, signal) in &case.signals {
        rehearsal.signal(*at, signal, &mut log);
        last = *at;
    }
    rehearsal.until(last.saturating_add(AFTER).unwrap_or(Timestamp::MAX), &mut log);
    log.0
}

/// What is not as expected, in lines for people. What acts and was not expected counts, too.
pub(super) fn compare(case: &Case, seen: &[Seen]) -> Vec<String> {
    let mut left: Vec<&Seen> = seen.iter().collect();
    let mut failures = Vec::new();
    for expected in &case.expect {
        match left.iter().position(|it| meets(expected, it)) {
            Some(at) => drop(left.remove(at)),
            None => failures.push(missing(expected, seen)),
        }
    }
    let acts = left.iter().filter(|it| it.word == "permitted" && it.action.as_deref() != Some("undo"));
    failures.extend(acts.map(|it| format!("not expected: {it}")));
    failures
}

fn meets(expected: &Expectation, seen: &Seen) -> bool {
    let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
    let word = match (&expected.outcome, &expected.result) {
        (Some(outcome), _) => seen.ends && seen.word == outcome,
        (None, Some(result)) => !seen.ends && seen.word == result,
        (None, None) => !seen.ends,
    };
    // An end is told to the second, a decision exactly.
    let at = if seen.ends { seen.at.as_secs() == expected.at.as_secs() } else { seen.at == expected.at };
    let target = expected.target.as_deref().is_none_or(|it| same_target(it, &seen.target));
    let reason = expected.reason.as_deref().is_none_or(|it| seen.reasons.contains(&it));
    (at || expected.outcome.is_some() && seen.at <= expected.at)
        && word
        && target
        && reason
        && same(&expected.policy, &seen.policy)
        && same(&expected.action, &seen.action)
}

/// `shop/cart` is `shop/Deployment/cart`.
fn same_target(wanted: &str, found: &str) -> bool {
    wanted.parse::<flyball_core::workload::Workload>().is_ok_and(|it| it.to_string() == found)
}

fn missing(expected: &Expectation, seen: &[Seen]) -> String {
    let words = [
        expected.outcome.as_deref().or(expected.result.as_deref()),
        expected.action.as_deref(),
        expected.policy.as_deref(),
        expected.target.as_deref(),
        expected.reason.as_deref(),
    ];
    let wanted = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let near: Vec<String> = seen
        .iter()
        .filter(|it| it.at == expected.at || expected.outcome.is_some() && it.ends)
        .map(ToString::to_string)
        .collect();
    let actual = if near.is_empty() { "nothing".to_owned() } else { near.join("\n             ") };
    format!("at +{}\n  expected   {wanted}\n  actual     {actual}", short(expected.at))
}
