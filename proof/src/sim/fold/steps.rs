//! Steps, and policies that have failed too often, read from the entries alone.

use flyball_core::action::{ActionRequest, Cause};
use flyball_core::deny::DenyReason;
use flyball_core::history::KEEP;
use flyball_core::id::{IntentId, Revision};
use flyball_core::outcome::Outcome;
use flyball_core::record::{Admission, Demoted, Release, WaitKey};
use jiff::Timestamp;

use super::{Fold, SLACK};
use crate::sim::stage::policies;

/// Ends after which nobody has taken it in hand, and nothing has helped.
fn in_vain(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::NotRecovered | Outcome::Failed | Outcome::TimedOut | Outcome::RolledBack | Outcome::Rejected
    )
}

impl Fold {
    /// An intent has ended: the next step waits, if there is one, and its policy is trusted a little more or less.
    pub(super) fn ended(&mut self, id: IntentId, outcome: Outcome, at: Timestamp, revision: Revision) {
        let Some(request) = self.intents.get(&id).map(|it| it.admission.request.clone()) else { return };
        if request.undoes().is_some() {
            return;
        }
        let failing = self.failing.entry(request.policy.name.clone()).or_default();
        // What is older than the longest memory is in no row with it.
        failing.retain(|before| at.duration_since(*before) <= KEEP);
        match outcome {
            Outcome::Recovered | Outcome::RolledOut => {
                failing.clear();
                self.due.remove(&request.policy.name);
            }
            Outcome::Rejected => {}
            // A row counts once.
            _ if in_vain(outcome) && request.step == 0 => failing.push(at),
            _ => {}
        }
        if self.demoted.contains(&request.policy.name) {
            failing.clear();
        }
        if !failing.is_empty() && failing.len() == request.limits.demote_after as usize {
            self.due.insert(request.policy.name.clone());
        }
        if self.was_in_vain(id, outcome) {
            self.next_waits(&request, revision);
        }
    }

    /// Nobody has taken it in hand, and nothing has helped: what was never sent has not, unless a person wanted that.
    fn was_in_vain(&self, id: IntentId, outcome: Outcome) -> bool {
        in_vain(outcome) || outcome == Outcome::Cancelled && !self.cancelled.contains(&id)
    }

    /// A step was denied: the one after it waits in its place.
    pub(super) fn denied(&mut self, release: &Release, revision: Revision) {
        let gone = release.reasons.iter().any(|it| matches!(it, DenyReason::Contradicted { .. }));
        self.steps.remove(&release.key);
        if self.waiting.remove(&release.key).is_some() && release.request.step > 0 {
            self.reached.insert(if gone { "a row ended by itself" } else { "a step was denied" }.to_owned());
            if !gone {
                self.next_waits(&release.request, revision);
            }
        }
    }

    /// It is written that a policy is to act no more.
    pub(super) fn demoted(&mut self, it: &Demoted, at: Timestamp) {
        let known = self.due.remove(&it.policy) || self.demoted.contains(&it.policy);
        if !known && !self.forgets {
            self.breach("G9", at, format!("{} was demoted, and has not failed so often", it.policy));
        }
        self.demoted.insert(it.policy.clone());
        self.reached.insert("a policy was demoted".to_owned());
    }

    fn next_waits(&mut self, before: &ActionRequest, revision: Revision) {
        if !before.then.is_empty() {
            self.waiting.insert(WaitKey::of(before), revision);
            self.steps.insert(WaitKey::of(before));
        }
    }

    /// What is asked of an admission beside the guardrails: its time has come, and its policy may act.
    pub(super) fn timely(&mut self, admission: &Admission, at: Timestamp) {
        let (id, request) = (admission.id, &admission.request);
        if let Some(hold) = request.hold.filter(|it| at < it.until - SLACK) {
            self.breach("S13", at, format!("{id} was admitted before its time, {}", hold.until));
        }
        if self.demoted.contains(&request.policy.name) && !request.only_tells() && request.step == 0 {
            self.breach("G9", at, format!("{id} was admitted for {}, which was demoted", request.policy.name));
        }
        let Cause::Step(parent) = request.cause else { return };
        self.reached.insert(format!("step {}", request.step));
        let ended = self.intents.get(&parent).and_then(|it| Some((it.closed?, it.admission.request.step)));
        let after: u32 = match ended {
            Some(((_, outcome), step)) if self.was_in_vain(parent, outcome) => step,
            _ => return self.breach("S13", at, format!("{id} follows {parent}, which did not end in vain")),
        };
        let planned = policies().policies().iter().find(|it| it.name == request.policy.name);
        let planned = planned.and_then(|it| it.then.get(request.step.checked_sub(1)? as usize));
        if request.step <= after || planned.is_none_or(|it| it.action.kind() != request.action.kind()) {
            self.breach("S13", at, format!("{id} is step {} after {after}, a {}", request.step, request.action));
        }
    }
}
