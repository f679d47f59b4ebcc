//! The loop on real servers, each sentence of the promise a test.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

#[path = "live/actions.rs"]
mod actions;
#[path = "live/amnesia.rs"]
mod amnesia;
#[path = "live/bad_input.rs"]
mod bad_input;
#[path = "live/crowds.rs"]
mod crowds;
#[path = "live/faults.rs"]
mod faults;
#[path = "live/guardrails.rs"]
mod guardrails;
#[path = "live/replicas.rs"]
mod replicas;
#[path = "live/telemetry.rs"]
mod telemetry;
