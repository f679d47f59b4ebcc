//! How far a long command has come, for people, on stderr: one line that changes on a terminal, a line a second elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// On a terminal, and elsewhere.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Tells how many of how many.
pub(super) struct Progress {
    done: &'static str,
    things: &'static str,
    terminal: bool,
    told: Instant,
    open: bool,
}

impl Progress {
    /// `done` is what is done to the things: `read`, `copied`.
    pub(super) fn of(done: &'static str, things: &'static str) -> Self {
        Self { done, things, terminal: std::io::stderr().is_terminal(), told: Instant::now(), open: false }
    }

    /// Tells, unless it has told a moment ago.
    pub(super) fn tell(&mut self, count: u64, of: u64) {
        let pause = if self.terminal { PAUSE.0 } else { PAUSE.1 };
        let last = count == of && self.open;
        if !last && self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let text = format!("{} {count} of {of} {}", self.done, self.things);
        // A closed stderr has nobody to tell.
        let _ = match (self.terminal, last) {
            (true, false) => write!(std::io::stderr(), "\r{text}"),
            (true, true) => writeln!(std::io::stderr(), "\r{text}"),
            (false, _) => writeln!(std::io::stderr(), "{text}"),
        };
        self.open = !last;
    }

    /// The same as a function.
    pub(super) fn teller(mut self) -> impl FnMut(u64, u64) + Send {
        move |count, of| self.tell(count, of)
    }
}
