//! The life of an intent, as a fold over its events.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::action::{ActionRequest, OnFailure};
use crate::deny::DenyReason;
use crate::id::{IntentId, Revision};
use crate::outcome::Outcome;
use crate::plan::{Change, Edit};

/// Who writes an intent's entries: a stable name, a nonce of the process, and how often the intent changed hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The replica's stable name.
    pub replica: Arc<str>,
    /// Differs from process to process.
    pub process: Arc<str>,
    /// Counts take-overs.
    pub epoch: u32,
}

/// Something that happened to an intent after its admission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// It is about to be sent: written before the request leaves, so that every send is known.
    Attempted {
        /// Counts from 1.
        number: u32,
        /// What is sent.
        change: Change,
    },
    /// The send had no answer that settles it.
    Unanswered {
        /// What was seen instead.
        detail: String,
    },
    /// Read back: it has not landed, and no copy of it can land any more.
    Missed {
        /// Why.
        detail: String,
    },
    /// It landed.
    Applied(Receipt),
    /// The rollout is complete: its slot is free, the target stays busy.
    RolledOut,
    /// Verification failed and an undo was asked for.
    Undoing {
        /// The undo's id.
        undo: IntentId,
        /// The verdict that asked for it.
        verdict: Outcome,
        /// What was seen.
        detail: String,
    },
    /// Another process drives it from here on.
    TakenOver {
        /// Who.
        by: Writer,
    },
    /// The end.
    Closed {
        /// How.
        outcome: Outcome,
        /// What was seen.
        detail: String,
    },
}

/// Proof that a change landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// `metadata.generation` after it: success is tied to it.
    pub generation: i64,
    /// `metadata.resourceVersion` after it.
    pub resource_version: Arc<str>,
}

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
        (stage, E::TakenOver { .. }) => stage,
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

/// A promise to act, as the ledger holds it. Only the fold of the ledger makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    id: IntentId,
    request: ActionRequest,
    change: Change,
    admitted_at: Timestamp,
    revision: Revision,
    writer: Writer,
    stage: Stage,
    attempts: u32,
    rollout_over: bool,
    events: Vec<(Timestamp, Event)>,
}

impl Intent {
    pub(crate) fn new(admission: &crate::record::Admission, at: Timestamp) -> Self {
        Self {
            id: admission.id,
            request: admission.request.clone(),
            change: admission.change.clone(),
            admitted_at: at,
            revision: Revision::default(),
            writer: admission.writer.clone(),
            stage: Stage::Recorded,
            attempts: 0,
            rollout_over: false,
            events: Vec::new(),
        }
    }

    /// Folds an event in.
    pub(crate) fn apply(&mut self, event: &Event, revision: Revision, at: Timestamp) -> Result<(), IllegalEvent> {
        self.stage = advance(self.stage.clone(), event, at)?;
        self.revision = revision;
        match event {
            Event::Attempted { number, change } => {
                self.attempts = *number;
                self.change = change.clone();
            }
            Event::TakenOver { by } => self.writer = by.clone(),
            Event::RolledOut | Event::Closed { .. } => self.rollout_over = true,
            // The undo rolls out in its parent's slot.
            Event::Undoing { .. } => self.rollout_over = false,
            Event::Unanswered { .. } | Event::Missed { .. } | Event::Applied(_) => {}
        }
        self.events.push((at, event.clone()));
        Ok(())
    }

    /// A fence took this position: what was sent there unanswered can no longer land.
    pub(crate) fn fenced(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// Identity.
    pub fn id(&self) -> IntentId {
        self.id
    }

    /// What was asked.
    pub fn request(&self) -> &ActionRequest {
        &self.request
    }

    /// The change as admitted, or as sent last.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// When it was admitted, by the ledger's time.
    pub fn admitted_at(&self) -> Timestamp {
        self.admitted_at
    }

    /// Revision of its newest event; what the next one has to expect.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Who drives it.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Where it stands.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// How often it was sent.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What happened to it, oldest first.
    pub fn events(&self) -> &[(Timestamp, Event)] {
        &self.events
    }

    /// Not closed.
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Closed { .. })
    }

    /// Whether it occupies one of the cluster's slots: from admission to the rollout's verdict. An undo lives in its
    /// parent's slot, which stays taken until the undo is closed.
    pub fn holds_slot(&self) -> bool {
        self.is_open() && !self.rollout_over && self.request.undoes().is_none()
    }

    /// The send that the ledger knows of and that is not settled. The only source of an `Attempt`.
    pub fn attempt(&self) -> Option<Attempt> {
        match &self.stage {
            Stage::Sending { number, change } | Stage::Unknown { number, change, .. } => Some(Attempt {
                intent: self.id,
                number: *number,
                request: self.request.clone(),
                change: change.clone(),
                stamped_at: self.admitted_at,
            }),
            _ => None,
        }
    }
}

/// Leave to send one change once. `Cluster::execute` consumes it; only an intent whose attempt is on the ledger makes one.
#[derive(Debug, PartialEq)]
pub struct Attempt {
    intent: IntentId,
    number: u32,
    request: ActionRequest,
    change: Change,
    stamped_at: Timestamp,
}

impl Attempt {
    /// Whose.
    pub fn intent(&self) -> IntentId {
        self.intent
    }

    /// Which send, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What was asked.
    pub fn request(&self) -> &ActionRequest {
        &self.request
    }

    /// What is sent.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The annotations that go onto the target in the same request.
    pub fn stamp(&self) -> [(&'static str, String); 2] {
        let last = format!("{} {}", self.stamped_at, self.request.action.kind());
        [(crate::facts::STAMP_INTENT, self.intent.to_string()), (crate::facts::STAMP_LAST_ACTION, last)]
    }

    /// The merge patch that is sent to the workload: token, stamp and fields in one request.
    pub fn body(&self) -> serde_json::Value {
        let annotations: serde_json::Map<_, _> =
            self.stamp().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        let guard = serde_json::json!({"metadata": {
            "resourceVersion": &*self.change.resource_version, "uid": &*self.change.uid, "annotations": annotations}});
        match &self.change.edit {
            Edit::Fields { apply, .. } => crate::merge::join(guard, apply),
            Edit::Evict { .. } => guard,
        }
    }
}

/// What the executor knows after one send.
#[derive(Clone, Debug, PartialEq)]
pub enum Execution {
    /// It landed.
    Applied(Receipt),
    /// A conflict: something moved since the read. Whether we did is found by reading.
    Conflict(String),
    /// The server will never take it.
    Rejected(DenyReason),
    /// No answer that settles it. A stage to leave by reading, never an outcome.
    Unknown(String),
}

/// Whether a failed verification is taken back.
pub fn undoes_on_failure(intent: &Intent) -> bool {
    intent.request.verify.on_failure == OnFailure::Undo
        && intent.request.undoes().is_none()
        && matches!(&intent.change.edit, Edit::Fields { revert: Some(_), .. })
}
