//! kill -9 at every point, on real servers. The engine is the real binary; a point is a place on the wire, seen by a proxy;
//! the judge reads the API server's audit log and the ledger's stream.

mod action;
mod point;
mod run;
mod scene;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

use crate::random::Random;

pub use action::{ACTIONS, Action};
pub use point::{How, POINTS, Point, What};
pub use run::{Case, HEIRS, Heir};

/// What to run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Only this point (see --list).
    #[arg(long)]
    pub point: Option<String>,
    /// Only this action: scale, restart, patch, rollback, deletePod.
    #[arg(long)]
    pub action: Option<String>,
    /// Only this heir: same, other, both.
    #[arg(long)]
    pub heir: Option<String>,
    /// Run only so many, drawn by --seed.
    #[arg(long)]
    pub sample: Option<usize>,
    /// Draws the sample.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Runs side by side. They mostly wait: for leases, for rollouts.
    #[arg(long, default_value_t = 8)]
    pub jobs: usize,
    /// Say what would be run, and what does not apply and why.
    #[arg(long)]
    pub list: bool,
}

/// How one case ended.
pub struct Ended {
    /// Which.
    pub case: Case,
    /// What it took, or what did not hold.
    pub result: Result<Duration>,
}

/// The cases that were asked for, in order.
///
/// # Errors
/// A point, an action or an heir of that name does not exist.
pub fn cases(args: &Args) -> Result<Vec<Case>> {
    let points = chosen(POINTS, args.point.as_deref(), |it| it.name.to_owned())?;
    let actions = chosen(&ACTIONS, args.action.as_deref(), ToString::to_string)?;
    let heirs = chosen(&HEIRS, args.heir.as_deref(), ToString::to_string)?;
    let mut all = Vec::new();
    for point in points {
        for action in actions.iter().copied().filter(|it| point.missing_for(*it).is_none()) {
            all.extend(heirs.iter().map(|heir| Case { point, action, heir: *heir }));
        }
    }
    if let Some(count) = args.sample {
        let mut random = Random::new(args.seed);
        while all.len() > count {
            let out = usize::try_from(random.below(all.len() as u64)).expect("an index fits");
            all.swap_remove(out);
        }
    }
    Ok(all)
}

fn chosen<T: Copy>(all: &[T], name: Option<&str>, label: impl Fn(&T) -> String) -> Result<Vec<T>> {
    let found: Vec<T> = all.iter().copied().filter(|it| name.is_none_or(|name| label(it) == name)).collect();
    ensure!(
        !found.is_empty(),
        "there is no {}: {}",
        name.unwrap_or_default(),
        all.iter().map(label).collect::<Vec<_>>().join(", ")
    );
    Ok(found)
}

/// Runs the cases, `jobs` at once, with a line for each.
pub fn run_all(cases: &[Case], jobs: usize) -> Vec<Ended> {
    crate::binary();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, cases.len().max(1)) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let ended = Ended { case: *case, result: run_one(*case) };
                    let mut done = done.lock().expect("nothing panics while it holds the list");
                    done.push(ended);
                    let count = done.len();
                    table::progress(done.last().expect("just pushed"), count, cases.len());
                }
            });
        }
    });
    done.into_inner().expect("nothing panics while it holds the list")
}

/// A rig that panics fails its own case and no other.
fn run_one(case: Case) -> Result<Duration> {
    let ran = catch_unwind(AssertUnwindSafe(|| case.run()));
    ran.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
        Err(anyhow!("it panicked: {}", said.unwrap_or_default()))
    })
}

/// Runs it.
///
/// # Errors
/// It could not be run.
pub fn run(args: &Args) -> Result<ExitCode> {
    let cases = cases(args)?;
    if args.list {
        table::list(&cases);
        return Ok(ExitCode::SUCCESS);
    }
    if cases.is_empty() {
        bail!("nothing to run: {}", table::reasons().join("; "));
    }
    let began = Instant::now();
    let ended = run_all(&cases, args.jobs);
    Ok(table::summary(&ended, began.elapsed()))
}
