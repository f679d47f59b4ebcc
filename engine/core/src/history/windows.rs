//! Guardrail windows: the times of what was admitted, by scope. The same id twice is recorded once (`super::intents` knows).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, ActionRequest};
use crate::workload::Workload;

use super::lookup::Lookup;

/// One admission in a window: when, and how much it counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    at: Timestamp,
    weight: u32,
}

type Marks = VecDeque<Mark>;

/// Every scope's marks, oldest first. What is dropped is found by `order`, so that nothing else is looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Windows {
    targets: Lookup<Workload, BTreeMap<ActionKind, Marks>>,
    growth: Lookup<Workload, Marks>,
    namespaces: Lookup<Arc<str>, Marks>,
    cluster: Marks,
    order: VecDeque<(Workload, ActionKind, bool)>,
}

impl Windows {
    /// An admission that was not recorded before.
    pub(super) fn record(&mut self, request: &ActionRequest, adds: u32, at: Timestamp) {
        // The fold's time never goes backwards, so the marks stay sorted.
        let mark = Mark { at, weight: 1 };
        let (target, kind) = (&request.target, request.action.kind());
        self.targets.or_default(target.clone()).entry(kind).or_default().push_back(mark);
        self.namespaces.or_default(target.namespace.clone()).push_back(mark);
        self.cluster.push_back(mark);
        if adds > 0 {
            self.growth.or_default(target.clone()).push_back(Mark { weight: adds, ..mark });
        }
        self.order.push_back((target.clone(), kind, adds > 0));
    }

    pub(super) fn prune(&mut self, before: Timestamp) {
        while self.cluster.front().is_some_and(|it| it.at < before) {
            self.cluster.pop_front();
            let Some((target, kind, grew)) = self.order.pop_front() else { return };
            drop_first(&mut self.namespaces, &target.namespace);
            if grew {
                drop_first(&mut self.growth, &target);
            }
            let Some(kinds) = self.targets.get_mut(&target) else { continue };
            if let Entry::Occupied(mut found) = kinds.entry(kind) {
                found.get_mut().pop_front();
                if found.get().is_empty() {
                    found.remove();
                }
            }
            if kinds.is_empty() {
                self.targets.remove(&target);
            }
        }
    }

    pub(super) fn on_target(&self, target: &Workload, kind: ActionKind) -> Window<'_> {
        Window { marks: self.targets.get(target).and_then(|it| it.get(&kind)), each_is_one: true }
    }

    pub(super) fn added_to(&self, target: &Workload) -> Window<'_> {
        Window { marks: self.growth.get(target), each_is_one: false }
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Window<'_> {
        Window { marks: self.namespaces.get(namespace), each_is_one: true }
    }

    pub(super) fn in_cluster(&self) -> Window<'_> {
        Window { marks: Some(&self.cluster), each_is_one: true }
    }
}

/// Drops a scope's oldest mark, and with its last one the scope.
fn drop_first<K: Ord + Eq + Hash>(scopes: &mut Lookup<K, Marks>, scope: &K) {
    let Some(marks) = scopes.get_mut(scope) else { return };
    marks.pop_front();
    if marks.is_empty() {
        scopes.remove(scope);
    }
}

/// The admissions of one scope.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    marks: Option<&'a Marks>,
    /// Each counts one, so that their number is their sum: a storm asks while there are thousands.
    each_is_one: bool,
}

impl Window<'_> {
    fn since(&self, from: Timestamp) -> impl Iterator<Item = &Mark> {
        self.marks.into_iter().flat_map(move |marks| {
            let first = marks.partition_point(|it| it.at <= from);
            marks.range(first..)
        })
    }

    /// How much counts within the `per` before `now`.
    pub fn used(&self, per: SignedDuration, now: Timestamp) -> u32 {
        let from = now.checked_sub(per).unwrap_or(Timestamp::MIN);
        match self.marks.filter(|_| self.each_is_one) {
            Some(marks) => u32::try_from(marks.len() - marks.partition_point(|it| it.at <= from)).unwrap_or(u32::MAX),
            None => self.since(from).map(|it| it.weight).sum(),
        }
    }

    /// When at most `room` will count within `per`, if nothing is added: the time of release.
    pub fn allows_at(&self, room: u32, per: SignedDuration, now: Timestamp) -> Timestamp {
        let from = now.checked_sub(per).unwrap_or(Timestamp::MIN);
        let mut used = self.used(per, now);
        for mark in self.since(from) {
            if used <= room {
                break;
            }
            used -= mark.weight;
            if used <= room {
                return mark.at.saturating_add(per).unwrap_or(Timestamp::MAX);
            }
        }
        now
    }
}
