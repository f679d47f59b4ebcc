//! How fast: each figure is a ratio against a limit that is measured in the same run. It knows everything, and nothing depends on it.

#![allow(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]

mod count;
mod decide;
mod engine;
mod limit;
mod load;
mod machine;
mod plot;
mod process;
mod report;
mod sink;
mod start;
mod stream;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

// As the engine's own binary has it, and for the limit alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "flyball-bench", about = "Measures Flyball against limits, in one run.")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// How fast signals are decided, against a consumer that does nothing
    Decide(decide::Args),
    /// The consumer that does nothing, as a process of its own
    #[command(hide = true)]
    Limit(limit::Args),
    /// The engine on a simulated cluster, as a process of its own
    #[command(hide = true)]
    Engine(engine::Args),
}

fn main() -> Result<ExitCode> {
    // It fails only if somebody was quicker, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Cli::parse().bench {
        Bench::Decide(args) => decide::run(&args),
        Bench::Limit(args) => limit::run(&args).map(|()| ExitCode::SUCCESS),
        Bench::Engine(args) => engine::run(args).map(|()| ExitCode::SUCCESS),
    }
}
