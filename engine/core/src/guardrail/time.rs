//! Too old, too soon, at the wrong hour.

use jiff::{SignedDuration, Timestamp};

use super::{Scene, Sight};
use crate::action::{ActionRequest, Cause};
use crate::deny::DenyReason;
use crate::facts::STAMP_LAST_ACTION;
use crate::record::{Part, Sought, WaitKey};

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

/// The time of a step, or of an absence, has not come; or what it waits to stay away has.
pub(super) fn due(scene: &Scene<'_>) -> Result<(), DenyReason> {
    let Some(hold) = scene.request.hold else { return Ok(()) };
    if let Some(at) = contradicted(scene).filter(|at| *at > hold.since) {
        return Err(DenyReason::Contradicted { at });
    }
    if scene.now < hold.until { Err(DenyReason::NotYet { until: hold.until }) } else { Ok(()) }
}

/// When what speaks against a request that waits for its time was observed: a clearing signal against a step, if none says since
/// that the symptom is back; else what the policy wants to be absent.
fn contradicted(scene: &Scene<'_>) -> Option<Timestamp> {
    let ActionRequest { policy, target, cause, .. } = scene.request;
    if let Cause::Step(_) = cause {
        let symptoms = scene.history.symptoms(target);
        return symptoms.cleared_at.filter(|at| symptoms.present_at.is_none_or(|it| it <= *at));
    }
    // Where the policy asks for no absence any more, nothing speaks against it.
    let rule = scene.rules.absent.get(&policy.name)?.clone();
    let absent = Sought { policy: policy.name.clone(), part: Part::Absent, rule, target: target.clone() };
    scene.history.sightings(&absent).newest()
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

/// The second witness: the stamp on the target refuses a repeat within the cooldown even if the ledger were lost, or knew of an
/// action only that it had begun.
pub(super) fn stamp_cooled_down(sight: &Sight<'_>) -> Result<(), DenyReason> {
    let request = sight.scene.request;
    let Some((at, what)) = sight.seen.annotations.get(STAMP_LAST_ACTION).and_then(|text| text.split_once(' ')) else {
        return Ok(());
    };
    // `restart`, or `undo scale`: what was taken back is not to be done again at once either.
    let kind = what.rsplit(' ').next().unwrap_or(what);
    let (Ok(at), Some(last)) = (at.parse::<Timestamp>(), sight.seen.stamp()) else { return Ok(()) };
    let until = at.saturating_add(cooldown(&sight.scene)).unwrap_or(Timestamp::MAX);
    if kind == request.action.kind().as_str() && last != sight.id && sight.scene.now < until {
        return Err(DenyReason::CooldownActive { last, until: Some(until) });
    }
    Ok(())
}
