//! The ledger, tailed into memory: reads are a fold in this process, writes go to the ledger and count once they came back.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use flyball_core::chain::Head;
use flyball_core::history::History;
use flyball_core::id::{IntentId, Revision};
use flyball_core::intent::{Event, Intent};
use flyball_core::ports::{AppendError, Checkpoint, Clock, Ledger, PortError, Shelf, Tail, Write};
use flyball_core::record::{Entry, Record, Topic};
use jiff::{SignedDuration, Timestamp};

use super::awaited::Awaited;
use super::folds::{Folds, Milestones};
use crate::anchor::sum_at;
use crate::changes;
use crate::journal::Journal;

/// How long to wait before asking a ledger again that did not answer. Longer than a blip, shorter than anybody's patience.
const ASK_AGAIN: SignedDuration = SignedDuration::from_millis(300);

/// How long an entry that has to be there is waited for before it is asked whether it still is. Entries come thousands a second.
const STILL_THERE: SignedDuration = SignedDuration::from_secs(1);

/// Why a process must stop deciding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The ledger contradicts itself: nothing may be decided on it.
    #[error("the ledger cannot be trusted: {0}")]
    Contradiction(String),
}

/// The ledger and its fold.
pub struct Book {
    ledger: Arc<dyn Ledger>,
    identity: Arc<str>,
    clock: Arc<dyn Clock>,
    history: RwLock<History>,
    journal: RwLock<Journal>,
    milestones: RwLock<Milestones>,
    applied: changes::Sender<Revision>,
    awaited: Awaited,
    /// Counts the entries that say something of a symptom.
    symptoms: changes::Sender<u64>,
    time: Mutex<LedgerTime>,
    /// Why nothing is believed or written any more.
    halted: changes::Sender<Option<String>>,
    /// What the last append came to, where it was not written for another reason than a lost compare.
    trouble: Mutex<Option<String>>,
    /// Held by whoever removes entries, or needs them all to stay.
    purging: tokio::sync::Mutex<()>,
    /// Held by whoever raises the high-water mark, or moves it to another ledger.
    marking: tokio::sync::Mutex<()>,
}

/// The newest entry's time plus what the local monotonic clock has run since, never backwards.
#[derive(Clone, Copy)]
struct LedgerTime {
    at: Timestamp,
    read: SignedDuration,
}

impl Book {
    /// Folds what is there. The returned future follows the ledger from then on and ends only with a reason to halt.
    ///
    /// # Errors
    /// The ledger cannot be read, or contradicts itself.
    pub async fn open(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, impl Future<Output = Halt> + Send + use<>), PortError> {
        let (folds, tail) = begun(&*ledger, &*clock).await?;
        let empty = folds.history.revision() == Revision::default();
        let begun = if empty { Timestamp::MIN } else { folds.history.at() };
        let time = LedgerTime { at: begun, read: clock.monotonic() };
        let book = Arc::new(Self {
            identity: ledger.identity(),
            ledger,
            clock,
            applied: changes::Sender::new(folds.history.revision()),
            awaited: Awaited::default(),
            symptoms: changes::Sender::new(0),
            history: RwLock::new(folds.history),
            journal: RwLock::new(folds.journal),
            milestones: RwLock::new(folds.milestones),
            time: Mutex::new(time),
            halted: changes::Sender::new(None),
            trouble: Mutex::default(),
            purging: tokio::sync::Mutex::default(),
            marking: tokio::sync::Mutex::default(),
        });
        let following = book.clone();
        Ok((book, async move { following.tail(tail).await }))
    }

    async fn tail(&self, tail: Box<dyn Tail>) -> Halt {
        tokio::select! {
            biased;
            why = self.halted() => Halt::Contradiction(why),
            halt = self.fold(tail) => {
                self.halt(halt.to_string());
                halt
            }
        }
    }

    /// Nothing is written any more: every further append is refused with `why`.
    pub fn halt(&self, why: String) {
        self.halted.send_replace(Some(why));
    }

    /// Returns once nothing is written any more, with why.
    pub async fn halted(&self) -> String {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.halted.subscribe().wait_for(Option::is_some).await;
        self.halted.get().unwrap_or_default()
    }

