//! Where a signal that came over HTTP goes: to the bus, so that it takes the same way as all others.

use flyball_core::ports::{Answer, Message};

/// The way onto the bus.
pub trait Publish: Send + Sync {
    /// Returns the signal's sequence once it is durable.
    fn publish(&self, message: Message) -> Answer<'_, Result<u64, PublishError>>;
    /// Signals published and not yet decided, where that is known.
    fn depth(&self) -> u64;
}

/// Why a signal was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too many wait already: come again.
    #[error("too many signals wait already")]
    Full,
    /// The bus cannot be reached.
    #[error("the bus cannot be reached: {0}")]
    Unavailable(String),
}
