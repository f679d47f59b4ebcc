//! Guardrail windows: sets of intents with their times, so that the same id twice consumes one slot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::action::{ActionKind, ActionRequest};
use crate::id::IntentId;
use crate::workload::Workload;

/// One admission in a window: when, and how much it counts.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Timestamp,
    id: IntentId,
    weight: u32,
}

type Marks = VecDeque<Mark>;

#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    targets: BTreeMap<(Workload, ActionKind), Marks>,
    growth: BTreeMap<Workload, Marks>,
    namespaces: BTreeMap<Arc<str>, Marks>,
    cluster: Marks,
}

impl Windows {
    pub(super) fn record(&mut self, id: IntentId, request: &ActionRequest, adds: u32, at: Timestamp) {
        let mark = Mark { at, id, weight: 1 };
        let target = &request.target;
        put(self.targets.entry((target.clone(), request.action.kind())).or_default(), mark);
        put(self.namespaces.entry(target.namespace.clone()).or_default(), mark);
        put(&mut self.cluster, mark);
        if adds > 0 {
            put(self.growth.entry(target.clone()).or_default(), Mark { weight: adds, ..mark });
        }
    }

    pub(super) fn prune(&mut self, before: Timestamp) {
        let Some(oldest) = self.cluster.front() else { return };
        if oldest.at >= before {
            return;
        }
        prune_map(&mut self.targets, before);
        prune_map(&mut self.growth, before);
        prune_map(&mut self.namespaces, before);
        drop_before(&mut self.cluster, before);
    }

    pub(super) fn on_target(&self, target: &Workload, kind: ActionKind) -> Window<'_> {
        Window(self.targets.get(&(target.clone(), kind)))
    }

    pub(super) fn added_to(&self, target: &Workload) -> Window<'_> {
        Window(self.growth.get(target))
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Window<'_> {
        Window(self.namespaces.get(namespace))
    }

    pub(super) fn in_cluster(&self) -> Window<'_> {
        Window(Some(&self.cluster))
    }
}

fn put(marks: &mut Marks, mark: Mark) {
    if !marks.iter().rev().any(|it| it.id == mark.id) {
        // The fold's time never goes backwards, so the marks stay sorted.
        marks.push_back(mark);
    }
}

fn prune_map<K: Ord + Clone>(map: &mut BTreeMap<K, Marks>, before: Timestamp) {
    map.retain(|_, marks| {
        drop_before(marks, before);
        !marks.is_empty()
    });
}

fn drop_before(marks: &mut Marks, before: Timestamp) {
    while marks.front().is_some_and(|it| it.at < before) {
        marks.pop_front();
    }
}

/// The admissions of one scope.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a>(Option<&'a Marks>);

impl Window<'_> {
    fn since(&self, from: Timestamp) -> impl Iterator<Item = &Mark> {
        self.0.into_iter().flat_map(move |marks| {
            let first = marks.partition_point(|it| it.at <= from);
            marks.range(first..)
        })
    }

    /// How much counts within the `per` before `now`.
    pub fn used(&self, per: SignedDuration, now: Timestamp) -> u32 {
        let from = now.checked_sub(per).unwrap_or(Timestamp::MIN);
        self.since(from).map(|it| it.weight).sum()
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
