//! The table that says which entry of a topic is the newest: derived from the entries, and so never believed against them. A
//! disk that changes a bit of it would otherwise make an append lose a compare that nobody has won, for ever.

use std::collections::BTreeMap;

use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, Write};
use flyball_core::wire;
use redb::{Database, ReadableDatabase, ReadableTable, Table};

use super::store::{ENTRIES, TOPICS};

/// Topic to its newest revision and that entry's sum.
pub(super) type Topics<'a> = Table<'a, &'static str, (u64, [u8; 16])>;
/// Revision to topic and body.
pub(super) type Entries<'a> = Table<'a, u64, (&'static str, &'static [u8])>;

/// The sum that the write has to carry, or why it cannot follow what is there.
pub(super) fn prev(
    write: &Write,
    topic: &str,
    topics: &Topics<'_>,
    entries: &Entries<'_>,
) -> Result<Result<Sum, AppendError>, redb::Error> {
    let Some(expected) = write.expect else { return Ok(Ok(Sum::NONE)) };
    let found = head(topics, topic)?;
    if expected == found {
        return Ok(Ok(found.sum));
    }
    let wrong = |what: String| Ok(Err(AppendError::Refused(format!("the file is damaged: {what}"))));
    if found.revision != Revision::default() && !holds(entries, topic, found)? {
        let revision = found.revision;
        return wrong(format!("its table says that entry {revision} is the newest of {topic}, and it is none of it"));
    }
    if expected.revision > found.revision && holds(entries, topic, expected)? {
        let (newer, revision) = (expected.revision, found.revision);
        return wrong(format!("its table says that entry {revision} is the newest of {topic}, and entry {newer} is"));
    }
    if expected.revision == found.revision {
        return Ok(Err(AppendError::Refused(format!(
            "the file's newest entry of {}, {}, is not the one that was read: it has the sum {}, not {}",
            write.topic, found.revision, found.sum, expected.sum
        ))));
    }
    Ok(Err(AppendError::Lost))
}

/// Holds the whole table against the entries.
///
/// # Errors
/// It cannot be read, or says something else than they do.
pub(super) fn compare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for row in transaction.open_table(ENTRIES)?.range::<u64>(..)? {
        let (revision, entry) = row?;
        newest.insert(entry.value().0.to_owned(), revision.value());
    }
    let topics = transaction.open_table(TOPICS)?;
    let wrong = |topic: &str, said: u64, is: u64| {
        Err(redb::Error::Corrupted(format!(
            "its table says that entry {said} is the newest of {topic}, and entry {is} is"
        )))
    };
    for (topic, revision) in &newest {
        let said = topics.get(topic.as_str())?.map_or(0, |it| it.value().0);
        if said != *revision {
            return wrong(topic, said, *revision);
        }
    }
    for row in topics.range::<&str>(..)? {
        let (topic, head) = row?;
        if !newest.contains_key(topic.value()) {
            return wrong(topic.value(), head.value().0, 0);
        }
    }
    Ok(())
}

fn head(topics: &Topics<'_>, topic: &str) -> Result<Head, redb::Error> {
    let found = topics.get(topic)?.map(|found| found.value());
    Ok(found.map_or_else(Head::default, |(revision, sum)| Head { revision: Revision(revision), sum: sum.into() }))
}

/// Whether the entry is there, of this topic, and with this sum.
fn holds(entries: &Entries<'_>, topic: &str, head: Head) -> Result<bool, redb::Error> {
    let Some(entry) = entries.get(head.revision.0)? else { return Ok(false) };
    let (its, body) = entry.value();
    let Some(known) = wire::topic(topic).filter(|_| its == topic) else { return Ok(false) };
    Ok(wire::open(known, body).is_ok_and(|opened| opened.sum == head.sum))
}
