//! An intent from its admission to its end, as the engine's drivers do it.

use flyball_core::action::ActionRequest;
use flyball_core::deny::DenyReason;
use flyball_core::follow_up::{follow_up, undo_of};
use flyball_core::guardrail::Verdict;
use flyball_core::id::IntentId;
use flyball_core::intent::{Event, Execution, Intent, Stage};
use flyball_core::outcome::Outcome;
use flyball_core::plan::plan;
use flyball_core::record::{self, Folded, Record, Topic, WaitKey};
use flyball_core::signal::Signal;
use flyball_core::verify::{Verification, complete, verify};
use jiff::{SignedDuration, Timestamp};

use super::{CLUSTER, Rehearsal, Witness};

/// How often a rollout is read when nothing else is due, as the engine does.
const POLL: SignedDuration = SignedDuration::from_secs(3);
/// Conflicts in a row before an intent is given up, as the engine does.
const CONFLICTS: u32 = 12;

impl Rehearsal {
    /// Takes an intent as far as it comes at this moment.
    pub(super) fn drive(&mut self, id: IntentId, witness: &mut impl Witness) {
        while let Some(intent) = self.history.intent(id).filter(|it| it.is_open()).cloned() {
            let went_on = match intent.stage() {
                Stage::Recorded if intent.request().only_tells() => {
                    let detail = format!("a person should look: {}", intent.request().evidence.summary);
                    self.close(&intent, Outcome::Escalated, detail, witness);
                    false
                }
                Stage::Recorded => self.send(&intent, witness),
                Stage::Applied { .. } | Stage::RolledOut { .. } => self.watch(&intent, witness),
                Stage::Undoing { .. } => self.undo(&intent, witness),
                // Every send is answered here.
                Stage::Sending { .. } | Stage::Unknown { .. } | Stage::Closed { .. } => false,
            };
            if !went_on {
                return;
            }
        }
    }

    fn happen(&mut self, intent: &Intent, event: Event) {
        self.append(Topic::Intent(intent.id()), Record::Happened(event));
    }

    fn close(&mut self, intent: &Intent, outcome: Outcome, detail: String, witness: &mut impl Witness) {
        self.happen(intent, Event::Closed { outcome, detail });
        self.complete.remove(&intent.id());
        self.due.forget(intent.id());
        if let Some(closed) = self.history.intent(intent.id()) {
            witness.closed(self.now, closed);
        }
        // An undo's parent goes on.
        if let Some(parent) = intent.request().undoes() {
            self.due.set(parent, self.now);
        }
        // Its policy's next step waits now, if there is one.
        let request = intent.request();
        let next = self.history.waiter(&WaitKey::of(request)).and_then(|it| it.deferral.request.hold);
        self.held.extend(next.map(|it| it.until));
        let demoted: Vec<_> = self.history.to_demote().cloned().collect();
        for it in demoted {
            self.append(Topic::Admit, Record::Demoted(it));
        }
        self.attend(witness);
    }

    fn send(&mut self, intent: &Intent, witness: &mut impl Witness) -> bool {
        let number = intent.attempts() + 1;
        let change = if number == 1 {
            intent.change().clone()
        } else {
            let Some(seen) = self.world.cluster.seen(intent.request()) else {
                self.close(intent, Outcome::Superseded, "the target is gone".to_owned(), witness);
                return false;
            };
            match plan(&intent.request().action, &seen, intent.admitted_at()) {
                Ok(change) => change,
                Err(reason) => {
                    self.close(intent, Outcome::Superseded, reason.label().to_owned(), witness);
                    return false;
                }
            }
        };
        self.happen(intent, Event::Attempted { number, change });
        let attempt = self.history.intent(intent.id()).and_then(Intent::attempt);
        match attempt.map(|it| self.world.cluster.carried_out(&it)) {
            Some(Execution::Applied(receipt)) => {
                self.happen(intent, Event::Applied(receipt));
                true
            }
            Some(Execution::Conflict(detail)) if number < CONFLICTS => {
                self.happen(intent, Event::Missed { detail });
                true
            }
            Some(Execution::Rejected(reason)) => {
                self.close(intent, Outcome::Rejected, reason.label().to_owned(), witness);
                false
            }
            Some(Execution::Conflict(detail) | Execution::Unknown(detail)) => {
                self.happen(intent, Event::Missed { detail: detail.clone() });
                self.close(intent, Outcome::Superseded, detail, witness);
                false
            }
            None => false,
        }
    }

