//! Reading the ledger in memory: each entry as its store would give it.

use std::sync::Arc;

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, PortError, Tail};
use flyball_core::record::Entry;
use flyball_core::wire::{self, Opened};

use super::newer::Build;
use super::{Inner, State};
use crate::wake::{Look, wait};

/// Follows the ledger.
pub(super) struct MemoryTail {
    inner: Arc<Inner>,
    build: Build,
    after: Revision,
    cuts: u64,
}

impl MemoryTail {
    pub(super) fn new(inner: Arc<Inner>, build: Build, after: Revision, cuts: u64) -> Self {
        Self { inner, build, after, cuts }
    }

    fn look(&mut self, waker: &std::task::Waker) -> Look<Result<Entry, PortError>> {
        let mut state = self.inner.advanced();
        if state.cuts != self.cuts {
            return Look::Found(Err(PortError::Unavailable("the tail was cut".into())));
        }
        if self.after.0 == 0 {
            // What is read from the beginning begins where the last purge left it.
            self.after = Revision(state.first.0 - 1);
        }
        if self.after.0 + 1 < state.first.0 {
            let why = format!("entries {} to {} are missing", self.after.0 + 1, state.first.0 - 1);
            return Look::Found(Err(PortError::Unusable(why)));
        }
        // Revisions have no gaps and begin at 1, so that a revision is the index of the entry after it.
        let next = usize::try_from(self.after.0).ok().and_then(|at| state.entries.get(at)).cloned();
        if let Some(entry) = next {
            let entry = state.checked(entry, self.build);
            if let Ok(entry) = &entry {
                self.after = entry.revision;
            }
            return Look::Found(entry);
        }
        state.bell.listen(waker);
        Look::Nothing(state.held.first_key_value().map(|((due, _), _)| *due))
    }
}

impl Tail for MemoryTail {
    fn next(&mut self) -> Answer<'_, Result<Entry, PortError>> {
        wait(self.inner.clock.clone(), |waker| self.look(waker))
    }
}

impl State {
    /// An entry as a store would read it: one that was changed is not what its sum says, and what a newer build wrote is read by
    /// what reads all stored forms.
    fn checked(&self, entry: Entry, build: Build) -> Result<Entry, PortError> {
        if let Some(body) = self.foreign.get(&entry.revision).filter(|_| build == Build::Ours) {
            let unread = |why| PortError::Unusable(format!("entry {} cannot be read: {why}", entry.revision));
            let Opened { record, .. } = wire::open(entry.topic, body).map_err(unread)?;
            return Ok(Entry { record, ..entry });
        }
        if !self.edited.contains(&entry.revision) {
            return Ok(entry);
        }
        let before = Head { revision: Revision::default(), sum: entry.prev };
        let again = Entry::sealed(entry.revision, entry.at, entry.topic, Some(before), entry.record.clone());
        if again.is_ok_and(|it| it.sum == entry.sum) {
            return Ok(entry);
        }
        Err(PortError::Unusable(format!("entry {} cannot be read: it was changed", entry.revision)))
    }
}
