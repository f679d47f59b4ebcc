//! Chores of this workspace: `cargo xtask --help`.

mod ci;
mod cluster;
mod step;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use flyball_devcluster::Tools;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of this workspace.")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the test servers into the user's cache folder and print where they are.
    Tools,
    /// Run nats-server and a Kubernetes control plane with a small shop on it, until Ctrl-C.
    Cluster,
    /// Run all tests of the workspace against one shared cluster.
    Test {
        /// Go to `cargo test` as they are, for example `-p flyball -- --nocapture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check everything: format, lints, tests, documentation, dependencies. Every step runs, whatever the others say.
    Ci,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().chore {
        Chore::Tools => {
            println!("{}", Tools::ensure()?.folder().display());
            Ok(ExitCode::SUCCESS)
        }
        Chore::Cluster => cluster::run(),
        Chore::Test { args } => test::run(&args),
        Chore::Ci => ci::run(),
    }
}
