//! A ledger moves to another store: it is copied while it is written, closed for good, and its last entries follow. Each
//! step can be the last of a process: the next one goes on from there.

use std::sync::Arc;

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::mark::{Distrust, Mark};
use flyball_core::ports::{Anchor, PortError};

use super::stored::{Draft, Store};

/// Entries that are kept at once.
const BATCH: usize = 1_000;

/// What the new ledger says that it is, while it is not finished.
pub fn origin(source: &dyn Store) -> String {
    format!("migration of {}", source.identity())
}

/// Whether what was copied so far is of this very ledger, and, where that was closed, closed for this copy.
///
/// # Errors
/// It is not, or that cannot be told.
pub async fn agrees(source: &dyn Store, draft: &dyn Draft) -> Result<(), PortError> {
    let place = draft.place();
    if let Some(elsewhere) = source.moved().filter(|it| *it != place) {
        return Err(PortError::Unusable(format!("the ledger was moved to {elsewhere} already")));
    }
    // An engine may have written to the copy before it was finished.
    let common = draft.reached().min(source.newest().await?);
    if common == Revision::default() {
        return Ok(());
    }
    let before = Revision(common.0 - 1);
    let (theirs, ours) = (source.stored(before).await?.next().await?.entry, draft.entry(common).await?);
    if theirs.head() == ours.head() {
        return Ok(());
    }
    Err(PortError::Unusable(format!("entry {common} of the unfinished copy is another one: remove {place}")))
}

/// Copies what the source has and the draft has not, up to the newest entry that there is now. `tell` hears how far it is.
///
/// # Errors
/// One of them cannot be used; what was copied stays.
pub async fn catch_up(
    source: &dyn Store,
    draft: &mut dyn Draft,
    tell: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<(), PortError> {
    let newest = source.newest().await?;
    let mut reached = draft.reached();
    if reached >= newest {
        return Ok(());
    }
    let mut tail = source.stored(reached).await?;
    let mut batch = Vec::with_capacity(BATCH);
    while reached < newest {
        let stored = tail.next().await?;
        let follows = reached.0 + 1;
        if reached > Revision::default() && stored.entry.revision.0 != follows {
            return Err(PortError::Unusable(format!("entry {follows} is missing")));
        }
        reached = stored.entry.revision;
        batch.push(stored);
        if batch.len() == BATCH || reached == newest {
            draft.put(std::mem::take(&mut batch)).await?;
            tell(reached.0, newest.0);
        }
    }
    Ok(())
}

/// Takes the newest snapshot along, so that the first start on the new ledger is a quick one. Its entries are the same, so it
/// is a snapshot of the new one as well; without it that start reads the entries.
pub async fn carry_snapshot(source: &dyn Store, to: &dyn Store) {
    let (Some(from), Some(into)) = (source.shelf(), to.shelf()) else { return };
    let kept = match from.read().await {
        Ok(Some(checkpoint)) => into.keep(checkpoint).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "The snapshot was not taken along");
    }
}

/// Moves the high-water mark from the old ledger to the new one.
///
/// # Errors
/// It cannot be read or written, or it names a third ledger.
pub async fn remark(anchor: &dyn Anchor, from: &Arc<str>, to: &Arc<str>, newest: Head) -> Result<(), PortError> {
    loop {
        let before = anchor.read().await?;
        if let Some(mark) = &before {
            if mark.ledger == *to && mark.newest.revision >= newest.revision {
                return Ok(());
            }
            if mark.ledger != *from && mark.ledger != *to {
                let other = Distrust::Other { marked: mark.clone(), found: from.clone() };
                return Err(PortError::Unusable(other.to_string()));
            }
        }
        if anchor.write(before, Mark { ledger: to.clone(), newest }).await? {
            return Ok(());
        }
    }
}
