//! One contract for the simulated cluster and the real one, so that the one cannot drift from the other.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::sync::Arc;
use std::time::Duration;

use flyball::clock::TokioClock;
use flyball::cluster::{KubeCluster, Options};
use flyball_core::action::{Action, ActionRequest, Cause, Evidence, PolicyRef, Scale, VerifySpec};
use flyball_core::facts::{Sighting, Snapshot};
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::intent::{Attempt, Event, Execution, Intent, Receipt, Writer};
use flyball_core::limits::PolicyLimits;
use flyball_core::plan::plan;
use flyball_core::ports::Cluster;
use flyball_core::record::{Admission, Entry, Record, Topic};
use flyball_core::signal::TraceContext;
use flyball_core::workload::{Workload, WorkloadKind};
use flyball_devcluster::{Answer, Cluster as Servers, Workload as Manifested, can_run, workloads};
use flyball_sim::{Manifest, World};
use jiff::Timestamp;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const DAEMON: WorkloadKind = WorkloadKind::DaemonSet;

/// What the contract needs of either side besides the port: hands of somebody else.
trait Side {
    fn port(&self) -> &dyn Cluster;
    fn target(&self, kind: WorkloadKind, name: &str) -> Workload;
    async fn put(&self, target: &Workload, replicas: u32);
    fn edit(&self, target: &Workload, patch: &Value);
    fn first_pod(&self, target: &Workload) -> String;
    async fn recreate(&self, target: &Workload);
    /// A template whose pods crash.
    fn bad(&self) -> Value;
}

struct Sim(World);

impl Side for Sim {
    fn port(&self) -> &dyn Cluster {
        &*self.0.cluster
    }

    fn target(&self, kind: WorkloadKind, name: &str) -> Workload {
        Workload::new(kind, "shop", name)
    }

    async fn put(&self, target: &Workload, replicas: u32) {
        self.0.cluster.put(&Manifest::new(target).replicas(i32::try_from(replicas).unwrap()));
    }

    fn edit(&self, target: &Workload, patch: &Value) {
        assert!(self.0.cluster.edit(target, patch));
    }

    fn first_pod(&self, target: &Workload) -> String {
        self.0.cluster.pods(target)[0].0.to_string()
    }

    async fn recreate(&self, target: &Workload) {
        self.0.cluster.recreate(target);
    }

    fn bad(&self) -> Value {
        json!({"spec": {"template": {"metadata": {"annotations": {"sim.flyball.dev/rollout": "crash"}}}}})
    }
}

struct Real {
    kube: KubeCluster,
    servers: &'static Servers,
    namespace: String,
}

impl Real {
    fn path(target: &Workload) -> String {
        format!("/apis/apps/v1/namespaces/{}/{}/{}", target.namespace, target.kind.plural(), target.name)
    }
}

impl Side for Real {
    fn port(&self) -> &dyn Cluster {
        &self.kube
    }

    fn target(&self, kind: WorkloadKind, name: &str) -> Workload {
        Workload::new(kind, &self.namespace, name)
    }

    async fn put(&self, target: &Workload, replicas: u32) {
        let manifest = Manifested::new(&self.namespace, &target.name).replicas(replicas);
        let object = match target.kind {
            WorkloadKind::Deployment => manifest.deployment(),
            WorkloadKind::StatefulSet => manifest.stateful_set(),
            WorkloadKind::DaemonSet => manifest.daemon_set(),
        };
        self.servers.api().create(&object).unwrap();
        workloads::wait_ready(self.servers.api(), &Self::path(target), SOON).unwrap();
    }

    fn edit(&self, target: &Workload, patch: &Value) {
        self.servers.api().patch(&Self::path(target), patch).and_then(Answer::ok).unwrap();
    }

    fn first_pod(&self, target: &Workload) -> String {
        let path = format!("/api/v1/namespaces/{}/pods?labelSelector=app%3D{}", self.namespace, target.name);
        let pods = self.servers.api().get(&path).and_then(Answer::ok).unwrap();
        pods["items"][0]["metadata"]["name"].as_str().unwrap().to_owned()
    }

