//! Signal and policies to what is asked for. Silence has a reason.

mod clauses;

use std::sync::Arc;

use jiff::Timestamp;

use crate::action::{Action, ActionRequest, Cause, Evidence, PolicyRef};
use crate::deny::NoAction;
use crate::expr::{Facts, TargetView, Unevaluated};
use crate::policy::{Matched, Mode, Policy, PolicySet};
use crate::signal::{Signal, SignalKind};
use crate::workload::Workload;

pub use clauses::{Clause, clauses};

/// Characters of a signal's summary: a line. The text is the publisher's, and travels into every entry about the signal.
const SUMMARY: usize = 200;

/// What the policies make of a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// What the first enforcing match asks for, or why there is none.
    pub act: Result<ActionRequest, NoAction>,
    /// What shadow policies would ask for. A shadow never hides an enforcing policy below it.
    pub shadows: Vec<ActionRequest>,
    /// Policies whose `when` could not be evaluated, and why: they did not match.
    pub unevaluated: Vec<(Arc<str>, Unevaluated)>,
}

/// Asks the policies in their order. `view` tells what is known of a target without reading it; nothing, if it is not known.
pub fn propose(
    policies: &PolicySet,
    signal: &Signal,
    view: impl Fn(&Workload) -> Option<TargetView>,
    now: Timestamp,
) -> Proposal {
    let mut proposal = Proposal { act: Err(NoAction::NoPolicyMatched), shadows: Vec::new(), unevaluated: Vec::new() };
    if matches!(&signal.kind, SignalKind::Anomaly(anomaly) if !anomaly.is_anomaly) {
        return Proposal { act: Err(NoAction::NotAnomalous), ..proposal };
    }
    for policy in policies.candidates(signal) {
        let Some(Matched { target, cause }) = policy.matched(signal) else { continue };
        if let Some(when) = &policy.matches.when {
            let seen = if when.asks_target() { view(&target) } else { None };
            match when.holds(&Facts { signal, cause, target: seen.as_ref(), now }) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    proposal.unevaluated.push((policy.name.clone(), why));
                    continue;
                }
            }
        }
        match policy.mode {
            Mode::Enforce => return Proposal { act: Ok(request(policies, policy, signal, target)), ..proposal },
            Mode::Shadow => {
                proposal.act = Err(NoAction::ShadowOnly);
                proposal.shadows.push(request(policies, policy, signal, target));
            }
            Mode::Disabled if proposal.act == Err(NoAction::NoPolicyMatched) => {
                proposal.act = Err(NoAction::PolicyDisabled);
            }
            Mode::Disabled => {}
        }
    }
    proposal
}

fn request(policies: &PolicySet, policy: &Policy, signal: &Signal, target: Workload) -> ActionRequest {
    let action = match &policy.action {
        Action::DeletePod { .. } => Action::DeletePod { pod: signal.pod.clone() },
        other => other.clone(),
    };
    let whole = policy.has_expressions().then(|| Arc::new(signal.clone()));
    ActionRequest {
        policy: PolicyRef { name: policy.name.clone(), digest: policies.digest.clone() },
        target,
        action,
        cause: Cause::Signal(signal.id.clone()),
        step: 0,
        priority: policy.priority,
        limits: policy.limits,
        verify: policy.verify,
        evidence: Evidence { signal: whole, ..evidence(signal) },
    }
}

fn evidence(signal: &Signal) -> Evidence {
    let (confidence, summary) = match &signal.kind {
        SignalKind::Anomaly(it) => {
            (None, format!("{} anomaly of {}, score {}", it.kind.as_str(), signal.service, it.score))
        }
        SignalKind::Rca(it) => {
            let causes: Vec<String> = it
                .causes
                .iter()
                .take(3)
                .map(|c| format!("{} {} ({})", c.target.name, c.cause, c.probability))
                .collect();
            (Some(it.confidence), format!("{}, confidence {}", causes.join(", "), it.confidence))
        }
    };
    Evidence {
        kind: Arc::from(signal.kind.as_str()),
        summary: summary.chars().take(SUMMARY).collect::<String>().into(),
        confidence,
        observed_at: signal.observed_at,
        expires_at: signal.expires_at,
        trace: signal.trace,
        sequence: signal.sequence,
        signal: None,
    }
}
