//! Which policies have failed so often in a row that they are to act no more, and those that are told so.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::Revision;
use crate::intent::Intent;
use crate::outcome::Outcome;
use crate::record::Demoted;

/// Failures in a row, by policy, and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Trust {
    /// When each was found.
    failing: BTreeMap<Arc<str>, Vec<Timestamp>>,
    /// Too many: the entry that says so is to be written.
    due: BTreeMap<Arc<str>, Demoted>,
    demoted: BTreeMap<Arc<str>, (Revision, Demoted)>,
}

impl Trust {
    /// An intent has ended. An undo is no word on its policy: its parent has said it. A row of steps counts once, by its first;
    /// that one of them has helped counts for the row.
    pub(super) fn ended(&mut self, intent: &Intent, outcome: Outcome, at: Timestamp) {
        let request = intent.request();
        let (policy, limit) = (&request.policy.name, request.limits.demote_after);
        if outcome.is_success() {
            self.failing.remove(policy);
            self.due.remove(policy);
        }
        let counts = outcome.trips_breaker() && request.step == 0 && limit > 0;
        if !counts || self.demoted.contains_key(policy) {
            return;
        }
        let failing = self.failing.entry(policy.clone()).or_default();
        failing.push(at);
        let failures = u32::try_from(failing.len()).unwrap_or(u32::MAX);
        if failures >= limit {
            let demoted = Demoted { policy: policy.clone(), failures, last: intent.id(), since: at };
            self.due.insert(policy.clone(), demoted);
        }
    }

    /// It is told so.
    pub(super) fn demoted(&mut self, it: &Demoted, revision: Revision) {
        self.failing.remove(&it.policy);
        self.due.remove(&it.policy);
        self.demoted.insert(it.policy.clone(), (revision, it.clone()));
    }

    /// A person trusts it again.
    pub(super) fn restored(&mut self, policy: &str) {
        self.failing.remove(policy);
        self.due.remove(policy);
        self.demoted.remove(policy);
    }

    /// What failed so long ago is in no row with what fails today.
    pub(super) fn prune(&mut self, before: Timestamp) {
        if self.failing.values().any(|times| times.first().is_some_and(|at| *at < before)) {
            self.failing.values_mut().for_each(|times| times.retain(|at| *at >= before));
            self.failing.retain(|_, times| !times.is_empty());
            self.due.retain(|_, it| it.since >= before);
        }
    }

    pub(super) fn due(&self) -> impl Iterator<Item = &Demoted> {
        self.due.values()
    }

    pub(super) fn demotion(&self, policy: &str) -> Option<&Demoted> {
        self.demoted.get(policy).map(|(_, it)| it)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Revision, &Demoted)> {
        self.demoted.values().map(|(revision, it)| (*revision, it))
    }
}
