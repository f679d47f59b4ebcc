//! The three ports in memory: a bus, a ledger and a cluster that keep to the rules that the real ones were measured to keep,
//! and that fail on request. Everything is drawn from one seed and happens at the time of one clock, so that the same seed
//! and the same calls make the same history.
//!
//! It knows the core's ports and nothing of a runtime: time passes only through [`flyball_core::ports::Clock`].

mod anchor;
mod clock;
mod cluster;
mod ledger;
mod random;
mod rehearsal;
mod replicas;
mod script;
mod signals;
mod wake;
mod world;

pub use anchor::MemoryAnchor;
pub use clock::ManualClock;
pub use cluster::{Fault, Manifest, Race, SimCluster};
pub use ledger::{LedgerFault, MemoryLedger};
pub use random::Random;
pub use rehearsal::{Decided, Rehearsal, Witness};
pub use replicas::{Air, Ear};
pub use signals::{Acknowledged, MemorySignals, Refused};
pub use world::{Effect, Found, Sent, World};
