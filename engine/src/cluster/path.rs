//! Where things are in the API. Names come from signals, so they are looked at before they become part of a path.

use flyball_core::workload::{Workload, WorkloadKind};

/// A resource of a namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    group: &'static str,
    /// The lower-case plural.
    pub(super) resource: &'static str,
    /// The namespace; empty for what has none.
    pub(super) namespace: &'a str,
}

impl<'a> Place<'a> {
    const fn new(group: &'static str, resource: &'static str, namespace: &'a str) -> Self {
        Self { group, resource, namespace }
    }

    pub(super) fn workloads(kind: WorkloadKind, namespace: &'a str) -> Self {
        Self::new("/apis/apps/v1", kind.plural(), namespace)
    }

    pub(super) fn replica_sets(namespace: &'a str) -> Self {
        Self::new("/apis/apps/v1", "replicasets", namespace)
    }

    pub(super) fn controller_revisions(namespace: &'a str) -> Self {
        Self::new("/apis/apps/v1", "controllerrevisions", namespace)
    }

    pub(super) fn autoscalers(namespace: &'a str) -> Self {
        Self::new("/apis/autoscaling/v2", "horizontalpodautoscalers", namespace)
    }

    pub(super) fn budgets(namespace: &'a str) -> Self {
        Self::new("/apis/policy/v1", "poddisruptionbudgets", namespace)
    }

    pub(super) fn pods(namespace: &'a str) -> Self {
        Self::new("/api/v1", "pods", namespace)
    }

    pub(super) fn config_maps(namespace: &'a str) -> Self {
        Self::new("/api/v1", "configmaps", namespace)
    }

    pub(super) fn namespaces() -> Self {
        Self::new("/api/v1", "namespaces", "")
    }

    /// The collection's path.
    pub(super) fn path(&self) -> String {
        match self.namespace {
            "" => format!("{}/{}", self.group, self.resource),
            namespace => format!("{}/namespaces/{namespace}/{}", self.group, self.resource),
        }
    }
}

/// Whether an object can have this name: a DNS subdomain, as Kubernetes asks of all kinds that we touch. Anything else could
/// lead a path to another object.
pub(super) fn is_name(text: &str) -> bool {
    let label = |it: &str| {
        !it.is_empty()
            && !it.starts_with('-')
            && !it.ends_with('-')
            && it.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether such a workload can exist.
pub(super) fn can_exist(target: &Workload) -> bool {
    is_name(&target.name) && is_name(&target.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_become_part_of_a_path() {
        for name in ["cart", "cart-2", "a.b", "0", &"x".repeat(253)] {
            assert!(is_name(name), "{name}");
        }
        for text in
            ["", ".", "..", "a..b", "Cart", "a/b", "../secrets/x", "a?b", "a%2fb", "-a", "a-", "ü", &"x".repeat(254)]
        {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn a_place_has_a_path() {
        assert_eq!(Place::pods("shop").path(), "/api/v1/namespaces/shop/pods");
        let place = Place::workloads(WorkloadKind::StatefulSet, "shop");
        assert_eq!(place.path(), "/apis/apps/v1/namespaces/shop/statefulsets");
        assert_eq!(Place::namespaces().path(), "/api/v1/namespaces");
    }
}
