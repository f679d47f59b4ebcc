//! The ledger as the judge reads it: a fold of its own, so that a bug of the engine's fold is not judged by itself. Breaches
//! that the order of entries alone shows are found here.

mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flyball::pipeline::ROOM;
use flyball_core::action::{ActionKind, ActionRequest, Cause};
use flyball_core::chain::Head;
use flyball_core::deny::NoAction;
use flyball_core::id::{IntentId, Revision};
use flyball_core::intent::Event;
use flyball_core::outcome::Outcome;
use flyball_core::plan::Change;
use flyball_core::policy::Mode;
use flyball_core::record::{Admission, Entry, Pause, Record, Topic, Verdict, WaitKey};
use flyball_core::workload::Workload;
use jiff::{SignedDuration, Timestamp};

use super::chronicle::Violation;
use super::stage::policies;

/// A process judges by the time of the newest entry that it knows and what its own clock has run since: so much its word and
/// the ledger's may differ, with clocks that are fast by some hundred parts in a million.
pub(super) const SLACK: SignedDuration = SignedDuration::from_millis(100);
/// So much later than its signal expires an attempt may be on the ledger: the append may be under way for so long.
const LATE: SignedDuration = SignedDuration::from_secs(30);

/// An attempt as recorded.
#[derive(Clone)]
pub(super) struct Try {
    pub(super) at: Timestamp,
    pub(super) change: Change,
    /// The process that drove the intent then.
    pub(super) driver: Arc<str>,
}

/// An intent.
pub(super) struct Known {
    pub(super) admission: Admission,
    pub(super) at: Timestamp,
    pub(super) head: Head,
    pub(super) attempts: BTreeMap<u32, Try>,
    /// The process that drives it.
    driver: Arc<str>,
    stage: &'static str,
    pub(super) closed: Option<(Timestamp, Outcome)>,
    pub(super) undo: Option<IntentId>,
    rolled: bool,
}

impl Known {
    fn holds_slot(&self) -> bool {
        let request = &self.admission.request;
        self.closed.is_none() && !self.rolled && request.undoes().is_none() && !request.only_tells()
    }
}

/// The ledger, folded.
#[derive(Default)]
pub(super) struct Fold {
    next: usize,
    pub(super) intents: BTreeMap<IntentId, Known>,
    pub(super) waiting: BTreeMap<WaitKey, Revision>,
    /// Of those, the ones whose turn comes after a step.
    steps: BTreeSet<WaitKey>,
    pub(super) pauses: BTreeMap<Arc<str>, Pause>,
    /// Failed verifications in a row, and the policies for which they were too many.
    failing: BTreeMap<Arc<str>, Vec<Timestamp>>,
    demoted: BTreeSet<Arc<str>>,
    /// Of which that is to be written down.
    pub(super) due: BTreeSet<Arc<str>>,
    /// Of which a person wanted the end.
    cancelled: BTreeSet<IntentId>,
    /// The ledger has forgotten: what is said may rest on what was.
    forgets: bool,
    /// By sequence: signals of which it was said that others are missing, and those of which something else was said.
    pub(super) uncorrelated: BTreeSet<u64>,
    pub(super) settled: BTreeSet<u64>,
    /// By sequence in the signal stream: where something durable was said of it.
    pub(super) said: BTreeMap<u64, Vec<Revision>>,
    pub(super) violations: Vec<Violation>,
    witnesses: BTreeSet<String>,
    forgotten: BTreeSet<IntentId>,
    /// Outcomes and stages that were reached.
    pub(super) reached: BTreeSet<String>,
}

impl Fold {
    /// A fold that begins anew, on a ledger that has forgotten what `lost` holds. What was said stays said.
    /// What processes that knew more write blindly to it is not judged by what is left.
    pub(super) fn after(lost: &Self, witnesses: BTreeSet<String>) -> Self {
        let said = lost.said.keys().map(|it| (*it, vec![Revision::default()])).collect();
        let (forgotten, forgets) = (lost.intents.keys().copied().collect(), !lost.intents.is_empty());
        Self { forgets, said, witnesses, forgotten, ..Self::default() }
    }

