//! The newest signals, for people who ask whether theirs arrived.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use flyball_core::id::SignalId;
use flyball_core::signal::{Signal, TraceContext};
use flyball_core::workload::Workload;
use jiff::Timestamp;

/// Signals kept: a screenful several times over.
const KEPT: usize = 200;

/// One signal, in short.
#[derive(Clone, Debug)]
pub struct Glimpse {
    /// Its id.
    pub id: SignalId,
    /// `anomaly` or `rca`.
    pub kind: &'static str,
    /// The publisher's window.
    pub window_id: Arc<str>,
    /// What it is about.
    pub subject: Workload,
    /// When it was observed.
    pub observed_at: Timestamp,
    /// Its trace.
    pub trace: TraceContext,
}

/// A ring of the newest signals of this process.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Glimpse>>);

impl Recent {
    /// Remembers a signal.
    pub fn push(&self, signal: &Signal) {
        let glimpse = Glimpse {
            id: signal.id.clone(),
            kind: signal.kind.as_str(),
            window_id: signal.window_id.clone(),
            subject: signal.subject.clone(),
            observed_at: signal.observed_at,
            trace: signal.trace,
        };
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(glimpse);
    }

    /// The newest first.
    pub fn newest(&self) -> Vec<Glimpse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}
