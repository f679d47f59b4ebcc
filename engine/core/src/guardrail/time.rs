//! Too old, too soon, at the wrong hour.

use jiff::{SignedDuration, Timestamp};

use super::{Scene, Sight};
use crate::deny::DenyReason;
use crate::facts::STAMP_LAST_ACTION;
use crate::record::WaitKey;

pub(super) fn fresh(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let evidence = &scene.request.evidence;
    let key = WaitKey::of(scene.request);
    // Later signals that joined a waiter keep it young.
    let refreshed = scene.history.waiter(&key).map(|it| it.refreshed_at);
    let observed = refreshed.map_or(evidence.observed_at, |at| at.max(evidence.observed_at));
    let age = scene.now.duration_since(observed);
    let limit = scene.rules.max_signal_age;
    let expired = age > limit || evidence.expires_at.is_some_and(|at| scene.now >= at);
    if !expired {
        return Ok(());
    }
    let waited_for = scene.history.objections(&key).and_then(|it| it.first()).map(|it| it.label().to_owned());
    Err(DenyReason::SignalExpired { age, limit, waited_for })
}

pub(super) fn in_window(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let ends = scene.rules.windows.iter().filter_map(|it| it.ends(scene.now)).max();
    ends.map_or(Ok(()), |until| Err(DenyReason::OutsideWindow { until }))
}

/// The request's cooldown. It may have been asked under older rules, so the floor is asked for here, too.
fn cooldown(scene: &Scene<'_>) -> SignedDuration {
    scene.request.limits.cooldown.max(scene.rules.limits.min_cooldown)
}

pub(super) fn cooled_down(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let request = scene.request;
    let Some((last, ended)) = scene.history.last(&request.target, request.action.kind()) else { return Ok(()) };
    let until = ended.map(|at| at.saturating_add(cooldown(scene)).unwrap_or(Timestamp::MAX));
    match until {
        Some(until) if scene.now >= until => Ok(()),
        until => Err(DenyReason::CooldownActive { last, until }),
    }
}

pub(super) fn shadow_cooled_down(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let request = scene.request;
    let kind = request.action.kind();
    let Some(last) = scene.history.last_shadow(&request.policy.name, &request.target, kind) else { return Ok(()) };
    let until = last.saturating_add(cooldown(scene)).unwrap_or(Timestamp::MAX);
    if scene.now < until {
        let last = request.id("shadow");
        return Err(DenyReason::CooldownActive { last, until: Some(until) });
    }
    Ok(())
}

/// The second witness: the stamp on the target refuses a repeat within the cooldown even if the ledger were lost.
pub(super) fn stamp_cooled_down(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let request = sight.scene.request;
    let Some((at, what)) = sight.seen.annotations.get(STAMP_LAST_ACTION).and_then(|text| text.split_once(' ')) else {
        return Ok(());
    };
    // `restart`, or `undo scale`: what was taken back is not to be done again at once either.
    let kind = what.rsplit(' ').next().unwrap_or(what);
    let (Ok(at), Some(last)) = (at.parse::<Timestamp>(), sight.seen.stamp()) else { return Ok(()) };
    let until = at.saturating_add(cooldown(&sight.scene)).unwrap_or(Timestamp::MAX);
    if kind == request.action.kind().as_str() && sight.scene.now < until {
        return Err(DenyReason::CooldownActive { last, until: Some(until) });
    }
    Ok(())
}
