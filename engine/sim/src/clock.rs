//! Time that stands still until somebody sleeps.

use std::sync::{Arc, Mutex};

use flyball_core::ports::{Answer, Clock};
use jiff::{SignedDuration, Timestamp};

use crate::wake::lock;

/// A clock for deterministic tests without a runtime: sleeping moves it, at once, to the end of the sleep. Two sleeps
/// that overlap do not add up, since each ends at the moment that it had in view when it began.
#[derive(Clone)]
pub struct ManualClock {
    start: Timestamp,
    elapsed: Arc<Mutex<SignedDuration>>,
}

impl ManualClock {
    /// Starts at `start`.
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, elapsed: Arc::default() }
    }

    /// How much time has passed.
    pub(crate) fn passed(&self) -> SignedDuration {
        *lock(&self.elapsed)
    }

    /// Lets time pass.
    pub fn advance(&self, by: SignedDuration) {
        let mut elapsed = lock(&self.elapsed);
        *elapsed = elapsed.saturating_add(by.max(SignedDuration::ZERO));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start.saturating_add(self.monotonic()).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> SignedDuration {
        *lock(&self.elapsed)
    }

    fn sleep(&self, duration: SignedDuration) -> Answer<'static, ()> {
        let (elapsed, end) = (self.elapsed.clone(), self.monotonic().saturating_add(duration));
        Box::pin(async move {
            let mut elapsed = lock(&elapsed);
            *elapsed = end.max(*elapsed);
        })
    }
}
