//! The numbers of the guardrails: cluster-wide defaults, hard limits, and what a policy makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, VerifySpec};
use crate::policy::{Conditions, Mode};
use crate::window::FreezeWindow;

/// At most `max` within any `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// How many.
    pub max: u32,
    /// Within how long.
    pub per: SignedDuration,
}

/// Lower and upper bound, both allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Least.
    pub min: i32,
    /// Most.
    pub max: i32,
}

/// The limits that a policy may tighten or loosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyLimits {
    /// Rest after an action, per (namespace, workload, action type).
    pub cooldown: SignedDuration,
    /// Actions per (namespace, workload, action type).
    pub action_budget: Budget,
    /// Replicas that a scale may end at.
    pub replicas: Bounds,
    /// Sum of increases per workload.
    pub scale_up: Budget,
    /// Least confidence of an rca, 0 to 1.
    pub min_confidence: f64,
    /// After so many failed verifications in a row the policy acts no more until a person trusts it again; 0: it always acts.
    #[serde(default)]
    pub demote_after: u32,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            cooldown: SignedDuration::from_mins(5),
            action_budget: Budget { max: 6, per: SignedDuration::from_hours(1) },
            replicas: Bounds { min: 1, max: 8 },
            scale_up: Budget { max: 3, per: SignedDuration::from_mins(15) },
            min_confidence: 0.5,
            demote_after: 3,
        }
    }
}

/// What several policies start from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Limits.
    pub limits: PolicyLimits,
    /// How success is judged.
    pub verify: VerifySpec,
}

/// The limits that no policy can loosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HardLimits {
    /// Actions in the cluster.
    pub cluster_budget: Budget,
    /// Actions in one namespace.
    pub namespace_budget: Budget,
    /// Rollouts of ours at once in the cluster.
    pub concurrency_cluster: u32,
    /// Rollouts of ours at once in one namespace.
    pub concurrency_namespace: u32,
    /// Of a namespace's workloads: how many per cent may be down or under remediation at once. One is always allowed.
    pub max_unavailable_percent: u32,
    /// No policy's cooldown is shorter.
    pub min_cooldown: SignedDuration,
    /// No scale goes higher.
    pub max_replicas: i32,
    /// The cluster's breaker.
    pub breaker: Breaker,
}

/// Verified failures open it; half-open lets one through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// So many failures.
    pub failures: u32,
    /// Within this time.
    pub per: SignedDuration,
    /// After the last failure one probe is let through.
    pub probe_after: SignedDuration,
}

/// What is never touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protect {
    /// Namespaces, `*` wildcards allowed.
    pub namespaces: Vec<Arc<str>>,
    /// Labels on a workload that protect it.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}

/// What may be done at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Namespaces, `*` wildcards allowed.
    pub namespaces: Vec<Arc<str>>,
    /// Actions.
    pub actions: Vec<ActionKind>,
}

/// The cluster's guardrails: the `kind: Guardrails` document, or the built-in values.
#[derive(Clone, Debug, PartialEq)]
pub struct Guardrails {
    /// What a policy starts from.
    pub defaults: PolicyLimits,
    /// What policies share that take one of these.
    pub profiles: BTreeMap<Arc<str>, Profile>,
    /// What it cannot cross.
    pub limits: HardLimits,
    /// Older signals do not act.
    pub max_signal_age: SignedDuration,
    /// Times at which nothing new is started.
    pub windows: Vec<FreezeWindow>,
    /// What is never touched.
    pub protect: Protect,
    /// What may be done at all.
    pub allow: Allow,
    /// What the policies' own expressions say, by the policy's name: those that have any.
    pub conditions: BTreeMap<Arc<str>, Conditions>,
    /// By policy, the digest of what has to be absent: those that ask for an absence.
    pub absent: BTreeMap<Arc<str>, Arc<str>>,
    /// The policies that there are, and what each may do; none where there are only guardrails.
    pub modes: Option<BTreeMap<Arc<str>, Mode>>,
}

impl Default for Guardrails {
    fn default() -> Self {
        Self {
            defaults: PolicyLimits::default(),
            profiles: BTreeMap::new(),
            limits: HardLimits {
                cluster_budget: Budget { max: 60, per: SignedDuration::from_hours(1) },
                namespace_budget: Budget { max: 20, per: SignedDuration::from_hours(1) },
                concurrency_cluster: 5,
                concurrency_namespace: 2,
                max_unavailable_percent: 40,
                min_cooldown: SignedDuration::from_mins(1),
                max_replicas: 50,
                breaker: Breaker {
                    failures: 5,
                    per: SignedDuration::from_mins(30),
                    probe_after: SignedDuration::from_mins(10),
                },
            },
            max_signal_age: SignedDuration::from_mins(10),
            windows: Vec::new(),
            protect: Protect {
                namespaces: vec!["kube-system".into(), "flyball".into()],
                labels: vec![("flyball.dev/protected".into(), "true".into())],
            },
            allow: Allow { namespaces: vec!["*".into()], actions: ActionKind::POLICY.to_vec() },
            conditions: BTreeMap::new(),
            absent: BTreeMap::new(),
            modes: None,
        }
    }
}

/// Whether `name` matches `pattern`, in which each `*` stands for any run of characters.
pub fn glob(pattern: &str, name: &str) -> bool {
    // The two that nearly all are.
    if pattern == "*" {
        return true;
    }
    if !pattern.as_bytes().contains(&b'*') {
        return pattern == name;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut last: Option<&str> = None;
    for part in parts {
        if let Some(middle) = last {
            let Some(at) = rest.find(middle) else { return false };
            rest = &rest[at + middle.len()..];
        }
        last = Some(part);
    }
    last.map_or(rest.is_empty(), |tail| rest.ends_with(tail))
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("shop", "shop", true),
            ("shop", "shop2", false),
            ("erp-*", "erp-", true),
            ("erp-*", "erp-db", true),
            ("*", "", true),
            ("*-db", "erp-db", true),
            ("*-db", "erp-web", false),
            ("a*bb*c", "abbbc", true),
            ("a*bb*bb", "abbb", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, name), expected, "{pattern} {name}");
        }
    }
}
