//! What the target itself says.

use super::Sight;
use crate::action::{Action, ActionKind};
use crate::deny::DenyReason;
use crate::facts::OPT_OUT;
use crate::plan::reverted_by_gitops;

/// What is taken back is what was done to this very object. Another one under the same name owes us nothing.
pub(super) fn same_object(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let parent = sight.scene.request.undoes().and_then(|id| sight.scene.history.intent(id));
    if parent.is_some_and(|it| it.change().uid == sight.seen.uid) {
        return Ok(());
    }
    Err(DenyReason::TargetChanged { what: "another object took its name".into() })
}

/// What bears our own stamp has happened, even if the ledger has forgotten it.
pub(super) fn not_done_already(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let done = sight.seen.stamp().filter(|it| *it == sight.id);
    done.map_or(Ok(()), |intent| Err(DenyReason::DuplicateSignal { intent }))
}

pub(super) fn not_opted_out(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let target = &sight.scene.request.target;
    if sight.seen.annotations.get(OPT_OUT).is_some_and(|it| it == "true") {
        return Err(DenyReason::OptedOut { on: target.to_string() });
    }
    if sight.seen.namespace_opted_out {
        return Err(DenyReason::OptedOut { on: format!("namespace {}", target.namespace) });
    }
    Ok(())
}

pub(super) fn not_protected(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let labels = &sight.scene.rules.protect.labels;
    let found = labels.iter().find(|(key, value)| sight.seen.labels.get(&**key).is_some_and(|it| **it == **value));
    found.map_or(Ok(()), |(key, value)| Err(DenyReason::Protected { by: format!("label {key}={value}") }))
}

pub(super) fn not_paused(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let state = if sight.seen.deleting {
        "deleting"
    } else if sight.seen.paused() {
        "paused"
    } else {
        return Ok(());
    };
    Err(DenyReason::TargetPaused { state: state.into() })
}

pub(super) fn unmanaged(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let (managers, request) = (&sight.seen.managers, sight.scene.request);
    let scales = match &request.action {
        Action::Scale(_) => true,
        Action::Undo { applied, .. } => applied.pointer("/spec/replicas").is_some(),
        _ => false,
    };
    if let Some(owner) = managers.autoscaler.as_ref().filter(|_| scales) {
        return Err(DenyReason::ManagedElsewhere { owner: owner.clone() });
    }
    if let Some(owner) = &managers.gitops {
        let kind = request.action.kind();
        if reverted_by_gitops(kind) && !(scales && kind == ActionKind::Undo)
            || (scales && managers.gitops_owns_replicas)
        {
            return Err(DenyReason::ManagedElsewhere { owner: owner.clone() });
        }
    }
    Ok(())
}

pub(super) fn not_rolling_out(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let rollout = &sight.seen.rollout;
    // A rollback is how a bad rollout ends, and a pod of a stuck one may go.
    let free = matches!(sight.scene.request.action, Action::Rollback { .. });
    if free || !rollout.in_progress() {
        return Ok(());
    }
    Err(DenyReason::RolloutInProgress { updated: rollout.updated, desired: rollout.desired })
}

pub(super) fn pod_may_go(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let blocked = sight.seen.pod.as_ref().and_then(|it| it.blocked_by.as_ref());
    blocked.map_or(Ok(()), |budget| Err(DenyReason::DisruptionBudget { budget: budget.clone() }))
}
