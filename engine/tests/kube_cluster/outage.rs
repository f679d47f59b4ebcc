//! An API server that goes away and comes back, on a cluster of our own.

use std::sync::Arc;

use flyball_core::action::Action;
use flyball_core::facts::STAMP_INTENT;
use flyball_core::intent::Execution;
use flyball_core::plan::plan;
use flyball_core::ports::{Cluster as _, PortError};
use flyball_core::workload::WorkloadKind;
use flyball_devcluster::workloads::wait_ready;
use flyball_devcluster::{Cluster, Options, Part, can_run};
use jiff::Timestamp;
use serde_json::json;

use crate::bed::{SOON, attempt_at, connect, eventually, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hangs_is_unknown_and_what_comes_back_is_followed_again() {
    if !can_run() {
        return;
    }
    let dev = Cluster::start(&Options::default()).unwrap();
    let namespace = dev.namespace("outage").unwrap();
    let cart = flyball_devcluster::Workload::new(&namespace, "cart");
    dev.api().create(&cart.deployment()).unwrap();
    let path = cart.path("deployments");
    wait_ready(dev.api(), &path, SOON).unwrap();
    let (kube, watches) = connect(dev.kubeconfig(), Arc::new(())).await;
    eventually("the watches are synced", SOON, async || kube.ready().await.ok()).await;
    let target = flyball_core::workload::Workload::new(WorkloadKind::Deployment, &namespace, "cart");
    let asked = request(&target, Action::Restart);
    let seen = kube.snapshot(&asked).await.unwrap().unwrap();
    let at = Timestamp::now();
    let change = plan(&asked.action, &seen, at).unwrap();
    let copy = || attempt_at(&asked, change.clone(), at);

    // It takes the request and says nothing; the change lands when it goes on, after we had given up on it.
    dev.stop(Part::ApiServer).unwrap();
    let hung = kube.execute(copy()).await;
    assert!(matches!(hung, Execution::Unknown(_)), "{hung:?}");
    dev.cont(Part::ApiServer).unwrap();
    let late = match kube.execute(copy()).await {
        Execution::Applied(_) => false,
        Execution::Conflict(_) => true,
        other => panic!("{other:?}"),
    };
    let stored = wait_ready(dev.api(), &path, SOON).unwrap();
    assert_eq!(stored["metadata"]["annotations"][STAMP_INTENT], asked.id("test").to_string(), "late: {late}");
    assert_eq!(stored["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2", "late: {late}");

    dev.kill(Part::ApiServer).unwrap();
    assert!(matches!(kube.ready().await, Err(PortError::Unavailable(said)) if said.starts_with(dev.url())));
    assert!(matches!(kube.snapshot(&asked).await, Err(PortError::Unavailable(_))));
    dev.restart(Part::ApiServer).unwrap();
    kube.ready().await.unwrap();
    // The watch goes on within its backoff: a change made now is seen.
    dev.api().patch(&path, &json!({"spec": {"replicas": 0}})).unwrap().ok().unwrap();
    let asleep = || kube.health().iter().any(|(it, desired, _)| *it == target && *desired == 0);
    eventually("the watch comes back", SOON * 2, async || asleep().then_some(())).await;
    watches.abort();
}
