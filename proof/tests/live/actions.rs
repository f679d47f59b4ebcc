//! Each action from a signal on NATS to its verified end.

use std::time::Duration;

use flyball_core::outcome::Outcome;
use flyball_core::workload::{Workload as Target, WorkloadKind};
use flyball_devcluster::{Pods, Workload, workloads};
use serde_json::json;

use flyball_proof::rig::{Rig, SOON, outcome, policy};

const RESTART: &str = "{signal: rca, causes: [memory_leak]}";
const RESTARTED_AT: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

#[test]
fn a_resource_anomaly_adds_a_replica() {
    let mut rig = Rig::new("scale");
    rig.policy("p.yaml", &policy("scale", "{signal: anomaly, types: [resource]}", "{scale: {by: 1}}", "")).start();
    let cart = rig.healthy("cart", 2);
    rig.anomaly("cart", "w1", "resource");
    let ended = rig.ended(&cart, 1);
    assert_eq!(outcome(&ended[0]).verification_status(), "SUCCESS");
    assert_eq!(rig.object(&cart)["spec"]["replicas"], 3);
    let effects = rig.effects(&cart);
    assert_eq!(effects.len(), 1, "{effects:#?}");
    assert_eq!(effects[0].object["spec"]["replicas"], 3);
    assert_eq!(effects[0].object["metadata"]["annotations"]["flyball.dev/intent"], ended[0].id().to_string());
    assert!(effects[0].object["metadata"]["resourceVersion"].is_string(), "every effect carries its single-use token");
}

#[test]
fn a_memory_leak_restarts_as_kubectl_does() {
    let mut rig = Rig::new("restart");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    let cart = rig.healthy("cart", 2);
    rig.rca("cart", "w1", "memory_leak");
    let ended = rig.ended(&cart, 1);
    assert_eq!(outcome(&ended[0]).verification_status(), "SUCCESS");
    assert!(rig.object(&cart).pointer(RESTARTED_AT).is_some_and(serde_json::Value::is_string));
    assert_eq!(rig.effects(&cart).len(), 1);
}

#[test]
fn a_patch_whose_pods_crash_is_undone_to_the_exact_template_once() {
    let mut rig = Rig::new("undo");
    let crash = "{patch: {merge: {spec: {template: {metadata: {annotations: {test.flyball.dev/pod: crash}}}}}}}";
    let text = policy("patch", "{signal: rca, causes: [bad_config]}", crash, "")
        .replace("timeout: 40s", "timeout: 4s, onFailure: undo");
    rig.policy("p.yaml", &text).start();
    let cart = rig.healthy("cart", 2);
    let before = rig.object(&cart)["spec"]["template"].clone();
    rig.rca("cart", "w1", "bad_config");
    let ended = rig.ended(&cart, 2);
    assert_eq!(outcome(&ended[0]), Outcome::RolledBack, "{:?}", ended[0].stage());
    assert!(outcome(&ended[1]).is_success());
    assert_eq!(rig.object(&cart)["spec"]["template"], before);
    assert_eq!(rig.effects(&cart).len(), 2, "the patch and its undo, each once");
}

#[test]
fn a_crash_looping_release_is_rolled_back() {
    let mut rig = Rig::new("rollback");
    rig.policy("p.yaml", &policy("rollback", "{signal: rca, causes: [bad_release]}", "{rollback: {}}", "")).start();
    let cart = rig.healthy("cart", 2);
    let before = rig.object(&cart)["spec"]["template"].clone();
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/cart", rig.namespace);
    rig.cluster
        .api()
        .patch(&path, &Pods::Crash.patch())
        .and_then(flyball_devcluster::Answer::ok)
        .expect("a bad release");
    rig.rca("cart", "w1", "bad_release");
    let ended = rig.ended(&cart, 1);
    assert!(outcome(&ended[0]).is_success(), "{:?}", ended[0].stage());
    assert_eq!(rig.object(&cart)["spec"]["template"], before);
    assert_eq!(rig.effects(&cart).len(), 1);
}

fn pods(rig: &Rig, app: &str) -> Vec<(String, String)> {
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector=app%3D{app}", rig.namespace);
    let list = rig.cluster.api().get(&path).and_then(flyball_devcluster::Answer::ok).expect("the pods");
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let text = |pod: &serde_json::Value, field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
    pods.iter().map(|pod| (text(pod, "name"), text(pod, "uid"))).collect()
}

const EVICT: &str = "{signal: anomaly, types: [error]}";

