//! A file that is being filled with another ledger's entries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flyball_core::id::Revision;
use flyball_core::ports::{Answer, PortError};
use flyball_core::record::Entry;
use flyball_core::wire;
use redb::{Database, WriteTransaction};
use tokio::task::spawn_blocking;

use super::open::{self, OpenError, Opened};
use super::read;
use super::store::{ABOUT, BESIDE, ENTRIES, TOPICS, UNFINISHED};
use crate::ledger::stored::{Beside, Draft, Stored};

/// A file that nobody starts on.
pub struct FileDraft {
    database: Arc<Database>,
    path: PathBuf,
    identity: Arc<str>,
    reached: Option<Entry>,
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
        let Opened { database, end, identity, unfinished, moved } = open::open_any(path, Some(origin))?;
        let database = Arc::new(database);
        match unfinished {
            Some(same) if same == origin => {}
            Some(origin) => return Err(OpenError::Unfinished { path: path.to_owned(), origin }.into()),
            None if end.revision.0 > 0 || moved.is_some() => return Err(NotADraft::Taken(path.to_owned())),
            // An empty ledger becomes a draft.
            None => {
                mark(&database, Some(origin)).map_err(|error| {
                    let detail = error.to_string();
                    OpenError::NotALedger { path: path.to_owned(), detail }
                })?;
            }
        }
        let reached = if end.revision.0 == 0 { None } else { last(&database, path, end.revision.0)? };
        Ok(Self { database, path: path.to_owned(), identity, reached })
    }

    async fn blocking(
        &self,
        work: impl FnOnce(&Database) -> Result<(), redb::Error> + Send + 'static,
    ) -> Result<(), PortError> {
        let database = self.database.clone();
        let done = spawn_blocking(move || work(&database).map_err(|error| error.to_string())).await;
        let done = done.unwrap_or_else(|died| Err(died.to_string()));
        done.map_err(|why| PortError::Unavailable(format!("{}: {why}", self.path.display())))
    }
}

fn last(database: &Database, path: &Path, newest: u64) -> Result<Option<Entry>, OpenError> {
    let unread = |detail| OpenError::NotALedger { path: path.to_owned(), detail };
    let read = read::read(database, Revision(newest.saturating_sub(1)), 2).map_err(unread)?;
    Ok(read.into_iter().last().map(|it| it.entry))
}

/// Takes the mark of the unfinished off, or puts it on.
fn mark(database: &Database, origin: Option<&str>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        match origin {
            Some(origin) => about.insert(UNFINISHED, origin)?.map(drop),
            None => about.remove(UNFINISHED)?.map(drop),
        };
    }
    Ok(transaction.commit()?)
}

fn put(database: &Database, stored: &[Stored]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    fill(&transaction, stored)?;
    Ok(transaction.commit()?)
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
    fn reached(&self) -> Option<&Entry> {
        self.reached.as_ref()
    }

    fn put(&mut self, entries: Vec<Stored>) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move {
            let Some(last) = entries.last().map(|it| it.entry.clone()) else { return Ok(()) };
            self.blocking(move |database| put(database, &entries)).await?;
            self.reached = Some(last);
            Ok(())
        })
    }

    fn finish(&mut self) -> Answer<'_, Result<(), PortError>> {
        Box::pin(self.blocking(|database| mark(database, None)))
    }

    fn identity(&self) -> Arc<str> {
        self.identity.clone()
    }
}
