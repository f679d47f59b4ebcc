//! When controllers look at workloads again.

use std::collections::{BTreeMap, BTreeSet};

use flyball_core::workload::Workload;
use jiff::Timestamp;

/// By time, and by workload.
#[derive(Default)]
pub(super) struct Wakes {
    queue: BTreeSet<(Timestamp, Workload)>,
    times: BTreeMap<Workload, BTreeSet<Timestamp>>,
}

impl Wakes {
    /// Its controller looks at `at`, too.
    pub(super) fn add(&mut self, target: &Workload, at: Timestamp) {
        self.queue.insert((at, target.clone()));
        self.times.entry(target.clone()).or_default().insert(at);
    }

    /// The time of the first one.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<Workload> {
        let (at, target) = self.queue.pop_first()?;
        if let Some(times) = self.times.get_mut(&target) {
            times.remove(&at);
            if times.is_empty() {
                self.times.remove(&target);
            }
        }
        Some(target)
    }

    /// When a workload is looked at next.
    pub(super) fn of(&self, target: &Workload) -> Option<Timestamp> {
        self.times.get(target)?.first().copied()
    }

    /// It is gone.
    pub(super) fn forget(&mut self, target: &Workload) {
        for at in self.times.remove(target).into_iter().flatten() {
            self.queue.remove(&(at, target.clone()));
        }
    }
}
