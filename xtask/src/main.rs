//! Chores of this workspace: `cargo xtask --help`.

mod ci;
mod cluster;
mod proof;
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
    /// Simulate: many replicas, virtual time, every fault. `cargo xtask sim --help`.
    #[command(disable_help_flag = true)]
    Sim(Passed),
    /// kill -9 at every point, on real servers.
    #[command(disable_help_flag = true)]
    Crash(Passed),
    /// Faults of NATS, of the API server and of the network, on real servers.
    #[command(disable_help_flag = true)]
    Faults(Passed),
    /// Bugs put in on purpose: each has to be found.
    #[command(disable_help_flag = true)]
    Planted(Passed),
    /// Random kills for as long as you like, on real servers.
    #[command(disable_help_flag = true)]
    Soak(Passed),
    /// How long a start takes on a ledger with a long past.
    #[command(disable_help_flag = true)]
    Start(Passed),
    /// How long appends wait while a ledger with a long past moves to another store.
    #[command(disable_help_flag = true)]
    Move(Passed),
    /// Check everything: format, lints, tests, documentation, dependencies. Every step runs, whatever the others say.
    Ci,
}

/// Goes to the proof as it is.
#[derive(clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

fn main() -> Result<ExitCode> {
    match Cli::parse().chore {
        Chore::Tools => {
            println!("{}", Tools::ensure()?.folder().display());
            Ok(ExitCode::SUCCESS)
        }
        Chore::Cluster => cluster::run(),
        Chore::Test { args } => test::run(&args),
        Chore::Sim(it) => proof::run("sim", &it.args),
        Chore::Crash(it) => proof::run("crash", &it.args),
        Chore::Faults(it) => proof::run("faults", &it.args),
        Chore::Planted(it) => proof::run("planted", &it.args),
        Chore::Soak(it) => proof::run("soak", &it.args),
        Chore::Start(it) => proof::run("start", &it.args),
        Chore::Move(it) => proof::run("move", &it.args),
        Chore::Ci => ci::run(),
    }
}