    async fn recreate(&self, target: &Workload) {
        self.servers.api().delete(&Self::path(target)).and_then(Answer::ok).unwrap();
        let request = request(target, Action::Restart, "gone?");
        until("the old one is gone", || async { self.kube.snapshot(&request).await.unwrap().is_none().then_some(()) })
            .await;
        self.put(target, 2).await;
    }

    fn bad(&self) -> Value {
        flyball_devcluster::Pods::Crash.patch()
    }
}

/// Looks until there is something, with a deadline, on whichever clock the runtime has.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let looking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(SOON, looking).await.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

fn request(target: &Workload, action: Action, cause: &str) -> ActionRequest {
    let at: Timestamp = "2026-01-15T10:00:00Z".parse().unwrap();
    ActionRequest {
        policy: PolicyRef { name: "contract".into(), digest: "0".into() },
        target: target.clone(),
        action,
        cause: Cause::Api(cause.into()),
        step: 0,
        then: Vec::new(),
        hold: None,
        priority: 0,
        limits: PolicyLimits::default(),
        verify: VerifySpec::default(),
        evidence: Evidence {
            kind: "api".into(),
            summary: "contract".into(),
            confidence: None,
            observed_at: at,
            expires_at: None,
            trace: TraceContext::default(),
            sequence: 0,
            signal: None,
        },
    }
}

/// The attempt of an intent that the fold knows: there is no other way to one.
fn attempt(request: &ActionRequest, seen: &Snapshot) -> Attempt {
    sending(request, seen).attempt().unwrap()
}

/// An intent with a send on its way.
fn sending(request: &ActionRequest, seen: &Snapshot) -> Intent {
    let at: Timestamp = "2026-01-15T10:00:00Z".parse().unwrap();
    let change = plan(&request.action, seen, at).unwrap();
    let id = request.id("contract");
    let writer = Writer { replica: "one".into(), process: "p".into(), epoch: 0 };
    let admission = Admission { id, request: request.clone(), change: change.clone(), adds: 0, writer };
    let event = Event::Attempted { number: 1, change };
    let mut history = History::default();
    for (revision, topic, record) in
        [(1, Topic::Admit, Record::Admitted(vec![admission])), (2, Topic::Intent(id), Record::Happened(event))]
    {
        history.apply(&Entry::sealed(Revision(revision), at, topic, None, record).unwrap()).unwrap();
    }
    history.intent(id).unwrap().clone()
}

async fn snapshot(side: &impl Side, request: &ActionRequest) -> Snapshot {
    side.port().snapshot(request).await.unwrap().expect("the target is there")
}

