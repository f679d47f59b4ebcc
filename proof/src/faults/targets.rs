//! Rows 30, 39, 40, 42 and 43: somebody else has his hands on the target, or the API server says no.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use flyball_core::outcome::Outcome;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Answer, Api, Pods, Workload, wait_until};
use serde_json::json;

use super::bed::{RESTART, acted, lawful, once, patch, path, prepared, ready, slow};
use super::{Row, quick};
use crate::rig::{Rig, SOON, outcome, policy};

pub(super) const ROWS: &[Row] = &[
    quick(30, "status-churns-every-5-ms", "planned anew until it lands, or superseded; at most one effect", churn),
    quick(
        39,
        "target-made-anew-before-the-effect",
        "the old uid is never acted on: no effect on the new one",
        made_anew,
    ),
    quick(39, "target-made-anew-during-verification", "superseded, no second effect", made_anew_later),
    quick(40, "a-person-rolls-back-in-mid-rollout", "superseded; never done again for this cause", rolled_back),
    quick(40, "a-person-scales-in-mid-rollout", "no fight: one effect, the person's value stays", scaled),
    quick(42, "rights-removed", "forbidden, no storm of retries", rights_removed),
    quick(
        43,
        "namespace-terminating",
        "the verdict says what was seen, the next one is denied; one effect",
        terminating,
    ),
    quick(43, "quota-exceeded", "the rollout fails with its reason", quota),
    quick(43, "paused-deployment", "denied TargetPaused, no request", paused),
];

/// Somebody writes an annotation all the time, so that the version is always another one.
fn churn() {
    let rig = ready("f30");
    let cart = slow(&rig, "cart");
    let (api, over) = (rig.cluster.api().clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                count += 1;
                let body = json!({"metadata": {"labels": {"churn": format!("c{count}")}}});
                api.patch(&path(&cart), &body).and_then(Answer::ok).expect("patched");
            }
        });
        rig.rca("cart", "w1", "memory_leak");
        let ended = rig.ended(&cart, 1);
        over.store(true, Ordering::Relaxed);
        assert!(outcome(&ended[0]).is_success() || outcome(&ended[0]) == Outcome::Superseded, "{:?}", ended[0].stage());
        let effects = rig.effects(&cart).len();
        assert_eq!(effects, usize::from(outcome(&ended[0]).is_success()), "{:?}", ended[0].stage());
        assert!(rig.requests(&cart).len() <= 13, "a bounded number of tries: {}", rig.requests(&cart).len());
    });
    assert!(rig.object(&cart)["metadata"]["labels"]["churn"].is_string(), "the other's field is still there");
    lawful(&rig);
}

/// Deletes the target and makes another one of its name.
pub(super) fn remake(api: &Api, target: &Target) {
    let delete = format!("{}?propagationPolicy=Background", path(target));
    api.delete(&delete).and_then(Answer::ok).expect("deleted");
    wait_until("it is gone", SOON, || {
        ensure!(api.get(&path(target))?.status == 404, "still there");
        Ok(())
    })
    .expect("it goes");
    api.create(&Workload::new(&target.namespace, &target.name).deployment()).expect("created");
}

/// The engine is paused between its record and its effect by a person's pause, and the target is made anew meanwhile.
fn made_anew() {
    let mut rig = prepared(Rig::new("f39"));
    rig.policy(
        "g.yaml",
        "
apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  limits: {concurrency: {cluster: 1, namespace: 1}, maxUnavailable: 100%, minCooldown: 0s}
",
    );
    rig.start();
    let (blocker, cart) = (slow(&rig, "blocker"), slow(&rig, "cart"));
    rig.rca("blocker", "w1", "memory_leak");
    acted(&rig, &blocker);
    let uid = rig.object(&cart)["metadata"]["uid"].clone();
    rig.rca("cart", "w1", "memory_leak");
    rig.eventually("it waits for the slot", || {
        ensure!(rig.history().waiting().count() == 1, "not yet");
        Ok(())
    });
    remake(rig.cluster.api(), &cart);
    let ended = rig.ended(&cart, 1);
    // It was planned after the target was made anew, on what was there: one effect, and on the uid that was planned.
    assert_eq!(ended.len(), 1);
    let now = rig.object(&cart)["metadata"]["uid"].clone();
    assert_ne!(now, uid);
    assert_eq!(json!(*ended[0].change().uid), now, "the intent names the uid that it was planned on");
    assert!(rig.effects(&cart).len() <= 1);
    lawful(&rig);
}

