//! The file itself: two tables, opened, read and written. Everything here blocks.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, Write};
use flyball_core::record::Entry;
use flyball_core::wire;
use jiff::Timestamp;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::Placed;

/// Revision to topic and body. The entry's time is in the body, under its sum.
pub(super) const ENTRIES: TableDefinition<u64, (&str, &[u8])> = TableDefinition::new("entries");
/// Topic to its newest revision and that entry's sum.
pub(super) const TOPICS: TableDefinition<&str, (u64, [u8; 16])> = TableDefinition::new("topics");

/// `identity` to a name that no other file has.
const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about");
const IDENTITY: &str = "identity";

/// Why a ledger's file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two processes never share a file.
    #[error("the ledger {0} is in use by another process")]
    InUse(PathBuf),
    /// Empty, cut short, of another program, or of another version.
    #[error("{path} is not a ledger that can be read: {detail}")]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file system does not let us.
    #[error("the ledger {path} cannot be opened: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

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

/// Opens the file, making it first when there is none.
pub(super) fn open(path: &Path) -> Result<(Database, End, Arc<str>), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(found) if found.len() == 0 => return Err(not_a_ledger(path, "it is empty")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path).map_err(io)?,
        Err(error) => return Err(io(error)),
    }
    // A file that was cut in the wrong place makes redb panic instead of answering.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::open(path)?;
        let (end, identity) = (end(&database)?, identity(&database)?);
        Ok((database, end, identity))
    }));
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(redb::Error::DatabaseAlreadyOpen)) => Err(OpenError::InUse(path.to_owned())),
        Ok(Err(redb::Error::Io(error))) if !tells_of_content(&error) => Err(io(error)),
        Ok(Err(error)) => Err(not_a_ledger(path, &error.to_string())),
        Err(_) => Err(not_a_ledger(path, "it is damaged")),
    }
}

/// Compares every page of the file with its checksum. A file that is not there is whole.
///
/// # Errors
/// It is in use, or damaged.
pub fn check(path: &Path) -> Result<(), OpenError> {
    if !path.exists() {
        return Ok(());
    }
    let (mut database, ..) = open(path)?;
    // Dropped within, too: closing a damaged file panics.
    match catch_unwind(AssertUnwindSafe(move || database.check_integrity())) {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(not_a_ledger(path, "pages do not have the checksums that they had")),
        Ok(Err(error)) => Err(not_a_ledger(path, &error.to_string())),
        Err(_) => Err(not_a_ledger(path, "it is damaged")),
    }
}

/// Whether an error is about what is in the file, not about getting at it.
fn tells_of_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn not_a_ledger(path: &Path, detail: &str) -> OpenError {
    OpenError::NotALedger { path: path.to_owned(), detail: detail.to_owned() }
}

/// Makes the file under another name first: a file that has the name is whole, whenever the process is killed.
fn create(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".flyball-ledger-").tempfile_in(folder)?;
    let begin = || -> Result<(), redb::Error> {
        let database = Database::create(draft.path())?;
        let transaction = database.begin_write()?;
        transaction.open_table(ENTRIES)?;
        transaction.open_table(TOPICS)?;
        let name = format!("file {}", uuid::Uuid::now_v7());
        transaction.open_table(ABOUT)?.insert(IDENTITY, name.as_str())?;
        Ok(transaction.commit()?)
    };
    begin().map_err(io::Error::other)?;
    match draft.persist_noclobber(path) {
        Ok(_) => File::open(folder)?.sync_all(),
        // Another process was faster; whether it has the file open is the next question.
        Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(other) => Err(other.error),
    }
}

fn identity(database: &Database) -> Result<Arc<str>, redb::Error> {
    let about = database.begin_read()?.open_table(ABOUT)?;
    let name = about.get(IDENTITY)?.map(|it| it.value().into());
    name.ok_or_else(|| redb::Error::Corrupted("it does not say which ledger it is".to_owned()))
}

