//! The fault matrix on real servers. Each row hurts something in one way and asserts what has to come of it: on the API
//! server's audit log, on a dump of the streams and on the objects, never on the engine's own figures.

mod admission;
mod bed;
mod damage;
mod engine;
mod files;
mod garbage;
mod links;
mod nats;
mod order;
mod poison;
mod races;
mod rollouts;
mod servers;
mod signals;
mod streams;
mod targets;
mod views;
mod wires;

use std::any::Any;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Whether a row ends soon enough for the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Some seconds.
    Quick,
    /// It waits for something long.
    Slow,
}

/// A row of the matrix, or a part of one.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its number in the matrix.
    pub number: u8,
    /// What is done, in a few words without spaces.
    pub name: &'static str,
    /// What has to come of it.
    pub expect: &'static str,
    /// How long it takes.
    pub pace: Pace,
    /// Does it, and panics when something else came of it.
    pub run: fn(),
}

const fn quick(number: u8, name: &'static str, expect: &'static str, run: fn()) -> Row {
    Row { number, name, expect, pace: Pace::Quick, run }
}

const fn slow(number: u8, name: &'static str, expect: &'static str, run: fn()) -> Row {
    Row { number, name, expect, pace: Pace::Slow, run }
}

/// All rows, by number.
pub fn rows() -> Vec<Row> {
    let parts = [
        engine::ROWS,
        nats::ROWS,
        streams::ROWS,
        poison::ROWS,
        files::ROWS,
        signals::ROWS,
        order::ROWS,
        garbage::ROWS,
        servers::ROWS,
        targets::ROWS,
        admission::ROWS,
        races::ROWS,
        rollouts::ROWS,
        wires::ROWS,
        links::ROWS,
        views::ROWS,
    ];
    let mut rows = parts.concat();
    rows.sort_by_key(|it| it.number);
    rows
}

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the rows with these numbers
    #[arg(long, value_name = "N")]
    row: Vec<u8>,
    /// Only the rows whose name contains this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those that end within seconds
    #[arg(long)]
    quick: bool,
    /// Rows at once
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Only say what there is
    #[arg(long)]
    list: bool,
}

/// How a row ended.
#[derive(Debug)]
pub struct Ended {
    /// Which.
    pub row: Row,
    /// How long it took.
    pub took: Duration,
    /// What came of it instead of what had to.
    pub failure: Option<String>,
}

/// Runs it.
///
/// # Errors
/// There is no such row.
pub fn run(args: &Args) -> Result<ExitCode> {
    let wanted = |it: &Row| {
        (args.row.is_empty() || args.row.contains(&it.number))
            && args.name.as_ref().is_none_or(|name| it.name.contains(name.as_str()))
            && (!args.quick || it.pace == Pace::Quick)
    };
    let rows: Vec<Row> = rows().into_iter().filter(wanted).collect();
    ensure!(!rows.is_empty(), "no such row");
    if args.list {
        for row in rows {
            println!("{:>3} {:<45} {:?}  {}", row.number, row.name, row.pace, row.expect);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut ended = run_rows(rows, args.jobs);
    ended.sort_by_key(|it| it.row.number);
    println!();
    for Ended { row, took, failure } in &ended {
        let end = if failure.is_none() { "ok" } else { "FAILED" };
        println!("{:>3} {:<45} {:>6.1} s  {end:<6}  {}", row.number, row.name, took.as_secs_f64(), row.expect);
    }
    let failed: Vec<&Ended> = ended.iter().filter(|it| it.failure.is_some()).collect();
    for Ended { row, failure, .. } in &failed {
        println!("\n--- row {} {}\n{}", row.number, row.name, failure.as_deref().unwrap_or_default());
        println!("--- again: cargo xtask faults --row {} --name {}", row.number, row.name);
    }
    println!("{} rows, {} failed", ended.len(), failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs rows, so many at once, and says how each ended.
///
/// # Panics
/// Never: a row that panics has failed.
pub fn run_rows(rows: Vec<Row>, jobs: usize) -> Vec<Ended> {
    let (waiting, ended) = (Mutex::new(VecDeque::from(rows)), Mutex::new(Vec::new()));
    let next = || waiting.lock().expect("nobody panics while it holds the rows").pop_front();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(row) = next() {
                    let start = Instant::now();
                    let failure = std::panic::catch_unwind(row.run).err().map(|it| words(it.as_ref()));
                    let took = start.elapsed();
                    let end = if failure.is_none() { "ok" } else { "FAILED" };
                    println!("{:>3} {:<45} {:>6.1} s  {end}", row.number, row.name, took.as_secs_f64());
                    let mut ended = ended.lock().expect("nobody panics while it holds the ends");
                    ended.push(Ended { row, took, failure });
                }
            });
        }
    });
    ended.into_inner().expect("nobody panics while it holds the ends")
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned())).unwrap_or_else(|| "a panic".to_owned())
}
