//! The intents that are remembered: what is open and the newest that are closed whole, of the others a few words.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, Cause};
use crate::chain::Head;
use crate::id::{IntentId, Revision};
use crate::intent::{Intent, Kept};
use crate::record::Admission;
use crate::workload::Workload;

use super::lookup::Lookup;
use super::slots::Slots;

/// Closed intents that are kept whole, for people: some kilobytes each, and more than anybody scrolls.
pub const WHOLE: usize = 2_000;

/// The intents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Intents {
    /// Every id that is remembered, and the entry that admitted it.
    #[serde(with = "super::pairs")]
    known: BTreeMap<IntentId, Revision>,
    #[serde(with = "super::pairs")]
    whole: BTreeMap<IntentId, Kept>,
    open: Lookup<Workload, Vec<IntentId>>,
    /// What a cause led to, and the delivery that brought it.
    causes: Lookup<Cause, (IntentId, u64)>,
    last: Lookup<Workload, BTreeMap<ActionKind, Last>>,
    /// What is closed, the first that ended first.
    ended: VecDeque<Ended>,
    /// How many of `ended` are no longer whole.
    stripped: usize,
    /// The newest entry of each intent that is not whole, as long as the ledger has it: what the next one in its place has to
    /// expect, should the same id be admitted again.
    #[serde(with = "super::pairs")]
    heads: BTreeMap<IntentId, Head>,
    /// By an open parent: its undo, which would no longer be whole if the parent did not have to learn how it ended.
    #[serde(with = "super::pairs")]
    awaited: BTreeMap<IntentId, IntentId>,
    slots: Slots,
}

/// The newest intent of a kind on a target, and when it ended.
type Last = (IntentId, Option<Timestamp>);

/// A closed intent in a few words: what it takes to forget it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ended {
    id: IntentId,
    at: Timestamp,
    cause: Cause,
    target: Workload,
    kind: ActionKind,
}

impl Intents {
    pub(super) fn knows(&self, id: IntentId) -> bool {
        self.known.contains_key(&id)
    }

    pub(super) fn get(&self, id: IntentId) -> Option<&Intent> {
        self.whole.get(&id).map(Kept::intent)
    }

    /// Changes an intent, and counts its slot anew. Nothing where it is not held whole.
    pub(super) fn change<T>(&mut self, id: IntentId, change: impl FnOnce(&mut Intent) -> T) -> Option<T> {
        let intent = self.whole.get_mut(&id).map(Kept::intent_mut)?;
        let changed = change(intent);
        self.slots.count(intent);
        Some(changed)
    }

    /// Who holds a slot, and who wants one.
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) fn whole(&self) -> impl Iterator<Item = &Intent> {
        self.whole.values().map(Kept::intent)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Intent> {
        self.open.sorted().into_iter().flat_map(|(_, ids)| ids).filter_map(|id| self.get(*id))
    }

    pub(super) fn open_on(&self, target: &Workload) -> impl Iterator<Item = IntentId> {
        self.open.get(target).into_iter().flatten().copied()
    }

    /// How many are open.
    pub(super) fn open_count(&self) -> usize {
        self.open.total(Vec::len)
    }

    /// Whether an intent on the target is open.
    pub(super) fn is_busy(&self, target: &Workload) -> bool {
        self.open.contains(target)
    }

    pub(super) fn led_to(&self, cause: &Cause) -> Option<(IntentId, u64)> {
        self.causes.get(cause).copied()
    }

    pub(super) fn last(&self, target: &Workload, kind: ActionKind) -> Option<(IntentId, Option<Timestamp>)> {
        self.last.get(target)?.get(&kind).copied()
    }

    /// The entry that admitted one.
    pub(super) fn admitted_by(&self, id: IntentId) -> Option<Revision> {
        self.known.get(&id).copied()
    }

    /// The oldest entry that admitted one of them.
    pub(super) fn oldest(&self) -> Option<Revision> {
        self.known.values().min().copied()
    }

    pub(super) fn admit(&mut self, admission: &Admission, revision: Revision, at: Timestamp) {
        let (id, request) = (admission.id, &admission.request);
        self.known.insert(id, revision);
        self.causes.insert(request.cause.clone(), (id, request.evidence.sequence));
        self.last.or_default(request.target.clone()).insert(request.action.kind(), (id, None));
        self.open.or_default(request.target.clone()).push(id);
        let head = self.heads.remove(&id).unwrap_or_default();
        let intent = Intent::new(admission, head, at);
        self.slots.count(&intent);
        self.whole.insert(id, Kept(Arc::new(intent)));
    }

    /// Notes that an open intent has ended.
    pub(super) fn close(&mut self, id: IntentId, at: Timestamp) {
        let Some(intent) = self.get(id) else { return };
        let request = intent.request();
        let (cause, target, kind) = (request.cause.clone(), request.target.clone(), request.action.kind());
        if let Some(ids) = self.open.get_mut(&target) {
            ids.retain(|it| *it != id);
            if ids.is_empty() {
                self.open.remove(&target);
            }
        }
        if let Some((last, ended)) = self.last.get_mut(&target).and_then(|it| it.get_mut(&kind))
            && *last == id
        {
            *ended = Some(at);
        }
        if let Some(undo) = self.awaited.remove(&id) {
            self.let_go(undo);
        }
        self.ended.push_back(Ended { id, at, cause, target, kind });
        while self.ended.len() - self.stripped > WHOLE {
            self.strip(self.ended[self.stripped].id);
            self.stripped += 1;
        }
    }

    /// Lets an intent be no longer whole, unless somebody has yet to learn how it ended.
    fn strip(&mut self, id: IntentId) {
        let parent = self.get(id).and_then(|it| it.request().undoes());
        match parent {
            Some(parent) if self.get(parent).is_some_and(Intent::is_open) => {
                self.awaited.insert(parent, id);
            }
            _ => self.let_go(id),
        }
    }

    fn let_go(&mut self, id: IntentId) {
        if let Some(intent) = self.whole.remove(&id) {
            self.heads.insert(id, intent.intent().head());
        }
    }

    /// An entry of an intent that is not whole, or that was never admitted here: it says nothing but its place.
    pub(super) fn passed_over(&mut self, id: IntentId, head: Head) {
        self.heads.insert(id, head);
    }

    /// What the next entry of an intent has to follow, as far as that is known.
    pub(super) fn head(&self, id: IntentId) -> Option<Head> {
        self.get(id).map(Intent::head).or_else(|| self.heads.get(&id).copied())
    }

    /// The ledger begins here now.
    pub(super) fn purged(&mut self, before: Revision) {
        self.heads.retain(|_, head| head.revision >= before);
    }

    /// Forgets what ended before.
    pub(super) fn forget(&mut self, before: Timestamp) {
        while self.ended.front().is_some_and(|it| it.at < before) {
            let Some(Ended { id, cause, target, kind, .. }) = self.ended.pop_front() else { return };
            match self.stripped.checked_sub(1) {
                Some(fewer) => self.stripped = fewer,
                None => self.strip(id),
            }
            self.known.remove(&id);
            if self.causes.get(&cause).is_some_and(|(led_to, _)| *led_to == id) {
                self.causes.remove(&cause);
            }
            let Some(kinds) = self.last.get_mut(&target) else { continue };
            if kinds.get(&kind).is_some_and(|(it, _)| *it == id) {
                kinds.remove(&kind);
            }
            if kinds.is_empty() {
                self.last.remove(&target);
            }
        }
    }
}
