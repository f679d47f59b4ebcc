//! Who holds one of the cluster's slots, and who wants one back for an undo: counted as intents change, since a storm asks for
//! every signal while a thousand intents are open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::IntentId;
use crate::intent::Intent;

/// Those held, and those wanted, by namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Slots(Places, Places);

/// Intents by the namespace of their target, and how many they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Within", into = "Within")]
struct Places {
    within: Within,
    count: usize,
}

type Within = BTreeMap<Arc<str>, BTreeSet<IntentId>>;

impl From<Within> for Places {
    fn from(within: Within) -> Self {
        Self { count: within.values().map(BTreeSet::len).sum(), within }
    }
}

impl From<Places> for Within {
    fn from(places: Places) -> Self {
        places.within
    }
}

impl Places {
    fn set(&mut self, namespace: &Arc<str>, id: IntentId, there: bool) {
        if there {
            let added = self.within.entry(namespace.clone()).or_default().insert(id);
            self.count += usize::from(added);
        } else if let Some(ids) = self.within.get_mut(namespace) {
            self.count -= usize::from(ids.remove(&id));
            if ids.is_empty() {
                self.within.remove(namespace);
            }
        }
    }

    fn count(&self, namespace: Option<&str>) -> usize {
        namespace.map_or(self.count, |it| self.within.get(it).map_or(0, BTreeSet::len))
    }
}

impl Slots {
    /// Counts an intent as it is now.
    pub(super) fn count(&mut self, intent: &Intent) {
        let (id, namespace) = (intent.id(), &intent.request().target.namespace);
        self.0.set(namespace, id, intent.holds_slot());
        self.1.set(namespace, id, intent.claims_slot());
    }

    /// How many are held in the cluster, or in one namespace.
    pub(super) fn held(&self, namespace: Option<&str>) -> usize {
        self.0.count(namespace)
    }

    /// How many are wanted.
    pub(super) fn claimed(&self, namespace: Option<&str>) -> usize {
        self.1.count(namespace)
    }

    /// Who holds those of a namespace.
    pub(super) fn holders(&self, namespace: &str) -> impl Iterator<Item = IntentId> {
        self.0.within.get(namespace).into_iter().flatten().copied()
    }
}
