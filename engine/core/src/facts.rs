//! What the cluster said about a target, reduced to the facts that decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::id::{IntentId, digest};
use crate::workload::{Workload, WorkloadKind};

/// Annotation on a target: the id of the last intent that changed it. It answers "did it land?".
pub const STAMP_INTENT: &str = "flyball.dev/intent";
/// Annotation on a target: when that was (the intent's time) and the action's kind, `2026-01-10T01:00:00Z restart`.
pub const STAMP_LAST_ACTION: &str = "flyball.dev/last-action";
/// Annotation on a target: the last send that was fenced off, `<intent> <number>`. It answers "can it still land?".
pub const STAMP_FENCE: &str = "flyball.dev/fence";
/// Annotation on a workload or namespace: leave it alone.
pub const OPT_OUT: &str = "flyball.dev/paused";

/// A fresh read of a target and of what bears on it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which workload.
    pub target: Workload,
    /// The object's uid.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`: the single-use token of our next write.
    pub resource_version: Arc<str>,
    /// The object's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The object's labels.
    pub labels: BTreeMap<String, String>,
    /// `spec` as stored.
    pub spec: Value,
    /// The rollout's numbers.
    pub rollout: Rollout,
    /// `deletionTimestamp` is set.
    pub deleting: bool,
    /// The namespace carries the opt-out annotation.
    pub namespace_opted_out: bool,
    /// Who else writes to it.
    pub managers: Managers,
    /// Old templates, newest first; read only for a rollback.
    pub revisions: Vec<TemplateRevision>,
    /// The pod that the action names; read only for `deletePod`.
    pub pod: Option<PodFacts>,
    /// The namespace's other workloads.
    pub neighbours: Neighbours,
}

impl Snapshot {
    /// The intent that stamped the object last.
    pub fn stamp(&self) -> Option<IntentId> {
        self.annotations.get(STAMP_INTENT)?.parse().ok()
    }

    /// The send that was fenced off last: whose, and which.
    pub fn fence(&self) -> Option<(IntentId, u32)> {
        let (intent, number) = self.annotations.get(STAMP_FENCE)?.split_once(' ')?;
        Some((intent.parse().ok()?, number.parse().ok()?))
    }

    /// Digest of `spec`.
    pub fn spec_digest(&self) -> Arc<str> {
        digest(self.spec.to_string().as_bytes()).into()
    }

    /// `spec.paused` of a Deployment.
    pub fn paused(&self) -> bool {
        self.spec.get("paused").and_then(Value::as_bool).unwrap_or(false)
    }

    /// `spec.replicas`; a workload without the field has one.
    pub fn replicas(&self) -> i32 {
        self.spec.get("replicas").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok()).unwrap_or(1)
    }
}

/// Who else writes to the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers {
    /// The autoscaler that owns `replicas`.
    pub autoscaler: Option<String>,
    /// The GitOps tool that owns the spec.
    pub gitops: Option<String>,
    /// Whether that tool keeps `replicas`, too (it wrote the field).
    pub gitops_owns_replicas: bool,
}

/// An old template of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateRevision {
    /// As `kubectl rollout history` numbers it.
    pub revision: i64,
    /// Uid of the ReplicaSet or ControllerRevision that keeps it.
    pub uid: Arc<str>,
    /// The pod template, without what the controller adds.
    pub template: Value,
}

/// The pod that a signal names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Name.
    pub name: Arc<str>,
    /// Uid: the only identity of a pod.
    pub uid: Arc<str>,
    /// The budget that forbids its eviction now.
    pub blocked_by: Option<String>,
}

/// Which workloads of the namespace are down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Workloads in the namespace, the target included.
    pub total: u32,
    /// Those with fewer available pods than wanted.
    pub unhealthy: BTreeSet<Workload>,
}

/// A rollout's numbers, as `kubectl rollout status` reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Kind: each has its own rules.
    pub kind: WorkloadKind,
    /// The object's uid.
    pub uid: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`: older status is not believed.
    pub observed_generation: i64,
    /// Pods wanted.
    pub desired: i32,
    /// Pods in all.
    pub total: i32,
    /// Pods of the new template.
    pub updated: i32,
    /// Pods ready.
    pub ready: i32,
    /// Pods available.
    pub available: i32,
    /// The controller gave up (`ProgressDeadlineExceeded`).
    pub deadline_exceeded: bool,
    /// `OnDelete`: the controller never rolls by itself.
    pub on_delete: bool,
    /// StatefulSet `partition`: pods below it stay old.
    pub partition: i32,
}

impl Rollout {
    /// Whether the rollout is complete by kubectl's own rules.
    pub fn complete(&self) -> bool {
        if self.generation > self.observed_generation {
            return false;
        }
        match self.kind {
            WorkloadKind::Deployment => {
                self.updated >= self.desired && self.total <= self.updated && self.available >= self.updated
            }
            WorkloadKind::StatefulSet => {
                self.ready >= self.desired && (self.on_delete || self.updated >= self.desired - self.partition)
            }
            WorkloadKind::DaemonSet => {
                (self.on_delete || self.updated >= self.desired) && self.available >= self.desired
            }
        }
    }

    /// Whether a rollout is under way: a generation not yet observed, or old pods still there while it makes progress.
    /// One past its progress deadline is stuck, not in progress.
    pub fn in_progress(&self) -> bool {
        if self.generation > self.observed_generation {
            return true;
        }
        // Pods below the partition stay old for good. A first pod that is still to come counts as well: between the last
        // old and the first new one a `Recreate` has neither. Missing pods alone are no rollout: a quota may hold them back
        // for ever, and no deadline counts for that.
        let old_pods = self.total.saturating_sub(self.updated) > self.partition;
        let none_yet = self.total == 0 && self.desired > 0;
        (old_pods || none_yet) && !self.on_delete && !self.deadline_exceeded
    }

    /// Whether pods are missing.
    pub fn unhealthy(&self) -> bool {
        self.available < self.desired
    }
}

/// A target's rollout and spec, read to verify.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The numbers.
    pub rollout: Rollout,
    /// `spec` as stored, to see whether our change is still in place.
    pub spec: Value,
    /// The intent that stamped the object last.
    pub stamp: Option<IntentId>,
    /// Uid of the pod that we evicted, if it is still there.
    pub pod_still_there: bool,
    /// When it was read.
    pub read_at: Timestamp,
}