fn made_anew_later() {
    let rig = ready("f39b");
    let cart = slow(&rig, "cart");
    rig.rca("cart", "w1", "memory_leak");
    acted(&rig, &cart);
    remake(rig.cluster.api(), &cart);
    let ended = rig.ended(&cart, 1);
    assert_eq!(outcome(&ended[0]), Outcome::Superseded, "{:?}", ended[0].stage());
    assert_eq!(rig.effects(&cart).len(), 1);
    lawful(&rig);
}

/// As `kubectl rollout undo` does it: template and annotations of the ReplicaSet before, ours gone with them.
fn rolled_back() {
    let rig = ready("f40");
    let cart = slow(&rig, "cart");
    let before = rig.object(&cart);
    rig.rca("cart", "w1", "memory_leak");
    acted(&rig, &cart);
    let mut undone = rig.object(&cart);
    undone["spec"]["template"] = before["spec"]["template"].clone();
    undone["metadata"]["annotations"] = before["metadata"]["annotations"].clone();
    undone["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    rig.cluster.api().put(&path(&cart), &undone).and_then(Answer::ok).expect("undone");
    let ended = rig.ended(&cart, 1);
    assert_eq!(outcome(&ended[0]), Outcome::Superseded, "{:?}", ended[0].stage());
    // The same signal once more is never acted on again.
    rig.rca("cart", "w1", "memory_leak");
    rig.denied(&cart, "DuplicateSignal");
    assert_eq!(rig.effects(&cart).len(), 1);
    lawful(&rig);
}

fn scaled() {
    let rig = ready("f40s");
    let cart = slow(&rig, "cart");
    rig.rca("cart", "w1", "memory_leak");
    acted(&rig, &cart);
    patch(&rig, &cart, &json!({"spec": {"replicas": 3}}));
    let ended = rig.ended(&cart, 1);
    assert!(outcome(&ended[0]).is_success() || outcome(&ended[0]) == Outcome::Superseded, "{:?}", ended[0].stage());
    assert_eq!(rig.object(&cart)["spec"]["replicas"], 3, "the person's value stays");
    assert_eq!(rig.effects(&cart).len(), 1);
    lawful(&rig);
}

/// A service account whose rights go away between two signals.
fn rights_removed() {
    let mut rig = prepared(Rig::new("f42"));
    let api = rig.cluster.api();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "flyball", "namespace": rig.namespace}});
    api.create(&account).expect("an account");
    let name = rig.namespace.clone();
    let binding = |role: &str, name: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "flyball", "namespace": rig.namespace}],
        })
    };
    let writes = format!("{name}-writes");
    api.create(&binding("cluster-admin", &writes)).expect("all rights");
    let reads = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": format!("{name}-reads")},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}],
    });
    api.create(&reads).expect("a role that reads");
    api.create(&binding(&format!("{name}-reads"), &format!("{name}-reads"))).expect("its binding");
    rig.kubeconfig = rig.cluster.service_account(&rig.namespace, "flyball").expect("a token").1;
    rig.start();
    let (first, second) = (slow(&rig, "first"), slow(&rig, "second"));
    rig.rca("first", "w1", "memory_leak");
    once(&rig, &first);
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{writes}");
    rig.cluster.api().delete(&path).and_then(Answer::ok).expect("the rights go");
    let probe = format!("{}/first", path_of_deployments(&rig));
    // The authorizer watches the bindings: asked as the account, until it says no.
    let token = rig.cluster.service_account(&rig.namespace, "flyball").expect("a token").0;
    let roots = std::fs::read(rig.cluster.roots()).expect("the roots");
    let as_account = flyball_devcluster::Api::new(rig.cluster.url(), &roots, &token).expect("a client");
    rig.eventually("the rights are gone", || {
        let answer = as_account.patch(&format!("{probe}?dryRun=All"), &json!({"metadata": {"labels": {"a": "b"}}}))?;
        ensure!(answer.status == 403, "{}", answer.status);
        Ok(())
    });
    rig.rca("second", "w1", "memory_leak");
    let ended = rig.ended(&second, 1);
    assert_eq!(outcome(&ended[0]), Outcome::Rejected, "{:?}", ended[0].stage());
    assert!(format!("{:?}", ended[0].stage()).contains("Forbidden"), "{:?}", ended[0].stage());
    assert_eq!(rig.requests(&second).len(), 1, "no second try");
    lawful(&rig);
}

