//! Guardrail windows: the times of what was admitted, by scope. The same id twice is recorded once (`super::intents` knows).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, ActionRequest};
use crate::workload::Workload;

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
    #[serde(with = "super::pairs")]
    targets: BTreeMap<(Workload, ActionKind), Marks>,
    #[serde(with = "super::pairs")]
    growth: BTreeMap<Workload, Marks>,
    namespaces: BTreeMap<Arc<str>, Marks>,
    cluster: Marks,
    order: VecDeque<(Workload, ActionKind, bool)>,
}

impl Windows {
    /// An admission that was not recorded before.
    pub(super) fn record(&mut self, request: &ActionRequest, adds: u32, at: Timestamp) {
        // The fold's time never goes backwards, so the marks stay sorted.
        let mark = Mark { at, weight: 1 };
        let (target, kind) = (&request.target, request.action.kind());
        self.targets.entry((target.clone(), kind)).or_default().push_back(mark);
        self.namespaces.entry(target.namespace.clone()).or_default().push_back(mark);
        self.cluster.push_back(mark);
        if adds > 0 {
            self.growth.entry(target.clone()).or_default().push_back(Mark { weight: adds, ..mark });
        }
        self.order.push_back((target.clone(), kind, adds > 0));
    }

    pub(super) fn prune(&mut self, before: Timestamp) {
        while self.cluster.front().is_some_and(|it| it.at < before) {
            self.cluster.pop_front();
            let Some((target, kind, grew)) = self.order.pop_front() else { return };
            drop_first(&mut self.namespaces, target.namespace.clone());
            if grew {
                drop_first(&mut self.growth, target.clone());
            }
            drop_first(&mut self.targets, (target, kind));
        }
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

/// Drops a scope's oldest mark, and with its last one the scope.
fn drop_first<K: Ord>(scopes: &mut BTreeMap<K, Marks>, scope: K) {
    if let Entry::Occupied(mut found) = scopes.entry(scope) {
        found.get_mut().pop_front();
        if found.get().is_empty() {
            found.remove();
        }
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
