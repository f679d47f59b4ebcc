//! Which entries the fold still needs.

use super::History;
use crate::id::Revision;
use crate::record::Demoted;

impl History {
    /// The oldest entry that our own purges have left. A ledger that begins later has lost what nobody gave up.
    pub fn purged(&self) -> Revision {
        self.purged
    }

    /// Whether everything that is missing before `first`, the oldest entry of the ledger, was given up by ourselves.
    ///
    /// # Errors
    /// Which entries somebody else has removed.
    pub fn has_from(&self, first: Revision) -> Result<(), String> {
        Self::whole_from(self.purged, first)
    }

    /// The same of a ledger whose newest note about a removal says that what lies before `purged` was given up.
    ///
    /// # Errors
    /// Which entries somebody else has removed.
    pub fn whole_from(purged: Revision, first: Revision) -> Result<(), String> {
        let left = purged.max(Revision(1));
        if first <= left {
            return Ok(());
        }
        Err(format!("entries {left} to {} are missing, and it was not us who removed them", first.0 - 1))
    }

    /// Demotions whose entries lie before: said again later, they keep nothing from being removed.
    pub fn demoted_before(&self, before: Revision) -> impl Iterator<Item = &Demoted> {
        self.trust.all().filter(move |(revision, _)| *revision <= before).map(|(_, it)| it)
    }

    /// The oldest entry that an intent, a pause, a waiter or a demotion of this fold began with, and never later than the newest
    /// admission, which the next one is compared with. What lies before it and is older than [`super::KEEP`] can be purged:
    /// a fold of the rest is the same fold.
    pub fn needed_from(&self) -> Revision {
        let pauses = self.pauses.values().map(|it| it.revision);
        let waiters = self.waiting.values().map(|it| it.revision);
        let others = self.intents.oldest().into_iter().chain(self.trust.all().map(|(revision, _)| revision));
        pauses.chain(waiters).chain(others).fold(self.admit.revision, Revision::min)
    }
}
