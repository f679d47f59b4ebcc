//! Reasons, events and limits in words. One line each, numbers first: what is read at night.

use flyball_core::action::{Cause, OnFailure, RecoveredBy, VerifySpec};
use flyball_core::deny::DenyReason;
use flyball_core::intent::Event;
use flyball_core::policy::Policy;
use jiff::Timestamp;

use super::time::short;

/// The numbers that decided.
pub(crate) fn reason(reason: &DenyReason) -> String {
    use DenyReason as R;
    match reason {
        R::Paused { pause, because, until } => match until {
            Some(until) => format!("pause {pause} until {}: {because}", at(*until)),
            None => format!("pause {pause}: {because}"),
        },
        R::OptedOut { on } => format!("{on} carries flyball.dev/paused"),
        R::Protected { by } => format!("protected by {by}"),
        R::ActionNotAllowed { what } => format!("{what} is not allowed"),
        R::SignalExpired { age, limit, waited_for } => {
            let waited = waited_for.as_ref().map(|it| format!(", waited for {it}")).unwrap_or_default();
            format!("{} old, limit {}{waited}", short(*age), short(*limit))
        }
        R::ConfidenceTooLow { confidence, required } => format!("confidence {confidence} < {required}"),
        R::DuplicateSignal { intent } => format!("the signal led to {intent} already"),
        R::OutsideWindow { until } => format!("a freeze window is open until {}", at(*until)),
        R::CooldownActive { last, until: Some(_) } => format!("last action {last}"),
        R::CooldownActive { last, until: None } => format!("last action {last} is still open"),
        R::ActionBudgetExhausted { scope, used, max, per, .. } => {
            format!("{used} of {max} actions per {} used ({scope})", short(*per))
        }
        R::ReplicaBounds { to, min, max } => format!("{to} replicas asked, {min} to {max} allowed"),
        R::ScaleVelocityExceeded { added, asked, max, per, .. } => {
            format!("{asked} replicas asked after {added} added, {max} per {} allowed", short(*per))
        }
        R::ConcurrencyLimit { scope, used, max } => format!("{used} of {max} slots used ({scope})"),
        R::TargetBusy { intent } => format!("{intent} is not closed"),
        R::BlastRadiusExceeded { affected, allowed, total } => {
            format!("{affected} of {total} workloads down or under remediation, {allowed} allowed")
        }
        R::BreakerOpen { failures, max, until } => {
            let probe = if until.is_some() { "" } else { ", a probe is under way" };
            format!("{failures} verified failures, {max} open the breaker{probe}")
        }
        R::RolloutInProgress { updated, desired } => format!("{updated} of {desired} pods updated"),
        R::DisruptionBudget { budget } => format!("PodDisruptionBudget {budget} allows no eviction now"),
        R::TargetNotFound { what } => format!("{what} does not exist"),
        R::TargetChanged { what } | R::NothingToDo { what } => what.clone(),
        R::PolicyDemoted { failures, last } => format!("{failures} verifications in a row failed, the last of {last}"),
        R::NotYet { until } => format!("due at {}", at(*until)),
        R::Contradicted { at: seen } => format!("observed at {}", at(*seen)),
        R::TargetPaused { state } => format!("the target is {state}"),
        R::ManagedElsewhere { owner } => format!("owned by {owner}"),
        R::Forbidden { detail } | R::StateUnavailable { detail } => detail.clone(),
        R::ApprovalRequired => "the policy asks for a person's approval".to_owned(),
        R::ApprovalRejected => "a person said no".to_owned(),
        R::ApprovalExpired => "nobody answered in time".to_owned(),
        R::CustomGuard { guard, message } => format!("guard {guard} objects: {message}"),
    }
}

pub(super) fn at(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// An event's word and what there is to say of it.
pub(super) fn event(event: &Event) -> (&'static str, String) {
    match event {
        Event::Attempted { number, change } => ("Attempted", format!("send {number}: {}", change.edit.summary())),
        Event::Unanswered { detail } => ("Unanswered", detail.clone()),
        Event::Missed { detail } => ("Missed", detail.clone()),
        Event::Applied(receipt) => {
            ("Applied", format!("generation {}, resourceVersion {}", receipt.generation, receipt.resource_version))
        }
        Event::RolledOut => ("RolledOut", "the rollout is complete".to_owned()),
        Event::Undoing { undo, verdict, detail } => {
            ("Undoing", format!("{}: {detail}; undone by {undo}", verdict.label()))
        }
        Event::TakenOver { by } => ("TakenOver", format!("by {}, epoch {}", by.replica, by.epoch)),
        Event::CancelAsked { by, reason } => ("CancelAsked", format!("by {by}: {reason}")),
        Event::Resolved { applied, fenced, by, reason } => {
            let how = if *fenced { "fenced" } else { "not fenced: a copy that is still on its way could land" };
            ("Resolved", format!("as {} by {by}: {reason} ({how})", if *applied { "applied" } else { "absent" }))
        }
        Event::Closed { outcome, detail } => (outcome.label(), detail.clone()),
    }
}

/// What asked.
pub(super) fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Signal(id) => format!("signal {id}"),
        Cause::Api(key) => format!("direct call {key}"),
        Cause::Undo(parent) => format!("undo of {parent}"),
        Cause::Step(parent) => format!("step after {parent}"),
    }
}

/// What a policy asks for, one step after the other.
pub(super) fn steps(policy: &Policy) -> String {
    let then = policy.then.iter().map(|it| format!(", after {} {}", short(it.after), it.action));
    std::iter::once(policy.action.to_string()).chain(then).collect()
}

/// How success is judged, and what follows failure.
pub(super) fn verification(spec: &VerifySpec) -> String {
    let mut text = format!("complete within {}, stable for {}", short(spec.timeout), short(spec.stable_for));
    if let Some(recovery) = spec.recovered {
        let by = match recovery.by {
            RecoveredBy::Silence => "silent",
            RecoveredBy::Clear => "cleared",
        };
        text = format!("{text}, {by} within {}", short(recovery.within));
    }
    text += match spec.on_failure {
        OnFailure::None => "",
        OnFailure::Undo => ", else undone",
        OnFailure::Escalate => ", else a person is told",
    };
    text
}
