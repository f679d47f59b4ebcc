//! One workload with its pods and old templates, and what can be read off it.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_core::facts::Rollout;
use flyball_core::merge;
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::manifest::{Fate, Manifest};

/// A pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: Arc<str>,
    pub(crate) uid: Arc<str>,
    /// Position in a StatefulSet; 0 elsewhere.
    pub(crate) ordinal: i32,
    /// The template that it was made from, by its key.
    pub(crate) template: u32,
    pub(crate) ready: bool,
    /// When it will be ready; none if it is, or never will be.
    pub(crate) ready_at: Option<Timestamp>,
    /// It starts and fails again and again.
    pub(crate) crashing: bool,
}

/// A template that was or is current: what a ReplicaSet or ControllerRevision keeps.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    /// Stays the same when the revision is numbered anew.
    pub(crate) key: u32,
    /// As `kubectl rollout history` numbers it. Going back to a template gives it the newest number.
    pub(crate) number: i64,
    pub(crate) uid: Arc<str>,
    pub(crate) template: Value,
    /// The Deployment's annotations as last seen while this was current: `kubectl rollout undo` brings them back.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The status as the controller wrote it last: it lags behind the truth, as the real one does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) observed: i64,
    pub(crate) total: i32,
    pub(crate) updated: i32,
    pub(crate) ready: i32,
    pub(crate) deadline_exceeded: bool,
}

/// A workload.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) target: Workload,
    pub(crate) manifest: Manifest,
    pub(crate) uid: Arc<str>,
    pub(crate) created: Timestamp,
    pub(crate) resource_version: u64,
    pub(crate) generation: i64,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) spec: Value,
    pub(crate) deleting: bool,
    pub(crate) status: Status,
    pub(crate) pods: Vec<Pod>,
    pub(crate) revisions: Vec<Revision>,
    /// Key of the template that pods are made from.
    pub(crate) current: u32,
    /// How long its rollout takes.
    pub(crate) duration: SignedDuration,
    /// The last progress of the rollout under way.
    pub(crate) progress: Option<Timestamp>,
    /// The next status write of crashing pods.
    pub(crate) churn_at: Option<Timestamp>,
}

impl Object {
    /// The workload that `manifest` describes, before its controller has seen it.
    pub(crate) fn new(manifest: Manifest, uid: Arc<str>, created: Timestamp) -> Self {
        Self {
            target: manifest.target.clone(),
            uid,
            created,
            resource_version: 0,
            generation: 1,
            annotations: manifest.annotations.clone(),
            labels: manifest.labels.clone(),
            spec: manifest.spec.clone(),
            deleting: false,
            status: Status::default(),
            pods: Vec::new(),
            revisions: Vec::new(),
            current: 0,
            duration: SignedDuration::ZERO,
            progress: None,
            churn_at: None,
            manifest,
        }
    }

    fn number(&self, path: &str) -> Option<i32> {
        self.spec.pointer(path).and_then(Value::as_i64).and_then(|it| i32::try_from(it).ok())
    }

    fn word(&self, path: &str) -> Option<&str> {
        self.spec.pointer(path).and_then(Value::as_str)
    }

    pub(crate) fn desired(&self) -> i32 {
        match self.target.kind {
            WorkloadKind::DaemonSet => self.manifest.nodes,
            _ => self.number("/replicas").unwrap_or(1),
        }
    }