fn path_of_deployments(rig: &Rig) -> String {
    format!("/apis/apps/v1/namespaces/{}/deployments", rig.namespace)
}

fn terminating() {
    let rig = ready("f43t");
    let cart = slow(&rig, "cart");
    rig.rca("cart", "w1", "memory_leak");
    acted(&rig, &cart);
    rig.cluster.api().delete(&format!("/api/v1/namespaces/{}", rig.namespace)).and_then(Answer::ok).expect("deleted");
    // The pods may have been ready before the namespace's controller came to them.
    let ended = rig.ended(&cart, 1);
    let how = outcome(&ended[0]);
    assert!(how.is_success() || matches!(how, Outcome::Superseded | Outcome::Failed), "{:?}", ended[0].stage());
    rig.eventually("it is gone", || {
        ensure!(rig.cluster.api().get(&path(&cart))?.status == 404, "still there");
        Ok(())
    });
    rig.rca("cart", "w2", "memory_leak");
    rig.eventually("the next one is denied", || {
        let denials = rig.denials(&cart);
        ensure!(denials.iter().any(|(it, _)| it == "TargetNotFound" || it == "CooldownActive"), "{denials:?}");
        Ok(())
    });
    assert_eq!(rig.effects(&cart).len(), 1);
    lawful(&rig);
}

/// No pod more is allowed than there is, so a rollout with a surge cannot begin.
fn quota() {
    let mut rig = prepared(Rig::new("f43q"));
    let text =
        policy("restart", RESTART, "{restart: {}}", "").replace("timeout: 40s", "timeout: 4s, onFailure: escalate");
    rig.policy("p.yaml", &text).start();
    let workload = Workload::new(&rig.namespace, "cart").replicas(1).pods(Pods::Ready);
    let cart = rig.deployment(&workload, "cart");
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one", "namespace": rig.namespace},
        "spec": {"hard": {"pods": "1"}},
    });
    rig.cluster.api().create(&quota).expect("a quota");
    let place = format!("/api/v1/namespaces/{}/resourcequotas/one", rig.namespace);
    flyball_devcluster::wait_until("the quota is counted", SOON, || {
        let quota = rig.cluster.api().get(&place)?.ok()?;
        ensure!(quota["status"]["used"]["pods"] == "1", "{quota}");
        Ok(())
    })
    .expect("a quota in force");
    // A single replica is replaced with a surge of one, which the quota forbids, and with none down.
    patch(&rig, &cart, &json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}}));
    rig.rca("cart", "w1", "memory_leak");
    let ended = rig.ended(&cart, 1);
    let how = outcome(&ended[0]);
    assert!(matches!(how, Outcome::Failed | Outcome::TimedOut), "{:?}", ended[0].stage());
    assert_eq!(rig.effects(&cart).len(), 1);
    lawful(&rig);
}

fn paused() {
    let rig = ready("f43p");
    let cart = slow(&rig, "cart");
    patch(&rig, &cart, &json!({"spec": {"paused": true}}));
    rig.rca("cart", "w1", "memory_leak");
    rig.denied(&cart, "TargetPaused");
    // Longer than any decision takes, so that one that came late would be seen.
    std::thread::sleep(Duration::from_millis(300));
    assert!(rig.requests(&cart).is_empty());
}
