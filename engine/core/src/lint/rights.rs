//! What the API server has to let us do for a policy.

use std::fmt;

use super::{Finding, Severity};
use crate::action::ActionKind;
use crate::policy::{Mode, Policy, PolicySet};
use crate::workload::WorkloadKind;

/// A right in the API server, in all namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Empty for the core group.
    pub group: &'static str,
    /// With its subresource, if one is meant: `pods/eviction`.
    pub resource: &'static str,
    /// What is done.
    pub verb: &'static str,
}

const fn right(group: &'static str, resource: &'static str, verb: &'static str) -> Right {
    Right { group, resource, verb }
}

/// The rights that a policy needs, as `deploy/rbac.yaml` has them. One in shadow is decided on what is watched, and one that acts on a
/// fresh read besides.
pub fn needed(policy: &Policy) -> Vec<Right> {
    if policy.mode == Mode::Disabled {
        return Vec::new();
    }
    // All workloads are followed, whatever a policy is about: they tell how much of a namespace is down.
    let followed =
        WorkloadKind::ALL.into_iter().flat_map(|kind| ["list", "watch"].map(|it| right("apps", kind.plural(), it)));
    if policy.mode == Mode::Shadow {
        return followed.collect();
    }
    // What most signals are about, where the policy does not say.
    let kind = policy.target_kind.unwrap_or(WorkloadKind::Deployment);
    let reads = [
        right("apps", kind.plural(), "get"),
        right("", "namespaces", "get"),
        right("autoscaling", "horizontalpodautoscalers", "list"),
    ];
    let mut all: Vec<Right> = followed.chain(reads).collect();
    for right in policy.actions().flat_map(|it| for_action(it.kind(), kind)) {
        if !all.contains(&right) {
            all.push(right);
        }
    }
    all
}

fn for_action(action: ActionKind, kind: WorkloadKind) -> Vec<Right> {
    if action == ActionKind::Escalate {
        return Vec::new();
    }
    let more = match action {
        ActionKind::Rollback if kind == WorkloadKind::Deployment => vec![right("apps", "replicasets", "list")],
        ActionKind::Rollback => vec![right("apps", "controllerrevisions", "list")],
        ActionKind::DeletePod => vec![
            right("", "pods", "get"),
            right("apps", "replicasets", "get"),
            right("policy", "poddisruptionbudgets", "list"),
            right("", "pods/eviction", "create"),
        ],
        ActionKind::Scale | ActionKind::Restart | ActionKind::Patch | ActionKind::Undo | ActionKind::Escalate => {
            Vec::new()
        }
    };
    std::iter::once(right("apps", kind.plural(), "patch")).chain(more).collect()
}

/// What is lacking where only some rights are granted: one finding for each policy. `by` names who was asked.
pub fn lacking(set: &PolicySet, by: &str, granted: impl Fn(&Right) -> bool) -> Vec<Finding> {
    let of = |policy: &Policy| {
        let lacks: Vec<String> = needed(policy).iter().filter(|it| !granted(it)).map(ToString::to_string).collect();
        if lacks.is_empty() {
            return None;
        }
        let message = format!("{by} does not grant what it needs: {}", lacks.join(", "));
        let hint = "grant it as `deploy/rbac.yaml` does, or take the policy out";
        Some(Finding::new("rights", Severity::Error, policy, message, hint))
    };
    set.policies().iter().filter_map(of).collect()
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(f, "{verb} {resource}{dot}{group}")
    }
}
