//! The core by tables: what goes in, what comes out. `build` knows the API, the tests know inputs and answers.
// Clippy takes only the `#[test]` functions for tests, not what helps them.
#![allow(clippy::unwrap_used)]

mod accepted;
mod again;
mod bounded;
mod breaker;
mod build;
mod candidates;
mod chaining;
mod clauses;
mod correlating;
mod custom;
mod expressions;
mod faults;
mod fencing;
mod hints;
mod inspect;
mod keeping;
mod life;
mod linting;
mod marks;
mod patch_faults;
mod patching;
mod planning;
mod ports;
mod propose;
mod remembering;
mod reserving;
mod rollouts;
mod screen;
mod sets;
mod shared;
mod steps;
mod tell;
mod trusting;
mod verifying;
mod words;
