//! What the engine remembers: a fold over the ledger, asked by the guardrails. Nothing else remembers anything.

mod windows;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use windows::Window;

use crate::action::{ActionKind, Cause};
use crate::deny::DenyReason;
use crate::id::{IntentId, Revision, SignalId};
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
    causes: BTreeMap<SignalId, IntentId>,
    last: BTreeMap<(Workload, ActionKind), IntentId>,
    windows: windows::Windows,
    shadows: BTreeMap<(Arc<str>, Workload, ActionKind), Timestamp>,
    failures: VecDeque<Timestamp>,
    success: Option<Timestamp>,
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
        match &entry.record {
            Record::Admitted(admissions) => admissions.iter().for_each(|it| self.admitted(it, entry.at)),
            Record::Deferred(deferral) => self.deferred(deferral, entry.at),
            Record::Released(release) => {
                self.waiting.remove(&release.key);
            }
            Record::Paused(pause) => {
                self.pauses.insert(pause.id.clone(), (entry.at, pause.clone()));
            }
            Record::Resumed(resume) => {
                self.pauses.remove(&resume.id);
            }
            Record::Happened(event) => {
                if let Topic::Intent(id) = entry.topic {
                    self.happened(id, event, entry)?;
                }
            }
            Record::Folded(notes) => notes.iter().for_each(|it| self.folded(it, entry.at)),
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
        if let Cause::Signal(signal) = &request.cause {
            self.causes.insert(signal.clone(), admission.id);
        }
        self.last.insert((request.target.clone(), request.action.kind()), admission.id);
        if request.undoes().is_none() {
            self.windows.record(admission.id, request, admission.adds, at);
        }
        self.open.entry(request.target.clone()).or_default().push(admission.id);
        self.waiting.remove(&WaitKey::of(request));
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

    fn happened(&mut self, id: IntentId, event: &Event, entry: &Entry) -> Result<(), IllegalEvent> {
        // An entry of an intent whose admission was purged says nothing to anybody.
        let Some(intent) = self.intents.get_mut(&id) else { return Ok(()) };
        intent.apply(event, entry.revision, entry.at)?;
        if let Event::Closed { outcome, .. } = event {
            let (target, admitted_at) = (intent.request().target.clone(), intent.admitted_at());
            if outcome.trips_breaker() && intent.request().undoes().is_none() {
                self.failures.push_back(entry.at);
            }
            if outcome.is_success() && intent.request().undoes().is_none() {
                self.success = self.success.max(Some(admitted_at));
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
    }

    /// Holds a place for an admission that is on its way to the ledger, so that a second one screened meanwhile sees it.
    pub fn reserve(&mut self, admission: Admission) {
        self.reserved.insert(admission.id, admission);
    }

    /// Gives the place back: the append was lost.
    pub fn unreserve(&mut self, id: IntentId) {
        self.reserved.remove(&id);
    }

    /// Newest entry.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Newest entry of the topic `Admit`: what an admission screened here has to expect.
    pub fn admit_revision(&self) -> Revision {
        self.admit
    }

    /// The ledger's time of the newest entry.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The pauses in force.
    pub fn pauses(&self, now: Timestamp) -> impl Iterator<Item = &(Timestamp, Pause)> {
        self.pauses.values().filter(move |(_, pause)| pause.until.is_none_or(|until| now < until))
    }

    /// An intent by id, closed ones included.
    pub fn intent(&self, id: IntentId) -> Option<&Intent> {
        self.intents.get(&id)
    }

    /// Every intent.
    pub fn intents(&self) -> impl Iterator<Item = &Intent> {
        self.intents.values()
    }

    /// Intents that are not closed.
    pub fn open(&self) -> impl Iterator<Item = &Intent> {
        self.open.values().flatten().filter_map(|id| self.intents.get(id))
    }

    /// The open intents on a target, and those about to be.
    pub fn open_on(&self, target: &Workload) -> Vec<IntentId> {
        let reserved = self.reserved.values().filter(|it| it.request.target == *target).map(|it| it.id);
        self.open.get(target).into_iter().flatten().copied().chain(reserved).collect()
    }

    /// Slots in use: in the cluster, or in one namespace.
    pub fn slots(&self, namespace: Option<&str>) -> u32 {
        let within = |target: &Workload| namespace.is_none_or(|it| *target.namespace == *it);
        let held = self.open().filter(|it| it.holds_slot() && within(&it.request().target)).count();
        let waits = |it: &&Admission| it.request.undoes().is_none() && within(&it.request.target);
        let reserved = self.reserved.values().filter(waits).count();
        u32::try_from(held + reserved).unwrap_or(u32::MAX)
    }

    /// Workloads of a namespace that hold a slot.
    pub fn under_remediation(&self, namespace: &str) -> impl Iterator<Item = &Workload> {
        let held = self.open().filter(|it| it.holds_slot()).map(|it| &it.request().target);
        held.chain(self.reserved.values().map(|it| &it.request.target)).filter(move |it| *it.namespace == *namespace)
    }

    /// The intent that a signal led to.
    pub fn led_to(&self, cause: &Cause) -> Option<IntentId> {
        let Cause::Signal(signal) = cause else { return None };
        let reserved = self.reserved.values().find(|it| it.request.cause == *cause).map(|it| it.id);
        self.causes.get(signal).copied().or(reserved)
    }

    /// The last intent of a kind on a target, and when it ended; none while it is open.
    pub fn last(&self, target: &Workload, kind: ActionKind) -> Option<(IntentId, Option<Timestamp>)> {
        if let Some(it) =
            self.reserved.values().find(|it| it.request.target == *target && it.request.action.kind() == kind)
        {
            return Some((it.id, None));
        }
        let id = self.last.get(&(target.clone(), kind))?;
        let ended = match self.intents.get(id)?.stage() {
            crate::intent::Stage::Closed { at, .. } => Some(*at),
            _ => None,
        };
        Some((*id, ended))
    }

    /// When a shadow policy last would have acted.
    pub fn last_shadow(&self, policy: &Arc<str>, target: &Workload, kind: ActionKind) -> Option<Timestamp> {
        self.shadows.get(&(policy.clone(), target.clone(), kind)).copied()
    }

    /// Actions of a kind on a target.
    pub fn on_target(&self, target: &Workload, kind: ActionKind) -> Window<'_> {
        self.windows.on_target(target, kind)
    }

    /// Actions in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Window<'_> {
        self.windows.in_namespace(namespace)
    }

    /// Actions in the cluster.
    pub fn in_cluster(&self) -> Window<'_> {
        self.windows.in_cluster()
    }

    /// Replicas added to a target.
    pub fn added_to(&self, target: &Workload) -> Window<'_> {
        self.windows.added_to(target)
    }

    /// Admissions on their way to the ledger.
    pub fn reserved(&self) -> impl Iterator<Item = &Admission> {
        self.reserved.values()
    }

    /// Times of the verified failures after `since`, and the admission of the newest success.
    pub fn failures(&self, since: Timestamp) -> (Vec<Timestamp>, Option<Timestamp>) {
        (self.failures.iter().copied().filter(|at| *at > since).collect(), self.success)
    }

    /// Who waits.
    pub fn waiting(&self) -> impl Iterator<Item = (&WaitKey, &Waiting)> {
        self.waiting.iter()
    }

    /// One waiter.
    pub fn waiter(&self, key: &WaitKey) -> Option<&Waiting> {
        self.waiting.get(key)
    }

    /// What the waiter last waited for.
    pub fn objections(&self, key: &WaitKey) -> Option<&[DenyReason]> {
        self.waiting.get(key).map(|it| it.deferral.objections.as_slice())
    }

    /// What was seen of a target's symptoms since its intent was admitted.
    pub fn symptoms(&self, target: &Workload) -> Symptoms {
        self.symptoms.get(target).copied().unwrap_or_default()
    }
}
