//! What comes after a failed verification: the undo, through the front door.

use crate::action::{Action, ActionRequest, Cause};
use crate::intent::{Intent, undoes_on_failure};
use crate::outcome::Outcome;
use crate::plan::Edit;

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
    Some(request)
}