    async fn fold(&self, mut tail: Box<dyn Tail>) -> Halt {
        loop {
            match tail.next().await {
                Ok(entry) => {
                    if let Err(halt) = self.apply(&entry) {
                        return halt;
                    }
                }
                Err(PortError::Unusable(why)) => return Halt::Contradiction(why),
                Err(error) => {
                    tracing::warn!(%error, "The ledger's tail broke; following again");
                    self.clock.sleep(ASK_AGAIN).await;
                    match self.follow_again().await {
                        Ok(again) => tail = again,
                        Err(halt) => return halt,
                    }
                }
            }
        }
    }

    async fn follow_again(&self) -> Result<Box<dyn Tail>, Halt> {
        loop {
            let folded = self.history().newest();
            let tail = match sum_at(&*self.ledger, folded.revision).await {
                Ok(Some(sum)) if sum != folded.sum => {
                    let why = format!("entry {} is not the one that was read", folded.revision);
                    return Err(Halt::Contradiction(why));
                }
                Ok(_) => self.ledger.follow(folded.revision).await,
                Err(error) => Err(error),
            };
            if !self.ledger.goes_on_from(&self.identity) {
                return Err(Halt::Contradiction(format!("{} is gone", self.identity)));
            }
            match tail {
                Ok(tail) => return Ok(tail),
                Err(PortError::Unusable(why)) => return Err(Halt::Contradiction(why)),
                Err(_) => self.clock.sleep(ASK_AGAIN).await,
            }
        }
    }

    fn apply(&self, entry: &Entry) -> Result<(), Halt> {
        if entry.revision <= self.applied.get() {
            return Ok(());
        }
        {
            let mut history = self.history.write().unwrap_or_else(PoisonError::into_inner);
            history.apply(entry).map_err(|error| Halt::Contradiction(error.to_string()))?;
            self.journal.write().unwrap_or_else(PoisonError::into_inner).apply(entry);
            self.milestones.write().unwrap_or_else(PoisonError::into_inner).apply(entry);
            let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
            let read = self.clock.monotonic();
            *time = LedgerTime { at: entry.at.max(elapsed(*time, read)), read };
        }
        self.applied.send_replace(entry.revision);
        self.awaited.reached(entry.revision);
        if matches!(entry.record, Record::Symptom(_) | Record::Folded(_)) {
            self.symptoms.send_replace(self.symptoms.get() + 1);
        }
        Ok(())
    }

    /// Which ledger it is the fold of.
    pub fn identity(&self) -> Arc<str> {
        let now = self.ledger.identity();
        if self.ledger.goes_on_from(&self.identity) { now } else { self.identity.clone() }
    }

    /// Where the ledger keeps its checkpoints.
    pub(crate) fn shelf(&self) -> Option<&dyn Shelf> {
        self.ledger.shelf()
    }

    /// The fold as it is now, to be kept, and the first entry that is still needed when what is older than `keep` is not.
    pub(super) fn checkpoint(&self, keep: SignedDuration) -> Result<(Checkpoint, Revision), PortError> {
        // Always in this order, as `apply` takes them. The copy is quick, and writing it down holds no lock.
        let folds = {
            let history = self.history();
            let (history, journal) = (history.clone(), self.journal().clone());
            Folds {
                history,
                journal,
                milestones: self.milestones.read().unwrap_or_else(PoisonError::into_inner).clone(),
            }
        };
        let old = folds.history.at().checked_sub(keep).unwrap_or(Timestamp::MIN);
        let needed = folds.history.needed_from().min(folds.milestones.older_than(old));
        folds.checkpoint().map(|it| (it, needed)).map_err(PortError::Unavailable)
    }

    /// Keeps every entry for as long as it is held.
    pub(crate) async fn no_purge(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.purging.lock().await
    }

