//! `flyball policy match`: what would happen to one signal, and why.

use std::fmt::Write;
use std::sync::Arc;

use flyball_core::expr::TargetView;
use flyball_core::guardrail::{Verdict, screen};
use flyball_core::history::History;
use flyball_core::mapper::{clauses, propose};
use flyball_core::policy::{Mode, PolicySet};
use flyball_core::signal::Signal;
use flyball_core::workload::Workload;
use serde::Serialize;

use super::{Answer, Trouble, load, signal};
use crate::cli::policy::Match;
use crate::view::words;

/// What would happen.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Matched {
    /// The policy that acts, or why none does.
    outcome: String,
    policy: Option<String>,
    target: Option<String>,
    action: Option<String>,
    /// What the guardrails say to it on an empty ledger.
    reasons: Vec<String>,
    policies: Vec<Asked>,
}

/// One policy, asked.
#[derive(Serialize)]
struct Asked {
    name: String,
    mode: &'static str,
    matches: bool,
    clauses: Vec<Clause>,
}

#[derive(Serialize)]
struct Clause {
    asks: String,
    found: String,
    holds: bool,
}

pub(super) fn run(args: &Match) -> Result<Answer, Trouble> {
    let set = load(&args.policies)?;
    let signal = signal(&args.file, &args.namespace)?;
    let view = |target: &Workload| {
        let (workload, labels) = (target.clone(), Arc::default());
        args.replicas.map(|n| TargetView { workload, desired: n, updated: n, ready: n, available: n, labels })
    };
    let matched = ask(&set, &signal, view);
    let expected = args.expect.as_deref();
    let negative = expected.is_some() && matched.policy.as_deref() != expected;
    let aside = match expected.filter(|_| negative) {
        Some(name) => format!("{name} was expected to act\n"),
        None => String::new(),
    };
    Ok(Answer { aside, negative, ..Answer::of(&matched, args.output, told) })
}

fn ask(set: &PolicySet, signal: &Signal, view: impl Fn(&Workload) -> Option<TargetView> + Copy) -> Matched {
    let now = signal.observed_at;
    let proposal = propose(set, signal, view, &History::default(), now);
    let policies = set.policies().iter().map(|policy| {
        let all = clauses(policy, signal, view, now);
        let clauses: Vec<Clause> =
            all.into_iter().map(|it| Clause { asks: it.asks, found: it.found, holds: it.holds }).collect();
        let matches = clauses.iter().all(|it| it.holds);
        Asked { name: policy.name.to_string(), mode: policy.mode.as_str(), matches, clauses }
    });
    let policies = policies.collect();
    let request = match proposal.act {
        Ok(request) => request,
        Err(why) => {
            let outcome = why.label().to_owned();
            return Matched { outcome, policy: None, target: None, action: None, reasons: Vec::new(), policies };
        }
    };
    let (policy, target) = (request.policy.name.to_string(), request.target.to_string());
    let action = request.action.to_string();
    let (word, reasons) = match screen(request, &History::default(), &set.guardrails, now) {
        Verdict::Pass(_) => ("permitted", Vec::new()),
        Verdict::Defer(it) => ("deferred", it.reasons),
        Verdict::Deny(it) => ("denied", it.reasons),
    };
    Matched {
        outcome: word.to_owned(),
        policy: Some(policy),
        target: Some(target),
        action: Some(action),
        reasons: reasons.iter().map(|it| format!("{}: {}", it.label(), words::reason(it))).collect(),
        policies,
    }
}

fn told(it: &Matched) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = match (&it.policy, &it.target, &it.action) {
        (Some(policy), Some(target), Some(action)) => writeln!(text, "{} {policy}: {action} of {target}", it.outcome),
        _ => writeln!(text, "no action: {}", it.outcome),
    };
    for reason in &it.reasons {
        let _ = writeln!(text, "  {reason}");
    }
    for policy in &it.policies {
        let mode = if policy.mode == Mode::Enforce.as_str() { String::new() } else { format!(" ({})", policy.mode) };
        let word = if policy.matches { "matches" } else { "does not match" };
        let _ = writeln!(text, "\n{}{mode} {word}", policy.name);
        for clause in &policy.clauses {
            let mark = if clause.holds { "✔" } else { "✗" };
            let _ = writeln!(text, "  {mark} {}   found: {}", clause.asks, clause.found);
        }
    }
    text
}
