//! The proofs live in a crate of their own, which knows everything: `cargo xtask sim`, `crash`, `faults`, `planted`, `soak`.

use std::process::ExitCode;

use anyhow::Result;

use crate::step::{cargo, succeeds};

/// Builds and runs one of them.
pub(crate) fn run(what: &str, args: &[String]) -> Result<ExitCode> {
    let passed = succeeds(cargo(["run", "--quiet", "-p", "flyball-proof", "--", what]).args(args))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