/// Plans on a fresh read and sends, again after a conflict: status may move while we look.
async fn apply(side: &impl Side, request: &ActionRequest) -> Receipt {
    for _ in 0..50 {
        let seen = snapshot(side, request).await;
        match side.port().execute(attempt(request, &seen)).await {
            Execution::Applied(receipt) => return receipt,
            Execution::Conflict(_) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("fifty conflicts in a row")
}

async fn complete(side: &impl Side, target: &Workload, receipt: &Receipt) -> Sighting {
    until("the rollout to be complete", || async {
        let seen = side.port().sight(target, None).await.unwrap().expect("the target is there");
        (seen.rollout.observed_generation >= receipt.generation && seen.rollout.complete()).then_some(seen)
    })
    .await
}

/// Quiet: no controller is about to write.
async fn settled(side: &impl Side, target: &Workload) -> Snapshot {
    let request = request(target, Action::Restart, "look");
    until("the target to be quiet", || async {
        let (one, two) = (snapshot(side, &request).await, snapshot(side, &request).await);
        let done = one.rollout.complete() && !one.rollout.in_progress() && one.resource_version == two.resource_version;
        done.then_some(two)
    })
    .await
}

async fn contract(side: impl Side) {
    reads(&side).await;
    a_token_is_used_once(&side).await;
    a_fence_takes_the_token(&side).await;
    generations(&side).await;
    scales(&side).await;
    a_bad_release_hangs_and_a_rollback_heals(&side).await;
    a_pod_dies_once(&side).await;
    another_object_of_the_same_name(&side).await;
    the_kinds_restart(&side).await;
}

async fn reads(side: &impl Side) {
    let cart = side.target(WorkloadKind::Deployment, "reads");
    assert!(side.port().snapshot(&request(&cart, Action::Restart, "r")).await.unwrap().is_none());
    assert!(side.port().sight(&cart, None).await.unwrap().is_none());
    side.put(&cart, 2).await;
    let seen = settled(side, &cart).await;
    assert_eq!((seen.replicas(), seen.paused(), seen.deleting, seen.stamp()), (2, false, false, None));
    assert!(seen.rollout.complete() && !seen.rollout.in_progress() && !seen.rollout.unhealthy());
    assert!(seen.neighbours.total >= 1 && seen.neighbours.unhealthy.is_empty(), "{:?}", seen.neighbours);
    side.edit(&cart, &json!({"metadata": {"annotations": {"flyball.dev/paused": "true"}}, "spec": {"paused": true}}));
    let seen = snapshot(side, &request(&cart, Action::Restart, "r")).await;
    assert!(seen.paused() && seen.annotations.get("flyball.dev/paused").is_some_and(|it| it == "true"));
}

async fn a_token_is_used_once(side: &impl Side) {
    let cart = side.target(WorkloadKind::Deployment, "token");
    side.put(&cart, 1).await;
    let seen = settled(side, &cart).await;
    let (first, second) =
        (request(&cart, Action::Restart, "first"), request(&cart, Action::Scale(Scale::To(2)), "second"));
    let Execution::Applied(receipt) = side.port().execute(attempt(&first, &seen)).await else { panic!("it was fresh") };
    assert!(receipt.generation > seen.rollout.generation);
    let late = side.port().execute(attempt(&second, &seen)).await;
    assert!(matches!(late, Execution::Conflict(_)), "a stale base: {late:?}");
    let copy = side.port().execute(attempt(&first, &seen)).await;
    assert!(matches!(copy, Execution::Conflict(_)), "the same bytes again: {copy:?}");
    let done = complete(side, &cart, &receipt).await;
    assert_eq!(done.stamp, Some(first.id("contract")));
    assert_eq!(done.spec["replicas"], 1, "the late one changed nothing");
}

async fn a_fence_takes_the_token(side: &impl Side) {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet, DAEMON] {
        let target = side.target(kind, &format!("fence-{}", kind.plural()));
        side.put(&target, 1).await;
        let seen = settled(side, &target).await;
        let restart = request(&target, Action::Restart, "fenced");
        let intent = sending(&restart, &seen);
        let fenced = side.port().fence(intent.fence().unwrap()).await;
        assert!(matches!(fenced, Execution::Applied(_)), "{kind}: {fenced:?}");
        let late = side.port().execute(intent.attempt().unwrap()).await;
        assert!(matches!(late, Execution::Conflict(_)), "{kind}: a copy that comes late: {late:?}");
        let after = snapshot(side, &restart).await;
        assert_eq!((after.fence(), after.stamp()), (Some((intent.id(), 1)), None), "{kind}");
        assert_eq!(after.spec_digest(), seen.spec_digest(), "{kind}: nothing was asked of it");
        // The other way round: what has landed cannot be fenced off.
        let landed = apply(side, &restart).await;
        let late = side.port().fence(intent.fence().unwrap()).await;
        assert!(matches!(late, Execution::Conflict(_)), "{kind}: {late:?}");
        assert_eq!(complete(side, &target, &landed).await.stamp, Some(intent.id()), "{kind}");
    }
}

async fn generations(side: &impl Side) {
    for (kind, moves) in [(WorkloadKind::Deployment, true), (WorkloadKind::StatefulSet, false), (DAEMON, false)] {
        let target = side.target(kind, &format!("generation-{}", kind.plural()));
        side.put(&target, 1).await;
        let before = settled(side, &target).await;
        side.edit(&target, &json!({"metadata": {"annotations": {"note": "by somebody"}}}));
        let after = snapshot(side, &request(&target, Action::Restart, "g")).await;
        assert_ne!(before.resource_version, after.resource_version);
        assert_eq!(before.rollout.generation != after.rollout.generation, moves, "{kind}: an annotation alone");
        assert_eq!(before.spec_digest(), after.spec_digest(), "{kind}: the spec is as it was");
    }
}

async fn scales(side: &impl Side) {
    let cart = side.target(WorkloadKind::Deployment, "scale");
    side.put(&cart, 1).await;
    settled(side, &cart).await;
    let receipt = apply(side, &request(&cart, Action::Scale(Scale::By(2)), "s")).await;
    let seen = complete(side, &cart, &receipt).await;
    assert_eq!((seen.rollout.desired, seen.rollout.available), (3, 3));
}

async fn a_bad_release_hangs_and_a_rollback_heals(side: &impl Side) {
    let cart = side.target(WorkloadKind::Deployment, "rollback");
    side.put(&cart, 2).await;
    let good = settled(side, &cart).await.spec["template"].clone();
    side.edit(&cart, &side.bad());
    let rollback = request(&cart, Action::Rollback { revision: None }, "back");
    let seen = until("the bad rollout to be seen", || async {
        let seen = snapshot(side, &rollback).await;
        let stuck = !seen.rollout.complete()
            && seen.rollout.observed_generation >= seen.rollout.generation
            && seen.rollout.updated > 0;
        (stuck && seen.revisions.iter().any(|it| it.template == good)).then_some(seen)
    })
    .await;
    assert!(seen.rollout.in_progress(), "kubectl would still wait: {:?}", seen.rollout);
    let receipt = apply(side, &rollback).await;
    assert_eq!(complete(side, &cart, &receipt).await.spec["template"], good);
}

async fn a_pod_dies_once(side: &impl Side) {
    let cart = side.target(WorkloadKind::Deployment, "evict");
    side.put(&cart, 2).await;
    settled(side, &cart).await;
    let name = side.first_pod(&cart);
    let evict = request(&cart, Action::DeletePod { pod: Some(name.as_str().into()) }, "evict");
    let seen = snapshot(side, &evict).await;
    let uid = seen.pod.as_ref().expect("the pod").uid.clone();
    apply(side, &evict).await;
    until("the pod is gone", || async {
        let seen = side.port().sight(&cart, Some((&name, &uid))).await.unwrap().expect("the target is there");
        (!seen.pod_still_there).then_some(())
    })
    .await;
    // Sent again, as after an answer that never came: the stamp is there, the pod is not, and nobody else dies.
    let again = side.port().execute(attempt(&evict, &seen)).await;
    assert!(matches!(again, Execution::Applied(_)), "{again:?}");
    let stranger = request(&cart, Action::DeletePod { pod: Some("nobody".into()) }, "nobody");
    assert_eq!(snapshot(side, &stranger).await.pod, None);
}

async fn another_object_of_the_same_name(side: &impl Side) {
    let cart = side.target(WorkloadKind::Deployment, "again");
    side.put(&cart, 2).await;
    let seen = settled(side, &cart).await;
    let restart = request(&cart, Action::Restart, "old");
    let planned = attempt(&restart, &seen);
    side.recreate(&cart).await;
    assert!(!matches!(side.port().execute(planned).await, Execution::Applied(_)), "it was another object");
    let now = snapshot(side, &restart).await;
    assert_ne!(now.uid, seen.uid);
    assert_eq!(now.stamp(), None);
}

async fn the_kinds_restart(side: &impl Side) {
    for kind in [WorkloadKind::StatefulSet, DAEMON] {
        let target = side.target(kind, &format!("restart-{}", kind.plural()));
        side.put(&target, 2).await;
        settled(side, &target).await;
        let restart = request(&target, Action::Restart, "kinds");
        let receipt = apply(side, &restart).await;
        assert_eq!(complete(side, &target, &receipt).await.stamp, Some(restart.id("contract")), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_simulated_cluster_keeps_the_contract() {
    contract(Sim(World::new(11, Arc::new(TokioClock::starting_at("2026-01-15T10:00:00Z".parse().unwrap()))))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_cluster_keeps_the_contract() {
    if !can_run() {
        return;
    }
    // The first test of the process installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let servers = Servers::shared();
    let options = Options { kubeconfig: Some(servers.kubeconfig()), ..Options::default() };
    let kube = KubeCluster::connect(options).await.unwrap();
    let watches = tokio::spawn(kube.watches());
    until("the watches are synced", || async { kube.ready().await.is_ok().then_some(()) }).await;
    contract(Real { namespace: servers.namespace("contract").unwrap(), kube, servers }).await;
    watches.abort();
}
