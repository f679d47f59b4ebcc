//! What a newer build writes to the ledger in memory. It reads and writes the same entries; in their stored form they bear the next
//! version, which the build under test has never heard of.

use flyball_core::id::Revision;
use flyball_core::ports::AppendError;
use flyball_core::record::Entry;
use flyball_core::wire;
use serde_json::Value;

use super::MemoryLedger;

/// A build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Build {
    Ours,
    Newer,
}

impl MemoryLedger {
    /// The same ledger, as a newer build writes and reads it.
    #[must_use]
    pub fn newer(&self) -> Self {
        Self { inner: self.inner.clone(), build: Build::Newer }
    }

    /// The oldest entry that a newer build wrote.
    pub fn first_of_a_newer_build(&self) -> Option<Revision> {
        self.inner.advanced().foreign.keys().next().copied()
    }

    /// Whether a newer build wrote that entry.
    pub fn is_of_a_newer_build(&self, revision: Revision) -> bool {
        self.inner.advanced().foreign.contains_key(&revision)
    }
}

/// An entry in the form in which a newer build stores it.
pub(super) fn body(entry: &Entry) -> Result<Vec<u8>, AppendError> {
    let refused = |error: serde_json::Error| AppendError::Refused(error.to_string());
    let sealed = wire::seal(entry.topic, entry.prev, None, &entry.record)?;
    let mut stored: Value = serde_json::from_slice(&sealed.body).map_err(refused)?;
    stored["v"] = Value::from(wire::VERSION + 1);
    serde_json::to_vec(&stored).map_err(refused)
}
