//! Time as tokio tells it: real under `run`, virtual where the runtime is paused (demo, scenarios).

use std::time::Duration;

use flyball_core::ports::{Answer, Clock};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The clock of a process.
pub struct TokioClock {
    start: Instant,
    /// Where virtual time begins; none for the real wall clock.
    epoch: Option<Timestamp>,
}

impl TokioClock {
    /// Virtual time from `epoch`, moved by a paused runtime.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { start: Instant::now(), epoch: Some(epoch) }
    }

    /// The machine's clocks.
    pub fn real() -> Self {
        Self { start: Instant::now(), epoch: None }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.epoch.map_or_else(Timestamp::now, |epoch| epoch.saturating_add(self.monotonic()).unwrap_or(Timestamp::MAX))
    }

    fn monotonic(&self) -> SignedDuration {
        SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX)
    }

    fn sleep(&self, duration: SignedDuration) -> Answer<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::try_from(duration).unwrap_or(Duration::ZERO)))
    }
}
