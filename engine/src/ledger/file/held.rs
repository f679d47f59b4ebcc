//! The open file, for as long as it can be used. One that failed a transaction is closed, and opened anew for the next one:
//! redb writes nothing more through a handle that has failed, and a full disk has room again some day.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use redb::Database;

use super::open::{self, Opened};
use super::store::End;

/// Where the file lies on its disk, and how long it is: it changes only by our transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    device: u64,
    inode: u64,
    length: u64,
}

/// The file.
pub(super) struct Held {
    path: Arc<Path>,
    identity: Arc<str>,
    /// Taken for each transaction that writes.
    open: Mutex<Open>,
}

struct Open {
    /// The only lasting strong handle, and when it was last seen to be as we left it.
    database: Option<Arc<Database>>,
    shape: Option<Shape>,
    end: End,
}

impl Held {
    pub(super) fn new(path: Arc<Path>, Opened { database, end, identity, .. }: Opened) -> Self {
        let shape = shape(&path).ok();
        Self { path, identity, open: Mutex::new(Open { database: Some(Arc::new(database)), shape, end }) }
    }

    pub(super) fn identity(&self) -> Arc<str> {
        self.identity.clone()
    }

    pub(super) fn path(&self) -> Arc<Path> {
        self.path.clone()
    }

    /// The newest entry.
    pub(super) fn end(&self) -> End {
        self.lock().end
    }

    /// To read; none while it is closed.
    ///
    /// # Errors
    /// It is closed.
    pub(super) fn handle(&self) -> Result<Arc<Database>, String> {
        self.lock().database.clone().ok_or_else(|| format!("{} is being opened anew", self.path.display()))
    }

    /// Whether it is still the file that we have open, as we left it. A transaction that runs answers for itself.
    ///
    /// # Errors
    /// What has become of it.
    pub(super) fn untouched(&self) -> Result<(), String> {
        match self.open.try_lock() {
            Ok(open) => self.compared(&open),
            Err(TryLockError::Poisoned(open)) => self.compared(&open.into_inner()),
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    /// One transaction that writes, given the newest entry, and returning it. Blocks.
    ///
    /// # Errors
    /// The file is not as we left it, or cannot be opened: nothing was written. Or what `work` says.
    pub(super) fn transact<T, E: From<String>>(
        &self,
        work: impl FnOnce(&Database, End) -> Result<(T, End), E>,
    ) -> Result<(T, End), E> {
        let mut open = self.lock();
        let database = self.reopened(&mut open).map_err(E::from)?;
        self.compared(&open).map_err(E::from)?;
        let end = open.end;
        // A damaged file makes redb panic.
        let done = catch_unwind(AssertUnwindSafe(|| work(&database, end)));
        drop(database);
        match done {
            Ok(Ok((done, end))) => {
                open.shape = shape(&self.path).ok();
                open.end = end;
                Ok((done, end))
            }
            Ok(Err(error)) => {
                close(&mut open);
                Err(error)
            }
            Err(_) => {
                close(&mut open);
                Err(E::from(format!("{} is damaged", self.path.display())))
            }
        }
    }

    fn reopened(&self, open: &mut Open) -> Result<Arc<Database>, String> {
        if let Some(database) = &open.database {
            return Ok(database.clone());
        }
        if !self.path.exists() {
            return Err(format!("{} was removed", self.path.display()));
        }
        // Whatever became of it: a copy that is being filled is opened anew as well, and what is written to one that was moved
        // is refused by the transaction.
        let opened = open::open_any(&self.path, None).map_err(|error| error.to_string())?;
        let Opened { database, end, identity, .. } = opened;
        if identity != self.identity || end.revision < open.end.revision {
            let path = self.path.display();
            return Err(format!("{path} is not what it was: {identity}, which ends at entry {}", end.revision));
        }
        let database = Arc::new(database);
        *open = Open { database: Some(database.clone()), shape: shape(&self.path).ok(), end };
        Ok(database)
    }

    fn compared(&self, open: &Open) -> Result<(), String> {
        let Some(left) = open.shape else { return Ok(()) };
        let path = self.path.display();
        match shape(&self.path) {
            Ok(found) if found == left => Ok(()),
            Ok(found) if (found.device, found.inode) == (left.device, left.inode) => Err(format!(
                "{path} was changed by somebody else: it had {} bytes, and has {}",
                left.length, found.length
            )),
            Ok(_) => Err(format!("{path} was replaced by another file while it was in use")),
            Err(error) => Err(format!("{path} was removed while it was in use: {error}")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        close(&mut self.lock());
    }
}

/// Closing a file that is damaged makes redb panic; what it would have written is not needed.
fn close(open: &mut Open) {
    let database = open.database.take();
    if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
        tracing::error!("The ledger's file is damaged: it could not be closed in order");
    }
}

fn shape(path: &Path) -> std::io::Result<Shape> {
    let found = fs::metadata(path)?;
    Ok(Shape { device: found.dev(), inode: found.ino(), length: found.len() })
}
