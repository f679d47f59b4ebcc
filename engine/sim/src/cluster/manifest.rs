//! A workload as a person would write it down.

use std::collections::BTreeMap;

use flyball_core::merge;
use flyball_core::workload::{Workload, WorkloadKind};
use serde_json::{Value, json};

/// Annotation on the pod template that decides how its pods start: `crash`, `hang` or `slow`.
pub(crate) const FATE: &str = "sim.flyball.dev/rollout";

/// A workload to put into the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub(crate) target: Workload,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) spec: Value,
    pub(crate) history: Vec<Value>,
    pub(crate) nodes: i32,
    pub(crate) gitops_owns_replicas: bool,
}

impl Manifest {
    /// Three healthy pods of the image `<name>:1`, with what the API server fills in.
    pub fn new(target: &Workload) -> Self {
        let name = &*target.name;
        let labels = json!({ "app": name });
        let template = json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": name, "image": format!("{name}:1")}]}});
        let mut spec = json!({"selector": {"matchLabels": labels}, "template": template});
        let defaults = match target.kind {
            WorkloadKind::Deployment => json!({
                "replicas": 3, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}),
            WorkloadKind::StatefulSet => json!({
                "replicas": 3, "serviceName": name, "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}),
            WorkloadKind::DaemonSet => json!({
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}),
        };
        spec = merge::apply(&spec, &defaults);
        Self {
            target: target.clone(),
            annotations: BTreeMap::new(),
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            spec,
            history: Vec::new(),
            nodes: 3,
            gitops_owns_replicas: false,
        }
    }

    /// A Deployment.
    pub fn deployment(namespace: &str, name: &str) -> Self {
        Self::new(&Workload::new(WorkloadKind::Deployment, namespace, name))
    }

    /// A StatefulSet.
    pub fn stateful_set(namespace: &str, name: &str) -> Self {
        Self::new(&Workload::new(WorkloadKind::StatefulSet, namespace, name))
    }

    /// A DaemonSet.
    pub fn daemon_set(namespace: &str, name: &str) -> Self {
        Self::new(&Workload::new(WorkloadKind::DaemonSet, namespace, name))
    }

    /// The number of pods; of a DaemonSet, the number of nodes.
    #[must_use]
    pub fn replicas(mut self, replicas: i32) -> Self {
        self.nodes = replicas;
        if self.target.kind != WorkloadKind::DaemonSet {
            self.spec["replicas"] = replicas.into();
        }
        self
    }

    /// The image. One that ends in `-bad` crashes.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        self.spec["template"]["spec"]["containers"][0]["image"] = image.into();
        self
    }

    /// How the pods start: `crash`, `hang` or `slow`.
    #[must_use]
    pub fn fate(self, fate: &str) -> Self {
        self.spec(&json!({"template": {"metadata": {"annotations": {FATE: fate}}}}))
    }

    /// The template so far becomes an old revision; what follows makes the next one.
    #[must_use]
    pub fn then(mut self) -> Self {
        self.history.push(self.spec["template"].clone());
        self
    }

    /// Merges into `spec`.
    #[must_use]
    pub fn spec(mut self, patch: &Value) -> Self {
        self.spec = merge::apply(&self.spec, patch);
        self
    }

    /// Annotates the workload.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Labels the workload.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The GitOps tool that the labels and annotations name keeps `replicas`, too.
    #[must_use]
    pub fn gitops_owns_replicas(mut self) -> Self {
        self.gitops_owns_replicas = true;
        self
    }

    /// Which workload this is.
    pub fn target(&self) -> &Workload {
        &self.target
    }
}

/// How the pods of a template start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They become ready.
    Good,
    /// They become ready, late.
    Slow,
    /// They start and fail, again and again.
    Crash,
    /// They never start.
    Hang,
}

impl Fate {
    pub(crate) fn of(template: &Value) -> Self {
        let named = template.pointer("/metadata/annotations").and_then(|it| it.get(FATE)).and_then(Value::as_str);
        let mut containers = template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
        let image = |it: &Value| it.get("image").and_then(Value::as_str).is_some_and(|it| it.ends_with("-bad"));
        match named {
            Some("crash") => Self::Crash,
            Some("hang") => Self::Hang,
            _ if containers.any(image) => Self::Crash,
            Some("slow") => Self::Slow,
            _ => Self::Good,
        }
    }

    pub(crate) fn starts(self) -> bool {
        matches!(self, Self::Good | Self::Slow)
    }
}