#[test]
fn one_pod_is_evicted_by_its_uid() {
    let mut rig = Rig::new("evict");
    rig.policy("p.yaml", &policy("evict", EVICT, "{deletePod: {}}", "")).start();
    let cart = rig.healthy("cart", 2);
    let (pod, uid) = pods(&rig, "cart").remove(0);
    let mut body = flyball_proof::rig::anomaly("cart", "w1", "error");
    body["metadata"] = json!({"pod": pod});
    rig.publish("anomaly", &body, &[]);
    let ended = rig.ended(&cart, 1);
    assert!(outcome(&ended[0]).is_success(), "{:?}", ended[0].stage());
    assert!(pods(&rig, "cart").iter().all(|it| it.1 != uid), "the pod is gone");
    let evictions =
        rig.audit.find(|it| it.subresource == "eviction" && it.namespace == rig.namespace).expect("the audit log");
    assert_eq!(evictions.len(), 1);
    assert_eq!(evictions[0].object["deleteOptions"]["preconditions"]["uid"], uid.as_str());
}

#[test]
fn a_disruption_budget_makes_an_eviction_wait() {
    let mut rig = Rig::new("budget");
    rig.policy("p.yaml", &policy("evict", EVICT, "{deletePod: {}}", "")).start();
    let workload = Workload::new(&rig.namespace, "cart").replicas(2);
    rig.healthy("cart", 2);
    rig.cluster.api().create(&workload.disruption_budget(2)).expect("a budget");
    let path = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets/cart", rig.namespace);
    rig.eventually("the budget is observed", || {
        let budget = rig.cluster.api().get(&path)?.ok()?;
        anyhow::ensure!(budget["status"]["currentHealthy"] == 2, "{budget}");
        Ok(())
    });
    let mut body = flyball_proof::rig::anomaly("cart", "w1", "error");
    body["metadata"] = json!({"pod": pods(&rig, "cart").remove(0).0});
    rig.publish("anomaly", &body, &[]);
    let waits = rig.eventually("the request waits", || {
        let history = rig.history();
        let waiting = history.waiting().next().map(|(_, it)| it.deferral.objections.clone());
        waiting.ok_or_else(|| anyhow::anyhow!("nobody waits; denials {:?}", rig.entries().len()))
    });
    assert_eq!(waits[0].label(), "DisruptionBudget");
    assert!(
        rig.audit
            .find(|it| it.subresource == "eviction" && it.namespace == rig.namespace)
            .expect("the audit log")
            .is_empty()
    );
}

#[test]
fn stateful_sets_and_daemon_sets_restart_too() {
    let mut rig = Rig::new("kinds");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    for (kind, manifest) in [
        (WorkloadKind::StatefulSet, Workload::new(&rig.namespace, "db").replicas(2).stateful_set()),
        (WorkloadKind::DaemonSet, Workload::new(&rig.namespace, "agent").daemon_set()),
    ] {
        let name = manifest["metadata"]["name"].as_str().expect("a name").to_owned();
        rig.cluster.api().create(&manifest).expect("created");
        let path = format!("/apis/apps/v1/namespaces/{}/{}/{name}", rig.namespace, kind.plural());
        workloads::wait_ready(rig.cluster.api(), &path, SOON).expect("it becomes ready");
        let target = Target::new(kind, &rig.namespace, &name);
        let mut body = flyball_proof::rig::rca(&name, "w1", "memory_leak");
        body["metadata"] = json!({"kind": kind.as_str()});
        rig.publish("rca", &body, &[]);
        let ended = rig.ended(&target, 1);
        assert!(outcome(&ended[0]).is_success(), "{kind}: {:?}", ended[0].stage());
        assert!(rig.object(&target).pointer(RESTARTED_AT).is_some());
    }
}

#[test]
fn a_rollout_that_hangs_times_out() {
    let mut rig = Rig::new("hang");
    let hang = "{patch: {merge: {spec: {template: {metadata: {annotations: {test.flyball.dev/pod: never-ready}}}}}}}";
    let text = policy("patch", "{signal: rca, causes: [bad_config]}", hang, "")
        .replace("timeout: 40s", "timeout: 3s, onFailure: escalate");
    rig.policy("p.yaml", &text).start();
    let workload = Workload::new(&rig.namespace, "cart").replicas(1).progress_deadline(Duration::from_secs(600));
    let cart = rig.deployment(&workload, "cart");
    rig.rca("cart", "w1", "bad_config");
    assert_eq!(outcome(&rig.ended(&cart, 1)[0]), Outcome::TimedOut);
}
