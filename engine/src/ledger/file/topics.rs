//! The table that says which entry of a topic is the newest: derived from the entries, and so never believed against them. A
//! disk that changes a bit of it would otherwise make an append lose a compare that nobody has won, for ever.

use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, Write};
use flyball_core::wire;
use redb::Table;

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

fn head(topics: &Topics<'_>, topic: &str) -> Result<Head, redb::Error> {
    use redb::ReadableTable;
    let found = topics.get(topic)?.map(|found| found.value());
    Ok(found.map_or_else(Head::default, |(revision, sum)| Head { revision: Revision(revision), sum: sum.into() }))
}

/// Whether the entry is there, of this topic, and with this sum.
fn holds(entries: &Entries<'_>, topic: &str, head: Head) -> Result<bool, redb::Error> {
    use redb::ReadableTable;
    let Some(entry) = entries.get(head.revision.0)? else { return Ok(false) };
    let (its, body) = entry.value();
    let Some(known) = wire::topic(topic).filter(|_| its == topic) else { return Ok(false) };
    Ok(wire::open(known, body).is_ok_and(|opened| opened.sum == head.sum))
}
