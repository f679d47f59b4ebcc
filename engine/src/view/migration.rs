//! The move of a ledger to another store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::pause::{Wrong, name};

/// The wish to move it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMigration {
    /// The file that the ledger is kept in, as whoever asks believes: an engine on another one refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `nats`, or the absolute path of a file on the engine's machine.
    #[schema(min_length = 1)]
    pub to: String,
    /// The cluster that whoever asks means: an engine of another one refuses.
    pub cluster: String,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 100)]
    pub by: Option<String>,
}

impl NewMigration {
    /// Who asks, checked.
    ///
    /// # Errors
    /// The name cannot be used.
    pub fn asker(&self) -> Result<String, Wrong> {
        name(self.by.as_deref())
    }
}

/// How far a move is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// None was asked for since the engine has started.
    #[default]
    None,
    /// Entries are copied while others are appended.
    Copying,
    /// The append line stands still, or is about to.
    Switching,
    /// The engine works on the new ledger; the high-water mark follows.
    Finishing,
    /// Over.
    Done,
    /// It was given up; the same request goes on.
    Failed,
}

/// A move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Migration {
    /// How far it is.
    pub step: Step,
    /// Where to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The newest entry that the new ledger has.
    pub copied: u64,
    /// The newest entry that there is.
    pub of: u64,
    /// For how long nothing could be appended, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
    /// What went wrong, or where to start from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