    /// Folds what is new.
    pub(super) fn follow(&mut self, entries: &[Entry]) {
        for entry in entries.iter().skip(self.next) {
            self.apply(entry);
        }
        self.next = entries.len();
    }

    /// Nothing is open, nothing waits.
    pub(super) fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.pauses.is_empty() && self.open().next().is_none()
    }

    /// Intents that are not closed.
    pub(super) fn open(&self) -> impl Iterator<Item = (&IntentId, &Known)> {
        self.intents.iter().filter(|(_, it)| it.closed.is_none())
    }

    fn breach(&mut self, invariant: &'static str, at: Timestamp, evidence: String) {
        self.violations.push(Violation { invariant, evidence, at: Some(at) });
    }

    fn apply(&mut self, entry: &Entry) {
        let (at, revision) = (entry.at, entry.revision);
        self.pauses.retain(|_, it| it.until.is_none_or(|until| at < until));
        match &entry.record {
            Record::Admitted(list) => {
                for it in list {
                    self.admitted(it, at, entry.head());
                }
            }
            Record::Deferred(it) => {
                self.say(it.request.evidence.sequence, revision);
                self.settled.insert(it.request.evidence.sequence);
                self.waiting.insert(WaitKey::of(&it.request), revision);
                if it.request.step == 0 {
                    self.steps.remove(&WaitKey::of(&it.request));
                }
                let waiting = self.waiting.len() - self.steps.len();
                if waiting > ROOM {
                    self.breach("B7", at, format!("{waiting} requests wait, and {ROOM} is the most"));
                }
            }
            Record::Released(it) => self.denied(it, revision),
            Record::Demoted(it) => self.demoted(it, at),
            Record::Paused(it) => {
                self.pauses.insert(it.id.clone(), it.clone());
            }
            Record::Resumed(it) => {
                self.pauses.remove(&it.id);
            }
            Record::Happened(event) => {
                if let Topic::Intent(id) = entry.topic {
                    self.happened(id, event, at);
                    if let Event::Closed { outcome, .. } = event {
                        self.ended(id, *outcome, at, revision);
                    }
                }
            }
            Record::Folded(notes) => {
                for note in notes {
                    if let Verdict::Denied(reasons) = &note.verdict
                        && reasons.is_empty()
                    {
                        self.breach("G8", at, format!("signal {} was denied without a reason", note.signal));
                    }
                    let alone = note.verdict == Verdict::NoAction(NoAction::Uncorrelated);
                    for sequence in note.sequences.iter().flat_map(|(first, last)| *first..=*last) {
                        self.say(sequence, revision);
                        if alone {
                            self.uncorrelated.insert(sequence)
                        } else {
                            self.settled.insert(sequence)
                        };
                    }
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, sequence: u64, revision: Revision) {
        self.said.entry(sequence).or_default().push(revision);
    }

    fn admitted(&mut self, admission: &Admission, at: Timestamp, head: Head) {
        let (id, request, revision) = (admission.id, &admission.request, head.revision);
        self.say(request.evidence.sequence, revision);
        self.settled.insert(request.evidence.sequence);
        if self.intents.contains_key(&id) {
            self.breach("G5", at, format!("intent {id} was admitted twice, the second time at {revision}"));
            return;
        }
        let paused = self.pauses.iter().find(|(_, it)| it.scope.covers(&request.target));
        if let Some((pause, _)) = paused.filter(|_| !request.only_tells()) {
            let evidence = format!("intent {id} on {} was admitted at {revision} under pause {pause}", request.target);
            self.breach("S12", at, evidence);
        }
        match &request.cause {
            Cause::Undo(parent) => self.undo(admission, *parent, at),
            cause => {
                let twin = self.intents.iter().find(|(_, it)| it.admission.request.cause == *cause).map(|(id, _)| *id);
                if let Some(twin) = twin {
                    self.breach("B4", at, format!("{cause} led to intent {twin} and to {id}"));
                }
                self.guarded(admission, at);
            }
        }
        let shadow = policies().policies().iter().any(|it| it.name == request.policy.name && it.mode == Mode::Shadow);
        if shadow {
            self.breach("S11", at, format!("shadow policy {} led to intent {id}", request.policy.name));
        }
        if request.undoes().is_none() {
            self.waiting.remove(&WaitKey::of(request));
            self.steps.remove(&WaitKey::of(request));
        }
        let known = Known {
            admission: admission.clone(),
            at,
            head,
            attempts: BTreeMap::new(),
            driver: admission.writer.process.clone(),
            stage: "Recorded",
            closed: None,
            undo: None,
            rolled: false,
        };
        self.intents.insert(id, known);
    }

    fn undo(&mut self, admission: &Admission, parent: IntentId, at: Timestamp) {
        let id = admission.id;
        let Some(found) = self.intents.get(&parent) else {
            return self.breach("S10", at, format!("{id} undoes {parent}, which nobody admitted"));
        };
        if found.admission.request.undoes().is_some() {
            self.breach("S10", at, format!("{id} undoes the undo {parent}"));
        } else if found.undo != Some(id) {
            self.breach("S10", at, format!("{id} undoes {parent}, which asked for {:?}", found.undo));
        } else if found.rolled {
            self.takes_slot(admission, at);
            self.reached.insert("an undo took a slot again".to_owned());
            self.intents.entry(parent).and_modify(|it| it.rolled = false);
        }
    }

    /// No more rollouts at once than allowed, this one included.
    fn takes_slot(&mut self, admission: &Admission, at: Timestamp) {
        let (id, target, limits) = (admission.id, &admission.request.target, &policies().guardrails.limits);
        let slots = |same: &dyn Fn(&Workload) -> bool| {
            self.intents.values().filter(|it| it.holds_slot() && same(&it.admission.request.target)).count()
        };
        let held = [
            ("namespace", slots(&|it| it.namespace == target.namespace), limits.concurrency_namespace),
            ("cluster", slots(&|_| true), limits.concurrency_cluster),
        ];
        for (scope, held, max) in held.into_iter().filter(|(_, held, max)| *held >= *max as usize) {
            self.breach("G3", at, format!("{id} takes slot {} of {max} in the {scope}", held + 1));
        }
    }

    /// The guardrails, counted anew from the entries before this one.
    fn guarded(&mut self, admission: &Admission, at: Timestamp) {
        let request = &admission.request;
        if self.witnesses.contains(&*admission.writer.process) {
            return;
        }
        self.timely(admission, at);
        let (target, kind) = (&request.target, request.action.kind());
        let rules = &policies().guardrails;
        let limits = policies().policies().iter().find(|it| it.name == request.policy.name).map(|it| it.limits);
        let Some(own) = limits else {
            return self.breach("O1", at, format!("{} was admitted for an unknown policy", admission.id));
        };
        let within = |per: SignedDuration, same: &dyn Fn(&Workload, ActionKind) -> bool| {
            let counts = |it: &&Known| it.admission.request.undoes().is_none() && !it.admission.request.only_tells();
            let ours = self.intents.values().filter(counts);
            let newer = ours.filter(|it| at.duration_since(it.at) < per - SLACK);
            newer.filter(|it| same(&it.admission.request.target, it.admission.request.action.kind())).count()
        };
        let (one, space, all) = (own.action_budget, rules.limits.namespace_budget, rules.limits.cluster_budget);
        let used = [
            ("workload", within(one.per, &|it, of| it == target && of == kind), one.max),
            ("namespace", within(space.per, &|it, _| it.namespace == target.namespace), space.max),
            ("cluster", within(all.per, &|_, _| true), all.max),
        ];
        let cooldown = cooldown(request);
        let acts = |it: &Known| it.admission.request.target == *target && !it.admission.request.only_tells();
        let busy = self.open().find(|(_, it)| acts(it)).map(|(id, _)| *id);
        let same = |it: &&Known| it.admission.request.target == *target && it.admission.request.action.kind() == kind;
        let warm = self.intents.values().filter(same).filter_map(|it| it.closed).map(|(at, _)| at).max();
        let warm = warm.filter(|closed| at.duration_since(*closed) < cooldown - SLACK);
        let id = admission.id;
        // What only tells takes no slot and no budget.
        if !request.only_tells() {
            for (scope, used, max) in used.into_iter().filter(|(_, used, max)| *used >= *max as usize) {
                self.breach("G1", at, format!("{id} is number {} of {max} in the {scope}", used + 1));
            }
            self.takes_slot(admission, at);
            if let Some(other) = busy {
                self.breach("G3", at, format!("{id} was admitted on {target} while {other} was open"));
            }
        }
        // The last step of a row comes however often people were told before.
        let last = request.only_tells() && request.step > 0;
        if let Some(closed) = warm.filter(|_| !last) {
            self.breach(
                "G2",
                at,
                format!("{id}: {kind} on {target} {:#} after the last ended", at.duration_since(closed)),
            );
        }
    }

    fn happened(&mut self, id: IntentId, event: &Event, at: Timestamp) {
        let name = format!("{event:?}");
        let name = name.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        let Some(known) = self.intents.get_mut(&id) else {
            if self.forgotten.contains(&id) {
                return;
            }
            return self.breach("S2", at, format!("{name} of {id}, which nobody admitted"));
        };
        let mut found = None;
        if let Some((closed, outcome)) = known.closed {
            let since = at.duration_since(closed);
            found = Some(("S9", format!("{name} of {id} {since:#} after it was closed as {}", outcome.label())));
        }
        match event {
            Event::Attempted { number, change } => {
                let request = &known.admission.request;
                let age = at.duration_since(request.evidence.observed_at);
                if request.undoes().is_none() && *number == 1 && age > policies().guardrails.max_signal_age + LATE {
                    found = Some(("B3", format!("{id} was attempted {age:#} after its signal was observed")));
                }
                if change.edit != known.admission.change.edit {
                    found =
                        Some(("S7", format!("attempt {number} of {id} is to send something else than was admitted")));
                }
                let driver = known.driver.clone();
                known.attempts.insert(*number, Try { at, change: change.clone(), driver });
            }
            Event::TakenOver { by } => {
                known.driver = by.process.clone();
                self.reached.insert(format!("taken over {}", known.stage));
            }
            Event::RolledOut => known.rolled = true,
            Event::CancelAsked { .. } => {
                self.cancelled.insert(id);
            }
            Event::Undoing { undo, .. } => {
                let before = known.undo.replace(*undo);
                if before.is_some() {
                    found = Some(("S10", format!("{id} asked for an undo twice")));
                }
            }
            Event::Closed { outcome, .. } => {
                known.closed = Some((at, *outcome));
                self.reached.insert(format!("outcome {}", outcome.label()));
            }
            Event::Resolved { applied, .. } => {
                let outcome = if *applied { Outcome::Superseded } else { Outcome::Cancelled };
                known.closed = Some((at, outcome));
            }
            _ => {}
        }
        known.stage = match event {
            Event::Attempted { .. } => "Sending",
            Event::Unanswered { .. } => "Unknown",
            Event::Missed { .. } => "Recorded",
            Event::Applied(_) => "Applied",
            Event::RolledOut => "RolledOut",
            Event::Undoing { .. } => "Undoing",
            _ => known.stage,
        };
        self.reached.insert(format!("event {name}"));
        if let Some((invariant, evidence)) = found {
            self.breach(invariant, at, evidence);
        }
    }
}

/// The cooldown of a request's policy.
pub(super) fn cooldown(request: &ActionRequest) -> SignedDuration {
    let own = policies().policies().iter().find(|it| it.name == request.policy.name).map(|it| it.limits.cooldown);
    own.unwrap_or_default().max(policies().guardrails.limits.min_cooldown)
}
