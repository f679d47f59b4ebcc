//! What RBAC lets us do, and what is said when it does not.

use std::sync::Arc;
use std::time::Duration;

use flyball_core::action::{Action, Scale};
use flyball_core::chain::{Head, Sum};
use flyball_core::deny::DenyReason;
use flyball_core::id::Revision;
use flyball_core::intent::Execution;
use flyball_core::mark::Mark;
use flyball_core::ports::{Anchor as _, Cluster as _, PortError};
use flyball_core::workload::WorkloadKind;
use flyball_devcluster::{Pods, workloads::wait_ready};
use serde_json::{Value, json};

use crate::bed::{Bed, SOON, connect, eventually, request};

const RBAC: &str = include_str!("../../../deploy/rbac.yaml");

/// Creates what `deploy/rbac.yaml` says. Another run on the same cluster may have done so.
fn rights(bed: &Bed) {
    for object in serde_saphyr::from_multiple::<Value>(RBAC).unwrap() {
        if let Err(error) = bed.dev.api().create(&object) {
            assert!(format!("{error:#}").contains("already exists"), "{error:#}");
        }
    }
}

/// A kubeconfig of a new service account with these rules and none else.
pub(crate) fn account(bed: &Bed, rules: &Value) -> std::path::PathBuf {
    let metadata = json!({"namespace": bed.namespace, "name": "somebody"});
    let of = |kind: &str, more: Value| {
        let mut object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bed.dev.api().create(&object).unwrap();
    };
    bed.dev.api().create(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).unwrap();
    of("Role", json!({ "rules": rules }));
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "somebody"});
    let subject = json!({"kind": "ServiceAccount", "namespace": bed.namespace, "name": "somebody"});
    of("RoleBinding", json!({"roleRef": role, "subjects": [subject]}));
    bed.dev.service_account(&bed.namespace, "somebody").unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_that_we_ship_is_enough() {
    let Some(admin) = Bed::new("role").await else { return };
    rights(&admin);
    let (_, own) = admin.dev.service_account("flyball", "flyball").unwrap();
    let bed = Bed::over(admin.dev, admin.namespace.clone(), own.clone()).await;
    for kind in WorkloadKind::ALL {
        let app = kind.plural();
        let manifest = bed.manifest(app);
        bed.deploy(kind, &manifest);
        let target = bed.target(kind, app);
        // A release that works: a StatefulSet that waits for a pod that is never ready stays there after its rollback, too.
        let release = Pods::Slow(Duration::from_millis(100)).patch();
        bed.dev.api().patch(&manifest.path(app), &release).unwrap().ok().unwrap();
        wait_ready(bed.dev.api(), &manifest.path(app), SOON).unwrap();
        bed.apply(&request(&target, Action::Rollback { revision: None })).await;
        bed.complete(&target).await;
        bed.apply(&request(&target, Action::Restart)).await;
        wait_ready(bed.dev.api(), &manifest.path(app), SOON).unwrap();
        if kind != WorkloadKind::DaemonSet {
            bed.apply(&request(&target, Action::Scale(Scale::To(2)))).await;
        }
        wait_ready(bed.dev.api(), &manifest.path(app), SOON).unwrap();
        let pod = bed.pods(app)[0]["metadata"]["name"].as_str().unwrap().into();
        bed.apply(&request(&target, Action::DeletePod { pod: Some(pod) })).await;
        bed.kube.sight(&target, Some(("nobody", "x"))).await.unwrap();
    }
    // The mark of a cluster of any name, in the account's own namespace, as a pod has it.
    let text = std::fs::read_to_string(&own)
        .unwrap()
        .replace("{cluster: devcluster,", "{cluster: devcluster, namespace: flyball,");
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("kubeconfig");
    std::fs::write(&own, text).unwrap();
    let (kube, watches) = connect(own, Arc::new(())).await;
    let anchor = kube.anchor(&bed.namespace);
    let mark = |newest| Mark {
        ledger: "one".into(),
        newest: Head { revision: Revision(newest), sum: Sum::of(&[b"an entry"]) },
    };
    assert!(anchor.write(None, mark(1)).await.unwrap());
    assert!(anchor.write(Some(mark(1)), mark(2)).await.unwrap());
    watches.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rights_nothing_is_guessed() {
    let Some(bed) = Bed::new("none").await else { return };
    bed.deploy(WorkloadKind::Deployment, &bed.manifest("cart"));
    let asked = request(&bed.target(WorkloadKind::Deployment, "cart"), Action::Restart);
    let planned = bed.attempt(&asked).await;
    let (kube, watches) = connect(account(&bed, &json!([])), Arc::new(())).await;
    match kube.snapshot(&asked).await {
        Err(PortError::Forbidden(said)) => assert!(said.contains("cannot"), "{said}"),
        other => panic!("{other:?}"),
    }
    match kube.execute(planned).await {
        Execution::Rejected(DenyReason::Forbidden { detail }) => assert!(detail.contains("cannot patch"), "{detail}"),
        other => panic!("{other:?}"),
    }
    let refused = async || Some(kube.ready().await.unwrap_err()).filter(|it| matches!(it, PortError::Forbidden(_)));
    let said = eventually("the watch is refused", SOON, refused).await;
    assert!(said.to_string().starts_with("forbidden: the watch of deployments: "), "{said}");
    watches.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autoscaler_that_we_may_not_see_is_not_an_absent_one() {
    let Some(bed) = Bed::new("blind").await else { return };
    bed.deploy(WorkloadKind::Deployment, &bed.manifest("cart"));
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["*"], "verbs": ["*"]},
    ]);
    let (kube, watches) = connect(account(&bed, &rules), Arc::new(())).await;
    let asked = request(&bed.target(WorkloadKind::Deployment, "cart"), Action::Scale(Scale::By(1)));
    match kube.snapshot(&asked).await {
        Err(PortError::Forbidden(said)) => assert!(said.contains("horizontalpodautoscalers"), "{said}"),
        other => panic!("{other:?}"),
    }
    watches.abort();
}
