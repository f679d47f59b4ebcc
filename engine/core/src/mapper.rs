//! Signal and policies to what is asked for. Silence has a reason.

mod clauses;

use std::sync::Arc;

use jiff::Timestamp;

use crate::action::{Action, ActionRequest, Cause, Evidence, NextStep, PolicyRef};
use crate::deny::NoAction;
use crate::expr::{Facts, TargetView, Unevaluated};
use crate::history::History;
use crate::policy::{Matched, Mode, Policy, PolicySet};
use crate::record::{Part, Sighted};
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
    /// What policies that ask for several signals see in this one and is not on the ledger. It has to be, before anything is decided:
    /// of two replicas that see one signal each, the one that writes later sees both.
    pub unseen: Vec<Sighted>,
    /// What policies want to be absent and see in this one. It is to be on the ledger like a symptom: with what else is noted.
    pub heard: Vec<Sighted>,
}

/// Asks the policies in their order. `view` tells what is known of a target without reading it; nothing, if it is not known.
pub fn propose(
    policies: &PolicySet,
    signal: &Signal,
    view: impl Fn(&Workload) -> Option<TargetView>,
    history: &History,
    now: Timestamp,
) -> Proposal {
    let sightings = policies.sightings(signal).filter(|it| history.lacks(it));
    let (heard, unseen) = sightings.partition(|it: &Sighted| it.sought.part == Part::Absent);
    let act = Err(NoAction::NoPolicyMatched);
    let mut proposal = Proposal { act, shadows: Vec::new(), unevaluated: Vec::new(), unseen, heard };
    if matches!(&signal.kind, SignalKind::Anomaly(anomaly) if !anomaly.is_anomaly) {
        return Proposal { act: Err(NoAction::NotAnomalous), ..proposal };
    }
    for policy in policies.candidates(signal) {
        // Who acts hides those below, but not what they count.
        if proposal.act.is_ok() && !policy.counts() {
            continue;
        }
        let Some(target) = proposal.matched(policy, signal, &view, now) else { continue };
        let correlates = policy.mode != Mode::Disabled && proposal.correlates(policy, &target, signal, history);
        if proposal.act.is_ok() {
            continue;
        }
        let silence = match policy.mode {
            Mode::Disabled => NoAction::PolicyDisabled,
            _ if !correlates => NoAction::Uncorrelated,
            Mode::Enforce if history.demotion(&policy.name).is_none() => {
                proposal.act = Ok(request(policies, policy, signal, target));
                if policies.count_signals() {
                    continue;
                }
                break;
            }
            Mode::Enforce | Mode::Shadow => {
                proposal.shadows.push(request(policies, policy, signal, target));
                NoAction::ShadowOnly
            }
        };
        proposal.act = proposal.act.map_err(|before| before.max(silence));
    }
    proposal
}

impl Proposal {
    /// What a policy would act on for this signal, if it matches.
    fn matched(
        &mut self,
        policy: &Policy,
        signal: &Signal,
        view: impl Fn(&Workload) -> Option<TargetView>,
        now: Timestamp,
    ) -> Option<Workload> {
        let Matched { target, cause } = policy.matched(signal)?;
        let Some(when) = &policy.matches.when else { return Some(target) };
        let seen = if when.asks_target() { view(&target) } else { None };
        match when.holds(&Facts { signal, cause, target: seen.as_ref(), now }) {
            Ok(holds) => holds.then_some(target),
            Err(why) => {
                self.unevaluated.push((policy.name.clone(), why));
                None
            }
        }
    }

    /// Whether other signals are as the policy asks. Notes what this one is to it.
    fn correlates(&mut self, policy: &Policy, target: &Workload, signal: &Signal, history: &History) -> bool {
        let Some(correlation) = &policy.matches.correlation else { return true };
        self.unseen.extend(policy.occurrence(target, signal).filter(|it| history.lacks(it)));
        correlation.holds(policy, target, signal, history)
    }
}

fn request(policies: &PolicySet, policy: &Policy, signal: &Signal, target: Workload) -> ActionRequest {
    let meant = |action: &Action| match action {
        Action::DeletePod { .. } => Action::DeletePod { pod: signal.pod.clone() },
        other => other.clone(),
    };
    let whole = policy.has_expressions().then(|| Arc::new(signal.clone()));
    ActionRequest {
        policy: PolicyRef { name: policy.name.clone(), digest: policies.digest.clone() },
        target,
        action: meant(&policy.action),
        cause: Cause::Signal(signal.id.clone()),
        step: 0,
        then: policy.then.iter().map(|it| NextStep { after: it.after, action: meant(&it.action) }).collect(),
        hold: policy.matches.correlation.as_ref().and_then(|it| it.hold(signal)),
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
