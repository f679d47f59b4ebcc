//! An intent as a snapshot of the fold keeps it. `Intent` itself cannot be read from bytes: only the fold makes one, and
//! what the fold was is the fold's own affair.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Event, Intent, Stage, Writer};
use crate::action::ActionRequest;
use crate::chain::Head;
use crate::id::IntentId;
use crate::plan::Change;

/// An intent that the fold holds. A copy of the fold shares it until one of the two changes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept(pub(crate) Arc<Intent>);

impl Kept {
    pub(crate) fn intent(&self) -> &Intent {
        &self.0
    }

    pub(crate) fn intent_mut(&mut self) -> &mut Intent {
        Arc::make_mut(&mut self.0)
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Fields::serialize(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Fields::deserialize(from).map(|intent| Self(Arc::new(intent)))
    }
}

/// The fields of [`Intent`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "Intent")]
struct Fields {
    id: IntentId,
    request: ActionRequest,
    change: Change,
    admitted_at: Timestamp,
    head: Head,
    writer: Writer,
    stage: Stage,
    attempts: u32,
    sent_in: u32,
    cancelled: Option<String>,
    rollout_over: bool,
    events: Vec<(Timestamp, Event)>,
}
