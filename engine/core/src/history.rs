//! What the engine remembers: a fold over the ledger, asked by the guardrails. Nothing else remembers anything.

mod asked;
mod windows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use windows::Window;

use crate::action::{ActionKind, Cause};
use crate::id::{IntentId, Revision};
use crate::intent::{Event, IllegalEvent, Intent};
use crate::record::{Admission, Deferral, Entry, Folded, Pause, Record, Topic, Verdict, WaitKey};
use crate::verify::Symptoms;
use crate::workload::Workload;

/// No guardrail looks further back (policies with a longer window are refused at load).
const KEEP: SignedDuration = SignedDuration::from_hours(24);

/// The fold.
#[derive(Clone, Debug, Default)]
pub struct History {
    revision: Revision,
    admit: Revision,
    at: Timestamp,
    pauses: BTreeMap<Arc<str>, (Timestamp, Pause)>,
    intents: BTreeMap<IntentId, Intent>,
    open: BTreeMap<Workload, Vec<IntentId>>,
    causes: BTreeMap<Cause, IntentId>,
    last: BTreeMap<(Workload, ActionKind), IntentId>,
    windows: windows::Windows,
    shadows: BTreeMap<(Arc<str>, Workload, ActionKind), Timestamp>,
    failures: VecDeque<Timestamp>,
    successes: BTreeSet<Timestamp>,
    waiting: BTreeMap<WaitKey, Waiting>,
    symptoms: BTreeMap<Workload, Symptoms>,
    reserved: BTreeMap<IntentId, Admission>,
}

/// A request in the waiting room.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
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
    pub fn apply(&mut self, entry: &Entry) -> Result<(), IllegalEvent> {
        self.revision = entry.revision;
        self.at = self.at.max(entry.at);
        if entry.topic == Topic::Admit {
            self.admit = entry.revision;
        }
        // Servers of the ledger may disagree by a little; the fold's time never goes backwards.
        let at = self.at;
        match &entry.record {
            Record::Admitted(admissions) => admissions.iter().for_each(|it| self.admitted(it, at)),
            Record::Deferred(deferral) => self.deferred(deferral, at),
            Record::Released(release) => {
                self.waiting.remove(&release.key);
            }
            Record::Paused(pause) => {
                self.pauses.insert(pause.id.clone(), (at, pause.clone()));
            }
            Record::Resumed(resume) => {
                self.pauses.remove(&resume.id);
            }
            Record::Happened(event) => {
                if let Topic::Intent(id) = entry.topic {
                    self.happened(id, event, entry.revision, at)?;
                }
            }
            Record::Folded(notes) => notes.iter().for_each(|it| self.folded(it, at)),
            Record::Symptom(symptom) => {
                if self.open.contains_key(&symptom.target) {
                    self.symptoms.entry(symptom.target.clone()).or_default().saw(symptom);
                }
            }
            Record::Fence => {
                if let Topic::Intent(id) = entry.topic
                    && let Some(intent) = self.intents.get_mut(&id)
                {
                    intent.fenced(entry.revision);
                }
            }
            Record::Started(_) => {}
        }
        self.prune();
        Ok(())
    }

    fn admitted(&mut self, admission: &Admission, at: Timestamp) {
        self.reserved.remove(&admission.id);
        // The same id twice consumes one slot.
        if self.intents.contains_key(&admission.id) {
            return;
        }
        let request = &admission.request;
        self.causes.insert(request.cause.clone(), admission.id);
        self.last.insert((request.target.clone(), request.action.kind()), admission.id);
        if request.undoes().is_none() {
            self.windows.record(admission.id, request, admission.adds, at);
            // An undo bears its policy's name, and takes no waiter's place.
            self.waiting.remove(&WaitKey::of(request));
        }
        self.open.entry(request.target.clone()).or_default().push(admission.id);
        self.intents.insert(admission.id, Intent::new(admission, at));
    }

    fn deferred(&mut self, deferral: &Deferral, at: Timestamp) {
        let observed = deferral.request.evidence.observed_at;
        let waiting = Waiting { deferral: deferral.clone(), since: at, refreshed_at: observed, joined: 0 };
        self.waiting
            .entry(WaitKey::of(&deferral.request))
            .and_modify(|it| it.deferral.objections.clone_from(&deferral.objections))
            .or_insert(waiting);
    }

    fn happened(&mut self, id: IntentId, event: &Event, revision: Revision, at: Timestamp) -> Result<(), IllegalEvent> {
        // An entry of an intent whose admission was purged says nothing to anybody.
        let Some(intent) = self.intents.get_mut(&id) else { return Ok(()) };
        intent.apply(event, revision, at)?;
        if let Event::Closed { outcome, .. } = event {
            let (target, admitted_at) = (intent.request().target.clone(), intent.admitted_at());
            if outcome.trips_breaker() && intent.request().undoes().is_none() {
                self.failures.push_back(at);
            }
            if outcome.is_success() && intent.request().undoes().is_none() {
                self.successes.insert(admitted_at);
            }
            if let Some(ids) = self.open.get_mut(&target) {
                ids.retain(|it| *it != id);
                if ids.is_empty() {
                    self.open.remove(&target);
                    self.symptoms.remove(&target);
                }
            }
        }
        Ok(())
    }

    fn folded(&mut self, note: &Folded, at: Timestamp) {
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
                    self.shadows.insert((policy, note.target.clone(), action), at);
                }
            }
            _ => {}
        }
    }

    fn prune(&mut self) {
        let Ok(before) = self.at.checked_sub(KEEP) else { return };
        self.windows.prune(before);
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
