//! What no ledger of ours can say: found while folding, and never decided on.

use super::History;
use crate::chain::{Head, Sum};
use crate::id::Revision;
use crate::intent::IllegalEvent;
use crate::record::{Entry, Topic};

/// An entry that cannot follow what came before it: the ledger was edited, entries are missing, or we have a bug. Nothing
/// may be decided on such a ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// It does not continue its topic's chain.
    #[error(
        "entry {revision} of {topic} does not follow the one before it: it names the sum {found:?}, and that one has {expected:?}"
    )]
    Chain {
        /// Which entry.
        revision: Revision,
        /// Its topic, as a text.
        topic: String,
        /// The sum of the topic's entry before it, as far as this fold knows.
        expected: String,
        /// What it names instead.
        found: String,
    },
    /// It says what cannot have happened.
    #[error("entry {revision} of {topic} says what cannot be: {source}")]
    Event {
        /// Which entry.
        revision: Revision,
        /// Its topic, as a text.
        topic: String,
        /// What.
        source: IllegalEvent,
    },
}

impl Contradiction {
    pub(super) fn illegal(entry: &Entry, source: IllegalEvent) -> Self {
        Self::Event { revision: entry.revision, topic: entry.topic.to_string(), source }
    }

    fn chain(entry: &Entry, expected: Sum) -> Self {
        Self::Chain {
            revision: entry.revision,
            topic: entry.topic.to_string(),
            expected: expected.to_string(),
            found: entry.prev.to_string(),
        }
    }
}

impl History {
    /// Whether the entry continues its topic's chain.
    pub(super) fn continues(&self, entry: &Entry) -> Result<(), Contradiction> {
        let expected = match entry.topic {
            Topic::Note => return Ok(()),
            // A ledger that was purged begins anywhere.
            Topic::Admit if self.admit == Head::default() => return Ok(()),
            Topic::Admit => self.admit.sum,
            Topic::Intent(id) => match self.intents.head(id) {
                Some(head) => head.sum,
                // Its admission was purged: it says nothing to anybody.
                None => return Ok(()),
            },
        };
        if entry.prev == expected { Ok(()) } else { Err(Contradiction::chain(entry, expected)) }
    }
}
