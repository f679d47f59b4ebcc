//! Keeps the ledger from growing for ever, and a start from taking longer the longer it has lived: checkpoints of the fold,
//! and the removal of entries that no window, no open intent and no backtest needs.

use std::fmt;
use std::sync::Arc;

use flyball_core::history::KEEP;
use flyball_core::id::Revision;
use flyball_core::ports::{Clock, PortError, Shelf};
use flyball_core::record::{Demoted, Record};
use jiff::SignedDuration;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::Book;
use crate::view::time;

/// How long to wait before trying again.
const ASK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// When a checkpoint is due after the one before: after so many entries, or when so much time has gone and there is
/// anything new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Entries.
    pub entries: u64,
    /// Time.
    pub after: SignedDuration,
}

impl Default for Pace {
    /// Reading 10,000 entries takes a tenth of a second, so a start never reads longer than that.
    fn default() -> Self {
        Self { entries: 10_000, after: SignedDuration::from_hours(1) }
    }
}

/// How long entries are kept that nothing needs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Retention(SignedDuration);

impl Retention {
    /// Reads a duration such as `7d` or `72h`.
    ///
    /// # Errors
    /// It is none, or shorter than what the fold looks back.
    pub fn parse(text: &str) -> Result<Self, String> {
        let keep = time::duration(text)?;
        if keep < KEEP {
            return Err(format!("`{text}` is shorter than the guardrails look back: at least 2d"));
        }
        Ok(Self(keep))
    }
}

impl TryFrom<String> for Retention {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Default for Retention {
    /// The age of the signal stream, and so of what a backtest reads.
    fn default() -> Self {
        Self(SignedDuration::from_hours(7 * 24))
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Looks after the ledger until the process stops. Every replica does; who is second finds it done.
pub async fn upkeep(
    book: Arc<Book>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    retention: Retention,
    stopping: CancellationToken,
) {
    let Some(shelf) = book.shelf() else { return stopping.cancelled().await };
    loop {
        let step = async {
            let kept = shelf.kept().await?;
            due(&book, &*clock, pace, kept).await;
            round(&book, shelf, retention, kept).await
        };
        let done = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            done = step => done,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "Looking after the ledger failed; trying again later");
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = clock.sleep(ASK_AGAIN) => {}
            }
        }
    }
}

/// Waits until a checkpoint is due after the one at `kept`.
async fn due(book: &Book, clock: &dyn Clock, pace: Pace, kept: Revision) {
    let enough = book.reached(Revision(kept.0.saturating_add(pace.entries)));
    let late = async {
        clock.sleep(pace.after).await;
        book.reached(Revision(kept.0 + 1)).await;
    };
    tokio::select! {
        biased;
        () = enough => {}
        () = late => {}
    }
}

async fn round(book: &Book, shelf: &dyn Shelf, retention: Retention, known: Revision) -> Result<(), PortError> {
    let (checkpoint, needed) = book.checkpoint(retention.0)?;
    // Another replica may have been quicker.
    if shelf.kept().await? == known {
        tracing::debug!(?checkpoint, "Keeps a snapshot");
        shelf.keep(checkpoint).await?;
    }
    if needed <= shelf.first().await? {
        return Ok(());
    }
    // Read back: entries are given up only behind what has been seen to be whole.
    let whole = shelf.read().await?.map(|it| it.revision).unwrap_or_default();
    let before = needed.min(whole);
    // Said again, a demotion keeps nothing from being removed the next time.
    let demoted: Vec<Demoted> = book.history().demoted_before(needed).cloned().collect();
    for it in demoted {
        book.note(Record::Demoted(it)).await;
    }
    let _purging = book.no_purge().await;
    // First the note, then the removal: what is missing later is known to have been given up.
    book.note(Record::Purged { before }).await;
    shelf.purge(before).await?;
    tracing::info!(before = before.0, "Removed entries that nothing needs any more");
    Ok(())
}
