//! The cluster as tests of other crates use it: shared, one namespace for each test.
#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

use std::time::Duration;

use anyhow::{Result, ensure};
use flyball_devcluster::workloads::wait_ready;
use flyball_devcluster::{Api, Cluster, Pods, Workload, can_run, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A namespace for one test, or nothing when there is no Go to build servers with.
fn place(prefix: &str) -> Option<(&'static Cluster, String)> {
    can_run().then(Cluster::shared).map(|cluster| (cluster, cluster.namespace(prefix).unwrap()))
}

/// Deploys the workload that `describe` makes for a namespace of its own, and returns both with the Deployment's path.
fn deployed(prefix: &str, describe: impl Fn(Workload) -> Workload) -> Option<(&'static Cluster, String, String)> {
    let (cluster, place) = place(prefix)?;
    let workload = describe(Workload::new(&place, "cart"));
    cluster.api().create(&workload.deployment()).unwrap();
    Some((cluster, workload.path("deployments"), place))
}

/// The pods of a namespace.
fn pods(cluster: &Cluster, place: &str) -> Result<Vec<Value>> {
    let list = cluster.api().get(&format!("/api/v1/namespaces/{place}/pods"))?.ok()?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

#[test]
fn a_deployment_of_three_rolls_out() {
    let Some((cluster, path, _)) = deployed("rolls-out", |cart| cart.replicas(3)) else { return };
    let ready = wait_ready(cluster.api(), &path, SOON).unwrap();
    assert_eq!(ready["status"]["availableReplicas"], 3);
}

#[test]
fn a_crashing_release_hangs_and_the_next_one_heals() {
    let hasty = |cart: Workload| cart.replicas(3).progress_deadline(Duration::from_secs(2));
    let Some((cluster, path, place)) = deployed("crashes", hasty) else { return };
    let api = cluster.api();
    wait_ready(api, &path, SOON).unwrap();

    api.patch(&path, &Pods::Crash.patch()).unwrap().ok().unwrap();
    let hung = wait_until("the rollout to hang", SOON, || {
        let deployment = api.get(&path)?.ok()?;
        let conditions = deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        ensure!(conditions.iter().any(|c| c["reason"] == "ProgressDeadlineExceeded"), "it still progresses");
        Ok(deployment)
    });
    assert_eq!(hung.unwrap()["status"]["availableReplicas"], 3, "the old pods stay while the new ones crash");
    let crashing = pods(cluster, &place).unwrap();
    let waiting =
        |pod: &&Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    assert_eq!(crashing.iter().filter(waiting).count(), 1);

    api.patch(&path, &Pods::Ready.patch()).unwrap().ok().unwrap();
    wait_ready(api, &path, SOON).unwrap();
}

/// Gives a release of one pod the fate, and waits until the field at `pointer` of a pod says `expected`.
fn check_fate(fate: Pods, prefix: &str, pointer: &str, expected: &str) {
    let Some((cluster, _, place)) = deployed(prefix, |cart| cart.pods(fate)) else { return };
    let seen = wait_until(&format!("{pointer} to be {expected}"), SOON, || {
        let pods = pods(cluster, &place)?;
        ensure!(pods.iter().any(|pod| pod.pointer(pointer) == Some(&json!(expected))), "pods are {pods:?}");
        Ok(())
    });
    seen.unwrap();
}

#[test]
fn an_oom_killed_pod_says_so() {
    check_fate(Pods::Oom, "oom", "/status/containerStatuses/0/lastState/terminated/reason", "OOMKilled");
}

#[test]
fn a_pod_without_its_image_waits_for_it() {
    check_fate(Pods::ImagePull, "image-pull", "/status/containerStatuses/0/state/waiting/reason", "ImagePullBackOff");
}

#[test]
fn a_pod_that_is_never_ready_runs() {
    check_fate(Pods::NeverReady, "never-ready", "/status/phase", "Running");
}

#[test]
fn a_slow_pod_takes_its_time() {
    let slow = Pods::Slow(Duration::from_secs(2));
    let Some((cluster, path, _)) = deployed("slow", |cart| cart.pods(slow)) else { return };
    assert!(wait_ready(cluster.api(), &path, Duration::from_millis(1200)).is_err(), "it was ready too soon");
    wait_ready(cluster.api(), &path, SOON).unwrap();
}

#[test]
fn a_running_pod_breaks_and_heals_by_its_annotation() {
    let Some((cluster, path, place)) = deployed("breaks", |cart| cart) else { return };
    wait_ready(cluster.api(), &path, SOON).unwrap();
    let pod = pods(cluster, &place).unwrap().remove(0);
    let pod = format!("/api/v1/namespaces/{place}/pods/{}", pod["metadata"]["name"].as_str().unwrap());
    let annotate = |fate: Pods| {
        let change = json!({"metadata": {"annotations": fate.annotations()}});
        cluster.api().patch(&pod, &change).unwrap().ok().unwrap();
    };
    annotate(Pods::Crash);
    let broken = wait_until("the Deployment to lose its pod", SOON, || {
        let deployment = cluster.api().get(&path)?.ok()?;
        ensure!(deployment["status"]["unavailableReplicas"] == 1, "it is available");
        Ok(())
    });
    broken.unwrap();
    annotate(Pods::Ready);
    wait_ready(cluster.api(), &path, SOON).unwrap();
}

#[test]
fn stateful_sets_daemon_sets_and_the_rest_work() {
    let Some((cluster, place)) = place("kinds") else { return };
    let (api, workload) = (cluster.api(), Workload::new(&place, "cart"));
    for manifest in [
        Workload::new(&place, "store").replicas(2).stateful_set(),
        Workload::new(&place, "agent").daemon_set(),
        workload.disruption_budget(1),
        workload.autoscaler(2, 5),
    ] {
        api.create(&manifest).unwrap();
    }
    wait_ready(api, &Workload::new(&place, "store").path("statefulsets"), SOON).unwrap();
    let agent = wait_ready(api, &Workload::new(&place, "agent").path("daemonsets"), SOON).unwrap();
    assert_eq!(agent["status"]["numberAvailable"], cluster.nodes());
}

#[test]
fn jobs_succeed_and_fail() {
    let Some((cluster, place)) = place("jobs") else { return };
    let api = cluster.api();
    for (name, fate, condition) in [("good", Pods::Ready, "Complete"), ("bad", Pods::Fail, "Failed")] {
        api.create(&Workload::new(&place, name).pods(fate).job()).unwrap();
        let path = format!("/apis/batch/v1/namespaces/{place}/jobs/{name}");
        let ended = wait_until(&format!("{name} to end"), SOON, || {
            let conditions = api.get(&path)?.ok()?["status"]["conditions"].as_array().cloned().unwrap_or_default();
            ensure!(conditions.iter().any(|c| c["type"] == condition && c["status"] == "True"), "it is {conditions:?}");
            Ok(())
        });
        ended.unwrap();
    }
}

#[test]
fn the_audit_log_shows_a_patch_with_its_body() {
    let Some((cluster, path, place)) = deployed("audited", |cart| cart) else { return };
    let log = cluster.audit().from_now().unwrap();
    let change = json!({"spec": {"replicas": 2}});
    cluster.api().patch(&format!("{path}?dryRun=All"), &change).unwrap().ok().unwrap();
    cluster.api().patch(&path, &change).unwrap().ok().unwrap();

    // Not waited for: the entries are there as soon as the answers are.
    let patches = log.find(|e| e.verb == "patch" && e.namespace == place && e.resource == "deployments").unwrap();
    let [tried, done] = &patches[..] else { panic!("two patches, not {patches:#?}") };
    assert!(tried.dry_run && !done.dry_run);
    assert_eq!(
        (done.user.as_str(), done.group.as_str(), done.name.as_str(), done.code),
        ("admin", "apps", "cart", 200)
    );
    assert_eq!(done.object, change);
    assert!(tried.completed <= done.received);
}

#[test]
fn a_service_account_may_do_what_its_role_says() {
    let Some((cluster, place)) = place("accounts") else { return };
    let api = cluster.api();
    let rbac = "rbac.authorization.k8s.io";
    let subject = json!([{"kind": "ServiceAccount", "name": "robot", "namespace": place}]);
    for manifest in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": place}}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "reader", "namespace": place},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": "reader", "namespace": place},
            "subjects": subject, "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"}}),
    ] {
        api.create(&manifest).unwrap();
    }
    let (token, kubeconfig) = cluster.service_account(&place, "robot").unwrap();
    assert!(std::fs::read_to_string(kubeconfig).unwrap().contains(&token));
    let robot = Api::new(cluster.url(), &std::fs::read(cluster.roots()).unwrap(), &token).unwrap();
    let allowed =
        wait_until("the role to count", SOON, || robot.get(&format!("/api/v1/namespaces/{place}/pods"))?.ok());
    allowed.unwrap();
    assert_eq!(robot.get(&format!("/api/v1/namespaces/{place}/secrets")).unwrap().status, 403);
}
