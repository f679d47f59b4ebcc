//! Manifests of workloads, and waiting for them. The fate of their pods is written in the pod template, so that a bad
//! release is bad and the one before it good, as in life.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::wait::wait_until;

/// The annotation of pods that `stages.yaml` goes by.
const FATE: &str = "test.flyball.dev/pod";

/// The annotation that says how long a slow pod takes, for example `3s`.
const READY_AFTER: &str = "test.flyball.dev/ready-after";

/// What becomes of the pods of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pods {
    /// Ready some 50 ms after they were scheduled; those of a Job succeed.
    Ready,
    /// Ready only after this long.
    Slow(Duration),
    /// Run and never become ready.
    NeverReady,
    /// Exit with 1 again and again: `CrashLoopBackOff`.
    Crash,
    /// Killed for their memory again and again: `CrashLoopBackOff`, last state `OOMKilled`.
    Oom,
    /// Never start: `ImagePullBackOff`.
    ImagePull,
    /// Exit with 1 once and stay `Failed`: for Jobs.
    Fail,
}

impl Pods {
    /// The annotations that seal this fate, for a pod template. All are named, so that a patch heals as well as harms.
    pub fn annotations(self) -> Value {
        let fate = match self {
            Self::Ready => None,
            Self::Slow(_) => Some("slow"),
            Self::NeverReady => Some("never-ready"),
            Self::Crash => Some("crash"),
            Self::Oom => Some("oom"),
            Self::ImagePull => Some("image-pull"),
            Self::Fail => Some("fail"),
        };
        let after = if let Self::Slow(after) = self { Some(format!("{}ms", after.as_millis())) } else { None };
        json!({ FATE: fate, READY_AFTER: after })
    }

    /// A strategic merge patch that gives a workload a new template with this fate: a release.
    pub fn patch(self) -> Value {
        json!({"spec": {"template": {"metadata": {"annotations": self.annotations()}}}})
    }
}

/// A description that becomes a manifest of one kind or another, always labelled `app: <name>`.
#[derive(Debug, Clone)]
pub struct Workload {
    namespace: String,
    name: String,
    replicas: u32,
    pods: Pods,
    progress_deadline: Duration,
}

impl Workload {
    /// One replica that becomes ready, and Kubernetes' own ten minutes before a rollout counts as hung.
    pub fn new(namespace: &str, name: &str) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { namespace, name, replicas: 1, pods: Pods::Ready, progress_deadline: Duration::from_secs(600) }
    }

    /// How many pods.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// What becomes of them.
    #[must_use]
    pub fn pods(mut self, pods: Pods) -> Self {
        self.pods = pods;
        self
    }

    /// After how long a Deployment says that it makes no progress. Whole seconds.
    #[must_use]
    pub fn progress_deadline(mut self, deadline: Duration) -> Self {
        self.progress_deadline = deadline;
        self
    }

    /// The path of this workload as one of `plural`, a kind of `apps/v1`.
    pub fn path(&self, plural: &str) -> String {
        format!("/apis/apps/v1/namespaces/{}/{plural}/{}", self.namespace, self.name)
    }

    /// A Deployment, rolled out by the default strategy.
    pub fn deployment(&self) -> Value {
        let spec = json!({
            "replicas": self.replicas,
            "progressDeadlineSeconds": self.progress_deadline.as_secs(),
            "selector": self.selector(),
            "template": self.template("Always"),
        });
        self.manifest("apps/v1", "Deployment", spec)
    }

    /// A StatefulSet. The service it names need not exist.
    pub fn stateful_set(&self) -> Value {
        let spec = json!({
            "replicas": self.replicas,
            "serviceName": self.name,
            "selector": self.selector(),
            "template": self.template("Always"),
        });
        self.manifest("apps/v1", "StatefulSet", spec)
    }

    /// A DaemonSet: a pod on every node, whatever `replicas` says.
    pub fn daemon_set(&self) -> Value {
        let spec = json!({"selector": self.selector(), "template": self.template("Always")});
        self.manifest("apps/v1", "DaemonSet", spec)
    }

    /// A Job of one pod that is not tried again.
    pub fn job(&self) -> Value {
        self.manifest("batch/v1", "Job", json!({"backoffLimit": 0, "template": self.template("Never")}))
    }

    /// A PodDisruptionBudget for its pods that keeps `min_available` of them.
    pub fn disruption_budget(&self, min_available: u32) -> Value {
        let spec = json!({"minAvailable": min_available, "selector": self.selector()});
        self.manifest("policy/v1", "PodDisruptionBudget", spec)
    }

    /// A HorizontalPodAutoscaler for the Deployment of this name. There are no metrics, so it never scales.
    pub fn autoscaler(&self, min: u32, max: u32) -> Value {
        let spec = json!({
            "minReplicas": min,
            "maxReplicas": max,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name},
        });
        self.manifest("autoscaling/v2", "HorizontalPodAutoscaler", spec)
    }

    fn selector(&self) -> Value {
        json!({"matchLabels": {"app": self.name}})
    }

    fn template(&self, restart: &str) -> Value {
        json!({
            "metadata": {"labels": {"app": self.name}, "annotations": self.annotations()},
            "spec": {
                "restartPolicy": restart,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "app", "image": "registry.example/app:1"}],
            },
        })
    }

    /// Those that are there: unlike a patch, a manifest may not name an annotation without a value.
    fn annotations(&self) -> Value {
        let mut annotations = self.pods.annotations();
        if let Some(map) = annotations.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
        annotations
    }

    fn manifest(&self, version: &str, kind: &str, spec: Value) -> Value {
        let labels = json!({"app": self.name});
        json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {"namespace": self.namespace, "name": self.name, "labels": labels},
            "spec": spec,
        })
    }
}

/// The manifest of a namespace. Tests that share a cluster take [`Cluster::namespace`](crate::Cluster::namespace).
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Waits until the Deployment, StatefulSet or DaemonSet at `path` runs its newest template only, with all pods available.
/// Returns it as it then is.
pub fn wait_ready(api: &Api, path: &str, deadline: Duration) -> Result<Value> {
    wait_until(&format!("{path} to be ready"), deadline, || {
        let workload = api.get(path)?.ok().context("reading it")?;
        let (status, count) = (&workload["status"], |field: &str| workload["status"][field].as_u64().unwrap_or(0));
        let observed = status["observedGeneration"] == workload["metadata"]["generation"];
        ensure!(observed, "its controller has not seen the newest spec");
        let counts = if workload["kind"] == "DaemonSet" {
            let wanted = count("desiredNumberScheduled");
            [wanted, count("updatedNumberScheduled"), count("currentNumberScheduled"), count("numberAvailable")]
        } else {
            let wanted = workload["spec"]["replicas"].as_u64().unwrap_or(1);
            [wanted, count("updatedReplicas"), count("replicas"), count("availableReplicas")]
        };
        let [wanted, updated, all, available] = counts;
        let ready = wanted == updated && wanted == all && wanted == available;
        ensure!(ready, "of {wanted} wanted, {updated} are updated, {available} available, {all} exist");
        Ok(workload)
    })
}