fn end(database: &Database) -> Result<End, redb::Error> {
    let transaction = database.begin_read()?;
    transaction.open_table(TOPICS)?;
    let entries = transaction.open_table(ENTRIES)?;
    let Some((revision, entry)) = entries.last()? else {
        return Ok(End { revision: Revision(0), at: Timestamp::MIN });
    };
    let (revision, (topic, body)) = (revision.value(), entry.value());
    let entry = decode(revision, topic, body).map_err(redb::Error::Corrupted)?;
    Ok(End { revision: entry.revision, at: entry.at })
}

/// Writes what can be written in one transaction. Each compare sees the writes before it.
pub(super) fn commit(
    database: &Database,
    writes: &[Write],
    end: End,
    now: Timestamp,
) -> Result<(Vec<Placed>, End), CommitError> {
    let refused = |error: redb::Error| CommitError::Refused(error.to_string());
    let transaction = database.begin_write().map_err(|error| refused(error.into()))?;
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
    let mut topics = transaction.open_table(TOPICS)?;
    let mut placed = Vec::with_capacity(writes.len());
    for write in writes {
        let topic = wire::topic_text(write.topic);
        let sealed = match prev(write, head(&topics, &topic)?) {
            Ok(prev) => wire::seal(write.topic, prev, Some(at), &write.record),
            Err(error) => Err(error),
        };
        let Ok(sealed) = sealed.map_err(|error| placed.push(Err(error))) else { continue };
        newest = Revision(newest.0 + 1);
        entries.insert(newest.0, (topic.as_str(), sealed.body.as_slice()))?;
        topics.insert(topic.as_str(), (newest.0, *sealed.sum.bytes()))?;
        placed.push(Ok(Head { revision: newest, sum: sealed.sum }));
    }
    Ok((placed, newest))
}

fn head(topics: &Table<'_, &str, (u64, [u8; 16])>, topic: &str) -> Result<Head, redb::Error> {
    let found = topics.get(topic)?.map(|found| found.value());
    Ok(found.map_or_else(Head::default, |(revision, sum)| Head { revision: Revision(revision), sum: sum.into() }))
}

/// The sum that the write has to carry, if it may follow `found`.
fn prev(write: &Write, found: Head) -> Result<Sum, AppendError> {
    match write.expect {
        None => Ok(Sum::NONE),
        Some(expected) if expected == found => Ok(found.sum),
        Some(expected) if expected.revision == found.revision => Err(AppendError::Refused(format!(
            "the file's newest entry of {}, {}, is not the one that was read: it has the sum {}, not {}",
            write.topic, found.revision, found.sum, expected.sum
        ))),
        Some(_) => Err(AppendError::Lost),
    }
}

/// Up to `limit` entries after `after`, in order. An error says which one is missing or cannot be read; it comes only when
/// nothing before that entry is left to return.
pub(super) fn read(database: &Database, after: Revision, limit: usize) -> Result<Vec<Entry>, String> {
    let mut found: Vec<Entry> = Vec::new();
    let mut walk = || -> Result<Option<String>, redb::Error> {
        let entries = database.begin_read()?.open_table(ENTRIES)?;
        // What is read from the beginning begins where the last purge left it.
        let first = if after.0 == 0 { entries.first()?.map_or(1, |(first, _)| first.value()) } else { after.0 + 1 };
        for (expected, row) in (first..).zip(entries.range(first..)?).take(limit) {
            let (revision, entry) = row?;
            let (topic, body) = entry.value();
            if revision.value() != expected {
                return Ok(Some(format!("entry {expected} is missing")));
            }
            match decode(expected, topic, body) {
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

fn decode(revision: u64, topic: &str, body: &[u8]) -> Result<Entry, String> {
    let bad = |why: String| format!("entry {revision} cannot be read: {why}");
    let topic = wire::topic(topic).ok_or_else(|| bad(format!("it belongs to {topic:?}")))?;
    let wire::Opened { prev, sum, at, record } = wire::open(topic, body).map_err(bad)?;
    let at = at.ok_or_else(|| bad("it has no time".to_owned()))?;
    Ok(Entry { revision: Revision(revision), at, topic, prev, sum, record })
}
