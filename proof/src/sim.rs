//! Deterministic simulation: the real engine, one to five replicas of it, on a simulated bus, ledger and cluster in virtual
//! time. One seed decides everything; after each run every invariant is asked of the world's own history.

mod acts;
mod chronicle;
mod doors;
mod fold;
mod judge;
mod panics;
mod plan;
mod process;
mod stage;
mod story;

use std::process::ExitCode;

use anyhow::Result;

use plan::{Plan, Thin};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// One seed, with its story.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// It could not be run.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(seed) = args.seed {
        let report = stage::run(Plan::draw(seed, &Thin::default()), true);
        for line in &report.story {
            println!("{line}");
        }
        println!("hash {:016x}, {} calls", report.hash, report.calls);
        return Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let begun = std::time::Instant::now();
    let mut marks = chronicle::Marks::new();
    let (mut calls, mut failed) = (0, 0);
    for seed in args.from..args.from + args.seeds {
        let report = stage::run(Plan::draw(seed, &Thin::default()), false);
        calls += report.calls;
        for (name, count) in report.marks {
            *marks.entry(name).or_default() += count;
        }
        failed += u64::from(!report.violations.is_empty());
        for it in &report.violations {
            println!("seed {seed}: {} {}", it.invariant, it.evidence);
        }
    }
    for (name, count) in marks {
        println!("{count:8} {name}");
    }
    println!("{} seeds, {failed} failed, {calls} calls, {:.1?}", args.seeds, begun.elapsed());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::plan::{Plan, Thin};
    use super::stage;

    #[test]
    fn the_same_seed_twice_makes_the_same_history() {
        for seed in 1..=200 {
            let once = stage::run(Plan::draw(seed, &Thin::default()), false);
            let again = stage::run(Plan::draw(seed, &Thin::default()), false);
            assert_eq!(once.hash, again.hash, "seed {seed}");
        }
    }
}
