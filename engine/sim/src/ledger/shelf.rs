//! The checkpoints of the ledger in memory.

use flyball_core::id::Revision;
use flyball_core::ports::{Answer, Checkpoint, PortError, Shelf};
use flyball_core::record::Topic;

use super::{MemoryLedger, State};

/// A checkpoint that is read is the newest; the one before it is kept in case that one is damaged.
const KEPT: usize = 2;

impl MemoryLedger {
    /// Damages the newest checkpoint: it is as if it had never been kept.
    pub fn damage_checkpoint(&self) {
        self.inner.advanced().checkpoints.pop();
    }

    fn asked<T>(&self, answer: impl FnOnce(&mut State) -> T) -> Result<T, PortError> {
        let mut state = self.inner.advanced();
        state.reachable(self.inner.clock.now())?;
        Ok(answer(&mut state))
    }
}

impl Shelf for MemoryLedger {
    fn first(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(async move { self.asked(|state| state.first) })
    }

    fn kept(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(async move { self.asked(|state| state.checkpoints.last().map(|it| it.revision).unwrap_or_default()) })
    }

    fn read(&self) -> Answer<'_, Result<Option<Checkpoint>, PortError>> {
        Box::pin(async move { self.asked(|state| state.checkpoints.last().cloned()) })
    }

    fn keep(&self, checkpoint: Checkpoint) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.asked(|state| {
                if state.checkpoints.last().is_none_or(|it| it.revision < checkpoint.revision) {
                    state.checkpoints.push(checkpoint);
                    let surplus = state.checkpoints.len().saturating_sub(KEPT);
                    state.checkpoints.drain(..surplus);
                }
            })
        })
    }

    fn purge(&self, before: Revision) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.asked(|state| {
                state.first = state.first.max(before).min(Revision(state.newest().0 + 1));
                let first = state.first;
                state.heads.retain(|topic, head| *topic == Topic::Note || head.revision >= first);
            })
        })
    }
}
