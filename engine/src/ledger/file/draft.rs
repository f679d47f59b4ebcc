//! A file that is being filled with another ledger's entries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flyball_core::id::Revision;
use flyball_core::ports::{Answer, Clock, PortError};
use flyball_core::record::Entry;
use flyball_core::wire;
use redb::{Database, WriteTransaction};
use tokio::task::spawn_blocking;

use super::about::mark;
use super::held::Held;
use super::open::{self, OpenError, Opened};
use super::store::{self, BESIDE, ENTRIES, End, TOPICS};
use super::{FileLedger, read};
use crate::ledger::stored::{Beside, Draft, Store, Stored};

/// A file that nobody starts on.
pub struct FileDraft {
    held: Arc<Held>,
}

/// Why a file cannot be filled.
#[derive(Debug, thiserror::Error)]
pub enum NotADraft {
    /// It cannot be opened, or it is an unfinished copy of something else.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It has entries already.
    #[error("{0} is a ledger with entries: only an empty one can be filled")]
    Taken(PathBuf),
}

impl FileDraft {
    /// Makes the file, or goes on with one that is an unfinished copy of the same `origin`.
    ///
    /// # Errors
    /// It is anything else.
    pub fn begin(path: &Path, origin: &str) -> Result<Self, NotADraft> {
        let opened = open::open_any(path, Some(origin))?;
        let Opened { database, end, unfinished, moved, .. } = &opened;
        match unfinished {
            Some(same) if same == origin => {}
            Some(origin) => {
                return Err(OpenError::Unfinished { path: path.to_owned(), origin: origin.clone() }.into());
            }
            None if end.revision.0 > 0 || moved.is_some() => return Err(NotADraft::Taken(path.to_owned())),
            // An empty ledger becomes a draft.
            None => {
                mark(database, Some(origin)).map_err(|error| {
                    let detail = error.to_string();
                    OpenError::NotALedger { path: path.to_owned(), detail }
                })?;
            }
        }
        Ok(Self { held: Arc::new(Held::new(path.into(), opened)) })
    }

    async fn transact(
        &self,
        work: impl FnOnce(&Database, End) -> Result<End, redb::Error> + Send + 'static,
    ) -> Result<(), PortError> {
        let held = self.held.clone();
        let done = spawn_blocking(move || {
            held.transact(|database, end| work(database, end).map(|end| ((), end)).map_err(|error| error.to_string()))
        });
        let done = done.await.unwrap_or_else(|died| Err(died.to_string()));
        done.map(drop).map_err(|why| PortError::Unavailable(format!("{}: {why}", self.held.path().display())))
    }
}

fn one(database: &Database, revision: Revision) -> Result<Entry, String> {
    let read = read::read(database, Revision(revision.0.saturating_sub(1)), 1)?;
    let entry = read.into_iter().next().map(|it| it.entry);
    entry.filter(|it| it.revision == revision).ok_or_else(|| format!("entry {revision} is missing"))
}

/// Keeps what is behind `end`, and nothing else: whoever gave up waiting for a transaction puts the same entries again, and
/// both are carried out.
fn put(database: &Database, stored: &[Stored], end: End) -> Result<End, redb::Error> {
    let fresh = &stored[stored.partition_point(|it| it.entry.revision <= end.revision)..];
    let Some(last) = fresh.last().map(|it| End { revision: it.entry.revision, at: it.entry.at }) else {
        return Ok(end);
    };
    let transaction = store::begin(database)?;
    fill(&transaction, fresh)?;
    transaction.commit()?;
    Ok(last)
}

fn fill(transaction: &WriteTransaction, stored: &[Stored]) -> Result<(), redb::Error> {
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut topics = transaction.open_table(TOPICS)?;
    let mut asides = transaction.open_table(BESIDE)?;
    for one in stored {
        let entry = &one.entry;
        let (revision, topic) = (entry.revision.0, wire::topic_text(entry.topic));
        entries.insert(revision, (topic.as_str(), &*one.body))?;
        topics.insert(topic.as_str(), (revision, *entry.sum.bytes()))?;
        let beside = one.beside();
        if beside != Beside::default() {
            let at = beside.at.map(|it| it.to_string()).unwrap_or_default();
            asides.insert(revision, (at.as_str(), beside.writer.as_deref().unwrap_or_default(), beside.copy))?;
        }
    }
    Ok(())
}

impl Draft for FileDraft {
    fn reached(&self) -> Revision {
        self.held.end().revision
    }

    fn entry(&self, revision: Revision) -> Answer<'_, Result<Entry, PortError>> {
        let held = self.held.clone();
        Box::pin(async move {
            let read = spawn_blocking(move || one(&*held.handle()?, revision)).await;
            let read = read.unwrap_or_else(|died| Err(died.to_string()));
            read.map_err(|why| PortError::Unavailable(format!("{}: {why}", self.held.path().display())))
        })
    }

    fn put(&mut self, entries: Vec<Stored>) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move { self.transact(move |database, end| put(database, &entries, end)).await })
    }

    fn ledger(&self, clock: Arc<dyn Clock>) -> Answer<'_, Result<Arc<dyn Store>, PortError>> {
        let ledger = FileLedger::holding(self.held.clone(), None, clock);
        Box::pin(async { Ok(Arc::new(ledger) as Arc<dyn Store>) })
    }

    fn finish(&self) -> Answer<'_, Result<(), PortError>> {
        Box::pin(self.transact(|database, end| mark(database, None).map(|()| end)))
    }

    fn identity(&self) -> Arc<str> {
        self.held.identity()
    }

    fn place(&self) -> String {
        format!("{} ({})", self.held.path().display(), self.held.identity())
    }
}
