//! Whether this process can admit, and if not, which part is not ready.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The parts that have to be ready, by name: `ledger`, `cluster`, `signals`, `policies`, `clock`, `heartbeat`. A part that nobody has
/// reported on yet is not ready.
#[derive(Debug)]
pub struct Readiness(Mutex<BTreeMap<&'static str, Result<(), String>>>);

impl Readiness {
    /// Waits for each of `parts`.
    pub fn of(parts: &[&'static str]) -> Self {
        Self(Mutex::new(parts.iter().map(|part| (*part, Err("starting".to_owned()))).collect()))
    }

    /// Reports on a part. True when that changed something.
    pub fn set(&self, part: &'static str, state: Result<(), String>) -> bool {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(part, state.clone()) != Some(state)
    }

    /// Every part with its state.
    pub fn parts(&self) -> BTreeMap<&'static str, Result<(), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All parts are ready.
    pub fn is_ready(&self) -> bool {
        self.parts().values().all(Result::is_ok)
    }
}
