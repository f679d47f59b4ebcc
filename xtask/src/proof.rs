//! The proofs live in a crate of their own, which knows everything: `cargo xtask sim`, `crash`, `faults`, `planted`, `soak`, `start`.

use std::process::ExitCode;

use anyhow::Result;

use crate::step::{cargo, succeeds};

/// Builds and runs one of them. What measures is built for speed, and so is the program that it measures.
pub(crate) fn run(what: &str, args: &[String]) -> Result<ExitCode> {
    let profile = match what {
        "soak" | "start" => "release",
        "sim" | "planted" => "proof",
        _ => "dev",
    };
    let build = ["run", "--quiet", "--profile", profile, "-p", "flyball-proof", "--", what];
    let passed = succeeds(cargo(build).args(args))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
