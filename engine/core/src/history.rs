//! What the engine remembers: a fold over the ledger, asked by the guardrails. Nothing else remembers anything.

mod asked;
mod contradiction;
mod intents;
mod lookup;
mod needed;
mod pairs;
mod shadows;
mod sightings;
mod slots;
mod trust;
mod windows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use contradiction::Contradiction;
pub use intents::WHOLE;
pub use sightings::{MOST as MOST_SOUGHT, Sight};
pub use windows::Window;

use crate::action::ActionRequest;
use crate::chain::Head;
use crate::deny::{DenyReason, NoAction};
use crate::follow_up::{step_after, step_instead};
use crate::id::{IntentId, Revision};
use crate::intent::{Event, Intent, Stage};
use crate::record::{Admission, Deferral, Entry, Folded, Pause, Record, Release, Topic, Verdict, WaitKey};
use crate::verify::Symptoms;
use crate::workload::Workload;

/// The longest cooldown, budget window, breaker window or signal age that a policy can have: a longer one is refused at load.
pub const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// What is over is remembered for so long. Twice the longest window: whether a probe has forgiven the failures before it is
/// told by what lies a window before the window.
pub const KEEP: SignedDuration = SignedDuration::from_hours(48);

/// The fold. Its size does not grow with the length of the ledger: it holds what is open, what waits, the pauses in force,
/// the newest 2,000 closed intents whole, and of the others that ended, or were asked for, within [`KEEP`] a few words
/// each. The cost of an entry does not depend on how much is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    newest: Head,
    admit: Head,
    at: Timestamp,
    purged: Revision,
    pauses: BTreeMap<Arc<str>, Pressed>,
    intents: intents::Intents,
    windows: windows::Windows,
    shadows: shadows::Shadows,
    sightings: sightings::Sightings,
    trust: trust::Trust,
    failures: VecDeque<Timestamp>,
    successes: BTreeSet<Timestamp>,
    #[serde(with = "pairs")]
    waiting: BTreeMap<WaitKey, Waiting>,
    #[serde(with = "pairs")]
    symptoms: BTreeMap<Workload, Symptoms>,
    /// What is on its way is known to this process alone.
    #[serde(skip)]
    reserved: BTreeMap<IntentId, Admission>,
}

/// A pause, and where it stands on the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pressed {
    revision: Revision,
    told: (Timestamp, Pause),
}

/// A request in the waiting room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The entry that it began to wait with.
    pub revision: Revision,
    /// What it asked and waits for.
    pub deferral: Deferral,
    /// Since when.
    pub since: Timestamp,
    /// When its newest signal was observed: its age counts from here.
    pub refreshed_at: Timestamp,
    /// Later signals that joined it.
    pub joined: u64,
}

