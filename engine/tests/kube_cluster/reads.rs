//! Snapshots and sightings of real objects.

use std::time::Duration;

use flyball_core::action::{Action, Scale};
use flyball_core::ports::Cluster as _;
use flyball_core::workload::WorkloadKind;
use flyball_devcluster::Pods;
use serde_json::json;

use crate::bed::{Bed, SOON, request, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_tells_what_is_there() {
    let Some(bed) = Bed::new("reads").await else { return };
    for kind in WorkloadKind::ALL {
        let object = bed.deploy(kind, &bed.manifest("cart").replicas(2));
        let target = bed.target(kind, "cart");
        let seen = bed.snapshot(&request(&target, Action::Restart)).await;
        assert_eq!(seen.target, target);
        assert_eq!(*seen.uid, object["metadata"]["uid"]);
        assert_eq!(seen.spec["template"], object["spec"]["template"]);
        assert_eq!(seen.labels["app"], "cart");
        assert_eq!(seen.rollout.desired, if kind == WorkloadKind::DaemonSet { 3 } else { 2 });
        assert!(seen.rollout.complete() && !seen.rollout.unhealthy() && !seen.deleting && !seen.namespace_opted_out);
        assert!(seen.managers == flyball_core::facts::Managers::default() && seen.pod.is_none());
        let sighting = bed.kube.sight(&target, None).await.unwrap().unwrap();
        assert_eq!((sighting.rollout, sighting.spec), (seen.rollout, seen.spec));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_nothing() {
    let Some(bed) = Bed::new("nothing").await else { return };
    for name in ["cart", "../../../namespaces", "Cart/scale", "a?dryRun=All", ""] {
        for kind in WorkloadKind::ALL {
            let target = bed.target(kind, name);
            let seen = bed.kube.snapshot(&request(&target, Action::Rollback { revision: None })).await;
            assert!(seen.unwrap().is_none(), "{name}");
            assert!(bed.kube.sight(&target, Some(("x", "y"))).await.unwrap().is_none(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_who_write_are_seen() {
    let Some(bed) = Bed::new("others").await else { return };
    let cart = bed.manifest("cart");
    bed.deploy(WorkloadKind::Deployment, &cart);
    bed.dev.api().create(&cart.autoscaler(1, 3)).unwrap();
    let metadata = json!({"metadata": {"annotations": {"flyball.dev/paused": "true"}}});
    bed.dev.api().patch(&format!("/api/v1/namespaces/{}", bed.namespace), &metadata).unwrap().ok().unwrap();
    // As Argo CD writes it: with its mark, under its name.
    let by_argo = json!({"metadata": {"labels": {"argocd.argoproj.io/instance": "shop"}}, "spec": {"replicas": 2}});
    let path = format!("{}?fieldManager=argocd-controller", cart.path("deployments"));
    bed.dev.api().patch(&path, &by_argo).unwrap().ok().unwrap();
    let seen = bed.snapshot(&request(&bed.target(WorkloadKind::Deployment, "cart"), Action::Scale(Scale::By(1)))).await;
    assert!(seen.namespace_opted_out);
    assert_eq!(seen.managers.autoscaler.as_deref(), Some("HorizontalPodAutoscaler/cart"));
    assert_eq!((seen.managers.gitops.as_deref(), seen.managers.gitops_owns_replicas), (Some("Argo CD"), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_that_are_down_are_counted() {
    let Some(bed) = Bed::new("neighbours").await else { return };
    bed.deploy(WorkloadKind::Deployment, &bed.manifest("cart"));
    bed.deploy(WorkloadKind::DaemonSet, &bed.manifest("agent"));
    bed.deploy(WorkloadKind::Deployment, &bed.manifest("asleep").replicas(0));
    bed.dev.api().create(&bed.manifest("db").replicas(2).pods(Pods::Crash).stateful_set()).unwrap();
    let db = bed.target(WorkloadKind::StatefulSet, "db");
    until("the watch to see them", || {
        let here: Vec<_> = bed.kube.health().into_iter().filter(|(it, ..)| *it.namespace == bed.namespace).collect();
        here.len() == 4 && here.iter().all(|(it, desired, up)| if *it == db { *up == 0 } else { desired == up })
    });
    let seen = bed.snapshot(&request(&bed.target(WorkloadKind::Deployment, "cart"), Action::Restart)).await;
    assert_eq!((seen.neighbours.total, seen.neighbours.unhealthy), (3, [db].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_hinted_at() {
    let Some(bed) = Bed::new("hints").await else { return };
    let cart = bed.manifest("cart");
    bed.deploy(WorkloadKind::Deployment, &cart);
    bed.deploy(WorkloadKind::Deployment, &bed.manifest("other"));
    let (target, other) = (bed.target(WorkloadKind::Deployment, "cart"), bed.target(WorkloadKind::Deployment, "other"));
    // Both deployments have come to rest.
    while tokio::time::timeout(Duration::from_secs(1), bed.kube.changed(&target)).await.is_ok() {}
    let (hint, quiet) = (bed.kube.changed(&target), bed.kube.changed(&other));
    bed.dev.api().patch(&cart.path("deployments"), &json!({"metadata": {"labels": {"a": "b"}}})).unwrap().ok().unwrap();
    tokio::time::timeout(SOON, hint).await.expect("a hint");
    assert!(tokio::time::timeout(Duration::from_millis(200), quiet).await.is_err(), "it did not change");
}
