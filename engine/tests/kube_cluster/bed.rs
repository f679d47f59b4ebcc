//! A namespace on the shared cluster, the adapter connected to it, and intents without an engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use flyball::cluster::{KubeCluster, Observer, Options};
use flyball_core::action::{Action, ActionRequest, Cause, Evidence, PolicyRef, VerifySpec};
use flyball_core::facts::{Sighting, Snapshot};
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::intent::{Attempt, Event, Execution, Receipt, Writer};
use flyball_core::limits::PolicyLimits;
use flyball_core::plan::{Change, plan};
use flyball_core::ports::Cluster as _;
use flyball_core::record::{Admission, Entry, Record, Topic};
use flyball_core::signal::TraceContext;
use flyball_core::workload::{Workload, WorkloadKind};
use flyball_devcluster::{Cluster, Workload as Manifest, can_run, wait_until, workloads::wait_ready};
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;

/// Longer than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Looks until there is something, with a deadline.
pub(crate) async fn eventually<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(deadline, looking).await.unwrap_or_else(|_| panic!("{what}: not within {deadline:?}"))
}

/// A namespace, and the adapter with its watches running.
pub(crate) struct Bed {
    pub(crate) dev: &'static Cluster,
    pub(crate) namespace: String,
    pub(crate) kube: KubeCluster,
    watches: JoinHandle<()>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.watches.abort();
    }
}

/// Connects with a kubeconfig file and lets the watches run.
pub(crate) async fn connect(kubeconfig: PathBuf, observer: Arc<dyn Observer>) -> (KubeCluster, JoinHandle<()>) {
    // The first test of the process installs it, the others find it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options { kubeconfig: Some(kubeconfig), observer, ..Options::default() };
    let kube = KubeCluster::connect(options).await.unwrap();
    let watches = tokio::spawn(kube.watches());
    (kube, watches)
}

impl Bed {
    /// As the admin; nothing where no servers can be built.
    pub(crate) async fn new(prefix: &str) -> Option<Self> {
        let dev = can_run().then(Cluster::shared)?;
        let namespace = dev.namespace(prefix).unwrap();
        Some(Self::over(dev, namespace, dev.kubeconfig()).await)
    }

    /// As whoever the kubeconfig is of.
    pub(crate) async fn over(dev: &'static Cluster, namespace: String, kubeconfig: PathBuf) -> Self {
        let (kube, watches) = connect(kubeconfig, Arc::new(())).await;
        let bed = Self { dev, namespace, kube, watches };
        bed.ready().await;
        bed
    }

    async fn ready(&self) {
        eventually("the watches are synced", SOON, async || self.kube.ready().await.ok()).await;
    }

    pub(crate) fn target(&self, kind: WorkloadKind, name: &str) -> Workload {
        Workload::new(kind, &self.namespace, name)
    }

    pub(crate) fn manifest(&self, name: &str) -> Manifest {
        Manifest::new(&self.namespace, name)
    }

    /// Creates a workload and waits until it runs.
    pub(crate) fn deploy(&self, kind: WorkloadKind, manifest: &Manifest) -> Value {
        let object = match kind {
            WorkloadKind::Deployment => manifest.deployment(),
            WorkloadKind::StatefulSet => manifest.stateful_set(),
            WorkloadKind::DaemonSet => manifest.daemon_set(),
        };
        self.dev.api().create(&object).unwrap();
        wait_ready(self.dev.api(), &manifest.path(kind.plural()), SOON).unwrap()
    }

    /// What is stored at a path.
    pub(crate) fn stored(&self, path: &str) -> Value {
        self.dev.api().get(path).unwrap().ok().unwrap()
    }

    /// The pods of a workload by name, label and all.
    pub(crate) fn pods(&self, app: &str) -> Vec<Value> {
        let list = self.stored(&format!("/api/v1/namespaces/{}/pods?labelSelector=app%3D{app}", self.namespace));
        list["items"].as_array().cloned().unwrap()
    }

    pub(crate) async fn snapshot(&self, request: &ActionRequest) -> Snapshot {
        self.kube.snapshot(request).await.unwrap().expect("the target is there")
    }

    /// Reads and plans: the attempt of a new intent.
    pub(crate) async fn attempt(&self, request: &ActionRequest) -> Attempt {
        let seen = self.snapshot(request).await;
        attempt(request, plan(&request.action, &seen, Timestamp::now()).unwrap())
    }

    /// Reads, plans and sends until it lands: the status of a target that has just been changed still moves.
    pub(crate) async fn apply(&self, request: &ActionRequest) -> Receipt {
        loop {
            match self.kube.execute(self.attempt(request).await).await {
                Execution::Applied(receipt) => return receipt,
                Execution::Conflict(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Looks until the rollout is complete.
    pub(crate) async fn complete(&self, target: &Workload) -> Sighting {
        eventually("the rollout is complete", SOON, async || {
            let seen = self.kube.sight(target, None).await.unwrap().expect("the target is there");
            seen.rollout.complete().then_some(seen)
        })
        .await
    }
}

/// A request with a cause of its own.
pub(crate) fn request(target: &Workload, action: Action) -> ActionRequest {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let key = format!("{since}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    ActionRequest {
        policy: PolicyRef { name: "api".into(), digest: "0".into() },
        target: target.clone(),
        action,
        cause: Cause::Api(key.into()),
        step: 0,
        then: Vec::new(),
        hold: None,
        priority: 0,
        limits: PolicyLimits::default(),
        verify: VerifySpec::default(),
        evidence: Evidence {
            kind: "api".into(),
            summary: "a test".into(),
            confidence: None,
            observed_at: Timestamp::now(),
            expires_at: None,
            trace: TraceContext::default(),
            sequence: 0,
            signal: None,
        },
    }
}

/// The attempt as the ledger's fold makes it. Called twice it is the same attempt, byte for byte, if `at` is.
pub(crate) fn attempt_at(request: &ActionRequest, change: Change, at: Timestamp) -> Attempt {
    let id = request.id("test");
    let writer = Writer { replica: "r".into(), process: "p".into(), epoch: 0 };
    let admission = Admission { id, request: request.clone(), change: change.clone(), adds: 0, writer };
    let mut history = History::default();
    let entries = [
        (Topic::Admit, Record::Admitted(vec![admission])),
        (Topic::Intent(id), Record::Happened(Event::Attempted { number: 1, change })),
    ];
    for (revision, (topic, record)) in (1..).zip(entries) {
        history.apply(&Entry::sealed(Revision(revision), at, topic, None, record).unwrap()).unwrap();
    }
    history.intent(id).unwrap().attempt().unwrap()
}

pub(crate) fn attempt(request: &ActionRequest, change: Change) -> Attempt {
    attempt_at(request, change, Timestamp::now())
}

/// Looks until `probe` says yes.
pub(crate) fn until(what: &str, mut probe: impl FnMut() -> bool) {
    wait_until(what, SOON, || if probe() { Ok(()) } else { Err(std::io::Error::other("not yet").into()) }).unwrap();
}
