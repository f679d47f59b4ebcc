//! The HTTP API against a real engine on a ledger in memory, and the command line against that API.
#![allow(clippy::unwrap_used, reason = "this is test code, which clippy knows only by its `#[test]`")]

mod asked;
mod command_line;
mod decisions;
mod fakes;
mod hands;
mod pauses;
mod reload;
mod rules;
mod signals;
mod trust;
mod world;
