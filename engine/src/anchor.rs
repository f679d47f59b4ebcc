//! Where the high-water mark is kept, and who looks after it: read before anything is done, raised once a minute, never
//! lowered by an engine. A ledger that does not agree with it is not acted on.

mod file;
mod keeper;

use flyball_core::chain::{Head, Sum};
use flyball_core::id::Revision;
use flyball_core::mark::{Distrust, Mark};
use flyball_core::ports::{Anchor, Ledger, PortError};

pub use crate::cluster::ConfigMapAnchor;
pub use file::FileAnchor;
pub use keeper::Keeper;

/// What people are told to do about a ledger that is not trusted.
pub const REMEDY: &str =
    "nothing is done until it is back, or `flyball ledger accept --reason …` says that this is the right one";

/// Why the ledger is not acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Quarantine {
    /// It does not agree with the mark.
    #[error("{0}; {REMEDY}")]
    Distrust(#[from] Distrust),
    /// The mark or the ledger cannot be read.
    #[error("the high-water mark cannot be compared: {0}")]
    Port(#[from] PortError),
}

/// Whether the ledger agrees with the mark. Without a mark every ledger does.
///
/// # Errors
/// It does not, or that cannot be told.
pub async fn trusted(anchor: &dyn Anchor, ledger: &dyn Ledger) -> Result<(), Quarantine> {
    let Some(mark) = anchor.read().await? else { return Ok(()) };
    agrees(&mark, ledger).await
}

/// Whether the ledger agrees with a mark.
///
/// # Errors
/// It does not, or that cannot be told.
pub async fn agrees(mark: &Mark, ledger: &dyn Ledger) -> Result<(), Quarantine> {
    let newest = ledger.newest().await?;
    let there = if mark.newest.revision <= newest { sum_at(ledger, mark.newest.revision).await? } else { None };
    Ok(mark.agrees(&ledger.identity(), newest, there)?)
}

/// An entry of the ledger with its sum; without one, if it was removed.
///
/// # Errors
/// It cannot be read.
pub async fn head_at(ledger: &dyn Ledger, revision: Revision) -> Result<Head, PortError> {
    Ok(Head { revision, sum: sum_at(ledger, revision).await?.unwrap_or_default() })
}

/// The sum of an entry; none if it was removed.
pub(crate) async fn sum_at(ledger: &dyn Ledger, revision: Revision) -> Result<Option<Sum>, PortError> {
    let Some(before) = revision.0.checked_sub(1) else { return Ok(None) };
    if let Some(shelf) = ledger.shelf()
        && revision < shelf.first().await?
    {
        return Ok(None);
    }
    let entry = ledger.follow(Revision(before)).await?.next().await?;
    Ok(Some(entry).filter(|it| it.revision == revision).map(|it| it.sum))
}
