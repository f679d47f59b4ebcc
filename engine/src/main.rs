//! Arguments, dispatch, exit code.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use flyball::cli::{Cli, Command};
use flyball::run::{Mode, run};
use flyball::{client, demo};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything opens a connection. It fails only if somebody was quicker, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let below = matches.subcommand().map_or(&matches, |(_, below)| below);
    match cli.command {
        Command::Run(args) => ended(block_on(run(Mode::Run, &args, below))),
        Command::Dev(args) => ended(block_on(run(Mode::Dev, &args, below))),
        Command::Demo(args) => match demo::play(args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => ended(Err(error)),
        },
        Command::Client(command) => client::run(*command),
    }
}

fn block_on(running: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(running)
}

/// 0, or 2 with the whole chain of reasons.
fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flyball: {error:#}");
            ExitCode::from(2)
        }
    }
}
