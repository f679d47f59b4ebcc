//! How much at once.

use std::collections::BTreeSet;

use super::{Reach, Scene, Sight};
use crate::action::Cause;
use crate::deny::DenyReason;
use crate::record::WaitKey;
use crate::workload::Workload;

pub(super) fn target_free(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let open = scene.history.first_on(&scene.request.target);
    open.map_or(Ok(()), |intent| Err(DenyReason::TargetBusy { intent }))
}

/// A signal for which a row of steps is under way joins it, and does not begin another.
pub(super) fn row_free(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let waiter = scene.history.waiter(&WaitKey::of(scene.request)).map(|it| &it.deferral.request.cause);
    match (waiter, &scene.request.cause) {
        (Some(Cause::Step(intent)), Cause::Signal(_) | Cause::Api(_)) => {
            Err(DenyReason::TargetBusy { intent: *intent })
        }
        _ => Ok(()),
    }
}

/// A step is taken while it is the one that waits. Whoever slept meanwhile finds another in its place, or none.
pub(super) fn its_turn(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let request = scene.request;
    let Cause::Step(intent) = request.cause else { return Ok(()) };
    let waits = scene.history.waiter(&WaitKey::of(request)).map(|it| &it.deferral.request);
    let same = waits.is_some_and(|it| it.cause == request.cause && it.step == request.step);
    if same { Ok(()) } else { Err(DenyReason::DuplicateSignal { intent }) }
}

pub(super) fn namespace_slot(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let namespace = &*scene.request.target.namespace;
    slot(scene, "namespace", Some(namespace), scene.rules.limits.concurrency_namespace)
}

pub(super) fn cluster_slot(scene: &Scene<'_>) -> Result<(), DenyReason> {
    slot(scene, "cluster", None, scene.rules.limits.concurrency_cluster)
}

/// An undo goes before everybody: what failed and stays is worse than what has to wait.
fn slot(scene: &Scene<'_>, scope: &str, namespace: Option<&str>, max: u32) -> Result<(), DenyReason> {
    let (request, history) = (scene.request, scene.history);
    if history.has_slot(request) {
        return Ok(());
    }
    let claimed = if request.undoes().is_some() { 0 } else { history.slots_claimed(namespace) };
    let used = history.slots(namespace) + claimed;
    if used < max { Ok(()) } else { Err(DenyReason::ConcurrencyLimit { scope: scope.to_owned(), used, max }) }
}

pub(super) fn within_reach(sight: &Sight<'_>) -> Result<(), DenyReason> {
    Reach::of(sight).exceeded(&sight.scene).map_or(Ok(()), Err)
}

impl Reach {
    pub(super) fn of(sight: &Sight<'_>) -> Self {
        let total = sight.seen.neighbours.total;
        let share = u64::from(total) * u64::from(sight.scene.rules.limits.max_unavailable_percent) / 100;
        // One is always allowed, or a namespace of two could never be helped.
        let allowed = u32::try_from(share).unwrap_or(u32::MAX).max(1);
        Self { allowed, total, unhealthy: sight.seen.neighbours.unhealthy.clone() }
    }

    /// Counts anew who is under remediation: those down were read, those under remediation are remembered.
    pub(super) fn exceeded(&self, scene: &Scene<'_>) -> Option<DenyReason> {
        let target = &scene.request.target;
        let mut affected: BTreeSet<&Workload> = self.unhealthy.iter().collect();
        affected.extend(scene.history.under_remediation(&target.namespace));
        affected.insert(target);
        let affected = u32::try_from(affected.len()).unwrap_or(u32::MAX);
        (affected > self.allowed).then_some(DenyReason::BlastRadiusExceeded {
            affected,
            allowed: self.allowed,
            total: self.total,
        })
    }
}
