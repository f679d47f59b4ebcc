//! Signal and policies to what is asked for. Silence has a reason.

use std::sync::Arc;

use crate::action::{Action, ActionRequest, Cause, Evidence, PolicyRef};
use crate::deny::NoAction;
use crate::policy::{Mode, Policy, PolicySet};
use crate::signal::{Signal, SignalKind};
use crate::workload::Workload;

/// Characters of a signal's summary: a line. The text is the publisher's, and travels into every entry about the signal.
const SUMMARY: usize = 200;

/// What the policies make of a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// What the first enforcing match asks for, or why there is none.
    pub act: Result<ActionRequest, NoAction>,
    /// What shadow policies would ask for. A shadow never hides an enforcing policy below it.
    pub shadows: Vec<ActionRequest>,
}

/// Asks the policies in their order.
pub fn propose(policies: &PolicySet, signal: &Signal) -> Proposal {
    if matches!(&signal.kind, SignalKind::Anomaly(anomaly) if !anomaly.is_anomaly) {
        return Proposal { act: Err(NoAction::NotAnomalous), shadows: Vec::new() };
    }
    let mut shadows = Vec::new();
    let mut silence = NoAction::NoPolicyMatched;
    for policy in policies.policies() {
        let Some(target) = policy.target(signal) else { continue };
        match policy.mode {
            Mode::Enforce => return Proposal { act: Ok(request(policies, policy, signal, target)), shadows },
            Mode::Shadow => {
                silence = NoAction::ShadowOnly;
                shadows.push(request(policies, policy, signal, target));
            }
            Mode::Disabled if silence == NoAction::NoPolicyMatched => silence = NoAction::PolicyDisabled,
            Mode::Disabled => {}
        }
    }
    Proposal { act: Err(silence), shadows }
}

fn request(policies: &PolicySet, policy: &Policy, signal: &Signal, target: Workload) -> ActionRequest {
    let action = match &policy.action {
        Action::DeletePod { .. } => Action::DeletePod { pod: signal.pod.clone() },
        other => other.clone(),
    };
    ActionRequest {
        policy: PolicyRef { name: policy.name.clone(), digest: policies.digest.clone() },
        target,
        action,
        cause: Cause::Signal(signal.id.clone()),
        step: 0,
        priority: policy.priority,
        limits: policy.limits,
        verify: policy.verify,
        evidence: evidence(signal),
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
    }
}