    /// Keeps the high-water mark where it is for as long as it is held.
    pub(crate) async fn no_marking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.marking.lock().await
    }

    /// The ledger's time. Before the first entry it is the local clock's.
    pub fn now(&self) -> Timestamp {
        let time = *self.time.lock().unwrap_or_else(PoisonError::into_inner);
        if time.at == Timestamp::MIN { self.clock.now() } else { elapsed(time, self.clock.monotonic()) }
    }

    /// The fold. Held for a moment only, never over an await.
    pub fn history(&self) -> RwLockReadGuard<'_, History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fold, to hold a place in it.
    pub fn history_mut(&self) -> RwLockWriteGuard<'_, History> {
        self.history.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What people ask for.
    pub fn journal(&self) -> RwLockReadGuard<'_, Journal> {
        self.journal.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells each time the fold has grown.
    pub fn changes(&self) -> changes::Receiver<Revision> {
        self.applied.subscribe()
    }

    /// Tells each time the fold may have learned something of a symptom.
    pub fn symptoms(&self) -> changes::Receiver<u64> {
        self.symptoms.subscribe()
    }

    /// Waits until the fold contains `revision`.
    pub async fn reached(&self, revision: Revision) {
        if let Some(reached) = self.awaited.wait(revision, || self.applied.get()) {
            // The sender lives in `self`, so waiting cannot fail.
            let _ = reached.await;
        }
    }

    /// Appends, and returns when the fold contains it.
    ///
    /// # Errors
    /// As the ledger says. `Unknown` is settled by `settle`.
    pub async fn append(&self, write: Write) -> Result<Revision, AppendError> {
        if let Some(why) = self.halted.get() {
            return Err(AppendError::Refused(why));
        }
        let folded = self.applied.get();
        let appended = self.ledger.append(write).await;
        {
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            match &appended {
                Ok(_) => *trouble = None,
                Err(AppendError::Lost) => {}
                Err(error) => *trouble = Some(error.to_string()),
            }
        }
        let Head { revision, .. } = appended?;
        if revision <= folded {
            let why = format!("it gave the place {revision} after entry {folded}: it has forgotten");
            // It would grow by what we say, until it is as long as it was.
            self.halt(why.clone());
            return Err(AppendError::Refused(why));
        }
        self.reached(revision).await;
        Ok(revision)
    }

    /// Whether the ledger took what it was given last.
    ///
    /// # Errors
    /// Why it did not.
    pub fn writable(&self) -> Result<(), String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Settles an append of a compared topic that had no answer: a fence at the same position either lands, and the lost
    /// one never can, or it is refused because something is there. Either way the fold tells afterwards.
    pub async fn settle(&self, topic: Topic, expect: Head) {
        loop {
            match self.append(Write { topic, expect: Some(expect), record: Record::Fence }).await {
                Ok(_) => return,
                Err(AppendError::Lost) => return self.catch_up(topic, expect.revision).await,
                Err(AppendError::Unknown(_) | AppendError::Refused(_)) => self.clock.sleep(ASK_AGAIN).await,
            }
        }
    }

    /// After a lost compare: waits until the fold knows the entry that won.
    pub async fn catch_up(&self, topic: Topic, stale: Revision) {
        let newer = || {
            let history = self.history();
            match topic {
                Topic::Admit => history.admit_head().revision > stale,
                Topic::Intent(id) => history.intent(id).is_none_or(|it| it.head().revision > stale),
                Topic::Note => true,
            }
        };
        let mut changes = self.changes();
        while !newer() {
            // The sender lives in `self`, so waiting cannot fail.
            let _ = changes.changed().await;
        }
    }

    /// Writes what happened to an intent, whatever happened to it before. False: somebody else wrote first.
    pub async fn happened(&self, id: IntentId, event: Event) -> bool {
        let Some((_, before)) = self.newest_event(id) else { return false };
        self.follows(id, before, event).await
    }

    /// Writes what a driver concludes from what it has seen of an intent. False: something has happened to it since, so the
    /// conclusion is void; the intent may not even be ours any more.
    pub async fn concluded(&self, seen: &Intent, event: Event) -> bool {
        self.follows(seen.id(), seen.events().len(), event).await
    }

    /// Writes an event that follows the first `before` ones of an intent and no other.
    async fn follows(&self, id: IntentId, before: usize, event: Event) -> bool {
        let topic = Topic::Intent(id);
        loop {
            let Some((known, count)) = self.newest_event(id) else { return false };
            if count != before {
                return false;
            }
            // What cannot follow would make the ledger a contradiction for everybody. Somebody else was faster.
            if !self.can_follow(id, &event) {
                return false;
            }
            let write = Write { topic, expect: Some(known), record: Record::Happened(event.clone()) };
            match self.append(write).await {
                Ok(_) => return true,
                Err(AppendError::Lost) => self.catch_up(topic, known.revision).await,
                Err(error) => {
                    tracing::warn!(intent = %id, %error, "Settling an unanswered ledger entry");
                    self.clock.sleep(ASK_AGAIN).await;
                    self.settle(topic, known).await;
                }
            }
            // Something took the position: our own entry after all, somebody else's, or only a fence. An heir may have
            // written the same words since, but not in the same place.
            let history = self.history();
            match history.intent(id).map(|it| it.events().get(before)) {
                Some(Some((_, next))) => return *next == event,
                Some(None) => {}
                None => return false,
            }
        }
    }

    fn can_follow(&self, id: IntentId, event: &Event) -> bool {
        let (history, now) = (self.history(), self.now());
        history.intent(id).is_some_and(|it| it.can_follow(event, now).is_ok())
    }

    /// What the next entry of an intent has to expect, and how much has happened to it.
    fn newest_event(&self, id: IntentId) -> Option<(Head, usize)> {
        let history = self.history();
        history.intent(id).map(|it| (it.head(), it.events().len()))
    }

    /// Writes a note, again and again until it is there.
    pub async fn note(&self, record: Record) {
        self.note_telling(record, |_| ()).await;
    }

    /// The same; `tell` hears each time why it is not there yet.
    pub async fn note_telling(&self, record: Record, tell: impl Fn(&AppendError)) {
        loop {
            match self.append(Write { topic: Topic::Note, expect: None, record: record.clone() }).await {
                Ok(_) => return,
                Err(error) => {
                    tell(&error);
                    tracing::warn!(%error, "The ledger did not take a note; trying again");
                    self.clock.sleep(ASK_AGAIN).await;
                }
            }
        }
    }
}

