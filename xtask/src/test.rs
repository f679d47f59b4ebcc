//! All tests, against one cluster: `cargo xtask test`.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use flyball_devcluster::{Cluster, Options, SHARED_CLUSTER, Tools, can_run};

use crate::proof;
use crate::step::{cargo, succeeds};

/// Cargo takes it once only.
const NO_FAIL_FAST: &str = "--no-fail-fast";

/// Builds, starts the cluster and runs the tests; answers with the exit code of `cargo test`.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let real = can_run();
    if real {
        Tools::ensure()?;
    }
    // Before the cluster starts, so that compiler and servers do not fight for the machine.
    let builds = args.iter().map(String::as_str).take_while(|arg| *arg != "--");
    if !succeeds(cargo(["test", "--no-run"]).args(scope(args)).args(builds))? {
        return Ok(ExitCode::FAILURE);
    }
    let cluster =
        if real && env::var_os(SHARED_CLUSTER).is_none() { Some(Cluster::start(&Options::default())?) } else { None };

    // Whoever reads that something failed wants to know of everything that did.
    let mut test = cargo(["test"]);
    if !args.iter().any(|arg| arg == NO_FAIL_FAST) {
        test.arg(NO_FAIL_FAST);
    }
    test.args(scope(args)).args(args).stdout(Stdio::piped());
    if let Some(cluster) = &cluster {
        test.env(SHARED_CLUSTER, cluster.folder());
    }
    let mut runner = test.spawn().context("running cargo test")?;
    let (mut closing, mut failed) = (Vec::new(), Vec::new());
    let said = BufReader::new(runner.stdout.take().expect("stdout is piped"));
    for line in said.split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("reading what the tests say")?).into_owned();
        println!("{line}");
        if line.starts_with("test ") && line.ends_with("... FAILED") {
            failed.push(line);
        } else if line.starts_with("test result:") {
            closing.push(line);
        }
    }
    let status = runner.wait().context("running cargo test")?;
    // The seeds of the simulation belong to the tests of the whole, not to those of one package.
    let simulated = scope(args).is_none() || proof::run("sim", &[])? == ExitCode::SUCCESS;
    // Last, where whoever reads only the end of it looks.
    println!("\n{} test binaries:\n{}", closing.len(), total(&closing));
    for line in failed {
        println!("{line}");
    }
    if !simulated {
        return Ok(ExitCode::FAILURE);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The sum of the runners' closing lines: `test result: ok. 3 passed; 0 failed; …`.
fn total(closing: &[String]) -> String {
    let count = |line: &String, word: &str| -> u64 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = words.windows(2).find(|pair| pair[1].trim_end_matches(';') == word).map(|pair| pair[0]);
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let sum = |word: &str| closing.iter().map(|line| count(line, word)).sum::<u64>();
    format!("{} passed, {} failed", sum("passed"), sum("failed"))
}

/// Everything, unless somebody asks for packages.
fn scope(args: &[String]) -> Option<&'static str> {
    let names_package = |arg: &String| arg == "-p" || arg.starts_with("--package") || arg == "--workspace";
    let chosen = args.iter().take_while(|arg| *arg != "--").any(names_package);
    (!chosen).then_some("--workspace")
}
