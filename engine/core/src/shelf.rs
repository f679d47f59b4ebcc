//! What keeps a ledger from growing for ever: checkpoints of the fold, and the removal of what nobody needs any more.

use std::fmt;
use std::sync::Arc;

use crate::id::Revision;
use crate::ports::{Answer, PortError};

/// The fold as it was at an entry. It says nothing that the entries do not say: losing one costs a slower start.
#[derive(Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The newest entry in it.
    pub revision: Revision,
    /// The fold, in whatever form its maker reads.
    pub body: Arc<[u8]>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint of entry {} in {} bytes", self.revision, self.body.len())
    }
}

/// Where a ledger keeps its checkpoints.
pub trait Shelf: Send + Sync {
    /// The oldest entry of the ledger; the one to come where there is none.
    fn first(&self) -> Answer<'_, Result<Revision, PortError>>;
    /// The entry of the newest checkpoint, found without reading it; 0 where there is none.
    fn kept(&self) -> Answer<'_, Result<Revision, PortError>>;
    /// The newest checkpoint of this very ledger that is whole. Damaged ones, and those of another ledger under the same
    /// name, are passed over.
    fn read(&self) -> Answer<'_, Result<Option<Checkpoint>, PortError>>;
    /// Keeps a checkpoint durably, and the one before it. One that is not newer than what is kept already is passed over.
    fn keep(&self, checkpoint: Checkpoint) -> Answer<'_, Result<(), PortError>>;
    /// Removes every entry before `revision`. That the newest entry of a topic which somebody may still write to stays is
    /// up to the caller: a topic that is empty can be begun anew.
    fn purge(&self, before: Revision) -> Answer<'_, Result<(), PortError>>;
}
