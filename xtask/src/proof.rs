//! The proofs live in a crate of their own, which knows everything: `cargo xtask sim`, `crash`, `faults`, `planted`, `soak`, `start`, `move`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::step::{cargo, succeeds};

/// Builds and runs one of them. What measures is built for speed, and so is the program that it measures.
pub(crate) fn run(what: &str, args: &[String]) -> Result<ExitCode> {
    let profile = match what {
        "soak" | "start" | "move" => "release",
        "sim" | "planted" => "proof",
        _ => "dev",
    };
    // As part of the whole workspace, so that its dependencies are those of the tests and are not built twice.
    if !succeeds(&mut cargo(["build", "--quiet", "--profile", profile, "--workspace", "--bin", "flyball-proof"]))? {
        return Ok(ExitCode::FAILURE);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = if profile == "dev" { "debug" } else { profile };
    let passed = succeeds(Command::new(target.join(folder).join("flyball-proof")).arg(what).args(args))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
