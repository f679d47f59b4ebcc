//! The file itself: its tables, and how it is written. Everything here blocks.

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::Write;
use flyball_core::wire;
use jiff::Timestamp;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, TableError,
    WriteTransaction,
};

use super::about::{ABOUT, MOVED};
use super::{Placed, topics};

/// Time, writer, and whether it is a copy.
pub(super) type Aside = (&'static str, &'static str, bool);

/// Revision to topic and body. The entry's time is in the body, under its sum.
pub(super) const ENTRIES: TableDefinition<u64, (&str, &[u8])> = TableDefinition::new("entries");
/// Topic to its newest revision and that entry's sum.
pub(super) const TOPICS: TableDefinition<&str, (u64, [u8; 16])> = TableDefinition::new("topics");

/// Revision to what a copied entry had beside its body: its time, its writer (both may be empty), and whether it is a copy
/// of a note. A file that was never copied from a stream has no such table.
pub(super) const BESIDE: TableDefinition<u64, Aside> = TableDefinition::new("beside");

/// A file with more entries than this, some 50 MB, is a long one: a walk through it takes a tenth of a second.
const LONG: u64 = 50_000;

/// The newest entry: where the next one goes, and the time it cannot be before.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) revision: Revision,
    pub(super) at: Timestamp,
}

/// Why a transaction was not confirmed.
pub(super) enum CommitError {
    /// It was not begun, or given up: nothing of it is in the file.
    Refused(String),
    /// It failed while it was being synced: it may be in the file. The file takes no more until it is opened anew.
    Unknown(String),
}

impl From<String> for CommitError {
    /// Before anything was begun.
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

/// Begins a transaction that writes. After a kill redb walks the whole file, which takes seconds where it is long; there each
/// transaction notes what the walk would find out, which costs it a second sync.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    let long = transaction.open_table(ENTRIES)?.len()? > LONG;
    transaction.set_quick_repair(long);
    Ok(transaction)
}

/// Writes what can be written in one transaction. Each compare sees the writes before it.
pub(super) fn commit(
    database: &Database,
    writes: &[Write],
    end: End,
    now: Timestamp,
) -> Result<(Vec<Placed>, End), CommitError> {
    let refused = |error: redb::Error| CommitError::Refused(error.to_string());
    let transaction = begin(database).map_err(refused)?;
    let about = transaction.open_table(ABOUT).map_err(|error| refused(error.into()))?;
    let moved = about.get(MOVED).map_err(|error| refused(error.into()))?.map(|it| it.value().to_owned());
    if let Some(to) = moved {
        return Err(CommitError::Refused(format!("it was moved to {to}")));
    }
    drop(about);
    let at = now.max(end.at);
    let (placed, revision) = stage(&transaction, writes, end.revision, at).map_err(refused)?;
    if revision == end.revision {
        // Nothing to write: dropping the transaction gives it up without a sync.
        return Ok((placed, end));
    }
    transaction.commit().map_err(|error| CommitError::Unknown(error.to_string()))?;
    Ok((placed, End { revision, at }))
}

fn stage(
    transaction: &WriteTransaction,
    writes: &[Write],
    mut newest: Revision,
    at: Timestamp,
) -> Result<(Vec<Placed>, Revision), redb::Error> {
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut newest_of = transaction.open_table(TOPICS)?;
    let mut placed = Vec::with_capacity(writes.len());
    for write in writes {
        let topic = wire::topic_text(write.topic);
        let sealed = match topics::prev(write, &topic, &newest_of, &entries)? {
            Ok(prev) => wire::seal(write.topic, prev, Some(at), &write.record),
            Err(error) => Err(error),
        };
        let Ok(sealed) = sealed.map_err(|error| placed.push(Err(error))) else { continue };
        newest = Revision(newest.0 + 1);
        entries.insert(newest.0, (topic.as_str(), sealed.body.as_slice()))?;
        newest_of.insert(topic.as_str(), (newest.0, *sealed.sum.bytes()))?;
        placed.push(Ok(Head { revision: newest, sum: sealed.sum }));
    }
    Ok((placed, newest))
}

/// What lies beside copied entries, if any does.
pub(super) fn beside(transaction: &ReadTransaction) -> Result<Option<ReadOnlyTable<u64, Aside>>, redb::Error> {
    match transaction.open_table(BESIDE) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}