/// Everything that is on the ledger, folded, and what comes after it. Where another process gave up entries before they were read
/// here, it has kept a newer checkpoint first: that one is begun with.
async fn begun(ledger: &dyn Ledger, clock: &dyn Clock) -> Result<(Folds, Box<dyn Tail>), PortError> {
    let mut kept = newest_checkpoint(ledger).await?;
    loop {
        match replayed(ledger, clock).await {
            Err(PortError::Unusable(why)) => {
                let newer = newest_checkpoint(ledger).await?;
                if newer <= kept {
                    return Err(PortError::Unusable(why));
                }
                tracing::info!(why, "Entries were given up while they were read; begins again with the newer snapshot");
                kept = newer;
            }
            done => return done,
        }
    }
}

async fn newest_checkpoint(ledger: &dyn Ledger) -> Result<Revision, PortError> {
    match ledger.shelf() {
        Some(shelf) => shelf.kept().await,
        None => Ok(Revision::default()),
    }
}

async fn replayed(ledger: &dyn Ledger, clock: &dyn Clock) -> Result<(Folds, Box<dyn Tail>), PortError> {
    let (mut folds, mut first) = Folds::begin(ledger).await?;
    // Asked last: the note about a removal that is seen at the front lies before it.
    let newest = ledger.newest().await?;
    let from_the_front = folds.history.revision() == Revision::default();
    let lost = |why| PortError::Unusable(Halt::Contradiction(why).to_string());
    if first > newest {
        // There is nothing to read, so nothing would ever say what is missing.
        folds.history.has_from(first).map_err(lost)?;
    }
    let mut tail = ledger.follow(folds.history.revision()).await?;
    while folds.history.revision() < newest {
        let entry = next_of(ledger, &mut *tail, newest, clock).await?;
        if from_the_front && folds.history.revision() == Revision::default() {
            // A server that has dropped a damaged entry at the front goes on saying that it begins there.
            first = first.max(entry.revision);
        }
        folds.apply(&entry).map_err(|error| lost(error.to_string()))?;
    }
    folds.history.has_from(first).map_err(lost)?;
    Ok((folds, tail))
}

/// The next entry of a tail that has to come as far as `newest`. A ledger that has lost its end since would be waited for in vain.
async fn next_of(
    ledger: &dyn Ledger,
    tail: &mut dyn Tail,
    newest: Revision,
    clock: &dyn Clock,
) -> Result<Entry, PortError> {
    let mut next = tail.next();
    loop {
        tokio::select! {
            biased;
            entry = &mut next => return entry,
            () = clock.sleep(STILL_THERE) => {
                let there = ledger.newest().await?;
                if there < newest {
                    let why = format!("the ledger ends at entry {there}, and had reached entry {newest}");
                    return Err(PortError::Unusable(why));
                }
            }
        }
    }
}

fn elapsed(time: LedgerTime, read: SignedDuration) -> Timestamp {
    time.at.saturating_add(read - time.read).unwrap_or(Timestamp::MAX)
}
