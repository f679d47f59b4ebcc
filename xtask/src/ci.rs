//! All checks, each with its time: `cargo xtask ci`.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::step::{cargo, succeeds};
use crate::test;

/// How a step ended.
enum End {
    Passed,
    Failed,
    Skipped(&'static str),
}

impl From<bool> for End {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

type Step = (&'static str, fn() -> Result<End>);

/// The cheapest first, so that whoever watches learns soon; the tests last, so that the end of the log tells of them.
const STEPS: [Step; 6] = [
    ("format", || run_cargo(&["fmt", "--all", "--check"])),
    ("dependencies", dependencies),
    ("advisories", advisories),
    ("documentation", documentation),
    ("lints", || run_cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    ("tests", || Ok((test::run(&[])? == ExitCode::SUCCESS).into())),
];

/// Runs all steps, then says what each came to.
pub(crate) fn run() -> Result<ExitCode> {
    let start = Instant::now();
    let mut ends = Vec::new();
    for (name, step) in STEPS {
        println!("=== {name}");
        let begun = Instant::now();
        ends.push((name, step()?, begun.elapsed()));
    }
    println!("=== {:.0?} in all", start.elapsed());
    let mut passed = true;
    for (name, end, took) in ends {
        let end = match end {
            End::Passed => "passed".to_owned(),
            End::Skipped(reason) => format!("SKIPPED: {reason}"),
            End::Failed => {
                passed = false;
                "FAILED".to_owned()
            }
        };
        println!("{name:<14} {:>6.1} s  {end}", took.as_secs_f64());
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_cargo(args: &[&str]) -> Result<End> {
    succeeds(&mut cargo(args.iter().copied())).map(End::from)
}

fn documentation() -> Result<End> {
    let mut doc = cargo(["doc", "--workspace", "--no-deps"]);
    succeeds(doc.env("RUSTDOCFLAGS", "-D warnings")).map(End::from)
}

fn dependencies() -> Result<End> {
    let missing = !cargo(["deny", "--version"]).output().is_ok_and(|version| version.status.success());
    if missing && !succeeds(&mut cargo(["install", "cargo-deny", "--locked"]))? {
        return Ok(End::Failed);
    }
    run_cargo(&["deny", "--workspace", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
}

/// Apart from the rest, since its database lies on the internet and not every CI machine may go there.
fn advisories() -> Result<End> {
    if !succeeds(&mut cargo(["deny", "fetch", "db"]))? {
        return Ok(End::Skipped("the advisory database cannot be reached from here"));
    }
    run_cargo(&["deny", "--workspace", "check", "--disable-fetch", "advisories"])
}
