//! What people may do to an action, as typed.

use clap::Args;

use super::{Connection, Output};
use crate::view::hand::End;

/// Ends an action before it has an effect.
#[derive(Args, Debug)]
pub struct Cancel {
    /// The action's id, or the first six characters and more
    pub id: String,
    /// Why: it is kept with the decision
    #[arg(long)]
    pub reason: String,
    /// Who cancels
    #[arg(long, env = "USER", hide_env = true)]
    pub by: Option<String>,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}

/// Says what became of a send.
#[derive(Args, Debug)]
pub struct Resolve {
    /// The action's id, or the first six characters and more
    pub id: String,
    /// What became of it
    #[arg(long = "as", value_name = "END")]
    pub end: End,
    /// How that is known: it is kept with the decision
    #[arg(long)]
    pub reason: String,
    /// Who says so
    #[arg(long, env = "USER", hide_env = true)]
    pub by: Option<String>,
    /// Where the engine is.
    #[command(flatten)]
    pub connection: Connection,
    /// How to answer.
    #[command(flatten)]
    pub output: Output,
}
