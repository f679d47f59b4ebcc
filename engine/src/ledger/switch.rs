//! A ledger that can be exchanged under a running engine for a copy of itself. Entries, places and sums are the same in
//! both, so nobody who reads or writes has to know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, AppendError, Checkpoint, Ledger, PortError, Shelf, Tail, Write};
use flyball_core::record::Entry;
use tokio::sync::{RwLock, RwLockWriteGuard, watch};
use tokio::time::timeout;

use super::stored::Store;

/// The ledger in use.
pub struct Switch {
    current: watch::Sender<Arc<dyn Store>>,
    /// What it was before.
    former: Mutex<Vec<Arc<str>>>,
    /// Held by appends that are on their way; who wants it alone stops the line.
    appending: RwLock<()>,
}

/// The append line, standing still.
pub struct Held<'a> {
    switch: &'a Switch,
    _line: RwLockWriteGuard<'a, ()>,
}

impl Held<'_> {
    /// Goes on with `next`, which has every entry that the current ledger has.
    pub fn exchange(&self, next: Arc<dyn Store>) {
        let before = self.switch.current().identity();
        self.switch.former.lock().unwrap_or_else(PoisonError::into_inner).push(before);
        self.switch.current.send_replace(next);
    }
}

impl Switch {
    /// Begins with `first`.
    pub fn new(first: Arc<dyn Store>) -> Self {
        Self { current: watch::Sender::new(first), former: Mutex::default(), appending: RwLock::default() }
    }

    /// The ledger in use.
    pub fn current(&self) -> Arc<dyn Store> {
        self.current.borrow().clone()
    }

    /// Stops the append line once what is on its way has been answered. None when that takes longer than `patience`: an
    /// append whose answer was lost takes longer to settle than anybody may be kept waiting.
    pub async fn hold(&self, patience: Duration) -> Option<Held<'_>> {
        let line = timeout(patience, self.appending.write()).await.ok()?;
        Some(Held { switch: self, _line: line })
    }
}

impl Ledger for Switch {
    fn append(&self, write: Write) -> Answer<'_, Result<Head, AppendError>> {
        Box::pin(async move {
            let _line = self.appending.read().await;
            let ledger = self.current();
            ledger.append(write).await
        })
    }

    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        Box::pin(async move {
            let mut changes = self.current.subscribe();
            let ledger = changes.borrow_and_update().clone();
            let tail = ledger.follow(after).await?;
            Ok(Box::new(SwitchTail { tail, changes, after, stale: false }) as Box<dyn Tail>)
        })
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        let ledger = self.current();
        Box::pin(async move { ledger.newest().await })
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        Some(self)
    }

    fn identity(&self) -> Arc<str> {
        self.current().identity()
    }

    fn goes_on_from(&self, identity: &Arc<str>) -> bool {
        let former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.contains(identity) || self.current().goes_on_from(identity)
    }
}

/// Asks the current ledger's shelf.
macro_rules! shelved {
    ($self:ident, $otherwise:expr, |$shelf:ident| $ask:expr) => {{
        let ledger = $self.current();
        Box::pin(async move {
            match ledger.shelf() {
                Some($shelf) => $ask.await,
                None => Ok($otherwise),
            }
        })
    }};
}

impl Shelf for Switch {
    fn first(&self) -> Answer<'_, Result<Revision, PortError>> {
        shelved!(self, Revision(1), |shelf| shelf.first())
    }

    fn kept(&self) -> Answer<'_, Result<Revision, PortError>> {
        shelved!(self, Revision::default(), |shelf| shelf.kept())
    }

    fn read(&self) -> Answer<'_, Result<Option<Checkpoint>, PortError>> {
        shelved!(self, None, |shelf| shelf.read())
    }

    fn keep(&self, checkpoint: Checkpoint) -> Answer<'_, Result<(), PortError>> {
        shelved!(self, (), |shelf| shelf.keep(checkpoint))
    }

    fn purge(&self, before: Revision) -> Answer<'_, Result<(), PortError>> {
        shelved!(self, (), |shelf| shelf.purge(before))
    }
}

/// Follows whichever ledger is in use. `next` may be dropped halfway: only an entry that was returned counts as read.
struct SwitchTail {
    tail: Box<dyn Tail>,
    changes: watch::Receiver<Arc<dyn Store>>,
    after: Revision,
    /// The ledger that `tail` follows is no longer in use.
    stale: bool,
}

impl SwitchTail {
    async fn entry(&mut self) -> Result<Entry, PortError> {
        loop {
            if self.stale {
                let ledger = self.changes.borrow().clone();
                self.tail = ledger.follow(self.after).await?;
                self.stale = false;
            }
            tokio::select! {
                biased;
                // Without a sender there is no other ledger to come.
                Ok(()) = self.changes.changed() => self.stale = true,
                entry = self.tail.next() => {
                    let entry = entry?;
                    self.after = entry.revision;
                    return Ok(entry);
                }
            }
        }
    }
}

impl Tail for SwitchTail {
    fn next(&mut self) -> Answer<'_, Result<Entry, PortError>> {
        Box::pin(self.entry())
    }
}
