//! What may be acted on at all, and on whose word.

use super::{Scene, Sight};
use crate::action::Cause;
use crate::deny::DenyReason;
use crate::limits::glob;
use crate::policy::Mode;

pub(super) fn allowed(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let (allow, request) = (&scene.rules.allow, scene.request);
    let kind = request.action.kind();
    let denied = |what: String| Err(DenyReason::ActionNotAllowed { what });
    if !allow.actions.contains(&kind) {
        return denied(format!("action {kind}"));
    }
    if !kind.fits(request.target.kind) {
        return denied(format!("{kind} of a {}", request.target.kind));
    }
    if !allow.namespaces.iter().any(|it| glob(it, &request.target.namespace)) {
        return denied(format!("namespace {}", request.target.namespace));
    }
    Ok(())
}

/// Who waited, or whose turn has come after a step, acts for a policy that may act still.
pub(super) fn in_force(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let (request, rules) = (sight.scene.request, sight.scene.rules);
    let (Cause::Signal(_) | Cause::Step(_), Some(modes)) = (&request.cause, &rules.modes) else { return Ok(()) };
    let name = &request.policy.name;
    let message = match modes.get(name) {
        Some(Mode::Enforce) => return Ok(()),
        Some(mode) => format!("{name} is {} by now", mode.as_str()),
        None => format!("{name} is not in force any more"),
    };
    Err(DenyReason::CustomGuard { guard: "policy".to_owned(), message })
}

pub(super) fn protected_namespace(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let namespace = &scene.request.target.namespace;
    let found = scene.rules.protect.namespaces.iter().find(|it| glob(it, namespace));
    found.map_or(Ok(()), |it| Err(DenyReason::Protected { by: format!("namespace {it}") }))
}

pub(super) fn confident(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let required = scene.request.limits.min_confidence;
    match scene.request.evidence.confidence {
        None => Ok(()),
        // Asked this way round, what is no number does not pass.
        Some(confidence) if confidence >= required => Ok(()),
        Some(confidence) => Err(DenyReason::ConfidenceTooLow { confidence, required }),
    }
}

pub(super) fn not_duplicate(scene: &Scene<'_>) -> Result<(), DenyReason> {
    scene.history.led_to(&scene.request.cause).map_or(Ok(()), |intent| Err(DenyReason::DuplicateSignal { intent }))
}
