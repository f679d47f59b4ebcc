//! A ledger in memory: compare-and-append per topic, one line of revisions, time that never runs backwards.

mod newer;
mod shelf;
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, AppendError, Checkpoint, Clock, Ledger, PortError, Shelf, Tail, Write};
use flyball_core::record::{Entry, Record, Topic};
use jiff::{SignedDuration, Timestamp};

use newer::Build;
use tail::MemoryTail;

use crate::script::Script;
use crate::wake::{Bell, lock};
use crate::world::Shared;

/// What may go wrong with one append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerFault {
    /// It is lost on its way: nothing is written, nobody answers.
    Lost,
    /// It is written; the answer is lost.
    AnswerLost,
    /// It arrives so much later, and the compare is made then; nobody answers.
    Held(SignedDuration),
    /// The ledger refuses to be written.
    Refused(String),
}

type Appended = Result<Head, AppendError>;

/// The ledger.
pub struct MemoryLedger {
    inner: Arc<Inner>,
    /// Whose build it is that writes and reads through this: the one under test, or a newer one.
    build: Build,
}

struct Inner {
    seed: u64,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    entries: Vec<Entry>,
    /// Which ledger it is, of those that this world has had.
    number: u64,
    heads: BTreeMap<Topic, Head>,
    /// Entries that somebody changed: their sums are checked when they are read, those of all others when they were made.
    edited: BTreeSet<Revision>,
    /// Entries before it are purged: nobody reads them but the tests.
    first: Revision,
    /// The newest two, the newest last.
    checkpoints: Vec<Checkpoint>,
    held: BTreeMap<(Timestamp, u64), (Write, Build)>,
    /// What newer builds wrote, as it is stored.
    foreign: BTreeMap<Revision, Vec<u8>>,
    sent: u64,
    at: Timestamp,
    /// Goes up when the tails are cut.
    cuts: u64,
    script: Script<LedgerFault>,
    bell: Bell,
}

impl MemoryLedger {
    pub(crate) fn new(shared: &Shared) -> Self {
        let state = State {
            entries: Vec::new(),
            number: 1,
            heads: BTreeMap::new(),
            edited: BTreeSet::new(),
            first: Revision(1),
            checkpoints: Vec::new(),
            held: BTreeMap::new(),
            foreign: BTreeMap::new(),
            sent: 0,
            at: Timestamp::MIN,
            cuts: 0,
            script: Script::new(shared.seed, "ledger"),
            bell: Bell::default(),
        };
        let inner = Inner { seed: shared.seed, clock: shared.clock.clone(), state: Mutex::new(state) };
        Self { inner: Arc::new(inner), build: Build::Ours }
    }

    /// The next append suffers `fault`. Several queue up.
    pub fn fault(&self, fault: LedgerFault) {
        self.inner.advanced().script.push(fault);
    }

    /// Of 1,000 appends so many suffer a fault, drawn from the seed. Replaces the odds before.
    pub fn chaos(&self, odds: Vec<(u32, LedgerFault)>) {
        self.inner.advanced().script.set_odds(odds);
    }

    /// Nothing gets through for so long: appends have no answer and do not land.
    pub fn outage(&self, duration: SignedDuration) {
        let until = self.inner.clock.now().saturating_add(duration).unwrap_or(Timestamp::MAX);
        self.inner.advanced().script.set_down(until);
    }

    /// Faults that were asked for and did not happen yet never will, and an outage ends.
    pub fn calm(&self) {
        let mut state = self.inner.advanced();
        state.script.calm();
        state.bell.ring();
    }

    /// Cuts the tails that are followed now: each reports that entries may be missing.
    pub fn cut(&self) {
        let mut state = self.inner.advanced();
        state.cuts += 1;
        state.bell.ring();
    }

    /// Somebody changes what an entry says, and leaves its sum as it was. False where there is no such entry.
    pub fn edit(&self, revision: Revision, change: impl FnOnce(&mut Record)) -> bool {
        let mut state = self.inner.advanced();
        let Some(entry) = state.entries.iter_mut().find(|it| it.revision == revision) else { return false };
        change(&mut entry.record);
        state.edited.insert(revision);
        true
    }

    /// Looks at every entry without a copy.
    pub fn read<T>(&self, look: impl FnOnce(&[Entry]) -> T) -> T {
        look(&self.inner.advanced().entries)
    }

    /// Somebody removes the ledger, and an empty one stands in its place.
    pub fn wipe(&self) {
        let mut state = self.inner.advanced();
        state.number += 1;
        // Those of another ledger are no checkpoints of this one.
        state.checkpoints.clear();
        state.cut_after(Revision::default());
    }

    /// Somebody brings back an older copy: what came after `newest` is gone.
    pub fn restore(&self, newest: Revision) {
        self.inner.advanced().cut_after(newest);
    }

