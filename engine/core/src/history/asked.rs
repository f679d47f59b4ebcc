//! What the guardrails and the engine ask of the fold.

use std::sync::Arc;

use jiff::Timestamp;

use super::{History, Sight, Waiting, Window};
use crate::action::{ActionKind, ActionRequest, Cause};
use crate::chain::Head;
use crate::deny::DenyReason;
use crate::id::{IntentId, Revision};
use crate::intent::Intent;
use crate::record::{Admission, Demoted, Pause, Sighted, Sought, WaitKey};
use crate::verify::Symptoms;
use crate::workload::Workload;

impl History {
    /// Newest entry.
    pub fn revision(&self) -> Revision {
        self.newest.revision
    }

    /// Newest entry, with its sum.
    pub fn newest(&self) -> Head {
        self.newest
    }

    /// Newest entry of the topic `Admit`: what an admission screened here has to expect.
    pub fn admit_head(&self) -> Head {
        self.admit
    }

    /// The ledger's time of the newest entry.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The pauses in force.
    pub fn pauses(&self, now: Timestamp) -> impl Iterator<Item = &(Timestamp, Pause)> {
        let told = self.pauses.values().map(|it| &it.told);
        told.filter(move |(_, pause)| pause.until.is_none_or(|until| now < until))
    }

    /// An intent by id: open, or one of the newest that are closed.
    pub fn intent(&self, id: IntentId) -> Option<&Intent> {
        self.intents.get(id)
    }

    /// Whether an id has been admitted, as far back as is remembered: longer than `intent` gives it whole.
    pub fn knows(&self, id: IntentId) -> bool {
        self.intents.knows(id)
    }

    /// Every intent that is open, and the newest that are closed.
    pub fn intents(&self) -> impl Iterator<Item = &Intent> {
        self.intents.whole()
    }

    /// Intents that are not closed.
    pub fn open(&self) -> impl Iterator<Item = &Intent> {
        self.intents.open()
    }

    /// How many intents are not closed.
    pub fn open_count(&self) -> usize {
        self.intents.open_count()
    }

    /// Whether what is heard of a target's symptoms matters to somebody: to an intent that is open, or to a request that waits for
    /// its time.
    pub fn awaits_symptoms(&self, target: &Workload) -> bool {
        self.intents.is_busy(target) || self.waiting_on(target).any(|it| it.deferral.request.hold.is_some())
    }

    fn waiting_on<'a>(&'a self, target: &'a Workload) -> impl Iterator<Item = &'a Waiting> {
        let first = WaitKey { target: target.clone(), policy: Arc::default() };
        self.waiting.range(first..).take_while(|(key, _)| key.target == *target).map(|(_, it)| it)
    }

    /// The open intents on a target, and those about to be.
    pub fn open_on(&self, target: &Workload) -> Vec<IntentId> {
        self.ids_on(target).collect()
    }

    /// The first of them.
    pub fn first_on(&self, target: &Workload) -> Option<IntentId> {
        self.ids_on(target).next()
    }

    fn ids_on(&self, target: &Workload) -> impl Iterator<Item = IntentId> {
        let on_it = |it: &&Admission| it.request.target == *target && !it.request.only_tells();
        let reserved = self.reserved.values().filter(on_it).map(|it| it.id);
        let acts = |id: &IntentId| self.intents.get(*id).is_some_and(|it| !it.request().only_tells());
        self.intents.open_on(target).filter(acts).chain(reserved)
    }

    /// Slots in use: in the cluster, or in one namespace.
    pub fn slots(&self, namespace: Option<&str>) -> u32 {
        let within = |target: &Workload| namespace.is_none_or(|it| *target.namespace == *it);
        let held = self.intents.slots().held(namespace);
        let takes =
            |it: &&Admission| !it.request.only_tells() && !self.has_slot(&it.request) && within(&it.request.target);
        let reserved = self.reserved.values().filter(takes).count();
        u32::try_from(held + reserved).unwrap_or(u32::MAX)
    }

