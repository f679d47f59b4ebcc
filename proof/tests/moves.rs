//! Real processes copy and move a ledger, die of SIGKILL at any moment, and the same command goes on: the bytes are the same in the
//! end, nothing is lost and nothing is there twice. And a move while the API server is down.
#![allow(missing_docs, reason = "tests say what they are by their names")]

#[path = "moves/bed.rs"]
mod bed;
#[path = "moves/commands.rs"]
mod commands;
#[path = "moves/engines.rs"]
mod engines;
#[path = "moves/outage.rs"]
mod outage;
#[path = "moves/scene.rs"]
mod scene;
