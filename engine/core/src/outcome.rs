//! How an intent ends.

use serde::{Deserialize, Serialize};

/// The closed list of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// The rollout is complete and the symptom is gone.
    Recovered,
    /// The rollout is complete; nobody asked whether the symptom is gone.
    RolledOut,
    /// The rollout is complete, the symptom is still there.
    NotRecovered,
    /// The rollout failed.
    Failed,
    /// The rollout was not complete in time.
    TimedOut,
    /// It failed and was undone.
    RolledBack,
    /// Somebody else changed what we were about to change, or had changed.
    Superseded,
    /// The API server refused it.
    Rejected,
    /// A person, or a pause, ended it before anything was sent.
    Cancelled,
    /// Nothing was changed: a person was told.
    Escalated,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 10] = [
        Self::Recovered,
        Self::RolledOut,
        Self::NotRecovered,
        Self::Failed,
        Self::TimedOut,
        Self::RolledBack,
        Self::Superseded,
        Self::Rejected,
        Self::Cancelled,
        Self::Escalated,
    ];

    /// The fixed word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Recovered => "Recovered",
            Self::RolledOut => "RolledOut",
            Self::NotRecovered => "NotRecovered",
            Self::Failed => "Failed",
            Self::TimedOut => "TimedOut",
            Self::RolledBack => "RolledBack",
            Self::Superseded => "Superseded",
            Self::Rejected => "Rejected",
            Self::Cancelled => "Cancelled",
            Self::Escalated => "Escalated",
        }
    }

    /// Whether it counts for the breaker.
    pub fn trips_breaker(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut | Self::NotRecovered | Self::RolledBack)
    }

    /// Whether what was asked for was done and holds.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Recovered | Self::RolledOut)
    }

    /// The verification status of the SmartOps Orchestrator.
    pub fn verification_status(self) -> &'static str {
        match self {
            Self::Recovered | Self::RolledOut => "SUCCESS",
            Self::TimedOut => "TIMED_OUT",
            _ => "FAILED",
        }
    }
}
