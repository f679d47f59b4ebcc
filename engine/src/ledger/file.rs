//! The ledger as one file, for one process. An owned task writes it: it takes all writes that wait, puts them into one
//! transaction, syncs the file once, and then answers all of them.
//!
//! Each transaction runs in `spawn_blocking`: an fsync never holds an async worker, and a paused virtual clock stands
//! still while one runs.

mod about;
mod draft;
mod held;
mod open;
mod overlay;
mod read;
mod shelf;
mod store;
mod topics;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Weak};

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, AppendError, Clock, Ledger, PortError, Shelf, Tail, Write};
use flyball_core::record::{Entry, Topic};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use super::stored::{Store, Stored, StoredTail};
pub use draft::{FileDraft, NotADraft};
use held::Held;
pub use open::OpenError;
use open::Opened;
use store::CommitError;

/// Writes that may wait. An append waits for its answer, so more than this means more than this many tasks that write at
/// once, and those wait in line for a place.
const QUEUE: usize = 1024;
/// Writes in one transaction: all that can wait.
const BATCH: usize = QUEUE;
/// Entries that a tail reads at once: some hundred kilobytes.
const CHUNK: usize = 256;

type Placed = Result<Head, AppendError>;
type Waiting = (Write, oneshot::Sender<Placed>);

/// A ledger in one file. Dropping it closes the file, at once or after the transaction that is running; its tails end.
pub struct FileLedger {
    /// The only lasting strong handle: writer and tails hold weak ones, so that dropping the ledger closes the file.
    held: Arc<Held>,
    queue: mpsc::Sender<Waiting>,
    newest: watch::Receiver<Revision>,
    path: Arc<Path>,
    moved: Option<String>,
}

