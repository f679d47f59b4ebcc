//! The one way to wait: for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Between two looks. Short, because most conditions here come true within some tens of milliseconds.
const PAUSE: Duration = Duration::from_millis(15);

/// Looks until `probe` answers `Ok`, and returns what it answered.
///
/// An `Err` from the probe means "not yet" and says why; the last one becomes the reason given when the deadline passes.
/// The probe is called at least once, however short the deadline.
pub fn wait_until<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(reason) if start.elapsed() >= deadline => {
                return Err(reason.context(format!("waiting {deadline:?} for {what}")));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Like [`wait_until`], and gives up at once when `alive` fails: a server that has ended will not answer later.
pub(crate) fn wait_while_alive<T>(
    alive: impl Fn() -> Result<()>,
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    wait_until(what, deadline, || match alive() {
        Ok(()) => probe().map(Ok),
        Err(ended) => Ok(Err(ended.context(format!("waiting for {what}")))),
    })
    .flatten()
}
