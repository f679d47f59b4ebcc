//! What must not happen, and for which reason.

use flyball_devcluster::Workload;
use serde_json::json;

use flyball_proof::rig::{Rig, WIDE, outcome, policy};

const RESTART: &str = "{signal: rca, causes: [memory_leak]}";
const SCALE: &str = "{signal: anomaly, types: [resource]}";

#[test]
fn a_second_signal_inside_the_cooldown_is_denied() {
    let mut rig = Rig::new("cooldown");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    let cart = rig.healthy("cart", 1);
    rig.rca("cart", "w1", "memory_leak");
    rig.ended(&cart, 1);
    rig.rca("cart", "w2", "memory_leak");
    rig.denied(&cart, "CooldownActive");
    assert_eq!(rig.effects(&cart).len(), 1, "the second one sent nothing");
}

#[test]
fn the_seventh_action_within_the_hour_is_denied() {
    let mut rig = Rig::new("hour");
    let text = policy("restart", RESTART, "{restart: {}}", "  guardrails: {cooldown: 0s}\n");
    rig.policy("p.yaml", &text.replace("stableFor: 500ms", "stableFor: 0s")).policy("g.yaml", WIDE).start();
    let cart = rig.healthy("cart", 1);
    for count in 1..=6 {
        rig.rca("cart", &format!("w{count}"), "memory_leak");
        rig.ended(&cart, count);
    }
    rig.rca("cart", "w7", "memory_leak");
    rig.denied(&cart, "ActionBudgetExhausted");
    assert_eq!(rig.effects(&cart).len(), 6);
}

#[test]
fn the_fourth_replica_within_fifteen_minutes_is_denied() {
    let mut rig = Rig::new("velocity");
    let text = policy("scale", SCALE, "{scale: {by: 1}}", "  guardrails: {cooldown: 0s}\n");
    rig.policy("p.yaml", &text.replace("stableFor: 500ms", "stableFor: 0s")).policy("g.yaml", WIDE).start();
    let cart = rig.healthy("cart", 1);
    for count in 1..=3 {
        rig.anomaly("cart", &format!("w{count}"), "resource");
        rig.ended(&cart, count);
    }
    rig.anomaly("cart", "w4", "resource");
    rig.denied(&cart, "ScaleVelocityExceeded");
    assert_eq!(rig.object(&cart)["spec"]["replicas"], 4);
}

#[test]
fn the_ninth_replica_is_denied() {
    let mut rig = Rig::new("bounds");
    rig.policy("p.yaml", &policy("scale", SCALE, "{scale: {by: 1}}", "")).start();
    let cart = rig.healthy("cart", 8);
    rig.anomaly("cart", "w1", "resource");
    rig.denied(&cart, "ReplicaBounds");
    assert!(rig.requests(&cart).is_empty());
}

#[test]
fn replicas_that_an_autoscaler_owns_are_left_to_it() {
    let mut rig = Rig::new("hpa");
    rig.policy("p.yaml", &policy("scale", SCALE, "{scale: {by: 1}}", "")).start();
    let cart = rig.healthy("cart", 2);
    rig.cluster.api().create(&Workload::new(&rig.namespace, "cart").autoscaler(1, 5)).expect("an autoscaler");
    rig.anomaly("cart", "w1", "resource");
    rig.denied(&cart, "ManagedElsewhere");
    assert!(rig.requests(&cart).is_empty());
}

#[test]
fn who_opts_out_or_is_paused_is_left_alone() {
    let mut rig = Rig::new("optout");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    for (name, patch, reason) in [
        ("cart", json!({"metadata": {"annotations": {"flyball.dev/paused": "true"}}}), "OptedOut"),
        ("shop", json!({"spec": {"paused": true}}), "TargetPaused"),
    ] {
        let target = rig.healthy(name, 1);
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{name}", rig.namespace);
        rig.cluster.api().patch(&path, &patch).and_then(flyball_devcluster::Answer::ok).expect("patched");
        rig.rca(name, "w1", "memory_leak");
        rig.denied(&target, reason);
        assert!(rig.requests(&target).is_empty(), "{name}");
    }
}

#[test]
fn a_target_that_does_not_exist_is_named() {
    let mut rig = Rig::new("missing");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    rig.rca("ghost", "w1", "memory_leak");
    let ghost = format!("{}/ghost", rig.namespace).parse().expect("a workload");
    rig.denied(&ghost, "TargetNotFound");
}

#[test]
fn pause_all_stops_everything_and_what_is_fresh_goes_on_afterwards() {
    let mut rig = Rig::new("pause");
    let guardrails = "
apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  limits: {concurrency: {cluster: 1, namespace: 1}, maxUnavailable: 100%}
";
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).policy("g.yaml", guardrails).start();
    let slow =
        Workload::new(&rig.namespace, "slow").pods(flyball_devcluster::Pods::Slow(std::time::Duration::from_secs(3)));
    let slow = rig.deployment(&slow, "slow");
    let next = rig.healthy("next", 1);
    let late = rig.healthy("late", 1);
    rig.rca("slow", "w1", "memory_leak");
    rig.eventually("the slow one is under way", || {
        anyhow::ensure!(rig.effects(&slow).len() == 1, "not yet");
        Ok(())
    });
    rig.rca("next", "w1", "memory_leak");
    rig.eventually("the next one waits", || {
        anyhow::ensure!(rig.history().waiting().count() == 1, "not yet");
        Ok(())
    });
    let (code, _, error) = rig.flyball(&["pause", "--all", "--reason", "a look first", "--for", "2h"]);
    assert_eq!(code, 0, "{error}");
    let acknowledged = rig.audit.entries().expect("the audit log").len();
    rig.rca("late", "w1", "memory_leak");
    rig.denied(&late, "Paused");
    rig.ended(&slow, 1);
    let ours =
        |it: &&flyball_devcluster::AuditEntry| it.user_agent.starts_with("flyball/") && it.namespace == rig.namespace;
    let after: Vec<_> = rig.audit.entries().expect("the audit log").into_iter().skip(acknowledged).collect();
    assert_eq!(after.iter().filter(ours).count(), 0, "nothing is sent after a pause is acknowledged");
    let (code, _, error) = rig.flyball(&["resume", "--all"]);
    assert_eq!(code, 0, "{error}");
    assert!(outcome(&rig.ended(&next, 1)[0]).is_success());
}