impl FileLedger {
    /// Opens the file, or makes it when there is none, and starts its writer: call it inside a tokio runtime. An entry's
    /// time is that of `clock` when the file was opened plus what its monotonic clock has run since, or the previous
    /// entry's when that is later.
    ///
    /// # Errors
    /// The file is in use, cut short, no ledger, or cannot be read: each names the path.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self::serve(path, open::open(path)?, clock))
    }

    /// Opens the file to be read, even where the ledger was moved away from it.
    ///
    /// # Errors
    /// As `open`; a copy that was not finished is not read either.
    pub fn reading(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let opened = open::open_any(path, None)?;
        match opened.unfinished {
            Some(origin) => Err(OpenError::Unfinished { path: path.to_owned(), origin }),
            None => Ok(Self::serve(path, opened, clock)),
        }
    }

    /// As `reading`, compares every page with its checksum, and never writes to the file: what is appended is kept in memory.
    ///
    /// # Errors
    /// As `reading`, and a page is damaged.
    pub fn open_unwritten(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let opened = open::open_unwritten(path)?;
        match opened.unfinished {
            Some(origin) => Err(OpenError::Unfinished { path: path.to_owned(), origin }),
            None => Ok(Self::serve(path, opened, clock)),
        }
    }

    fn serve(path: &Path, opened: Opened, clock: Arc<dyn Clock>) -> Self {
        let moved = opened.moved.clone();
        Self::holding(Arc::new(Held::new(path.into(), opened)), moved, clock)
    }

    fn holding(held: Arc<Held>, moved: Option<String>, clock: Arc<dyn Clock>) -> Self {
        let (path, end) = (held.path(), held.end());
        let (published, newest) = watch::channel(end.revision);
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write(waiting, Arc::downgrade(&held), published, clock));
        Self { held, queue, newest, path, moved }
    }

    fn tail(&self, after: Revision) -> Result<FileTail, PortError> {
        let newest = *self.newest.borrow();
        if after > newest {
            let path = self.path.display();
            return Err(PortError::Unusable(format!("{path} ends at entry {newest}, before entry {after}")));
        }
        Ok(FileTail {
            held: Arc::downgrade(&self.held),
            newest: self.newest.clone(),
            after,
            read: VecDeque::new(),
            path: self.path.clone(),
        })
    }

    async fn place(&self, write: Write) -> Placed {
        if write.expect.is_none() && write.topic != Topic::Note {
            return Err(AppendError::Refused("a write that is compared carries what it expects".to_owned()));
        }
        let (answer, answered) = oneshot::channel();
        let ended = || AppendError::Unknown(format!("the writer of {} has ended", self.path.display()));
        self.queue.send((write, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

/// The one writer. It ends when the ledger is dropped.
async fn write(
    mut waiting: mpsc::Receiver<Waiting>,
    held: Weak<Held>,
    newest: watch::Sender<Revision>,
    clock: Arc<dyn Clock>,
) {
    // The wall clock is asked once: a step of it must neither shorten nor stretch what the guardrails measure.
    let (wall, begun) = (clock.now(), clock.monotonic());
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let Some(held) = held.upgrade() else { return };
        let (writes, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let now = wall.saturating_add(clock.monotonic() - begun).unwrap_or(Timestamp::MAX);
        let commit = move || held.transact(|database, end| store::commit(database, &writes, end, now));
        let outcome = spawn_blocking(commit).await;
        match outcome.unwrap_or_else(|died| Err(CommitError::Unknown(died.to_string()))) {
            Ok((placed, end)) => {
                newest.send_replace(end.revision);
                // Who has stopped waiting no longer wants to know.
                for (answer, placed) in answers.into_iter().zip(placed) {
                    let _ = answer.send(placed);
                }
            }
            Err(error) => {
                let error = match error {
                    CommitError::Refused(why) => AppendError::Refused(why),
                    CommitError::Unknown(why) => AppendError::Unknown(why),
                };
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

impl Ledger for FileLedger {
    fn append(&self, write: Write) -> Answer<'_, Placed> {
        Box::pin(self.place(write))
    }

    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        Box::pin(async move { Ok(Box::new(self.tail(after)?) as Box<dyn Tail>) })
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(async {
            self.held.untouched().map_err(PortError::Unusable)?;
            Ok(*self.newest.borrow())
        })
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        Some(self)
    }

    fn identity(&self) -> Arc<str> {
        self.held.identity()
    }
}

impl Store for FileLedger {
    fn stored(&self, after: Revision) -> Answer<'_, Result<Box<dyn StoredTail>, PortError>> {
        Box::pin(async move { Ok(Box::new(self.tail(after)?) as Box<dyn StoredTail>) })
    }

    fn oldest(&self) -> Answer<'_, Result<Revision, PortError>> {
        Shelf::first(self)
    }

    fn moved(&self) -> Option<String> {
        self.moved.clone()
    }

    fn close<'a>(&'a self, to: &'a str) -> Answer<'a, Result<Revision, PortError>> {
        let to = to.to_owned();
        Box::pin(self.transact(move |database| about::close(database, &to)))
    }
}

/// Reads the file whenever the writer says that there is more, so it cannot miss an entry. `next` may be dropped halfway:
/// only an entry that was returned counts as read.
struct FileTail {
    held: Weak<Held>,
    newest: watch::Receiver<Revision>,
    after: Revision,
    read: VecDeque<Stored>,
    path: Arc<Path>,
}

impl FileTail {
    async fn entry(&mut self) -> Result<Stored, PortError> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                self.after = entry.entry.revision;
                return Ok(entry);
            }
            let after = self.after;
            let closed = || PortError::Unavailable(format!("{} was closed", self.path.display()));
            self.newest.wait_for(|newest| *newest > after).await.map_err(|_| closed())?;
            let held = self.held.upgrade().ok_or_else(closed)?;
            let database = held.handle().map_err(PortError::Unavailable)?;
            let read = spawn_blocking(move || read::read(&database, after, CHUNK)).await;
            let read = read.unwrap_or_else(|died| Err(died.to_string()));
            let unreadable = |why| PortError::Unusable(format!("{}: {why}", self.path.display()));
            self.read = read.map_err(unreadable)?.into();
        }
    }
}

impl Tail for FileTail {
    fn next(&mut self) -> Answer<'_, Result<Entry, PortError>> {
        Box::pin(async { Ok(self.entry().await?.entry) })
    }
}

impl StoredTail for FileTail {
    fn next(&mut self) -> Answer<'_, Result<Stored, PortError>> {
        Box::pin(self.entry())
    }
}