    pub(crate) fn paused(&self) -> bool {
        self.target.kind == WorkloadKind::Deployment
            && self.spec.get("paused").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn on_delete(&self) -> bool {
        self.target.kind != WorkloadKind::Deployment && self.word("/updateStrategy/type") == Some("OnDelete")
    }

    pub(crate) fn partition(&self) -> i32 {
        match self.target.kind {
            WorkloadKind::StatefulSet => self.number("/updateStrategy/rollingUpdate/partition").unwrap_or(0),
            _ => 0,
        }
    }

    pub(crate) fn progress_deadline(&self) -> SignedDuration {
        SignedDuration::from_secs(self.number("/progressDeadlineSeconds").unwrap_or(600).into())
    }

    pub(crate) fn template(&self) -> &Value {
        self.spec.get("template").unwrap_or(&Value::Null)
    }

    /// How pods of a template start.
    pub(crate) fn fate(&self, key: u32) -> Fate {
        self.revisions.iter().find(|it| it.key == key).map_or(Fate::Good, |it| Fate::of(&it.template))
    }

    /// The numbers as they are; the status shows them once the controller has looked.
    pub(crate) fn count(&self) -> Status {
        let asked = self.revisions.iter().find(|it| it.template == *self.template()).map(|it| it.key);
        let count = |which: &dyn Fn(&Pod) -> bool| size(self.pods.iter().filter(|it| which(it)).count());
        Status {
            observed: self.generation,
            total: size(self.pods.len()),
            updated: count(&|it| Some(it.template) == asked),
            ready: count(&|it| it.ready),
            deadline_exceeded: self.status.deadline_exceeded,
        }
    }

    /// The rollout's numbers, by the status.
    pub(crate) fn rollout(&self) -> Rollout {
        Rollout {
            kind: self.target.kind,
            uid: self.uid.clone(),
            generation: self.generation,
            observed_generation: self.status.observed,
            desired: self.desired(),
            total: self.status.total,
            updated: self.status.updated,
            ready: self.status.ready,
            available: self.status.ready,
            deadline_exceeded: self.status.deadline_exceeded,
            on_delete: self.on_delete(),
            partition: self.partition(),
        }
    }

    /// Merges `patch` in, as the API server does. Whether anything changed.
    pub(crate) fn merge(&mut self, patch: &Value) -> bool {
        let before = json!({"metadata": {"annotations": self.annotations, "labels": self.labels}, "spec": self.spec});
        let after = merge::apply(&before, patch);
        let map = |path: &str| -> BTreeMap<String, String> {
            let fields = after.pointer(path).and_then(Value::as_object).into_iter().flatten();
            fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        };
        let (annotations, labels) = (map("/metadata/annotations"), map("/metadata/labels"));
        let spec = after.get("spec").cloned().unwrap_or_default();
        let respecified = spec != self.spec;
        let annotated = annotations != self.annotations;
        let changed = respecified || annotated || labels != self.labels;
        // Measured: an annotation alone bumps the generation of a Deployment and of nothing else; a label never does.
        if respecified || (annotated && self.target.kind == WorkloadKind::Deployment) {
            self.generation += 1;
        }
        (self.annotations, self.labels, self.spec) = (annotations, labels, spec);
        changed
    }

    /// The object as the API server would show it.
    pub(crate) fn to_json(&self) -> Value {
        let status = &self.status;
        let mut metadata = json!({
            "name": &*self.target.name, "namespace": &*self.target.namespace, "uid": &*self.uid,
            "resourceVersion": self.resource_version.to_string(), "generation": self.generation,
            "creationTimestamp": self.created.to_string(), "annotations": self.annotations, "labels": self.labels});
        if self.deleting {
            metadata["deletionTimestamp"] = self.created.to_string().into();
        }
        let mut numbers: Map<String, Value> =
            Map::from_iter([("observedGeneration".to_owned(), status.observed.into())]);
        let names = match self.target.kind {
            WorkloadKind::DaemonSet => {
                numbers.insert("desiredNumberScheduled".into(), self.desired().into());
                ["currentNumberScheduled", "updatedNumberScheduled", "numberReady", "numberAvailable"]
            }
            _ => ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"],
        };
        for (name, number) in names.into_iter().zip([status.total, status.updated, status.ready, status.ready]) {
            numbers.insert(name.into(), number.into());
        }
        if status.deadline_exceeded {
            let exceeded = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
            numbers.insert("conditions".into(), exceeded);
        }
        json!({
            "apiVersion": "apps/v1", "kind": self.target.kind.as_str(), "metadata": metadata, "spec": self.spec,
            "status": numbers})
    }
}

/// A number of pods. More than the type holds would not fit into memory.
pub(crate) fn size(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
