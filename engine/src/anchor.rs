//! Where the high-water mark is kept, and who looks after it: read before anything is done, raised once a minute, never
//! lowered by an engine. A ledger that does not agree with it is not acted on.

mod file;

use std::sync::Arc;

use flyball_core::id::Revision;
use flyball_core::mark::{Distrust, Mark};
use flyball_core::ports::{Anchor, Ledger, PortError, Ports};
use jiff::SignedDuration;

pub use crate::cluster::ConfigMapAnchor;
pub use file::FileAnchor;

use crate::ledger::{Book, START_THERE};
use crate::pipeline::Engine;

/// How often the ledger is asked whether it still is what was read.
const LOOK: SignedDuration = SignedDuration::from_secs(2);
/// How often the mark is raised. What a ledger loses of the time between is covered by the stamps on the targets.
const RAISE: SignedDuration = SignedDuration::from_mins(1);

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
    let newest = ledger.newest().await?;
    Ok(mark.agrees(&ledger.identity(), newest)?)
}

/// Raises the mark to `newest`. One that is higher, from another replica, stays.
async fn raise(anchor: &dyn Anchor, ledger: &dyn Ledger, newest: Revision) -> Result<(), Quarantine> {
    loop {
        let before = anchor.read().await?;
        let (identity, there) = (ledger.identity(), ledger.newest().await?);
        if let Some(mark) = &before {
            mark.agrees(&identity, there)?;
            if mark.newest >= newest {
                return Ok(());
            }
        }
        if anchor.write(before, Mark { ledger: identity, newest }).await? {
            return Ok(());
        }
    }
}

/// Writes down how far a fold had come, whatever has become of its ledger since: called when the process ends, so that its next
/// start misses what was lost within the minute in which nothing is raised. A mark of another ledger, which a person has
/// accepted meanwhile, stays.
///
/// # Errors
/// The mark can be read or written by nobody now.
pub async fn remember(anchor: &dyn Anchor, ledger: Arc<str>, newest: Revision) -> Result<(), PortError> {
    loop {
        let before = anchor.read().await?;
        if before.as_ref().is_some_and(|mark| mark.ledger != ledger || mark.newest >= newest) {
            return Ok(());
        }
        if anchor.write(before, Mark { ledger: ledger.clone(), newest }).await? {
            return Ok(());
        }
    }
}

/// Looks after the ledger's identity and length for as long as the process lives. Ends only with why it must stop.
pub async fn keep(ports: Ports, engine: Arc<Engine>) -> String {
    let mut raised: Option<SignedDuration> = None;
    loop {
        let folded = engine.book.history().revision();
        match ports.ledger.newest().await {
            Err(PortError::Unusable(why)) if why.ends_with(START_THERE) => return why,
            Err(PortError::Unusable(why)) => return format!("{why}; {REMEDY}"),
            Ok(newest) if newest < folded => {
                let marked = Mark { ledger: ports.ledger.identity(), newest: folded };
                return Quarantine::Distrust(Distrust::Behind { marked, newest }).to_string();
            }
            Ok(newest) => {
                if let Err(why) = whole(&engine.book, newest).await {
                    return format!("{why}; {REMEDY}");
                }
            }
            Err(PortError::Unavailable(_) | PortError::Forbidden(_)) => {}
        }
        let now = engine.clock.monotonic();
        if raised.is_none_or(|at| now - at >= RAISE) {
            let _marking = engine.book.no_marking().await;
            match raise(&*ports.anchor, &*ports.ledger, folded).await {
                Ok(()) => raised = Some(now),
                Err(Quarantine::Distrust(distrust)) => return Quarantine::Distrust(distrust).to_string(),
                Err(error) => tracing::warn!(%error, "The high-water mark was not raised"),
            }
        }
        engine.clock.sleep(LOOK).await;
    }
}

/// Whether nobody but us has removed entries. A fold in memory does not need them, and the next start would be refused.
async fn whole(book: &Book, newest: Revision) -> Result<(), String> {
    // Removed only behind a note that says so, and that note is in the fold once it contains what was there before.
    let Some(shelf) = book.shelf() else { return Ok(()) };
    let Ok(first) = shelf.first().await else { return Ok(()) };
    if book.history().has_from(first).is_ok() {
        return Ok(());
    }
    book.reached(newest).await;
    book.history().has_from(first)
}
