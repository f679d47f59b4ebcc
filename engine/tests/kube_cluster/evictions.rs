//! Evictions of real pods.

use std::sync::Arc;

use flyball_core::action::{Action, ActionRequest};
use flyball_core::deny::DenyReason;
use flyball_core::intent::Execution;
use flyball_core::plan::plan;
use flyball_core::ports::Cluster as _;
use flyball_core::workload::{Workload, WorkloadKind};
use flyball_devcluster::workloads::wait_ready;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bed::{Bed, SOON, attempt_at, request, until};

fn delete(target: &Workload, pod: &Value) -> ActionRequest {
    let name: Arc<str> = pod["metadata"]["name"].as_str().unwrap().into();
    request(target, Action::DeletePod { pod: Some(name) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_dies_once_by_its_uid() {
    let Some(bed) = Bed::new("evict").await else { return };
    // A StatefulSet gives its pods' names again: what comes after has the name and must live.
    for kind in WorkloadKind::ALL {
        let app = kind.plural();
        let manifest = bed.manifest(app).replicas(2);
        bed.deploy(kind, &manifest);
        let pod = bed.pods(app).remove(0);
        let (name, uid) = (pod["metadata"]["name"].as_str().unwrap(), pod["metadata"]["uid"].as_str().unwrap());
        let asked = delete(&bed.target(kind, app), &pod);
        let seen = bed.snapshot(&asked).await;
        assert_eq!(seen.pod.as_ref().map(|it| (&*it.name, &*it.uid)), Some((name, uid)));
        let at = Timestamp::now();
        let change = plan(&asked.action, &seen, at).unwrap();
        let copy = || attempt_at(&asked, change.clone(), at);

        let first = bed.kube.execute(copy()).await;
        assert!(matches!(first, Execution::Applied(_)), "{first:?}");
        until("the pod to go", || bed.pods(app).iter().all(|it| it["metadata"]["uid"] != uid));
        wait_ready(bed.dev.api(), &manifest.path(kind.plural()), SOON).unwrap();
        let sight = bed.kube.sight(&asked.target, Some((name, uid))).await.unwrap().unwrap();
        assert!(!sight.pod_still_there && sight.stamp == Some(asked.id("test")));

        // The second copy finds the stamp, and nobody to kill.
        let before: Vec<_> = bed.pods(app).iter().map(|it| it["metadata"]["uid"].clone()).collect();
        let second = bed.kube.execute(copy()).await;
        assert!(matches!(second, Execution::Applied(_)), "{second:?}");
        let after: Vec<_> = bed.pods(app).iter().map(|it| it["metadata"]["uid"].clone()).collect();
        assert_eq!(before, after);
        assert!(bed.pods(app).iter().all(|it| it["metadata"]["deletionTimestamp"].is_null()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_that_stopped_after_the_stamp_goes_on() {
    let Some(bed) = Bed::new("half").await else { return };
    let cart = bed.manifest("cart").replicas(2);
    bed.deploy(WorkloadKind::Deployment, &cart);
    let pod = bed.pods("cart").remove(0);
    let asked = delete(&bed.target(WorkloadKind::Deployment, "cart"), &pod);
    let planned = bed.attempt(&asked).await;
    // What a process did that was killed between the two requests.
    let merge = "application/merge-patch+json";
    bed.dev.api().patch_as(&cart.path("deployments"), merge, &planned.body()).unwrap().ok().unwrap();
    let sent = bed.kube.execute(planned).await;
    assert!(matches!(sent, Execution::Applied(_)), "{sent:?}");
    until("the pod to go", || bed.pods("cart").iter().all(|it| it["metadata"]["uid"] != pod["metadata"]["uid"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_stops_where_somebody_else_came_first() {
    let Some(bed) = Bed::new("first").await else { return };
    let cart = bed.manifest("cart");
    bed.deploy(WorkloadKind::Deployment, &cart);
    let pod = bed.pods("cart").remove(0);
    let asked = delete(&bed.target(WorkloadKind::Deployment, "cart"), &pod);
    let planned = bed.attempt(&asked).await;
    bed.dev.api().patch(&cart.path("deployments"), &json!({"metadata": {"labels": {"a": "b"}}})).unwrap().ok().unwrap();
    assert!(matches!(bed.kube.execute(planned).await, Execution::Conflict(_)));
    assert_eq!(bed.pods("cart")[0]["metadata"]["uid"], pod["metadata"]["uid"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_seen_and_honoured() {
    let Some(bed) = Bed::new("budget").await else { return };
    let cart = bed.manifest("cart").replicas(2);
    bed.deploy(WorkloadKind::Deployment, &cart);
    let asked = delete(&bed.target(WorkloadKind::Deployment, "cart"), &bed.pods("cart")[0]);
    assert_eq!(bed.snapshot(&asked).await.pod.unwrap().blocked_by, None);

    bed.dev.api().create(&cart.disruption_budget(2)).unwrap();
    let path = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets/cart", bed.namespace);
    until("the budget to be counted", || bed.stored(&path)["status"]["currentHealthy"] == 2);
    assert_eq!(bed.snapshot(&asked).await.pod.unwrap().blocked_by.as_deref(), Some("cart"));
    let refused = bed.kube.execute(bed.attempt(&asked).await).await;
    assert_eq!(refused, Execution::Rejected(DenyReason::DisruptionBudget { budget: "cart".into() }));

    let mut second = cart.disruption_budget(0);
    second["metadata"]["name"] = json!("another");
    bed.dev.api().create(&second).unwrap();
    let asked = delete(&bed.target(WorkloadKind::Deployment, "cart"), &bed.pods("cart")[0]);
    assert_eq!(bed.snapshot(&asked).await.pod.unwrap().blocked_by.as_deref(), Some("another and cart"));
    match bed.kube.execute(bed.attempt(&asked).await).await {
        Execution::Rejected(DenyReason::DisruptionBudget { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(bed.pods("cart").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_another_workload_is_not_ours_to_take() {
    let Some(bed) = Bed::new("stranger").await else { return };
    bed.deploy(WorkloadKind::Deployment, &bed.manifest("cart"));
    bed.deploy(WorkloadKind::Deployment, &bed.manifest("web"));
    let asked = delete(&bed.target(WorkloadKind::Deployment, "cart"), &bed.pods("web")[0]);
    assert_eq!(bed.snapshot(&asked).await.pod, None);
    let nobody = json!({"metadata": {"name": "nobody"}});
    assert_eq!(bed.snapshot(&delete(&bed.target(WorkloadKind::Deployment, "cart"), &nobody)).await.pod, None);
}
