//! How often, and how far.

use jiff::{SignedDuration, Timestamp};

use super::{Scene, Sight};
use crate::action::{Action, Cause};
use crate::deny::DenyReason;
use crate::history::{History, Window};
use crate::limits::{Breaker, Budget};
use crate::plan::scale_target;

fn within(budget: Budget, window: Window<'_>, reserved: u32, scope: &str, now: Timestamp) -> Result<(), DenyReason> {
    let Budget { max, per } = budget;
    let used = window.used(per, now).saturating_add(reserved);
    if used < max {
        return Ok(());
    }
    let until = window.allows_at(max.saturating_sub(1).saturating_sub(reserved), per, now);
    Err(DenyReason::ActionBudgetExhausted { scope: scope.to_owned(), used, max, per, until })
}

fn reserved(scene: &Scene<'_>, same: impl Fn(&crate::action::ActionRequest) -> bool) -> u32 {
    let count = scene
        .history
        .reserved()
        .filter(|it| it.request.undoes().is_none() && !it.request.only_tells() && same(&it.request));
    let count = count.count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

pub(super) fn target_budget(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let request = scene.request;
    let window = scene.history.on_target(&request.target, request.action.kind());
    let same =
        |it: &crate::action::ActionRequest| it.target == request.target && it.action.kind() == request.action.kind();
    within(request.limits.action_budget, window, reserved(scene, same), "workload", scene.now)
}

pub(super) fn namespace_budget(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let namespace = &scene.request.target.namespace;
    let window = scene.history.in_namespace(namespace);
    let pending = reserved(scene, |it| it.target.namespace == *namespace);
    within(scene.rules.limits.namespace_budget, window, pending, "namespace", scene.now)
}

pub(super) fn cluster_budget(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let window = scene.history.in_cluster();
    within(scene.rules.limits.cluster_budget, window, reserved(scene, |_| true), "cluster", scene.now)
}

pub(super) fn breaker_closed(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let breaker = scene.rules.limits.breaker;
    let history = scene.history;
    let Some((count, last)) = tripped(history, breaker, scene.now) else { return Ok(()) };
    let until = last.saturating_add(breaker.probe_after).unwrap_or(Timestamp::MAX);
    let denied = |until| Err(DenyReason::BreakerOpen { failures: count, max: breaker.failures, until });
    if scene.now < until {
        return denied(Some(until));
    }
    // Half-open: one probe at a time.
    let probing = history.open().any(|it| it.admitted_at() >= until && !it.request().only_tells())
        || reserved(scene, |_| true) > 0;
    if probing { denied(None) } else { Ok(()) }
}

/// A request of a policy that was demoted since it was made.
pub(super) fn trusted(scene: &Scene<'_>) -> Result<(), DenyReason> {
    // A row of steps that is under way is finished.
    if let Cause::Step(_) = scene.request.cause {
        return Ok(());
    }
    let demotion = scene.history.demotion(&scene.request.policy.name);
    demotion.map_or(Ok(()), |it| Err(DenyReason::PolicyDemoted { failures: it.failures, last: it.last }))
}

/// The failures that keep the breaker open, and the newest of them; none while it is closed.
pub(super) fn tripped(history: &History, breaker: Breaker, now: Timestamp) -> Option<(u32, Timestamp)> {
    let since = now.checked_sub(breaker.per).unwrap_or(Timestamp::MIN);
    // The common case first: with too few failures in the window nothing else matters.
    let (count, last) = history.failures_within(since, now);
    let last = last.filter(|_| count >= breaker.failures)?;
    let (count, _) = history.failures_within(since.max(forgiven(history, breaker)), now);
    (count >= breaker.failures).then_some((count, last))
}

/// The admission of the newest probe that succeeded: what failed before it counts no more, or the first failure after
/// it would open the breaker again. A success that was admitted while the breaker was closed forgives nothing.
fn forgiven(history: &History, breaker: Breaker) -> Timestamp {
    history.successes().fold(Timestamp::MIN, |forgiven, admitted| {
        let since = admitted.checked_sub(breaker.per).unwrap_or(Timestamp::MIN).max(forgiven);
        // A failure of the same moment cannot have been what it was to probe.
        let before = admitted.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MIN);
        let (count, _) = history.failures_within(since, before);
        if count >= breaker.failures { admitted } else { forgiven }
    })
}

pub(super) fn within_bounds(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let Action::Scale(scale) = sight.scene.request.action else { return Ok(()) };
    let to = scale_target(scale, sight.seen);
    let bounds = sight.scene.request.limits.replicas;
    let max = bounds.max.min(sight.scene.rules.limits.max_replicas);
    if (bounds.min..=max).contains(&to) {
        return Ok(());
    }
    Err(DenyReason::ReplicaBounds { to, min: bounds.min, max })
}

pub(super) fn grows_slowly(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let scene = &sight.scene;
    let Action::Scale(scale) = scene.request.action else { return Ok(()) };
    let asked = u32::try_from(scale_target(scale, sight.seen).saturating_sub(sight.seen.replicas())).unwrap_or(0);
    let Budget { max, per } = scene.request.limits.scale_up;
    let window = scene.history.added_to(&scene.request.target);
    let added = window.used(per, scene.now);
    if asked == 0 || added.saturating_add(asked) <= max {
        return Ok(());
    }
    let until = max.checked_sub(asked).map(|room| window.allows_at(room, per, scene.now));
    Err(DenyReason::ScaleVelocityExceeded { added, asked, max, per, until })
}
