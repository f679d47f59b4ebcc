//! The only memory: the fold that everything is decided on, and the two places where its entries are kept. Same entries,
//! same compares, one contract test (`tests/ledger_contract.rs`).

mod awaited;
mod book;
pub mod dump;
mod file;
mod folds;
mod inspect;
mod jetstream;
pub mod migration;
pub mod stored;
mod switch;
mod timed;
mod upkeep;

/// What ends the refusal of a ledger that was moved.
pub(crate) const START_THERE: &str = "start there";

pub use book::{Book, Halt};
pub use file::{FileDraft, FileLedger, NotADraft, OpenError};
pub use inspect::{Finding, Report, inspect};
pub use jetstream::{JetStreamLedger, Options as JetStreamOptions, StreamDraft};
pub use switch::Switch;
pub(crate) use timed::Timed;
pub use upkeep::{Pace, Retention, upkeep};
