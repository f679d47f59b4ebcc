//! The file itself: two tables, opened, read and written. Everything here blocks.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::ports::{AppendError, Write};
use flyball_core::wire;
use jiff::Timestamp;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::{Placed, read};

/// Time, writer, and whether it is a copy.
pub(super) type Aside = (&'static str, &'static str, bool);

/// Revision to topic and body. The entry's time is in the body, under its sum.
pub(super) const ENTRIES: TableDefinition<u64, (&str, &[u8])> = TableDefinition::new("entries");
/// Topic to its newest revision and that entry's sum.
pub(super) const TOPICS: TableDefinition<&str, (u64, [u8; 16])> = TableDefinition::new("topics");

/// `identity` to a name that no other file has; [`UNFINISHED`] and [`MOVED`] where they are.
pub(super) const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about");
const IDENTITY: &str = "identity";
/// What the file is becoming a copy of: nobody starts on it.
pub(super) const UNFINISHED: &str = "unfinished";
/// Where the ledger has gone: nothing is written here any more.
pub(super) const MOVED: &str = "moved";
/// Revision to what a copied entry had beside its body: its time, its writer (both may be empty), and whether it is a copy
/// of a note. A file that was never copied from a stream has no such table.
pub(super) const BESIDE: TableDefinition<u64, Aside> = TableDefinition::new("beside");

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
    /// A copy that was not brought to its end.
    #[error("the ledger {path} is an unfinished {origin}: run the same command again, or remove the file")]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// What it is a copy of.
        origin: String,
    },
    /// It was moved.
    #[error("the ledger {path} was moved to {to}: start there")]
    Moved {
        /// The file.
        path: PathBuf,
        /// Where its entries go on.
        to: String,
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

/// A file, open.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) end: End,
    pub(super) identity: Arc<str>,
    /// What it is an unfinished copy of.
    pub(super) unfinished: Option<String>,
    /// Where its entries go on.
    pub(super) moved: Option<String>,
}

/// Opens a ledger to be written, making the file first when there is none.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let opened = open_any(path, None)?;
    if let Some(origin) = opened.unfinished {
        return Err(OpenError::Unfinished { path: path.to_owned(), origin });
    }
    match opened.moved {
        Some(to) => Err(OpenError::Moved { path: path.to_owned(), to }),
        None => Ok(opened),
    }
}

/// Opens a file whatever became of it, making it first when there is none, as an unfinished copy of `origin` if one is
/// named.
pub(super) fn open_any(path: &Path, origin: Option<&str>) -> Result<Opened, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(found) if found.len() == 0 => return Err(not_a_ledger(path, "it is empty")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, origin).map_err(io)?,
        Err(error) => return Err(io(error)),
    }
    // A file that was cut in the wrong place makes redb panic instead of answering.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = Database::open(path)?;
        let end = end(&database)?;
        let identity = about(&database, IDENTITY)?;
        let identity =
            identity.ok_or_else(|| redb::Error::Corrupted("it does not say which ledger it is".to_owned()))?;
        let (unfinished, moved) = (about(&database, UNFINISHED)?, about(&database, MOVED)?);
        Ok(Opened { database, end, identity: identity.into(), unfinished, moved })
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
    let Opened { mut database, .. } = open_any(path, None)?;
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
fn create(path: &Path, origin: Option<&str>) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".flyball-ledger-").tempfile_in(folder)?;
    let begin = || -> Result<(), redb::Error> {
        let database = Database::create(draft.path())?;
        let transaction = database.begin_write()?;
        transaction.open_table(ENTRIES)?;
        transaction.open_table(TOPICS)?;
        let name = format!("file {}", uuid::Uuid::now_v7());
        let mut about = transaction.open_table(ABOUT)?;
        about.insert(IDENTITY, name.as_str())?;
        if let Some(origin) = origin {
            about.insert(UNFINISHED, origin)?;
        }
        drop(about);
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

fn about(database: &Database, what: &str) -> Result<Option<String>, redb::Error> {
    let about = database.begin_read()?.open_table(ABOUT)?;
    Ok(about.get(what)?.map(|it| it.value().to_owned()))
}

fn end(database: &Database) -> Result<End, redb::Error> {
    let transaction = database.begin_read()?;
    transaction.open_table(TOPICS)?;
    let entries = transaction.open_table(ENTRIES)?;
    let Some((revision, entry)) = entries.last()? else {
        return Ok(End { revision: Revision(0), at: Timestamp::MIN });
    };
    let (revision, (topic, body)) = (revision.value(), entry.value());
    let beside = beside(&transaction)?.map(|it| read::beside(&it, revision)).transpose()?.unwrap_or_default();
    let entry = read::decode(revision, topic, body, beside).map_err(redb::Error::Corrupted)?.entry;
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

/// What lies beside copied entries, if any does.
pub(super) fn beside(transaction: &ReadTransaction) -> Result<Option<ReadOnlyTable<u64, Aside>>, redb::Error> {
    match transaction.open_table(BESIDE) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
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
