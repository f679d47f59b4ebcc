//! What comes after a failed verification: the undo, and the policy's next step, both through the front door.

use jiff::Timestamp;

use crate::action::{Action, ActionRequest, Cause, Hold};
use crate::deny::DenyReason;
use crate::intent::{Intent, undoes_on_failure};
use crate::outcome::Outcome;
use crate::plan::Edit;
use crate::record::Release;

/// The request that takes an intent back, if its policy asks for that and its change has an inverse. An undo is an action
/// like any other and at most one deep.
pub fn follow_up(intent: &Intent, verdict: Outcome) -> Option<ActionRequest> {
    let failed = matches!(verdict, Outcome::Failed | Outcome::TimedOut | Outcome::NotRecovered);
    if !failed || !undoes_on_failure(intent) {
        return None;
    }
    undo_of(intent)
}

/// The undo of an intent, whatever its verdict: what a resumed `Undoing` asks for again.
pub fn undo_of(intent: &Intent) -> Option<ActionRequest> {
    let Edit::Fields { apply, revert: Some(revert), .. } = &intent.change().edit else { return None };
    let mut request = intent.request().clone();
    let of = request.action.kind();
    request.action = Action::Undo { of, revert: revert.clone(), applied: apply.clone() };
    request.cause = Cause::Undo(intent.id());
    request.verify.on_failure = crate::action::OnFailure::Escalate;
    request.verify.recovered = None;
    // No expression of the policy is asked about an undo.
    request.evidence.signal = None;
    request.then.clear();
    Some(request)
}

/// The policy's next step after an intent that ended at `at` and did not help. Somebody who cancelled it, or changed the target
/// himself, has taken it in hand: then nothing more is done.
pub(crate) fn step_after(intent: &Intent, outcome: Outcome, at: Timestamp) -> Option<ActionRequest> {
    // Nothing was sent, and no person wanted that: its signal expired under a pause, say.
    let unsent = outcome == Outcome::Cancelled && intent.cancelled().is_none();
    if !outcome.trips_breaker() && outcome != Outcome::Rejected && !unsent {
        return None;
    }
    // A verdict on the symptom has heard all before it; another end has not asked.
    let asked = matches!(outcome, Outcome::NotRecovered | Outcome::RolledBack);
    let since = if asked { at } else { intent.admitted_at() };
    next_step(intent.request(), Cause::Step(intent.id()), since, at)
}

/// The step after one that a guardrail denied at `at`: it did not help either. Where the symptom has gone there is nothing to help.
pub(crate) fn step_instead(denied: &Release, at: Timestamp) -> Option<ActionRequest> {
    let gone = denied.reasons.iter().any(|it| matches!(it, DenyReason::Contradicted { .. }));
    let step = matches!(denied.request.cause, Cause::Step(_));
    if !step || gone {
        return None;
    }
    let since = denied.request.hold.map_or(at, |it| it.since);
    next_step(&denied.request, denied.request.cause.clone(), since, at)
}

fn next_step(before: &ActionRequest, cause: Cause, since: Timestamp, at: Timestamp) -> Option<ActionRequest> {
    let (next, rest) = before.then.split_first()?;
    let until = at.saturating_add(next.after).unwrap_or(Timestamp::MAX);
    let mut request = ActionRequest {
        action: next.action.clone(),
        cause,
        step: before.step + 1,
        then: rest.to_vec(),
        hold: Some(Hold { since, until }),
        ..before.clone()
    };
    // That it did not help is news of this moment, and still is when the step is due.
    request.evidence.observed_at = until;
    request.evidence.expires_at = None;
    Some(request)
}
