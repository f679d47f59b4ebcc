//! When shadow policies last would have acted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::ActionKind;
use crate::workload::Workload;

type Key = (Arc<str>, Workload, ActionKind);

/// One time for each policy, target and kind, until it is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Shadows {
    #[serde(with = "super::pairs")]
    at: BTreeMap<Key, Timestamp>,
    order: BTreeSet<(Timestamp, Key)>,
}

impl Shadows {
    pub(super) fn record(&mut self, key: Key, at: Timestamp) {
        if let Some(before) = self.at.insert(key.clone(), at) {
            self.order.remove(&(before, key.clone()));
        }
        self.order.insert((at, key));
    }

    pub(super) fn prune(&mut self, before: Timestamp) {
        while self.order.first().is_some_and(|(at, _)| *at < before) {
            if let Some((_, key)) = self.order.pop_first() {
                self.at.remove(&key);
            }
        }
    }

    pub(super) fn last(&self, policy: &Arc<str>, target: &Workload, kind: ActionKind) -> Option<Timestamp> {
        self.at.get(&(policy.clone(), target.clone(), kind)).copied()
    }
}
