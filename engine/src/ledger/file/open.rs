//! Opening the file: to work on it, or only to look. Everything here blocks.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flyball_core::id::Revision;
use jiff::Timestamp;
use redb::{Builder, Database, ReadableDatabase, ReadableTable};

use super::about::{self, ABOUT, IDENTITY, MOVED, UNFINISHED};
use super::overlay::Overlay;
use super::store::{ENTRIES, End, TOPICS, beside};
use super::{read, topics};
use crate::ledger::START_THERE;

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
    #[error("the ledger {path} was moved to {to}: {START_THERE}")]
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
    opened(path, || Ok(Database::open(path)?))
}

/// Opens the file whatever became of it, without ever writing to it, and compares every page with its checksum, and the
/// table of topics with the entries: a page that was damaged and then written anew has a checksum that fits.
pub(super) fn open_unwritten(path: &Path) -> Result<Opened, OpenError> {
    let overlay = Overlay::over(path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse(path.to_owned()),
        _ => OpenError::Io { path: path.to_owned(), source },
    })?;
    if fs::metadata(path).is_ok_and(|found| found.len() == 0) {
        return Err(not_a_ledger(path, "it is empty"));
    }
    opened(path, || {
        let mut database = Builder::new().create_with_backend(overlay)?;
        // It says so of what it has mended, too: in memory, here.
        if database.check_integrity()? {
            topics::compare(&database)?;
            return Ok(database);
        }
        Err(redb::Error::Corrupted("pages do not have the checksums that they had".to_owned()))
    })
}

fn opened(path: &Path, open: impl FnOnce() -> Result<Database, redb::Error>) -> Result<Opened, OpenError> {
    // A file that was cut in the wrong place makes redb panic instead of answering, and when it is closed, too.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = open()?;
        let end = end(&database)?;
        let identity = about::read(&database, IDENTITY)?;
        let identity =
            identity.ok_or_else(|| redb::Error::Corrupted("it does not say which ledger it is".to_owned()))?;
        let (unfinished, moved) = (about::read(&database, UNFINISHED)?, about::read(&database, MOVED)?);
        Ok(Opened { database, end, identity: identity.into(), unfinished, moved })
    }));
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(redb::Error::DatabaseAlreadyOpen)) => Err(OpenError::InUse(path.to_owned())),
        Ok(Err(redb::Error::Io(source))) if !tells_of_content(&source) => {
            Err(OpenError::Io { path: path.to_owned(), source })
        }
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
