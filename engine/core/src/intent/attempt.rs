//! Leave to send: what the executor gets, and what it answers.

use jiff::Timestamp;

use super::{Intent, Receipt, Stage};
use crate::action::{Action, ActionRequest};
use crate::deny::DenyReason;
use crate::id::IntentId;
use crate::plan::{Change, Edit};

impl Intent {
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
        let kind = self.request.action.kind();
        let last = match self.request.action {
            Action::Undo { of, .. } => format!("{} {kind} {of}", self.stamped_at),
            _ => format!("{} {kind}", self.stamped_at),
        };
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
            Edit::Evict { .. } | Edit::Tell => guard,
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
