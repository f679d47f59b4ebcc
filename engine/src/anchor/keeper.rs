//! Looks after the ledger's identity and length for as long as a process lives, and after the mark at its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::mark::{Distrust, Mark};
use flyball_core::ports::{Clock, PortError, Ports};
use jiff::SignedDuration;

use super::{Quarantine, REMEDY, agrees};
use crate::ledger::{Book, START_THERE};

/// How often the ledger is asked whether it still is what was read.
const LOOK: SignedDuration = SignedDuration::from_secs(2);
/// How often the mark is raised. What a ledger loses of the time between is covered by the stamps on the targets.
const RAISE: SignedDuration = SignedDuration::from_mins(1);

/// The keeper of one process.
pub struct Keeper {
    ports: Ports,
    book: Arc<Book>,
    /// The mark as this process read or wrote it last.
    seen: Mutex<Option<Mark>>,
}

impl Keeper {
    /// Of what `book` folds.
    pub fn new(ports: Ports, book: Arc<Book>) -> Self {
        Self { ports, book, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Mark>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks and raises. Ends only with why the process must stop.
    pub async fn keep(&self) -> String {
        let clock: &dyn Clock = &*self.ports.clock;
        let mut raised: Option<SignedDuration> = None;
        loop {
            let folded = self.book.history().newest();
            match self.ports.ledger.newest().await {
                Err(PortError::Unusable(why)) if why.ends_with(START_THERE) => return why,
                Err(PortError::Unusable(why)) => return format!("{why}; {REMEDY}"),
                Ok(newest) if newest < folded.revision => {
                    let marked = Mark { ledger: self.ports.ledger.identity(), newest: folded };
                    return Quarantine::Distrust(Distrust::Behind { marked, newest }).to_string();
                }
                Ok(newest) => {
                    if let Err(why) = self.whole(newest).await {
                        return format!("{why}; {REMEDY}");
                    }
                }
                Err(PortError::Unavailable(_) | PortError::Forbidden(_)) => {}
            }
            let now = clock.monotonic();
            if raised.is_none_or(|at| now - at >= RAISE) {
                let _marking = self.book.no_marking().await;
                match self.raise(folded).await {
                    Ok(()) => raised = Some(now),
                    Err(Quarantine::Distrust(distrust)) => return Quarantine::Distrust(distrust).to_string(),
                    Err(error) => tracing::warn!(%error, "The high-water mark was not raised"),
                }
            }
            clock.sleep(LOOK).await;
        }
    }

    /// Raises the mark to `newest`. One that is higher, from another replica, stays.
    async fn raise(&self, newest: Head) -> Result<(), Quarantine> {
        let (anchor, ledger) = (&*self.ports.anchor, &*self.ports.ledger);
        loop {
            let before = anchor.read().await?;
            if let Some(mark) = &before {
                agrees(mark, ledger).await?;
                if mark.newest.revision >= newest.revision {
                    *self.seen() = before;
                    return Ok(());
                }
            }
            let mark = Mark { ledger: ledger.identity(), newest };
            if anchor.write(before, mark.clone()).await? {
                *self.seen() = Some(mark);
                return Ok(());
            }
        }
    }

    /// Writes down how far the fold had come, whatever has become of its ledger since: called when the process ends, so that
    /// its next start misses what was lost within the minute in which nothing is raised. A mark that a person has put there
    /// meanwhile stays.
    ///
    /// # Errors
    /// The mark can be read or written by nobody now.
    pub async fn remember(&self) -> Result<(), PortError> {
        let mine = Mark { ledger: self.book.identity(), newest: self.book.history().newest() };
        loop {
            let before = self.ports.anchor.read().await?;
            let done = before.as_ref().is_some_and(|it| it.newest.revision >= mine.newest.revision);
            if done || self.is_accepted(before.as_ref(), &mine) {
                return Ok(());
            }
            if self.ports.anchor.write(before, mine.clone()).await? {
                return Ok(());
            }
        }
    }

    /// Whether a person has put the mark there: engines raise it only.
    fn is_accepted(&self, there: Option<&Mark>, mine: &Mark) -> bool {
        let seen = self.seen();
        match (there, seen.as_ref()) {
            (None, _) => seen.is_some(),
            (Some(there), seen) => {
                there.ledger != mine.ledger || seen.is_some_and(|it| there.newest.revision < it.newest.revision)
            }
        }
    }

    /// Whether nobody but us has removed entries. A fold in memory does not need them, and the next start would be refused.
    async fn whole(&self, newest: Revision) -> Result<(), String> {
        // Removed only behind a note that says so, and that note is in the fold once it contains what was there before.
        let Some(store) = self.ports.ledger.shelf() else { return Ok(()) };
        let Ok(first) = store.first().await else { return Ok(()) };
        if self.book.history().has_from(first).is_ok() {
            return Ok(());
        }
        self.book.reached(newest).await;
        self.book.history().has_from(first)
    }
}
