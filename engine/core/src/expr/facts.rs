//! What an expression may ask about: borrowed, so that asking copies nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::facts::{Rollout, Snapshot};
use crate::signal::{RankedCause, Signal};
use crate::workload::Workload;

/// The facts of one evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `signal`.
    pub signal: &'a Signal,
    /// `cause`: the ranked cause that the policy matched; null for an anomaly, and for a policy without `causes`.
    pub cause: Option<&'a RankedCause>,
    /// `target`; null when it is not known.
    pub target: Option<&'a TargetView>,
    /// `now`: the ledger's time.
    pub now: Timestamp,
}

/// What is known of a target without reading it anew, or from a fresh read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetView {
    /// Which workload.
    pub workload: Workload,
    /// Pods wanted.
    pub desired: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods ready.
    pub ready: i32,
    /// Pods available.
    pub available: i32,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
}

impl TargetView {
    /// Of a workload's rollout and labels.
    pub fn of(workload: Workload, rollout: &Rollout, labels: Arc<BTreeMap<String, String>>) -> Self {
        let Rollout { desired, updated, ready, available, .. } = *rollout;
        Self { workload, desired, updated, ready, available, labels }
    }
}

impl From<&Snapshot> for TargetView {
    fn from(seen: &Snapshot) -> Self {
        Self::of(seen.target.clone(), &seen.rollout, Arc::new(seen.labels.clone()))
    }
}
