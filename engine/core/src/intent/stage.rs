//! Where an intent stands, and the one function that moves it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Event, Receipt};
use crate::id::IntentId;
use crate::outcome::Outcome;
use crate::plan::Change;

/// Where an intent stands. What exists only in one stage lives in that stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    /// Admitted, nothing outstanding.
    Recorded,
    /// A send may be on its way.
    Sending {
        /// Which.
        number: u32,
        /// What.
        change: Change,
    },
    /// A send had no answer: left only by reading.
    Unknown {
        /// Which.
        number: u32,
        /// What.
        change: Change,
        /// What was seen instead of an answer.
        detail: String,
    },
    /// It landed; the rollout is watched.
    Applied {
        /// Proof.
        receipt: Receipt,
        /// Since when.
        at: Timestamp,
    },
    /// The rollout is complete; stability and recovery are watched.
    RolledOut {
        /// Proof.
        receipt: Receipt,
        /// When it landed.
        at: Timestamp,
        /// When the rollout was complete.
        complete_at: Timestamp,
    },
    /// It failed and is being taken back.
    Undoing {
        /// The undo's id.
        undo: IntentId,
        /// The verdict.
        verdict: Outcome,
        /// What was seen.
        detail: String,
    },
    /// Over.
    Closed {
        /// How it ended.
        outcome: Outcome,
        /// What was seen.
        detail: String,
        /// When.
        at: Timestamp,
    },
}

impl Stage {
    /// The word that people see.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Recorded => "Recorded",
            Self::Sending { .. } => "Sending",
            Self::Unknown { .. } => "Unknown",
            Self::Applied { .. } => "Applied",
            Self::RolledOut { .. } => "RolledOut",
            Self::Undoing { .. } => "Undoing",
            Self::Closed { outcome, .. } => outcome.label(),
        }
    }
}

/// An event that cannot follow: the ledger contradicts itself, or we have a bug. Never ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot follow {stage}")]
pub struct IllegalEvent {
    stage: String,
    event: String,
}

impl IllegalEvent {
    /// A count that does not go on where the last one ended.
    pub(super) fn miscounted(what: &str, found: u32, last: u32) -> Self {
        Self { stage: format!("{what} {last}"), event: format!("{what} {found}") }
    }
}

/// The only way a stage changes. Everything that is not listed is illegal.
pub fn advance(stage: Stage, event: &Event, at: Timestamp) -> Result<Stage, IllegalEvent> {
    use {Event as E, Stage as S};
    Ok(match (stage, event) {
        (S::Recorded, E::Attempted { number, change }) => S::Sending { number: *number, change: change.clone() },
        (S::Sending { number, change }, E::Unanswered { detail }) => {
            S::Unknown { number, change, detail: detail.clone() }
        }
        (S::Sending { .. } | S::Unknown { .. }, E::Missed { .. }) => S::Recorded,
        (S::Sending { .. } | S::Unknown { .. }, E::Applied(receipt)) => S::Applied { receipt: receipt.clone(), at },
        (S::Applied { receipt, at: landed }, E::RolledOut) => S::RolledOut { receipt, at: landed, complete_at: at },
        (S::Applied { .. } | S::RolledOut { .. }, E::Undoing { undo, verdict, detail }) => {
            S::Undoing { undo: *undo, verdict: *verdict, detail: detail.clone() }
        }
        (S::Closed { .. }, E::TakenOver { .. }) => return Err(illegal("Closed", event)),
        // What has landed is not cancelled but undone.
        (stage, E::TakenOver { .. })
        | (stage @ (S::Recorded | S::Sending { .. } | S::Unknown { .. }), E::CancelAsked { .. }) => stage,
        (S::Sending { .. } | S::Unknown { .. }, E::Resolved { applied, fenced, by, reason }) => {
            // By a person's word it is neither a success nor a failure of ours.
            let outcome = if *applied { Outcome::Superseded } else { Outcome::Cancelled };
            let (word, how) =
                (if *applied { "applied" } else { "absent" }, if *fenced { "fenced" } else { "not fenced" });
            S::Closed { outcome, detail: format!("resolved as {word} by {by}: {reason} ({how})"), at }
        }
        // A send that may still land is never closed: it is settled by reading, or fenced, first.
        (S::Recorded | S::Applied { .. } | S::RolledOut { .. } | S::Undoing { .. }, E::Closed { outcome, detail }) => {
            S::Closed { outcome: *outcome, detail: detail.clone(), at }
        }
        (
            S::Sending { .. } | S::Unknown { .. },
            E::Closed { outcome: outcome @ (Outcome::Superseded | Outcome::Rejected), detail },
        ) => S::Closed { outcome: *outcome, detail: detail.clone(), at },
        (stage, event) => return Err(illegal(stage.label(), event)),
    })
}

fn illegal(stage: &str, event: &Event) -> IllegalEvent {
    let event = format!("{event:?}");
    let name = event.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    IllegalEvent { stage: stage.to_owned(), event: name }
}
