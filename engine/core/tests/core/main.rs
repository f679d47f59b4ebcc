//! The core by tables: what goes in, what comes out. `build` knows the API, the tests know inputs and answers.
// Clippy takes only the `#[test]` functions for tests, not what helps them.
#![allow(clippy::unwrap_used)]

mod bounded;
mod breaker;
mod build;
mod chaining;
mod custom;
mod expressions;
mod faults;
mod inspect;
mod life;
mod linting;
mod patch_faults;
mod planning;
mod propose;
mod remembering;
mod rollouts;
mod screen;
mod sets;
mod tell;
mod verifying;