impl History {
    /// Folds an entry in.
    ///
    /// # Errors
    /// The entry cannot follow what came before it. Nothing may be decided on such a ledger.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Contradiction> {
        self.continues(entry)?;
        self.newest = entry.head();
        self.at = self.at.max(entry.at);
        if entry.topic == Topic::Admit {
            self.admit = entry.head();
        }
        // Servers of the ledger may disagree by a little; the fold's time never goes backwards.
        let at = self.at;
        match &entry.record {
            Record::Admitted(admissions) => admissions.iter().for_each(|it| self.admitted(it, entry.revision, at)),
            Record::Deferred(deferral) => self.deferred(deferral, entry.revision, at),
            Record::Released(release) => self.released(release, at),
            Record::Paused(pause) => {
                let pressed = Pressed { revision: entry.revision, told: (at, pause.clone()) };
                self.pauses.insert(pause.id.clone(), pressed);
            }
            Record::Resumed(resume) => {
                self.pauses.remove(&resume.id);
            }
            Record::Happened(event) => {
                if let Topic::Intent(id) = entry.topic {
                    self.happened(id, event, entry, at)?;
                }
            }
            Record::Folded(notes) => notes.iter().for_each(|it| self.folded(it, at)),
            Record::Symptom(symptom) => self.saw(&symptom.target, symptom.observed_at, symptom.cleared),
            Record::Sighted(all) => all.iter().for_each(|it| self.sightings.record(it, at)),
            Record::Demoted(it) => self.trust.demoted(it, entry.revision),
            Record::Trusted(it) => self.trust.restored(&it.policy),
            Record::Fence => {
                if let Topic::Intent(id) = entry.topic
                    && self.intents.change(id, |it| it.fenced(entry.head())).is_none()
                {
                    self.intents.passed_over(id, entry.head());
                }
            }
            Record::Purged { before } => self.purged = self.purged.max(*before),
            Record::Started(_) | Record::Accepted(_) => {}
        }
        self.prune();
        if let Record::Purged { before } = entry.record {
            self.intents.purged(before);
        }
        Ok(())
    }

    fn admitted(&mut self, admission: &Admission, revision: Revision, at: Timestamp) {
        self.reserved.remove(&admission.id);
        // The same id twice consumes one slot.
        if self.intents.knows(admission.id) {
            return;
        }
        let request = &admission.request;
        if let Some(parent) = request.undoes() {
            // An undo bears its policy's name, but uses up no budget and takes no waiter's place.
            self.intents.change(parent, Intent::undone_by_an_intent);
        } else {
            if !request.only_tells() {
                self.windows.record(request, admission.adds, at);
            }
            self.waiting.remove(&WaitKey::of(request));
            // What was heard while it waited says nothing of what it does.
            self.forget_symptoms(&request.target);
        }
        self.intents.admit(admission, revision, at);
    }

    fn deferred(&mut self, deferral: &Deferral, revision: Revision, at: Timestamp) {
        let observed = deferral.request.evidence.observed_at;
        let waiting = Waiting { revision, deferral: deferral.clone(), since: at, refreshed_at: observed, joined: 0 };
        self.waiting
            .entry(WaitKey::of(&deferral.request))
            .and_modify(|it| it.deferral.objections.clone_from(&deferral.objections))
            .or_insert(waiting);
    }

    fn released(&mut self, release: &Release, at: Timestamp) {
        let Some(waited) = self.waiting.remove(&release.key) else { return };
        if let Some(next) = step_instead(release, at) {
            self.await_step(next, waited.revision, at);
        }
        self.forget_symptoms(&release.key.target);
    }

    /// A step waits from the moment that the one before it has ended: no entry is needed that a crash could keep from being
    /// written. What waits under the same key has joined it.
    fn await_step(&mut self, request: ActionRequest, revision: Revision, at: Timestamp) {
        let until = request.hold.map_or(at, |it| it.until);
        let key = WaitKey::of(&request);
        let joined = self.waiting.get(&key).map_or(0, |it| it.joined + 1);
        let deferral = Deferral { request, objections: vec![DenyReason::NotYet { until }] };
        self.waiting.insert(key, Waiting { revision, deferral, since: at, refreshed_at: until, joined });
    }

    fn happened(&mut self, id: IntentId, event: &Event, entry: &Entry, at: Timestamp) -> Result<(), Contradiction> {
        let Some(applied) = self.intents.change(id, |it| it.apply(event, entry.head(), at)) else {
            self.intents.passed_over(id, entry.head());
            return Ok(());
        };
        applied.map_err(|illegal| Contradiction::illegal(entry, illegal))?;
        let Some(intent) = self.intents.get(id) else { return Ok(()) };
        if let Stage::Closed { outcome, .. } = *intent.stage() {
            let (target, admitted_at) = (intent.request().target.clone(), intent.admitted_at());
            let admitted = self.intents.admitted_by(id).unwrap_or(entry.revision);
            if intent.request().undoes().is_none() {
                self.trust.ended(intent, outcome, at);
                if outcome.trips_breaker() {
                    self.failures.push_back(at);
                }
                if outcome.is_success() {
                    self.successes.insert(admitted_at);
                }
            }
            let next = step_after(intent, outcome, at);
            self.intents.close(id, at);
            if let Some(next) = next {
                self.await_step(next, admitted, at);
            }
            self.forget_symptoms(&target);
        }
        Ok(())
    }

    /// A signal about a target whose symptom somebody may wait to see gone.
    fn saw(&mut self, target: &Workload, observed_at: Timestamp, cleared: bool) {
        if self.awaits_symptoms(target) {
            self.symptoms.entry(target.clone()).or_default().saw(observed_at, cleared);
        }
    }

    fn forget_symptoms(&mut self, target: &Workload) {
        if !self.awaits_symptoms(target) {
            self.symptoms.remove(target);
        }
    }

    fn folded(&mut self, note: &Folded, at: Timestamp) {
        if !matches!(note.verdict, Verdict::Shadow(_)) {
            let cleared = matches!(note.verdict, Verdict::NoAction(NoAction::NotAnomalous));
            self.saw(&note.target, note.observed_at, cleared);
        }
        let Some(policy) = note.policy.clone() else { return };
        match &note.verdict {
            Verdict::Joined(_) => {
                if let Some(waiting) = self.waiting.get_mut(&WaitKey { target: note.target.clone(), policy }) {
                    waiting.joined += note.count;
                    waiting.refreshed_at = waiting.refreshed_at.max(note.observed_at);
                }
            }
            Verdict::Shadow(reasons) if reasons.is_empty() => {
                if let Some(action) = note.action {
                    self.shadows.record((policy, note.target.clone(), action), at);
                }
            }
            _ => {}
        }
    }

    fn prune(&mut self) {
        let now = self.at;
        // People press them: there are never many.
        self.pauses.retain(|_, it| it.told.1.until.is_none_or(|until| now < until));
        let Ok(before) = self.at.checked_sub(KEEP) else { return };
        self.windows.prune(before);
        self.shadows.prune(before);
        self.sightings.prune(before);
        self.trust.prune(before);
        self.intents.forget(before);
        while self.failures.front().is_some_and(|at| *at < before) {
            self.failures.pop_front();
        }
        while self.successes.first().is_some_and(|at| *at < before) {
            self.successes.pop_first();
        }
    }

    /// Holds a place for an admission that is on its way to the ledger, so that a second one screened meanwhile sees it.
    pub fn reserve(&mut self, admission: Admission) {
        self.reserved.insert(admission.id, admission);
    }

    /// Gives the place back: the append was lost.
    pub fn unreserve(&mut self, id: IntentId) {
        self.reserved.remove(&id);
    }
}
