//! Time as tokio tells it: real under `run`, virtual where the runtime is paused (demo, scenarios).

use std::time::Duration;

use flyball_core::ports::{Answer, Clock};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Wall clock at start plus tokio's monotonic time: the one clock that a paused runtime can drive.
pub struct TokioClock {
    start: Instant,
    epoch: Timestamp,
}

impl TokioClock {
    /// Starts at `epoch`.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { start: Instant::now(), epoch }
    }

    /// Starts now.
    pub fn real() -> Self {
        Self::starting_at(Timestamp::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.epoch.saturating_add(self.monotonic()).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> SignedDuration {
        SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX)
    }

    fn sleep(&self, duration: SignedDuration) -> Answer<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::try_from(duration).unwrap_or(Duration::ZERO)))
    }
}
