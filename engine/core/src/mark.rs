//! The high-water mark: kept apart from the ledger, so that a ledger that was lost, cut or brought back from an older copy
//! is noticed. On a ledger that has forgotten, every guardrail would find nothing that speaks against acting.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::{Head, Sum};
use crate::id::Revision;

/// Which ledger it was, and how far it had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The ledger's identity. One that was removed and made again has another.
    pub ledger: Arc<str>,
    /// An entry that was there, and what it said: one that was cut off and grew again has another in its place.
    pub newest: Head,
}

/// Why a ledger is not acted on until an operator has said that it is the right one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// There is none.
    #[error("the ledger is gone: {} had reached entry {}", marked.ledger, marked.newest.revision)]
    Missing {
        /// What was there.
        marked: Mark,
    },
    /// It is another one.
    #[error("the ledger is not the one it was: {} had reached entry {}, and this is {found}", marked.ledger, marked.newest.revision)]
    Other {
        /// What was there.
        marked: Mark,
        /// What is there.
        found: Arc<str>,
    },
    /// It has lost its end.
    #[error("the ledger was cut short or brought back from an older copy: {} had reached entry {}, and ends at entry {newest}", marked.ledger, marked.newest.revision)]
    Behind {
        /// What was there.
        marked: Mark,
        /// What is there.
        newest: Revision,
    },
    /// It has lost its end, and was written to since.
    #[error("the ledger was brought back from an older copy and has grown since: entry {} of {} is not the one that was there", marked.newest.revision, marked.ledger)]
    Grown {
        /// What was there.
        marked: Mark,
    },
}

impl Mark {
    /// Whether the ledger that was found is the one that was marked, at least as long, and says the same where it was
    /// marked. `there`: the sum of the entry at the mark, where it could be read; one that was removed since by retention can
    /// not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn agrees(&self, found: &Arc<str>, newest: Revision, there: Option<Sum>) -> Result<(), Distrust> {
        if *found != self.ledger {
            return Err(Distrust::Other { marked: self.clone(), found: found.clone() });
        }
        if newest < self.newest.revision {
            return Err(Distrust::Behind { marked: self.clone(), newest });
        }
        if there.is_some_and(|it| it != self.newest.sum) {
            return Err(Distrust::Grown { marked: self.clone() });
        }
        Ok(())
    }
}
