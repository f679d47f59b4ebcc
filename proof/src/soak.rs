//! Random kills for as long as you like.

use std::process::ExitCode;

use anyhow::Result;

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// It could not be run.
pub fn run(_args: &Args) -> Result<ExitCode> {
    anyhow::bail!("not there yet")
}
