//! Who waits for which entry. Each is woken for its own: with a thousand intents on their way, waking all for each entry would be
//! a million wake-ups.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use flyball_core::id::Revision;
use tokio::sync::oneshot;

/// Those who wait, in the order in which they began to.
#[derive(Default)]
pub(super) struct Awaited(Mutex<BTreeMap<Revision, Vec<oneshot::Sender<()>>>>);

impl Awaited {
    /// Waits for `revision`; nothing when it is there already. `now` tells which one is.
    pub(super) fn wait(&self, revision: Revision, now: impl Fn() -> Revision) -> Option<oneshot::Receiver<()>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that none is missed that comes in between.
        if now() >= revision {
            return None;
        }
        let (reached, wait) = oneshot::channel();
        waiting.entry(revision).or_default().push(reached);
        Some(wait)
    }

    /// The fold contains `revision`.
    pub(super) fn reached(&self, revision: Revision) {
        let due = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let later = waiting.split_off(&Revision(revision.0 + 1));
            std::mem::replace(&mut *waiting, later)
        };
        for reached in due.into_values().flatten() {
            // Who waited may be gone.
            let _ = reached.send(());
        }
    }
}
