//! Making sure that a send which had no answer can never land.

use serde_json::{Value, json};

use super::{Intent, Stage};
use crate::facts::STAMP_FENCE;
use crate::id::IntentId;
use crate::workload::Workload;

/// A write to the target's metadata that takes the single-use token of an unsettled send: once it has landed, no copy of
/// that send can. If the send was faster, the fence is refused. Only an intent with an unsettled send makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    intent: IntentId,
    number: u32,
    target: Workload,
    body: Value,
}

impl Intent {
    /// The fence against the send that is not settled.
    pub fn fence(&self) -> Option<Fence> {
        let (Stage::Sending { number, change } | Stage::Unknown { number, change, .. }) = self.stage() else {
            return None;
        };
        let stamp = format!("{} {number}", self.id());
        let body = json!({"metadata": {
            "resourceVersion": &*change.resource_version, "uid": &*change.uid, "annotations": {STAMP_FENCE: stamp}}});
        Some(Fence { intent: self.id(), number: *number, target: self.request().target.clone(), body })
    }
}

impl Fence {
    /// Whose send it stops.
    pub fn intent(&self) -> IntentId {
        self.intent
    }

    /// Which send it stops.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Where.
    pub fn target(&self) -> &Workload {
        &self.target
    }

    /// The merge patch that is sent to the workload: the token and a mark, no field of the spec.
    pub fn body(&self) -> &Value {
        &self.body
    }
}
