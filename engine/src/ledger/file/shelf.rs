//! Checkpoints in a table beside the entries, each with its digest.

use std::sync::Arc;

use flyball_core::chain::Sum;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, Checkpoint, PortError, Shelf};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tokio::task::{JoinError, spawn_blocking};

use super::FileLedger;
use super::store::{self, BESIDE, ENTRIES, TOPICS};

/// Revision to sum and body. A file that never had one has no such table.
const CHECKPOINTS: TableDefinition<u64, &[u8]> = TableDefinition::new("checkpoints");
/// Entries removed in one transaction: appends wait for it, some milliseconds.
const SWEEP: u64 = 2_000;

impl FileLedger {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, PortError> {
        let database = self.held.handle().map_err(PortError::Unavailable)?;
        let done = spawn_blocking(move || work(&database).map_err(|error| error.to_string())).await;
        self.done(done)
    }

    /// The same, for what writes.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, PortError> {
        let held = self.held.clone();
        let done = spawn_blocking(move || {
            let done = held.transact(|database, end| Ok((work(database).map_err(|error| error.to_string())?, end)));
            done.map(|(done, _)| done)
        });
        self.done(done.await)
    }

    fn done<T>(&self, done: Result<Result<T, String>, JoinError>) -> Result<T, PortError> {
        let done = done.unwrap_or_else(|died| Err(died.to_string()));
        done.map_err(|why| PortError::Unavailable(format!("{}: {why}", self.path.display())))
    }
}

impl Shelf for FileLedger {
    fn first(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(self.blocking(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            Ok(Revision(entries.first()?.map_or(1, |(revision, _)| revision.value())))
        }))
    }

    fn kept(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(self.blocking(|database| {
            let transaction = database.begin_read()?;
            let checkpoints = match transaction.open_table(CHECKPOINTS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Revision::default()),
                opened => opened?,
            };
            Ok(Revision(checkpoints.last()?.map_or(0, |(revision, _)| revision.value())))
        }))
    }

    fn read(&self) -> Answer<'_, Result<Option<Checkpoint>, PortError>> {
        Box::pin(self.blocking(newest_whole))
    }

    fn keep(&self, checkpoint: Checkpoint) -> Answer<'_, Result<(), PortError>> {
        Box::pin(self.transact(move |database| keep(database, &checkpoint)))
    }

    fn purge(&self, before: Revision) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move {
            while self.transact(move |database| sweep(database, before)).await? {}
            Ok(())
        })
    }
}

fn newest_whole(database: &Database) -> Result<Option<Checkpoint>, redb::Error> {
    let transaction = database.begin_read()?;
    let checkpoints = match transaction.open_table(CHECKPOINTS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        opened => opened?,
    };
    for row in checkpoints.range::<u64>(..)?.rev() {
        let (revision, stored) = row?;
        match stored.value().split_first_chunk() {
            Some((sum, body)) if Sum::of(&[body]).bytes() == sum => {
                return Ok(Some(Checkpoint { revision: Revision(revision.value()), body: Arc::from(body) }));
            }
            _ => {
                tracing::warn!(revision = revision.value(), "A checkpoint of the ledger is damaged; it is passed over");
            }
        }
    }
    Ok(None)
}

/// In one transaction, so that the older one is there until the newer is whole.
fn keep(database: &Database, checkpoint: &Checkpoint) -> Result<(), redb::Error> {
    let transaction = store::begin(database)?;
    {
        let mut checkpoints = transaction.open_table(CHECKPOINTS)?;
        let newest = checkpoints.last()?.map_or(0, |(revision, _)| revision.value());
        if newest >= checkpoint.revision.0 {
            return Ok(());
        }
        checkpoints.retain(|revision, _| revision == newest)?;
        let stored = [Sum::of(&[&checkpoint.body]).bytes().as_slice(), &checkpoint.body].concat();
        checkpoints.insert(checkpoint.revision.0, stored.as_slice())?;
    }
    Ok(transaction.commit()?)
}

/// Removes some of the entries before `before`, and the topics that they were the newest of. Whether there are more.
fn sweep(database: &Database, before: Revision) -> Result<bool, redb::Error> {
    let transaction = store::begin(database)?;
    let more = {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut topics = transaction.open_table(TOPICS)?;
        let first = entries.first()?.map(|(revision, _)| revision.value());
        let Some(first) = first.filter(|first| *first < before.0) else { return Ok(false) };
        let end = before.0.min(first.saturating_add(SWEEP));
        for row in entries.extract_from_if(first..end, |_, _| true)? {
            let (revision, entry) = row?;
            let (topic, ..) = entry.value();
            let emptied = topics.get(topic)?.is_some_and(|newest| newest.value().0 == revision.value());
            if emptied {
                topics.remove(topic)?;
            }
        }
        // Only a file that was copied from a stream has any.
        transaction.open_table(BESIDE)?.retain_in(first..end, |_, _| false)?;
        end < before.0
    };
    transaction.commit()?;
    Ok(more)
}
