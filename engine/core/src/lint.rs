//! What is lawful in a set of policies and yet hardly meant: policies that can never act, that undo or feed each other, that leave the
//! guardrails out. Nothing here is refused at load.

mod cycle;
mod overlap;
mod reach;
pub mod rights;

use std::fmt;

use crate::action::OnFailure;
use crate::limits::PolicyLimits;
use crate::policy::{Mode, Policy, PolicySet};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably not meant.
    Warning,
    /// It cannot work.
    Error,
}

impl Severity {
    /// The word, as SARIF has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The rules, each with what it looks for.
pub const RULES: [(&str, &str); 9] = [
    ("unreachable", "an enforcing policy of higher priority matches everything that this one matches"),
    ("shadowed", "policies that may match the same signal: the one of higher priority acts"),
    ("opposite", "two policies that undo each other on the same workloads"),
    ("cycle", "policies whose actions raise the signals that they act on"),
    ("never", "a condition that can never be true"),
    ("no-guardrail", "nothing of its own limits the policy, or judges what it did"),
    ("looser", "a limit that a harder one makes pointless"),
    ("rights", "the API server does not grant what the policy needs; asked only with `--role` or `--kubeconfig`"),
    ("unindexed", "no word of the policy can be looked up: it is asked about every signal"),
];

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which of [`RULES`].
    pub rule: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The policy.
    pub policy: String,
    /// Where it was read: `file:line`.
    pub source: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Finding {
    fn new(rule: &'static str, severity: Severity, of: &Policy, message: String, hint: &str) -> Self {
        let (policy, source) = (of.name.to_string(), of.source.clone());
        Self { rule, severity, policy, source, message, hint: hint.to_owned() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, severity, policy, source, message, hint } = self;
        write!(f, "{}[{rule}]: {policy}: {message}\n --> {source}\n  = hint: {hint}", severity.as_str())
    }
}

/// Everything that is found, in the order of the policies.
pub fn lint(set: &PolicySet) -> Vec<Finding> {
    let policies: Vec<&Policy> = set.policies().iter().filter(|it| it.mode != Mode::Disabled).collect();
    let mut found = overlap::hidden(&policies);
    found.extend(overlap::opposites(&policies));
    found.extend(cycle::cycles(&policies));
    found.extend(policies.iter().filter_map(|it| reach::never(it)));
    found.extend(policies.iter().flat_map(|it| guardrails(it, set)));
    found.extend(set.scanned().filter(|it| it.mode != Mode::Disabled).map(unindexed));
    let place = |it: &Finding| policies.iter().position(|policy| *policy.name == *it.policy);
    found.sort_by_key(|it| (place(it), std::cmp::Reverse(it.severity), it.rule));
    found
}

fn guardrails(policy: &Policy, set: &PolicySet) -> Vec<Finding> {
    let mut found = Vec::new();
    let (limits, hard) = (&policy.limits, &set.guardrails.limits);
    let plain = PolicyLimits { min_confidence: limits.min_confidence, ..set.guardrails.defaults };
    if policy.mode == Mode::Enforce && *limits == plain && policy.custom.is_empty() {
        let message = "it acts on the cluster's default limits alone".to_owned();
        let hint = "say what is enough for it, such as `guardrails: {cooldown: 10m, actionBudget: {max: 3, per: 1h}}`";
        found.push(Finding::new("no-guardrail", Severity::Warning, policy, message, hint));
    }
    if policy.mode == Mode::Enforce && policy.verify.on_failure == OnFailure::None {
        let message = "nothing follows when its action does not help".to_owned();
        let hint = "write `verify: {onFailure: undo}` or `escalate`";
        found.push(Finding::new("no-guardrail", Severity::Note, policy, message, hint));
    }
    for (what, budget) in [("namespaceBudget", hard.namespace_budget), ("clusterBudget", hard.cluster_budget)] {
        let own = limits.action_budget;
        if own.per >= budget.per && own.max > budget.max {
            let message = format!(
                "its actionBudget allows {} within {:#}, and {what} only {} within {:#}",
                own.max, own.per, budget.max, budget.per
            );
            found.push(Finding::new("looser", Severity::Warning, policy, message, "lower `actionBudget.max`"));
            break;
        }
    }
    if limits.scale_up.max > u32::try_from(limits.replicas.max).unwrap_or(0) {
        let message =
            format!("its scaleUp allows {} more, and replicas.max is {}", limits.scale_up.max, limits.replicas.max);
        found.push(Finding::new("looser", Severity::Note, policy, message, "lower `scaleUp.max`"));
    }
    found
}

fn unindexed(policy: &Policy) -> Finding {
    let cost = if policy.matches.when.is_some() { "some microseconds for its condition" } else { "some 30 ns" };
    let message = format!("it names no cause, type, namespace or service exactly, so it costs every signal {cost}");
    let hint = "name what it is about: `causes`, `types`, `namespaces` or `services` without `*`";
    Finding::new("unindexed", Severity::Note, policy, message, hint)
}
