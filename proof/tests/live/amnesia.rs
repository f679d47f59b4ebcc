//! A ledger that is lost takes every cooldown with it. The stamp on the target is the second witness.

use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Answer, workloads};
use flyball_proof::rig::{Rig, SOON, WIDE, anomaly, outcome, policy, rca};
use serde_json::{Value, json};

/// Name of policy and target, what it answers, and what it does: every kind of action that leaves a stamp.
const ACTIONS: [(&str, &str, &str); 5] = [
    ("scale", "{signal: anomaly, types: [resource]}", "{scale: {by: 1}}"),
    ("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}"),
    (
        "patch",
        "{signal: rca, causes: [bad_config]}",
        "{patch: {merge: {spec: {template: {metadata: {annotations: {example.com/tuned: 'yes'}}}}}}}",
    ),
    ("rollback", "{signal: rca, causes: [bad_release]}", "{rollback: {}}"),
    ("evict", "{signal: anomaly, types: [error]}", "{deletePod: {}}"),
];

/// Publishes what asks for the action on the target of its name.
fn ask(rig: &Rig, name: &str, window: &str) {
    let (kind, body) = match name {
        "scale" => ("anomaly", anomaly(name, window, "resource")),
        "restart" => ("rca", rca(name, window, "memory_leak")),
        "patch" => ("rca", rca(name, window, "bad_config")),
        "rollback" => ("rca", rca(name, window, "bad_release")),
        _ => {
            let mut body = anomaly(name, window, "error");
            body["metadata"] = json!({"pod": pod(rig, name)});
            ("anomaly", body)
        }
    };
    rig.publish(kind, &body, &[]);
}

fn pod(rig: &Rig, app: &str) -> Value {
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector=app%3D{app}", rig.namespace);
    rig.cluster.api().get(&path).and_then(Answer::ok).expect("pods")["items"][0]["metadata"]["name"].clone()
}

/// A second template for the one that goes back, and another change for the one that patches: what was done is undone by a person,
/// so that it would be worth doing again.
fn prepare(rig: &Rig, target: &Target, release: &str) {
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/{}", target.namespace, target.name);
    let annotations = json!({"example.com/release": release, "example.com/tuned": null});
    let body = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    rig.cluster.api().patch(&path, &body).and_then(Answer::ok).expect("a release");
    workloads::wait_ready(rig.cluster.api(), &path, SOON).expect("it becomes ready");
}

#[test]
fn the_stamp_refuses_a_repeat_within_the_cooldown_when_the_ledger_was_lost() {
    let mut rig = Rig::new("amnesia");
    for (name, on, action) in ACTIONS {
        rig.policy(&format!("{name}.yaml"), &policy(name, on, action, ""));
    }
    rig.policy("g.yaml", WIDE).start();
    let targets: Vec<Target> = ACTIONS.iter().map(|(name, ..)| rig.healthy(name, 2)).collect();
    for target in &targets {
        prepare(&rig, target, "2");
        ask(&rig, &target.name, "w1");
    }
    for target in &targets {
        let ended = rig.ended(target, 1);
        assert!(outcome(&ended[0]).is_success(), "{target}: {:?}", ended[0].stage());
    }
    rig.kill();
    rig.runtime.block_on(async {
        rig.jetstream().await.delete_stream(format!("FLYBALL_LEDGER_{}", rig.name)).await.expect("deleted");
    });
    for target in &targets {
        prepare(&rig, target, "3");
    }
    rig.audit = rig.cluster.audit().from_now().expect("an audit log");
    rig.launch();
    rig.eventually("the quarantine", || {
        let error = rig.get("/readyz").err().map(|it| it.to_string()).unwrap_or_default();
        anyhow::ensure!(error.contains("the ledger is gone"), "{error}");
        Ok(())
    });
    for target in &targets {
        ask(&rig, &target.name, "w2");
    }
    let kubeconfig = rig.kubeconfig.display().to_string();
    let place = ["--nats", &rig.nats_url, "--cluster", &rig.name, "--kubeconfig", &kubeconfig];
    let (code, out, error) = rig.flyball(&[&["ledger", "accept", "--reason", "INC-7"], place.as_slice()].concat());
    assert_eq!(code, 0, "{out}{error}");
    rig.wait_ready();
    for target in &targets {
        rig.denied(target, "CooldownActive");
    }
    assert_eq!(rig.history().intents().count(), 0, "nothing was admitted");
    let writes = rig.audit.find(|it| it.user_agent.starts_with("flyball/") && it.namespace == rig.namespace);
    assert!(writes.expect("the audit log").is_empty(), "nothing was asked of the API server");
}
