//! `cargo xtask sim|crash|faults|planted|soak|start|move`, each with its own help.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use flyball_proof::{crash, faults, moves, planted, sim, soak, start};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Shows that Flyball keeps its promise, or where it does not.")]
struct Cli {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Subcommand)]
enum Proof {
    /// Many replicas, virtual time, every fault: one seed after the other.
    Sim(sim::Args),
    /// kill -9 at every point, on real servers.
    Crash(crash::Args),
    /// Faults of NATS, of the API server and of the network, on real servers.
    Faults(faults::Args),
    /// Bugs put in on purpose: each has to be found.
    Planted(planted::Args),
    /// Random kills for as long as you like, on real servers.
    Soak(soak::Args),
    /// How long a start takes on a ledger with a long past.
    Start(start::Args),
    /// How long appends wait while the ledger moves to another store.
    Move(moves::Args),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().proof {
        Proof::Sim(args) => sim::run(&args),
        Proof::Crash(args) => crash::run(&args),
        Proof::Faults(args) => faults::run(&args),
        Proof::Planted(args) => planted::run(&args),
        Proof::Soak(args) => soak::run(&args),
        Proof::Start(args) => start::run(&args),
        Proof::Move(args) => moves::run(&args),
    }
}
