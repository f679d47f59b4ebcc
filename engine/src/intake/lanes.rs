//! Targets whose signals have to wait: a lane each, in which one signal is decided after the other, and as many lanes as there are
//! such targets.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flyball_core::ports::Delivery;
use flyball_core::signal::Signal;
use flyball_core::workload::Workload;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::changes::until;

/// Lanes that decide at once, and messages that are put aside at once. What acts waits for the API server and the ledger, so there
/// are more of them than cores.
const AT_ONCE: usize = 64;
/// Signals that wait in one lane: enough that a batch from the bus does not stall on one busy target.
const QUEUE: usize = 192;
/// Signals in all lanes, those in hand among them.
const MOST: usize = AT_ONCE * (QUEUE + 1);

/// What one process has taken up and not decided at most, of signals about so many workloads: more wait with the bus. A lane has
/// one in hand beside those that wait in it; as many as are put aside at once cannot be used, and the last one is what the intake
/// holds out.
pub const fn most_undecided(workloads: usize) -> usize {
    let lanes = if workloads < AT_ONCE { workloads } else { AT_ONCE };
    lanes * (QUEUE + 1) + AT_ONCE + 1
}

/// The lanes.
pub(super) struct Lanes {
    open: Mutex<Open>,
    slots: Semaphore,
    left: Notify,
}

#[derive(Default)]
struct Open {
    /// By target; only ever looked up.
    lanes: HashMap<Workload, Lane>,
    /// Signals in all lanes.
    taken: usize,
    /// Messages that are being put aside.
    aside: usize,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<(Signal, Delivery)>,
    /// Somebody works on it.
    attended: bool,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { open: Mutex::default(), slots: Semaphore::new(AT_ONCE), left: Notify::new() }
    }
}

impl Open {
    fn has_room(&self, target: &Workload) -> bool {
        self.taken < MOST && self.lanes.get(target).is_none_or(|it| it.waiting.len() < QUEUE)
    }
}

impl Lanes {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether signals about the target have to wait behind others.
    pub(super) fn is_busy(&self, target: &Workload) -> bool {
        let open = self.open();
        !open.lanes.is_empty() && open.lanes.contains_key(target)
    }

    /// Puts a signal at the end of its lane. True: nobody works on the lane yet, and the caller has to. A signal for which there is
    /// no room is given back.
    pub(super) fn queue(&self, signal: Signal, delivery: Delivery) -> Result<bool, Box<(Signal, Delivery)>> {
        let mut open = self.open();
        if !open.has_room(&signal.subject) {
            return Err(Box::new((signal, delivery)));
        }
        open.taken += 1;
        let lane = open.lanes.entry(signal.subject.clone()).or_default();
        lane.waiting.push_back((signal, delivery));
        Ok(!std::mem::replace(&mut lane.attended, true))
    }

    /// The next of a lane; nothing at its end, and then the lane is closed.
    pub(super) fn next(&self, target: &Workload) -> Option<(Signal, Delivery)> {
        let mut open = self.open();
        let next = open.lanes.get_mut(target).and_then(|it| it.waiting.pop_front());
        if next.is_none() {
            open.lanes.remove(target);
        }
        drop(open);
        self.left.notify_waiters();
        next
    }

    /// One that was in hand is decided.
    pub(super) fn done(&self) {
        self.open().taken -= 1;
        self.left.notify_waiters();
    }

    /// A message is about to be put aside. False: there is no room for it.
    pub(super) fn aside(&self) -> bool {
        let mut open = self.open();
        let room = open.aside < AT_ONCE;
        open.aside += usize::from(room);
        room
    }

    /// It was put aside.
    pub(super) fn done_aside(&self) {
        self.open().aside -= 1;
        self.left.notify_waiters();
    }

    /// A slot to decide in.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.slots.acquire().await.ok()
    }

    /// Returns when there is room for a signal about the target; for a message that is put aside, where there is none.
    pub(super) async fn room(&self, target: Option<&Workload>) {
        let has_room = || {
            let open = self.open();
            target.map_or(open.aside < AT_ONCE, |target| open.has_room(target)).then_some(())
        };
        until(&self.left, has_room).await;
    }
}
