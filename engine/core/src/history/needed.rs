//! Which entries the fold still needs.

use super::History;
use crate::id::Revision;

impl History {
    /// The oldest entry that our own purges have left. A ledger that begins later has lost what nobody gave up.
    pub fn purged(&self) -> Revision {
        self.purged
    }

    /// The oldest entry that an intent, a pause or a waiter of this fold began with, and never later than the newest
    /// admission, which the next one is compared with. What lies before it and is older than [`super::KEEP`] can be purged:
    /// a fold of the rest is the same fold.
    pub fn needed_from(&self) -> Revision {
        let pauses = self.pauses.values().map(|it| it.revision);
        let waiters = self.waiting.values().map(|it| it.revision);
        pauses.chain(waiters).chain(self.intents.oldest()).fold(self.admit.revision, Revision::min)
    }
}