    /// Its newest entry.
    pub fn newest_now(&self) -> Revision {
        self.inner.advanced().newest()
    }

    /// Every entry, purged ones included.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner.advanced().entries.clone()
    }
}

impl Inner {
    /// The state as of now: what was held until now has landed.
    fn advanced(&self) -> MutexGuard<'_, State> {
        let (mut state, now) = (lock(&self.state), self.clock.now());
        while let Some(first) = state.held.first_entry().filter(|it| it.key().0 <= now) {
            let ((due, _), (write, build)) = first.remove_entry();
            // Nobody waits for the answer any more.
            let _ = state.append(write, build, due);
        }
        state
    }
}

impl State {
    fn append(&mut self, write: Write, build: Build, now: Timestamp) -> Appended {
        let head = self.heads.get(&write.topic).copied().unwrap_or_default();
        match (write.topic, write.expect) {
            (Topic::Note, None) => {}
            (_, None) => {
                return Err(AppendError::Refused("a compared topic is never written without a compare".into()));
            }
            (_, Some(expected)) if expected.revision != head.revision => return Err(AppendError::Lost),
            (_, Some(expected)) if expected != head => {
                return Err(AppendError::Refused(format!("the newest entry of {} is not the one read", write.topic)));
            }
            (_, Some(_)) => {}
        }
        self.at = self.at.max(now);
        let revision = Revision(self.newest().0 + 1);
        let entry = Entry::sealed(revision, self.at, write.topic, write.expect, write.record)?;
        let head = entry.head();
        self.heads.insert(entry.topic, head);
        if build == Build::Newer {
            self.foreign.insert(revision, newer::body(&entry)?);
        }
        self.entries.push(entry);
        self.bell.ring();
        Ok(head)
    }

    fn cut_after(&mut self, newest: Revision) {
        self.entries.retain(|it| it.revision <= newest);
        self.foreign.retain(|it, _| *it <= newest);
        // The older copy still has what was removed since.
        let given_up = self.entries.iter().filter_map(|it| match it.record {
            Record::Purged { before } => Some(before),
            _ => None,
        });
        self.first = given_up.max().unwrap_or(Revision(1)).min(self.first);
        self.heads = self.entries.iter().map(|it| (it.topic, it.head())).collect();
        self.cuts += 1;
        self.bell.ring();
    }

    fn newest(&self) -> Revision {
        self.entries.last().map(|it| it.revision).unwrap_or_default()
    }

    fn submit(&mut self, write: Write, build: Build, now: Timestamp) -> Appended {
        let unknown = |why: &str| Err(AppendError::Unknown(why.to_owned()));
        if self.script.down(now).is_some() {
            return unknown("the ledger cannot be reached");
        }
        match self.script.take() {
            None => self.append(write, build, now),
            Some(LedgerFault::Lost) => unknown("no answer: the append was lost"),
            Some(LedgerFault::AnswerLost) => {
                // Whether it was accepted is what the caller does not learn.
                let _ = self.append(write, build, now);
                unknown("no answer: the answer was lost")
            }
            Some(LedgerFault::Held(delay)) => {
                self.sent += 1;
                self.held.insert((now.saturating_add(delay).unwrap_or(Timestamp::MAX), self.sent), (write, build));
                // A tail that waits has to learn of the time at which it lands.
                self.bell.ring();
                unknown("no answer: the append is held")
            }
            Some(LedgerFault::Refused(why)) => Err(AppendError::Refused(why)),
        }
    }

    fn reachable(&self, now: Timestamp) -> Result<(), PortError> {
        match self.script.down(now) {
            Some(_) => Err(PortError::Unavailable("the ledger cannot be reached".into())),
            None => Ok(()),
        }
    }
}

impl Ledger for MemoryLedger {
    fn append(&self, write: Write) -> Answer<'_, Appended> {
        Box::pin(async move { self.inner.advanced().submit(write, self.build, self.inner.clock.now()) })
    }

    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        Box::pin(async move {
            let state = self.inner.advanced();
            state.reachable(self.inner.clock.now())?;
            if after > state.newest() {
                let newest = state.newest();
                return Err(PortError::Unusable(format!("the ledger ends at entry {newest}, before entry {after}")));
            }
            let tail = MemoryTail::new(self.inner.clone(), self.build, after, state.cuts);
            Ok(Box::new(tail) as Box<dyn Tail>)
        })
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        Box::pin(async move {
            let state = self.inner.advanced();
            state.reachable(self.inner.clock.now())?;
            Ok(state.newest())
        })
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        Some(self)
    }

    fn identity(&self) -> Arc<str> {
        let state = self.inner.advanced();
        format!("memory {}-{}", self.inner.seed, state.number).into()
    }
}
