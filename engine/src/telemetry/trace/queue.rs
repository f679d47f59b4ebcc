//! Between the stages and the exporter's thread: a queue that never blocks a stage, grows only when it has to, and counts
//! what it cannot take.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Span;
use crate::telemetry::labels::DropReason;
use crate::telemetry::metrics::Drops;

/// Spans that may wait for the collector. An action is eight spans, so this is a burst of 8,000 actions, or a minute of a
/// slow collector at the rate an API server takes patches. Room is taken as it is needed: 10 MB if ever full, nothing idle.
pub(crate) const CAPACITY: usize = 65_536;

/// Spans of one request to the collector, the specification's default.
pub(crate) const BATCH: usize = 512;

/// Where spans wait.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// For the exporter: a batch is full, or somebody wants a flush.
    filled: Condvar,
    /// For those who wait: what they asked for is done.
    settled: Condvar,
    capacity: usize,
    drops: Drops,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Span>,
    flushes_asked: u64,
    flushes_done: u64,
    closed: bool,
    stopped: bool,
}

impl Queue {
    /// An empty queue.
    pub(crate) fn new(capacity: usize, drops: Drops) -> Self {
        let (filled, settled) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::default(), filled, settled, capacity, drops }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held cannot have left it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a span, or counts it as dropped.
    pub(crate) fn push(&self, span: Span) {
        let mut state = self.state();
        let refused = match (state.closed, state.waiting.len() >= self.capacity) {
            (true, _) => Some(DropReason::Closed),
            (_, true) => Some(DropReason::QueueFull),
            _ => None,
        };
        if let Some(reason) = refused {
            drop(state);
            return self.drops.add(reason, 1);
        }
        state.waiting.push_back(span);
        let full = state.waiting.len() == BATCH;
        drop(state);
        // A wake-up costs more than the push: the exporter is woken for whole batches, and by its own clock for the rest.
        if full {
            self.filled.notify_one();
        }
    }

    /// For the exporter: the next batch, once it is full, `delay` is over or somebody waits; `None` when it is over.
    pub(crate) fn next(&self, delay: Duration) -> Option<Vec<Span>> {
        let idle = |state: &mut State| {
            state.waiting.len() < BATCH && state.flushes_asked == state.flushes_done && !state.closed
        };
        let waited = self.filled.wait_timeout_while(self.state(), delay, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed && state.waiting.is_empty() {
            return None;
        }
        let count = state.waiting.len().min(BATCH);
        Some(state.waiting.drain(..count).collect())
    }

    /// For the exporter: the batch has been dealt with.
    pub(crate) fn done(&self) {
        let mut state = self.state();
        if state.waiting.is_empty() {
            // All that was pushed before anybody asked has been taken.
            state.flushes_done = state.flushes_asked;
            // A burst's memory is given back.
            state.waiting.shrink_to(BATCH);
            self.settled.notify_all();
        }
    }

    /// For the exporter: its last word. What is left will go nowhere.
    pub(crate) fn stopped(&self) {
        let mut state = self.state();
        (state.closed, state.stopped) = (true, true);
        let left = std::mem::take(&mut state.waiting).len();
        drop(state);
        self.drops.add(DropReason::Closed, left as u64);
        self.settled.notify_all();
    }

    /// Waits until all that was pushed so far has been offered to the collector. Blocks; false if it took too long.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let mut state = self.state();
        state.flushes_asked += 1;
        let mine = state.flushes_asked;
        self.filled.notify_one();
        let pending = |state: &mut State| state.flushes_done < mine && !state.stopped;
        let waited = self.settled.wait_timeout_while(state, within, pending);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.flushes_done >= mine
    }

    /// Takes nothing more and waits until the exporter has stopped. Blocks; false if it took too long, and then what is
    /// left is counted as dropped.
    pub(crate) fn close(&self, within: Duration) -> bool {
        let mut state = self.state();
        state.closed = true;
        self.filled.notify_one();
        let waited = self.settled.wait_timeout_while(state, within, |state| !state.stopped);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (stopped, left) = (state.stopped, std::mem::take(&mut state.waiting).len());
        drop(state);
        self.drops.add(DropReason::Closed, left as u64);
        stopped
    }

    /// Counts `count` spans that the collector did not take.
    pub(crate) fn lost(&self, count: usize) {
        self.drops.add(DropReason::ExportFailed, count as u64);
    }
}
