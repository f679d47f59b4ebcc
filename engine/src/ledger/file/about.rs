//! What a file says about itself: which ledger it is, and what became of it.

use std::io;

use flyball_core::id::Revision;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::store::{self, ENTRIES};

/// `identity` to a name that no other file has; [`UNFINISHED`] and [`MOVED`] where they are.
pub(super) const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about");
pub(super) const IDENTITY: &str = "identity";
/// What the file is becoming a copy of: nobody starts on it.
pub(super) const UNFINISHED: &str = "unfinished";
/// Where the ledger has gone: nothing is written here any more.
pub(super) const MOVED: &str = "moved";

pub(super) fn read(database: &Database, what: &str) -> Result<Option<String>, redb::Error> {
    let about = database.begin_read()?.open_table(ABOUT)?;
    Ok(about.get(what)?.map(|it| it.value().to_owned()))
}

/// Takes the mark of the unfinished off, or puts it on.
pub(super) fn mark(database: &Database, origin: Option<&str>) -> Result<(), redb::Error> {
    let transaction = store::begin(database)?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        match origin {
            Some(origin) => about.insert(UNFINISHED, origin)?.map(drop),
            None => about.remove(UNFINISHED)?.map(drop),
        };
    }
    Ok(transaction.commit()?)
}

/// Says where the ledger has gone: no transaction behind this one writes. Its last entry.
pub(super) fn close(database: &Database, to: &str) -> Result<Revision, redb::Error> {
    let transaction = store::begin(database)?;
    let last = {
        let mut about = transaction.open_table(ABOUT)?;
        let before = about.insert(MOVED, to)?.map(|it| it.value().to_owned());
        if let Some(elsewhere) = before.filter(|it| it != to) {
            // Dropping the transaction gives it up.
            return Err(redb::Error::Io(io::Error::other(format!("it was moved to {elsewhere}"))));
        }
        transaction.open_table(ENTRIES)?.last()?.map_or(0, |(revision, _)| revision.value())
    };
    transaction.commit()?;
    Ok(Revision(last))
}
