//! What can be acted on: a workload of a namespace, named the way Kubernetes names it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds that Flyball acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

impl WorkloadKind {
    /// Every kind, in the order that help texts list them.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// The kind as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The lower-case plural of the REST path.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WorkloadKind {
    type Err = BadWorkload;

    /// Takes the kind, its plural or kubectl's short name, in any case.
    fn from_str(text: &str) -> Result<Self, BadWorkload> {
        match text.to_ascii_lowercase().as_str() {
            "deployment" | "deployments" | "deploy" => Ok(Self::Deployment),
            "statefulset" | "statefulsets" | "sts" => Ok(Self::StatefulSet),
            "daemonset" | "daemonsets" | "ds" => Ok(Self::DaemonSet),
            _ => Err(BadWorkload(text.to_owned())),
        }
    }
}

/// A workload by name. Two with the same name in two namespaces, or of two kinds, are two workloads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Kind.
    pub kind: WorkloadKind,
    /// Name.
    pub name: Arc<str>,
}

impl Workload {
    /// Names a workload.
    pub fn new(kind: WorkloadKind, namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), kind, name: name.into() }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}

impl FromStr for Workload {
    type Err = BadWorkload;

    /// `namespace/kind/name`, or `namespace/name` for a Deployment.
    fn from_str(text: &str) -> Result<Self, BadWorkload> {
        let bad = || BadWorkload(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(bad());
        }
        match parts[..] {
            [namespace, name] => Ok(Self::new(WorkloadKind::Deployment, namespace, name)),
            [namespace, kind, name] => Ok(Self::new(kind.parse()?, namespace, name)),
            _ => Err(bad()),
        }
    }
}

/// A text that names no workload or kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no workload: write namespace/name or namespace/kind/name, kind one of Deployment, StatefulSet, DaemonSet"
)]
pub struct BadWorkload(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_reads_as_it_is_written() {
        for (text, shown) in [
            ("shop/cart", "shop/Deployment/cart"),
            ("shop/sts/db", "shop/StatefulSet/db"),
            ("shop/DaemonSet/agent", "shop/DaemonSet/agent"),
        ] {
            assert_eq!(text.parse::<Workload>().unwrap().to_string(), shown);
        }
        for bad in ["", "cart", "shop/", "shop/cron/x", "a/b/c/d"] {
            assert!(bad.parse::<Workload>().is_err(), "{bad}");
        }
    }
}
