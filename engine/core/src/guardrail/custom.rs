//! What the policy itself says: its `when` and its own guards.

use super::{Scene, Sight};
use crate::action::Cause;
use crate::deny::DenyReason;
use crate::expr::TargetView;
use crate::policy::Conditions;
use crate::signal::Signal;

/// A request of a policy with expressions carries its signal. Where the set has no such policy any more nothing can be asked.
fn asked<'a>(scene: &Scene<'a>) -> Result<Option<(&'a Conditions, &'a Signal)>, DenyReason> {
    let Some(signal) = scene.request.evidence.signal.as_deref() else { return Ok(None) };
    let name = &scene.request.policy.name;
    let gone = || DenyReason::CustomGuard {
        guard: "policy".to_owned(),
        message: format!("policy {name}, whose expressions decide, is not in force any more"),
    };
    scene.rules.conditions.get(name).map(|it| Some((it, signal))).ok_or_else(gone)
}

fn denied(objection: Option<(&std::sync::Arc<str>, String)>) -> Result<(), DenyReason> {
    objection.map_or(Ok(()), |(guard, message)| Err(DenyReason::CustomGuard { guard: guard.to_string(), message }))
}

/// Guards that ask nothing of the target end a storm without a read.
pub(super) fn signal_guards(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let Some((conditions, signal)) = asked(scene)? else { return Ok(()) };
    let guards = conditions.custom.iter().filter(|it| !it.deny.asks_target());
    denied(conditions.objection(guards, signal, None, scene.now))
}

/// All guards, on the fresh read.
pub(super) fn guards(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let Some((conditions, signal)) = asked(&sight.scene)? else { return Ok(()) };
    let view = TargetView::from(sight.seen);
    denied(conditions.objection(&conditions.custom, signal, Some(&view), sight.scene.now))
}

/// `when` was true of what was known of the target; it has to be true of what is read.
pub(super) fn still_matches(sight: &Sight<'_>) -> Result<(), DenyReason> {
    // It says when the first step is taken, and that step may have changed what it asks of the target.
    if let Cause::Step(_) = sight.scene.request.cause {
        return Ok(());
    }
    let Some((conditions, signal)) = asked(&sight.scene)? else { return Ok(()) };
    let view = TargetView::from(sight.seen);
    let text = conditions.when.as_ref().map_or("", |it| it.text());
    match conditions.hold(signal, Some(&view), sight.scene.now) {
        Ok(true) => Ok(()),
        Ok(false) => Err(DenyReason::TargetChanged { what: format!("`{text}` does not hold of it any more") }),
        Err(why) => Err(DenyReason::TargetChanged { what: format!("`{text}` could not be evaluated: {why}") }),
    }
}