    /// Slots that the next undos need, in the cluster or in one namespace: actions of which verification failed after their
    /// slot was given back. Whoever is no undo leaves them free.
    pub fn slots_claimed(&self, namespace: Option<&str>) -> u32 {
        u32::try_from(self.intents.slots().claimed(namespace)).unwrap_or(u32::MAX)
    }

    /// Whether a request is an undo whose parent still holds its slot.
    pub fn has_slot(&self, request: &ActionRequest) -> bool {
        request.undoes().and_then(|parent| self.intents.get(parent)).is_some_and(Intent::holds_slot)
    }

    /// Workloads of a namespace that hold a slot.
    pub fn under_remediation<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Workload> {
        let held = self.intents.slots().holders(namespace).filter_map(|id| self.intents.get(id));
        let reserved = self.reserved.values().filter(|it| !it.request.only_tells()).map(|it| &it.request.target);
        held.map(|it| &it.request().target).chain(reserved.filter(move |it| *it.namespace == *namespace))
    }

    /// The intent that a signal or a direct call led to. An undo or a step has its own rules.
    pub fn led_to(&self, cause: &Cause) -> Option<IntentId> {
        let (Cause::Signal(_) | Cause::Api(_)) = cause else { return None };
        let reserved = self.reserved.values().find(|it| it.request.cause == *cause).map(|it| it.id);
        self.intents.led_to(cause).map(|(id, _)| id).or(reserved)
    }

    /// The sequence, in the stream of signals, of the delivery that a cause was admitted by.
    pub fn delivered_by(&self, cause: &Cause) -> Option<u64> {
        self.intents.led_to(cause).map(|(_, sequence)| sequence)
    }

    /// The last intent of a kind on a target, and when it ended; none while it is open.
    pub fn last(&self, target: &Workload, kind: ActionKind) -> Option<(IntentId, Option<Timestamp>)> {
        if let Some(it) =
            self.reserved.values().find(|it| it.request.target == *target && it.request.action.kind() == kind)
        {
            return Some((it.id, None));
        }
        self.intents.last(target, kind)
    }

    /// Whether a policy has failed so often in a row that it acts no more, and since when.
    pub fn demotion(&self, policy: &str) -> Option<&Demoted> {
        self.trust.demotion(policy)
    }

    /// All policies of which that is so.
    pub fn demoted(&self) -> impl Iterator<Item = &Demoted> {
        self.trust.all().map(|(_, it)| it)
    }

    /// Those of which it is to be written down.
    pub fn to_demote(&self) -> impl Iterator<Item = &Demoted> {
        self.trust.due()
    }

    /// What was seen of what a policy looks for.
    pub fn sightings(&self, sought: &Sought) -> Sight<'_> {
        self.sightings.of(sought)
    }

    /// Whether a sighting has to be remembered before anything is decided on it.
    pub fn lacks(&self, sighted: &Sighted) -> bool {
        self.sightings.lack(sighted)
    }

    /// When a shadow policy last would have acted.
    pub fn last_shadow(&self, policy: &Arc<str>, target: &Workload, kind: ActionKind) -> Option<Timestamp> {
        self.shadows.last(policy, target, kind)
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

    /// When verification failed, oldest first.
    pub fn failures(&self) -> impl Iterator<Item = Timestamp> {
        self.failures.iter().copied()
    }

    /// How many failures there were after `from`, up to `to`, and the newest of them. A storm asks it of days of them, so they are
    /// searched and not walked through: the fold's time never goes backwards.
    pub fn failures_within(&self, from: Timestamp, to: Timestamp) -> (u32, Option<Timestamp>) {
        let first = self.failures.partition_point(|at| *at <= from);
        let end = self.failures.partition_point(|at| *at <= to);
        let count = u32::try_from(end.saturating_sub(first)).unwrap_or(u32::MAX);
        (count, end.checked_sub(1).filter(|_| count > 0).and_then(|it| self.failures.get(it)).copied())
    }

    /// When those were admitted that verification found to have helped, oldest first.
    pub fn successes(&self) -> impl Iterator<Item = Timestamp> {
        self.successes.iter().copied()
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
