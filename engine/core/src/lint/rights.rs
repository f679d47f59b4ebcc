//! What the API server has to let us do for a policy.

use super::{Finding, Severity};
use crate::action::{Action, ActionKind};
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

/// The rights that a policy needs, as `deploy/rbac.yaml` has them. A policy in shadow changes nothing.
pub fn needed(policy: &Policy) -> Vec<Right> {
    if policy.mode == Mode::Disabled {
        return Vec::new();
    }
    // What most signals are about, where the policy does not say.
    let kind = policy.target_kind.unwrap_or(WorkloadKind::Deployment);
    let of_kind = |verb| right("apps", kind.plural(), verb);
    let mut all = vec![of_kind("get"), of_kind("list"), of_kind("watch"), right("", "namespaces", "get")];
    let acts = policy.mode == Mode::Enforce;
    if acts {
        all.push(of_kind("patch"));
    }
    match policy.action.kind() {
        ActionKind::Scale => all.push(right("autoscaling", "horizontalpodautoscalers", "list")),
        ActionKind::Rollback if kind == WorkloadKind::Deployment => all.push(right("apps", "replicasets", "list")),
        ActionKind::Rollback => all.push(right("apps", "controllerrevisions", "list")),
        ActionKind::DeletePod => {
            all.extend([right("", "pods", "get"), right("apps", "replicasets", "get")]);
            all.push(right("policy", "poddisruptionbudgets", "list"));
            if acts {
                all.push(right("", "pods/eviction", "create"));
            }
        }
        ActionKind::Restart | ActionKind::Patch | ActionKind::Undo => {}
    }
    if matches!(policy.action, Action::Patch(_)) {
        // A patch may write the number of replicas.
        all.push(right("autoscaling", "horizontalpodautoscalers", "list"));
    }
    all
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

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, resource, verb } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(f, "{verb} {resource}{dot}{group}")
    }
}
