//! Did it help? kubectl's own rollout rules, tied to our generation; then stability; then whether the symptom is gone.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::action::{RecoveredBy, VerifySpec};
use crate::facts::Sighting;
use crate::intent::{Intent, Receipt, Stage};
use crate::merge;
use crate::outcome::Outcome;
use crate::plan::Edit;

/// What was seen of a target's symptoms: only what came after our effect counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptoms {
    /// The newest signal that the symptom is there.
    pub present_at: Option<Timestamp>,
    /// The newest signal that it is gone.
    pub cleared_at: Option<Timestamp>,
}

impl Symptoms {
    pub(crate) fn saw(&mut self, observed_at: Timestamp, cleared: bool) {
        let slot = if cleared { &mut self.cleared_at } else { &mut self.present_at };
        *slot = (*slot).max(Some(observed_at));
    }
}

/// What verification concludes at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The rollout is complete; its slot is free.
    RolledOut,
    /// It is over.
    Over(Outcome, String),
}

/// Judges what is seen of an intent that has been applied. `complete_since`: since when every read found the rollout
/// complete. `None`: keep watching.
pub fn verify(
    intent: &Intent,
    seen: Option<&Sighting>,
    symptoms: Symptoms,
    complete_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<Verification> {
    let over = |outcome, detail: &str| Some(Verification::Over(outcome, detail.to_owned()));
    let (receipt, at, complete_at) = match intent.stage() {
        Stage::Applied { receipt, at } => (receipt, *at, None),
        Stage::RolledOut { receipt, at, complete_at } => (receipt, *at, Some(*complete_at)),
        _ => return None,
    };
    let spec = &intent.request().verify;
    let Some(seen) = seen.filter(|seen| seen.rollout.uid == intent.change().uid) else {
        return over(Outcome::Superseded, "the target is gone, or another object took its name");
    };
    // A read from before our effect shows what was there before: it tells nothing, neither success nor somebody else's hand.
    let is_older = seen.rollout.generation < receipt.generation;
    if !is_older && (stamped_over(intent, receipt, seen) || !still_ours(intent, seen)) {
        return over(Outcome::Superseded, "somebody else changed what we had changed");
    }
    if complete(receipt, seen) {
        return match complete_at {
            None => Some(Verification::RolledOut),
            Some(done) => settled(spec, symptoms, at, done.max(complete_since.unwrap_or(now)), now),
        };
    }
    let rollout = &seen.rollout;
    let observed = rollout.observed_generation >= receipt.generation;
    if observed && rollout.deadline_exceeded && now >= at.saturating_add(progress_deadline(seen)).unwrap_or(at) {
        return over(Outcome::Failed, "the rollout exceeded its progress deadline");
    }
    let deadline = patience(spec, at, complete_at);
    if complete_at.is_some() && rollout.unhealthy() && now >= deadline {
        return over(Outcome::Failed, "pods became unavailable again after the rollout");
    }
    let progress = format!(
        "{} of {} pods updated, {} available after {:#}",
        rollout.updated,
        rollout.desired,
        rollout.available,
        rounded(spec.timeout)
    );
    (now >= deadline).then_some(Verification::Over(Outcome::TimedOut, progress))
}

/// How long an incomplete rollout is borne. After it was complete once, a dip such as a drained node starts stability and
/// recovery anew, for as long as they would have taken anyhow: it fails only what is still down then.
fn patience(spec: &VerifySpec, at: Timestamp, complete_at: Option<Timestamp>) -> Timestamp {
    let after = |from: Timestamp, wait| from.saturating_add(wait).unwrap_or(Timestamp::MAX);
    let rest = spec.recovered.map_or(spec.stable_for, |it| it.within.max(spec.stable_for));
    let settled = complete_at.map_or(Timestamp::MIN, |done| after(done, rest));
    after(at, spec.timeout).max(settled)
}

/// Kubernetes' own default where the field is missing. A deadline that is reported as exceeded any sooner after our change
/// is an older rollout's: a controller takes that condition back only when it sees progress, and a scale never resets it.
fn progress_deadline(seen: &Sighting) -> SignedDuration {
    let seconds = seen.spec.get("progressDeadlineSeconds").and_then(serde_json::Value::as_i64);
    SignedDuration::from_secs(seconds.unwrap_or(600).clamp(0, i64::from(i32::MAX)))
}

fn rounded(duration: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(duration.as_secs())
}

/// Whether the rollout is complete, as of a generation that includes our change.
pub fn complete(receipt: &Receipt, seen: &Sighting) -> bool {
    seen.rollout.observed_generation >= receipt.generation && seen.rollout.complete() && !seen.pod_still_there
}

/// Whether another intent has changed the target since. None is admitted while this one is open: it was one that the ledger
/// has forgotten. A read from before our effect has an older stamp, too, but no newer generation.
fn stamped_over(intent: &Intent, receipt: &Receipt, seen: &Sighting) -> bool {
    seen.rollout.generation > receipt.generation && seen.stamp.is_some_and(|it| it != intent.id())
}

/// Whether our change is still in place.
fn still_ours(intent: &Intent, seen: &Sighting) -> bool {
    match &intent.change().edit {
        Edit::Fields { apply, .. } => apply.get("spec").is_none_or(|fields| merge::holds(&seen.spec, fields)),
        Edit::Evict { .. } | Edit::Tell => true,
    }
}

fn settled(
    spec: &VerifySpec,
    symptoms: Symptoms,
    applied: Timestamp,
    since: Timestamp,
    now: Timestamp,
) -> Option<Verification> {
    let over = |outcome, detail: &str| Some(Verification::Over(outcome, detail.to_owned()));
    let stable = now >= since.saturating_add(spec.stable_for).unwrap_or(Timestamp::MAX);
    let Some(recovery) = spec.recovered else {
        return stable
            .then(|| Verification::Over(Outcome::RolledOut, format!("complete and stable for {:#}", spec.stable_for)));
    };
    let deadline = since.saturating_add(recovery.within).unwrap_or(Timestamp::MAX);
    let after = |seen: Option<Timestamp>, than: Timestamp| seen.is_some_and(|at| at > than);
    match recovery.by {
        RecoveredBy::Clear => {
            let newest_is_clear = symptoms.cleared_at > symptoms.present_at;
            if after(symptoms.cleared_at, applied) && newest_is_clear {
                // Cleared in time, though perhaps not yet stable for long enough.
                return if stable { over(Outcome::Recovered, "the signal cleared") } else { None };
            }
            if now >= deadline { over(Outcome::NotRecovered, "the signal did not clear in time") } else { None }
        }
        RecoveredBy::Silence => {
            if after(symptoms.present_at, since) {
                return over(Outcome::NotRecovered, "the signal came again after the rollout");
            }
            let quiet = now >= deadline && stable;
            quiet.then(|| {
                Verification::Over(Outcome::Recovered, format!("no signal for {:#} after the rollout", recovery.within))
            })
        }
    }
}
