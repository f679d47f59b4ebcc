//! An entry with the bytes that say it, for whoever copies a ledger. Bodies are never written anew: a float does not survive
//! being read and printed, and the sum is over the bytes.

use std::sync::Arc;

use bytes::Bytes;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, Clock, Ledger, PortError};
use flyball_core::record::{Entry, Record, Topic};
use flyball_core::wire::{self, Opened};
use jiff::Timestamp;

/// An entry as a ledger keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// What it says, checked against its sum.
    pub entry: Entry,
    /// The time that the body bears; none where the entry's time lies beside it.
    pub stamp: Option<Timestamp>,
    /// Which append wrote it, where the ledger keeps that.
    pub writer: Option<Arc<str>>,
    /// A second copy of a note: it says nothing.
    pub copy: bool,
    /// What was appended, byte for byte.
    pub body: Bytes,
}

/// What a ledger keeps beside a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The entry's time, where the body bears none or another.
    pub at: Option<Timestamp>,
    /// Which append wrote it.
    pub writer: Option<Arc<str>>,
    /// A second copy of a note.
    pub copy: bool,
}

impl Stored {
    /// Opens a body. `otherwise` is its time where neither it nor what lies beside it says one.
    ///
    /// # Errors
    /// It is not what its sum says, is of another version, or has no time.
    pub fn open(
        revision: Revision,
        topic: Topic,
        body: Bytes,
        beside: Beside,
        otherwise: Option<Timestamp>,
    ) -> Result<Self, String> {
        let Opened { prev, sum, at: stamp, record } = wire::open(topic, &body)?;
        let at = beside.at.or(stamp).or(otherwise).ok_or_else(|| "it has no time".to_owned())?;
        let record = if beside.copy { Record::Fence } else { record };
        let entry = Entry { revision, at, topic, prev, sum, record };
        Ok(Self { entry, stamp, writer: beside.writer, copy: beside.copy, body })
    }

    /// Makes it a copy of a note: it holds its place and says nothing.
    pub fn silence(&mut self) {
        self.copy = true;
        self.entry.record = Record::Fence;
    }

    /// What has to be kept beside the body.
    pub fn beside(&self) -> Beside {
        let at = Some(self.entry.at).filter(|at| self.stamp != Some(*at));
        Beside { at, writer: self.writer.clone(), copy: self.copy }
    }
}

/// Entries with their bytes.
pub trait StoredTail: Send {
    /// The next one. An error means that entries may be missing.
    fn next(&mut self) -> Answer<'_, Result<Stored, PortError>>;
}

/// A ledger that can be copied, and closed for good once it was.
pub trait Store: Ledger {
    /// The entries after `after` with their bytes, in order.
    fn stored(&self, after: Revision) -> Answer<'_, Result<Box<dyn StoredTail>, PortError>>;
    /// The oldest entry; the one to come where there is none.
    fn oldest(&self) -> Answer<'_, Result<Revision, PortError>>;
    /// Where its entries go on, if it was closed.
    fn moved(&self) -> Option<String>;
    /// Closes it for good, by the store itself: whatever process writes to it from now on, however late, is refused. It can
    /// still be read. Its newest entry is then its last. Closing it again for the same place changes nothing.
    fn close<'a>(&'a self, to: &'a str) -> Answer<'a, Result<Revision, PortError>>;
}

/// A ledger that is being filled with another one's entries. Nobody starts on it until it is finished.
pub trait Draft: Send + Sync {
    /// The newest entry that it has; 0 before the first.
    fn reached(&self) -> Revision;
    /// One of its entries.
    fn entry(&self, revision: Revision) -> Answer<'_, Result<Entry, PortError>>;
    /// Keeps entries that follow it, durably.
    fn put(&mut self, entries: Vec<Stored>) -> Answer<'_, Result<(), PortError>>;
    /// The ledger itself, to be written from now on by whoever fills it. It bears the mark until it is finished.
    fn ledger(&self, clock: Arc<dyn Clock>) -> Answer<'_, Result<Arc<dyn Store>, PortError>>;
    /// Takes the mark of the unfinished off.
    fn finish(&self) -> Answer<'_, Result<(), PortError>>;
    /// Which ledger it will be.
    fn identity(&self) -> Arc<str>;
    /// Where it is, and which one: what the ledger that it was copied from says of it.
    fn place(&self) -> String;
}