    fn watch(&mut self, intent: &Intent, witness: &mut impl Witness) -> bool {
        let target = &intent.request().target;
        let evicted = intent.change().edit.evicted().map(|(pod, uid)| (&**pod, &**uid));
        let seen = self.world.cluster.sighted(target, evicted);
        let (Stage::Applied { receipt, .. } | Stage::RolledOut { receipt, .. }) = intent.stage() else { return false };
        if seen.as_ref().is_some_and(|it| complete(receipt, it)) {
            self.complete.entry(intent.id()).or_insert(self.now);
        } else {
            self.complete.remove(&intent.id());
        }
        let since = self.complete.get(&intent.id()).copied();
        match verify(intent, seen.as_ref(), self.history.symptoms(target), since, self.now) {
            None => {
                self.due.set(intent.id(), self.next_look(intent, since));
                false
            }
            Some(Verification::RolledOut) => {
                self.happen(intent, Event::RolledOut);
                self.attend(witness);
                true
            }
            Some(Verification::Over(outcome, detail)) => {
                if let Some(request) = follow_up(intent, outcome) {
                    let undo = request.id(CLUSTER);
                    self.happen(intent, Event::Undoing { undo, verdict: outcome, detail });
                    return true;
                }
                self.close(intent, outcome, detail, witness);
                false
            }
        }
    }

    /// The next moment at which the passing of time, or a controller, can change the verdict.
    fn next_look(&self, intent: &Intent, since: Option<Timestamp>) -> Timestamp {
        let spec = &intent.request().verify;
        let (Stage::Applied { at, .. } | Stage::RolledOut { at, .. }) = intent.stage() else { return self.now };
        let recovery = spec.recovered.map(|it| it.within);
        let edges = [Some((*at, spec.timeout)), since.map(|at| (at, spec.stable_for)), since.zip(recovery)];
        let edges = edges.into_iter().flatten().filter_map(|(from, length)| from.checked_add(length).ok());
        let moves = self.world.cluster.next_move(&intent.request().target);
        let poll = self.now.saturating_add(POLL).unwrap_or(Timestamp::MAX);
        let next = edges.chain(moves).filter(|it| *it > self.now).min();
        // While nothing moves only an edge can change anything.
        next.unwrap_or(poll)
    }

    fn undo(&mut self, parent: &Intent, witness: &mut impl Witness) -> bool {
        let Stage::Undoing { undo, verdict, detail } = parent.stage() else { return false };
        let found = self.history.intent(*undo).map(|it| it.stage().clone());
        match found {
            Some(Stage::Closed { outcome, detail: how, .. }) if outcome.is_success() => {
                self.close(parent, Outcome::RolledBack, format!("{detail}; undone: {how}"), witness);
                false
            }
            Some(stage @ Stage::Closed { .. }) => {
                self.close(parent, Outcome::Failed, format!("{detail}; the undo ended {}", stage.label()), witness);
                false
            }
            Some(_) => false,
            None => self.ask_for_undo(parent, *verdict, detail, witness),
        }
    }

    fn ask_for_undo(&mut self, parent: &Intent, verdict: Outcome, detail: &str, witness: &mut impl Witness) -> bool {
        let Some(request) = undo_of(parent) else {
            self.close(parent, verdict, detail.to_owned(), witness);
            return false;
        };
        let paused = |it: &DenyReason| matches!(it, DenyReason::Paused { .. }) || it.passes_by_itself();
        match self.consider(request) {
            Verdict::Pass((id, _)) => self.drive(id, witness),
            Verdict::Deny(objections) if !objections.reasons.iter().all(paused) => {
                let why = objections.reasons.first().map_or("denied", DenyReason::label);
                let outcome = if why == "TargetChanged" { Outcome::Superseded } else { Outcome::Failed };
                self.close(parent, outcome, format!("{detail}; the undo was denied: {why}"), witness);
            }
            Verdict::Defer(_) | Verdict::Deny(_) => {
                let again = self.now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
                self.due.set(parent.id(), again);
            }
        }
        false
    }
}

/// The note of a shadow policy that would have acted: its own cooldown begins.
pub(super) fn shadowed(signal: &Signal, request: &ActionRequest) -> Folded {
    note(signal, request, record::Verdict::Shadow(Vec::new()))
}

/// The note of a signal that joined a waiter: it keeps the waiter young.
pub(super) fn joined(signal: &Signal, request: &ActionRequest) -> Folded {
    note(signal, request, record::Verdict::Joined(Vec::new()))
}

fn note(signal: &Signal, request: &ActionRequest, verdict: record::Verdict) -> Folded {
    Folded {
        target: request.target.clone(),
        policy: Some(request.policy.name.clone()),
        action: Some(request.action.kind()),
        verdict,
        count: 1,
        sequences: vec![(signal.sequence, signal.sequence)],
        signal: signal.id.clone(),
        observed_at: signal.observed_at,
        trace: signal.trace,
        summary: request.evidence.summary.clone(),
    }
}
