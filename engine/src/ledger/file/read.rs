//! Reading entries in order.

use bytes::Bytes;
use flyball_core::id::Revision;
use flyball_core::wire;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};

use super::store::{self, Aside, ENTRIES};
use crate::ledger::stored::{Beside, Stored};

/// Up to `limit` entries after `after`, in order. An error says which one is missing or cannot be read; it comes only when
/// nothing before that entry is left to return.
pub(super) fn read(database: &Database, after: Revision, limit: usize) -> Result<Vec<Stored>, String> {
    let mut found: Vec<Stored> = Vec::new();
    let mut walk = || -> Result<Option<String>, redb::Error> {
        let transaction = database.begin_read()?;
        let entries = transaction.open_table(ENTRIES)?;
        let asides = store::beside(&transaction)?;
        // What is read from the beginning begins where the last purge left it.
        let first = if after.0 == 0 { entries.first()?.map_or(1, |(first, _)| first.value()) } else { after.0 + 1 };
        for (expected, row) in (first..).zip(entries.range(first..)?).take(limit) {
            let (revision, entry) = row?;
            let (topic, body) = entry.value();
            if revision.value() != expected {
                return Ok(Some(format!("entry {expected} is missing")));
            }
            let beside = asides.as_ref().map(|it| beside(it, expected)).transpose()?.unwrap_or_default();
            match decode(expected, topic, body, beside) {
                Ok(entry) => found.push(entry),
                Err(why) => return Ok(Some(why)),
            }
        }
        Ok(None)
    };
    let trouble = walk().unwrap_or_else(|error| Some(error.to_string()));
    match trouble {
        Some(why) if found.is_empty() => Err(why),
        _ => Ok(found),
    }
}

/// What lies beside one entry.
pub(super) fn beside(asides: &ReadOnlyTable<u64, Aside>, revision: u64) -> Result<Beside, redb::Error> {
    let Some(found) = asides.get(revision)? else { return Ok(Beside::default()) };
    let (at, writer, copy) = found.value();
    let at = if at.is_empty() {
        None
    } else {
        Some(at.parse().map_err(|error| {
            redb::Error::Corrupted(format!("entry {revision} cannot be read: the time beside it: {error}"))
        })?)
    };
    Ok(Beside { at, writer: Some(writer).filter(|it| !it.is_empty()).map(Into::into), copy })
}

pub(super) fn decode(revision: u64, topic: &str, body: &[u8], beside: Beside) -> Result<Stored, String> {
    let bad = |why: String| format!("entry {revision} cannot be read: {why}");
    let topic = wire::topic(topic).ok_or_else(|| bad(format!("it belongs to {topic:?}")))?;
    Stored::open(Revision(revision), topic, Bytes::copy_from_slice(body), beside, None).map_err(bad)
}
