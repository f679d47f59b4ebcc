//! `steps`: one action after the other, as long as none helps.

use jiff::SignedDuration;
use serde_saphyr::Spanned;

use super::Checks;
use crate::action::{Action, ActionKind, NextStep, VerifySpec};
use crate::limits::PolicyLimits;
use crate::policy::raw::RawStep;
use crate::policy::source::Source;
use crate::workload::WorkloadKind;

/// More would be a programme, and no remediation.
const MOST: usize = 8;

/// How long after the last step of a kind the next one begins to count, at least.
fn since_the_last(kind: ActionKind, steps: &[NextStep]) -> Option<SignedDuration> {
    let last = steps.iter().rposition(|it| it.action.kind() == kind)?;
    Some(steps[last + 1..].iter().fold(SignedDuration::ZERO, |sum, it| sum.saturating_add(it.after)))
}

impl Checks<'_> {
    /// The first step, and what follows it.
    pub(super) fn steps(
        &mut self,
        raw: Spanned<Vec<Spanned<RawStep>>>,
        limits: &PolicyLimits,
        verify: &VerifySpec,
        target: Option<WorkloadKind>,
        source: &Source,
    ) -> Option<(Action, Vec<NextStep>)> {
        let (at, count) = (raw.referenced, raw.value.len());
        if count == 0 || count > MOST {
            self.at(source, at, format!("these are {count} steps; a policy has 1 to {MOST}"), None);
            return None;
        }
        if count > 1 && verify.recovered.is_none() {
            let hint = Some("write such as `verify: {recovered: {within: 5m}}`");
            self.at(source, at, "nothing tells whether a step has helped", hint);
        }
        let mut steps: Vec<NextStep> = Vec::new();
        for (number, raw) in raw.value.into_iter().enumerate() {
            let at = raw.referenced;
            let Some(step) = self.step(raw, number == 0, target, source) else { continue };
            if step.action == Action::Escalate && number + 1 < count {
                self.at(source, at, "nothing comes after `escalate`", Some("make it the last step"));
            }
            let kind = step.action.kind();
            if let Some(since) = since_the_last(kind, &steps).map(|it| it.saturating_add(step.after))
                && since < limits.cooldown
            {
                let message = format!(
                    "the step may come {since:#} after the last {kind}, within its cooldown of {:#}: it would be denied",
                    limits.cooldown
                );
                self.at(source, at, message, Some("raise `after`, or shorten `guardrails.cooldown`"));
            }
            steps.push(step);
        }
        // One that could not be read has left a fault behind.
        let whole = steps.len() == count;
        whole.then(|| (steps.remove(0).action, steps))
    }

    fn step(
        &mut self,
        raw: Spanned<RawStep>,
        first: bool,
        target: Option<WorkloadKind>,
        source: &Source,
    ) -> Option<NextStep> {
        let at = raw.referenced;
        let RawStep { after, r#if, action, escalate } = raw.value;
        if first && (after.is_some() || r#if.is_some()) {
            self.at(
                source,
                at,
                "the first step is taken at once: there is none before it",
                Some("take out `after` and `if`"),
            );
        }
        let after = self.duration(after, SignedDuration::ZERO, "after", source);
        let action = match (action, escalate) {
            (Some(action), None) => self.action(action, target, source)?,
            (None, Some(_)) => Action::Escalate,
            (Some(_), Some(_)) => {
                self.at(source, at, "a step has an `action` or `escalate`, not both", Some("make it two steps"));
                return None;
            }
            (None, None) => {
                let hint = Some("write such as `{after: 5m, action: {rollback: {}}}`, or `{escalate: {}}`");
                self.at(source, at, "the step does nothing", hint);
                return None;
            }
        };
        Some(NextStep { after, action })
    }
}
