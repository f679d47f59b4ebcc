//! The life of an intent, as a fold over its events.

mod attempt;
mod fence;
mod kept;
mod stage;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use attempt::{Attempt, Execution};
pub use fence::Fence;
pub(crate) use kept::Kept;
pub use stage::{IllegalEvent, Stage, advance};

use crate::action::{ActionRequest, OnFailure};
use crate::chain::Head;
use crate::id::IntentId;
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
    /// A person wants it to end before it has an effect.
    CancelAsked {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A person's word settles a send that could not be read back: the end.
    Resolved {
        /// Whether they say that it landed.
        applied: bool,
        /// Whether a fence keeps every copy of it from landing later. Without one, only their word does.
        fenced: bool,
        /// Who.
        by: String,
        /// Why.
        reason: String,
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

/// A promise to act, as the ledger holds it. Only the fold of the ledger makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    id: IntentId,
    request: ActionRequest,
    change: Change,
    admitted_at: Timestamp,
    head: Head,
    writer: Writer,
    stage: Stage,
    attempts: u32,
    /// The epoch of the process that sent last.
    sent_in: u32,
    cancelled: Option<String>,
    rollout_over: bool,
    events: Vec<(Timestamp, Event)>,
}

impl Intent {
    /// `head`: the newest entry on its topic, if it was admitted before.
    pub(crate) fn new(admission: &crate::record::Admission, head: Head, at: Timestamp) -> Self {
        Self {
            id: admission.id,
            request: admission.request.clone(),
            change: admission.change.clone(),
            admitted_at: at,
            head,
            writer: admission.writer.clone(),
            stage: Stage::Recorded,
            attempts: 0,
            sent_in: 0,
            cancelled: None,
            rollout_over: false,
            events: Vec::new(),
        }
    }

    /// Folds an event in.
    pub(crate) fn apply(&mut self, event: &Event, head: Head, at: Timestamp) -> Result<(), IllegalEvent> {
        self.counts_on(event)?;
        self.stage = advance(self.stage.clone(), event, at)?;
        self.head = head;
        match event {
            Event::Attempted { number, change } => {
                self.attempts = *number;
                self.change = change.clone();
                self.sent_in = self.writer.epoch;
            }
            Event::TakenOver { by } => self.writer = by.clone(),
            Event::CancelAsked { by, reason } => self.cancelled = Some(format!("cancelled by {by}: {reason}")),
            Event::RolledOut | Event::Resolved { .. } | Event::Closed { .. } => self.rollout_over = true,
            Event::Unanswered { .. } | Event::Missed { .. } | Event::Applied(_) | Event::Undoing { .. } => {}
        }
        self.events.push((at, event.clone()));
        Ok(())
    }

    /// Its undo was admitted, and rolls out in its slot.
    pub(crate) fn undone_by_an_intent(&mut self) {
        self.rollout_over = false;
    }

    /// A fence took this position: what was sent there unanswered can no longer land.
    pub(crate) fn fenced(&mut self, head: Head) {
        self.head = head;
    }

    /// Whether `event` may be its next one, its number or epoch included.
    ///
    /// # Errors
    /// Why not: written all the same, it would make the ledger a contradiction for everybody.
    pub fn can_follow(&self, event: &Event, at: Timestamp) -> Result<(), IllegalEvent> {
        self.counts_on(event)?;
        advance(self.stage.clone(), event, at).map(drop)
    }

    /// Sends and epochs have no gaps: a number that is left out is an entry that somebody took away.
    fn counts_on(&self, event: &Event) -> Result<(), IllegalEvent> {
        let (what, found, last) = match event {
            Event::Attempted { number, .. } => ("send", *number, self.attempts),
            Event::TakenOver { by } => ("epoch", by.epoch, self.writer.epoch),
            _ => return Ok(()),
        };
        if Some(found) == last.checked_add(1) { Ok(()) } else { Err(IllegalEvent::miscounted(what, found, last)) }
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

    /// Its newest entry: what the next one has to expect.
    pub fn head(&self) -> Head {
        self.head
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

    /// Who wants it to end before it has an effect, and why, in words.
    pub fn cancelled(&self) -> Option<&str> {
        self.cancelled.as_deref()
    }

    /// Whether a send that is not settled was made by a process that drives it no more: a copy of it may still be held
    /// somewhere, so it is fenced off before anything else is done.
    pub fn sent_by_another(&self) -> bool {
        self.sent_in < self.writer.epoch
    }

    /// What happened to it, oldest first.
    pub fn events(&self) -> &[(Timestamp, Event)] {
        &self.events
    }

    /// Not closed.
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Closed { .. })
    }

    /// Whether it occupies one of the cluster's slots: from admission to the rollout's verdict, and again from the admission
    /// of its undo, which lives in its parent's slot, to its own end.
    pub fn holds_slot(&self) -> bool {
        self.is_open() && !self.rollout_over && self.request.undoes().is_none() && self.change.edit != Edit::Tell
    }

    /// Whether it has given its slot back and wants one for its undo: the next that frees is kept for it.
    pub fn claims_slot(&self) -> bool {
        self.rollout_over && matches!(self.stage, Stage::Undoing { .. })
    }
}

/// Whether a failed verification is taken back.
pub fn undoes_on_failure(intent: &Intent) -> bool {
    intent.request.verify.on_failure == OnFailure::Undo
        && intent.request.undoes().is_none()
        && matches!(&intent.change.edit, Edit::Fields { revert: Some(_), .. })
}
