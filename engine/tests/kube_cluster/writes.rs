//! Patches of real objects: scale, restart, rollback, and what happens to the second copy of one.

use flyball_core::action::{Action, Scale};
use flyball_core::deny::DenyReason;
use flyball_core::intent::Execution;
use flyball_core::plan::{Change, Edit, RESTARTED_AT, plan};
use flyball_core::ports::Cluster as _;
use flyball_core::workload::WorkloadKind;
use flyball_devcluster::{Pods, workloads::wait_ready};
use jiff::Timestamp;
use serde_json::json;

use crate::bed::{Bed, SOON, attempt_at, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_rolls_out_and_leaves_its_stamp() {
    let Some(bed) = Bed::new("restart").await else { return };
    for kind in WorkloadKind::ALL {
        let old = bed.deploy(kind, &bed.manifest("cart"));
        let target = bed.target(kind, "cart");
        let asked = request(&target, Action::Restart);
        let receipt = bed.apply(&asked).await;
        assert!(receipt.generation > old["metadata"]["generation"].as_i64().unwrap());
        let seen = bed.complete(&target).await;
        assert!(seen.rollout.observed_generation >= receipt.generation);
        assert_eq!(seen.stamp, Some(asked.id("test")));
        assert!(seen.spec["template"]["metadata"]["annotations"][RESTARTED_AT].is_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_is_named() {
    let Some(bed) = Bed::new("named").await else { return };
    let cart = bed.manifest("cart");
    bed.deploy(WorkloadKind::Deployment, &cart);
    bed.apply(&request(&bed.target(WorkloadKind::Deployment, "cart"), Action::Scale(Scale::To(2)))).await;
    let stored = bed.stored(&cart.path("deployments"));
    let fields = stored["metadata"]["managedFields"].as_array().unwrap();
    let ours = fields.iter().find(|it| it["manager"] == "flyball").expect("our entry");
    assert!(ours.pointer("/fieldsV1/f:spec/f:replicas").is_some());
    assert_eq!(stored["spec"]["replicas"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_copy_changes_nothing() {
    let Some(bed) = Bed::new("copy").await else { return };
    for kind in WorkloadKind::ALL {
        let cart = bed.manifest("cart");
        bed.deploy(kind, &cart);
        let asked = request(&bed.target(kind, "cart"), Action::Restart);
        let seen = bed.snapshot(&asked).await;
        let at = Timestamp::now();
        let change = plan(&asked.action, &seen, at).unwrap();
        let copy = || attempt_at(&asked, change.clone(), at);
        assert_eq!(copy().body().to_string(), copy().body().to_string());
        let sends = (0..8).map(|_| bed.kube.execute(copy()));
        let ends = futures::future::join_all(sends).await;
        let landed = ends.iter().filter(|it| matches!(it, Execution::Applied(_))).count();
        let lost = ends.iter().filter(|it| matches!(it, Execution::Conflict(_))).count();
        assert_eq!((landed, lost), (1, 7), "{ends:?}");
        let stored = wait_ready(bed.dev.api(), &cart.path(kind.plural()), SOON).unwrap();
        assert!(matches!(bed.kube.execute(copy()).await, Execution::Conflict(_)));
        let after = bed.stored(&cart.path(kind.plural()));
        assert_eq!(after["metadata"]["generation"], stored["metadata"]["generation"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_base_is_a_conflict() {
    let Some(bed) = Bed::new("stale").await else { return };
    let cart = bed.manifest("cart");
    bed.deploy(WorkloadKind::Deployment, &cart);
    let asked = request(&bed.target(WorkloadKind::Deployment, "cart"), Action::Scale(Scale::To(3)));
    let planned = bed.attempt(&asked).await;
    bed.dev.api().patch(&cart.path("deployments"), &json!({"spec": {"replicas": 2}})).unwrap().ok().unwrap();
    assert!(matches!(bed.kube.execute(planned).await, Execution::Conflict(_)));
    let stored = bed.stored(&cart.path("deployments"));
    assert_eq!(stored["spec"]["replicas"], 2);
    assert!(stored["metadata"]["annotations"]["flyball.dev/intent"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_object_of_the_same_name_is_left_alone() {
    let Some(bed) = Bed::new("namesake").await else { return };
    let cart = bed.manifest("cart");
    bed.deploy(WorkloadKind::Deployment, &cart);
    let asked = request(&bed.target(WorkloadKind::Deployment, "cart"), Action::Restart);
    let [first, second] = [bed.attempt(&asked).await, bed.attempt(&asked).await];
    bed.dev.api().delete(&cart.path("deployments")).unwrap().ok().unwrap();
    let gone = Execution::Rejected(DenyReason::TargetNotFound { what: asked.target.to_string() });
    assert_eq!(bed.kube.execute(first).await, gone);
    bed.deploy(WorkloadKind::Deployment, &cart);
    assert!(matches!(bed.kube.execute(second).await, Execution::Conflict(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_finds_invalid_is_rejected_in_its_words() {
    let Some(bed) = Bed::new("invalid").await else { return };
    bed.deploy(WorkloadKind::Deployment, &bed.manifest("cart"));
    let asked = request(&bed.target(WorkloadKind::Deployment, "cart"), Action::Scale(Scale::To(2)));
    let seen = bed.snapshot(&asked).await;
    let planned = plan(&asked.action, &seen, Timestamp::now()).unwrap();
    let apply = json!({"spec": {"replicas": -1}});
    let change = Change { edit: Edit::Fields { summary: "odd".into(), apply, revert: None }, ..planned };
    match bed.kube.execute(attempt_at(&asked, change, Timestamp::now())).await {
        Execution::Rejected(DenyReason::ActionNotAllowed { what }) => assert!(what.contains("replicas"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_restores_the_template_before() {
    let Some(bed) = Bed::new("rollback").await else { return };
    for kind in WorkloadKind::ALL {
        let cart = bed.manifest("cart");
        let good = bed.deploy(kind, &cart);
        let path = cart.path(kind.plural());
        bed.dev.api().patch(&path, &Pods::Slow(std::time::Duration::from_millis(100)).patch()).unwrap().ok().unwrap();
        let bad = wait_ready(bed.dev.api(), &path, SOON).unwrap();

        let asked = request(&bed.target(kind, "cart"), Action::Rollback { revision: None });
        let seen = bed.snapshot(&asked).await;
        assert_eq!(seen.revisions.iter().map(|it| it.revision).collect::<Vec<_>>(), [2, 1], "{kind}");
        assert_eq!(seen.revisions[0].template, bad["spec"]["template"], "{kind}: the current one is equal to itself");
        assert_eq!(seen.revisions[1].template, good["spec"]["template"], "{kind}");
        bed.apply(&asked).await;
        let after = bed.complete(&asked.target).await;
        assert_eq!(after.spec["template"], good["spec"]["template"], "{kind}");

        // The controller gives the old template a new number: it is never the way back to itself.
        let again = request(&bed.target(kind, "cart"), Action::Rollback { revision: None });
        let seen = bed.snapshot(&again).await;
        assert_eq!(seen.revisions.iter().map(|it| it.revision).collect::<Vec<_>>(), [3, 2], "{kind}");
        assert_eq!(seen.revisions[0].template, good["spec"]["template"], "{kind}");
        let gone = request(&bed.target(kind, "cart"), Action::Rollback { revision: Some(1) });
        let planned = plan(&gone.action, &bed.snapshot(&gone).await, Timestamp::now());
        assert_eq!(planned, Err(DenyReason::TargetNotFound { what: "revision 1".into() }));
    }
}
