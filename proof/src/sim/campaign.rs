//! Many seeds, on all cores.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::chronicle::{Marks, Violation};
use super::plan::{Plan, Thin};
use super::stage;

/// Failing seeds after which no more are tried: one bug tends to show in many.
const FAILURES: usize = 10;
/// How often progress is told.
const TOLD: u64 = 500;

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Campaign {
    pub(super) from: u64,
    pub(super) seeds: u64,
    pub(super) jobs: usize,
    pub(super) limit: Option<Duration>,
    /// Stop at the first seed that fails.
    pub(super) first: bool,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Result {
    pub(super) seeds: u64,
    pub(super) calls: u64,
    pub(super) marks: Marks,
    pub(super) failed: Vec<(u64, Vec<Violation>)>,
}

impl Campaign {
    /// Runs it.
    pub(super) fn run(self) -> Result {
        let (next, result, begun) = (AtomicU64::new(self.from), Mutex::new(Result::default()), Instant::now());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let late = self.limit.is_some_and(|it| begun.elapsed() > it);
                if seed >= self.from.saturating_add(self.seeds) || late {
                    return;
                }
                let report = stage::run(Plan::draw(seed, &Thin::default()), false);
                let mut sum = result.lock().expect("nobody panics while holding it");
                if sum.failed.len() >= if self.first { 1 } else { FAILURES } {
                    return;
                }
                sum.seeds += 1;
                sum.calls += report.calls;
                for (name, count) in report.marks {
                    *sum.marks.entry(name).or_default() += count;
                }
                if !report.violations.is_empty() {
                    sum.failed.push((seed, report.violations));
                }
                if sum.seeds.is_multiple_of(TOLD) {
                    let rate = sum.seeds.checked_div(begun.elapsed().as_secs()).unwrap_or(0);
                    // Progress that nobody can read is no failure.
                    let _ = writeln!(
                        std::io::stderr(),
                        "{} seeds, {} failed, {rate} a second",
                        sum.seeds,
                        sum.failed.len()
                    );
                }
            }
        };
        std::thread::scope(|scope| {
            (0..self.jobs.max(1)).for_each(|_| {
                scope.spawn(work);
            });
        });
        let mut result = result.into_inner().expect("nobody panicked while holding it");
        result.failed.sort_by_key(|(seed, _)| *seed);
        result
    }
}
