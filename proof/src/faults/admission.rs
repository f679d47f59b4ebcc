//! Row 41: between our request and the object stands somebody who says no, says nothing, or changes what we wrote.

use std::net::TcpListener;

use anyhow::ensure;
use flyball_core::outcome::Outcome;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Answer, Workload};
use serde_json::{Value, json};

use super::bed::{Wired, effects, lawful, once, prepared, ready, slow, wired};
use super::wires::effect;
use super::{Row, quick};
use crate::proxy::{ApiAct, ApiRule};
use crate::rig::{Rig, Webhook, outcome, policy};

pub(super) const ROWS: &[Row] = &[
    quick(41, "admission-denies", "rejected with the reason, no effect, no second try", denies),
    quick(41, "admission-webhook-times-out", "no effect while it does; one after", silent),
    quick(41, "admission-webhook-adds-its-own", "ours is as we wanted it: verified as ever, and its own stays", adds),
    quick(
        41,
        "admission-webhook-changes-our-value",
        "seen by reading: superseded, never a success; its value stays, and no second try",
        changes,
    ),
    quick(
        41,
        "admission-webhook-takes-our-change-out",
        "a rollout without it is complete at once, and no success: superseded; no second try",
        || takes_out(None),
    ),
    quick(
        41,
        "admission-webhook-takes-our-change-out-unanswered",
        "found by its stamp; superseded, never a success; no second try",
        || takes_out(Some(ApiAct::DropAnswer)),
    ),
];

const GROUP: &str = "admissionregistration.k8s.io/v1";
/// What a restart changes of the object.
const RESTARTED: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";

/// An admission policy of the API server itself.
fn denies() {
    let rig = ready("f41d");
    let cart = slow(&rig, "cart");
    let rule = rule(&rig);
    let spec = json!({
        "failurePolicy": "Fail",
        "matchConstraints": {"namespaceSelector": rule["namespaceSelector"], "resourceRules": rule["rules"]},
        "matchConditions": rule["matchConditions"],
        "validations": [{"expression": "false", "message": "not by us"}],
    });
    put_up(&rig, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", &json!({"spec": spec}));
    let spec = json!({"policyName": rig.namespace, "validationActions": ["Deny"]});
    put_up(&rig, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", &json!({"spec": spec}));
    refuses(&rig);
    rig.rca("cart", "w1", "memory_leak");
    let ended = rig.ended(&cart, 1);
    assert_eq!(outcome(&ended[0]), Outcome::Rejected, "{:?}", ended[0].stage());
    assert!(format!("{:?}", ended[0].stage()).contains("not by us"), "{:?}", ended[0].stage());
    assert_eq!(rig.requests(&cart).len(), 1, "no second try");
    assert!(rig.effects(&cart).is_empty());
    for plural in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
        take_down(&rig, plural);
    }
    lawful(&rig);
}

/// A webhook that takes connections and says nothing.
fn silent() {
    let rig = ready("f41t");
    let cart = slow(&rig, "cart");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let hook = hook(&rig, &json!({"url": format!("https://{address}/")}));
    put_up(&rig, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", &json!({"webhooks": [hook]}));
    refuses(&rig);
    rig.rca("cart", "w1", "memory_leak");
    rig.eventually("it was tried", || {
        ensure!(!rig.requests(&cart).is_empty(), "not yet");
        Ok(())
    });
    assert!(rig.effects(&cart).is_empty());
    take_down(&rig, "validatingwebhookconfigurations");
    once(&rig, &cart);
}

/// It writes a field of the spec that is none of ours.
fn adds() {
    let rig = scaler("f41a");
    let cart = slow(&rig, "cart");
    let webhook = mutating(&rig, &json!([{"op": "add", "path": "/spec/revisionHistoryLimit", "value": 3}]));
    rig.anomaly("cart", "w1", "resource");
    once(&rig, &cart);
    let now = rig.object(&cart);
    assert_eq!((&now["spec"]["replicas"], &now["spec"]["revisionHistoryLimit"]), (&json!(2), &json!(3)));
    take_down(&rig, "mutatingwebhookconfigurations");
    drop(webhook);
}

/// We ask for two replicas and are given three, with an answer that says 200.
fn changes() {
    let rig = scaler("f41c");
    let cart = slow(&rig, "cart");
    let webhook = mutating(&rig, &json!([{"op": "add", "path": "/spec/replicas", "value": 3}]));
    rig.anomaly("cart", "w1", "resource");
    overruled(&rig, &cart);
    assert_eq!(rig.object(&cart)["spec"]["replicas"], 3, "its value stays");
    rig.anomaly("cart", "w1", "resource");
    rig.denied(&cart, "DuplicateSignal");
    assert_eq!(rig.requests(&cart).len(), 1, "no second try");
    take_down(&rig, "mutatingwebhookconfigurations");
    drop(webhook);
}

/// Only our stamp is left of a restart: the template is the old one, and its rollout is complete.
fn takes_out(answer: Option<ApiAct>) {
    let Wired { mut rig, api, nats: _nats } = wired("f41r");
    let cart = slow(&rig, "cart");
    rig.start();
    let before = rig.object(&cart)["spec"].clone();
    let webhook = mutating(&rig, &json!([{"op": "remove", "path": RESTARTED}]));
    let dropped = answer.map(|act| api.add(ApiRule::on(effect(&cart)).nth(1).act(act)));
    rig.rca("cart", "w1", "memory_leak");
    overruled(&rig, &cart);
    assert!(dropped.is_none_or(|it| it.hits() == 1), "its answer was dropped");
    assert_eq!(rig.object(&cart)["spec"], before, "nothing has changed");
    rig.rca("cart", "w1", "memory_leak");
    rig.denied(&cart, "DuplicateSignal");
    assert_eq!(rig.requests(&cart).len(), 1, "no second try");
    take_down(&rig, "mutatingwebhookconfigurations");
    drop(webhook);
}

/// The one intent on the target has landed, was changed on its way, and ends as somebody else's.
fn overruled(rig: &Rig, target: &Target) {
    let ended = rig.ended(target, 1);
    assert_eq!(ended.len(), 1, "one intent on {target}");
    assert_eq!(outcome(&ended[0]), Outcome::Superseded, "{:?}", ended[0].stage());
    assert_eq!(effects(rig, target), 1, "it was taken");
    lawful(rig);
}

fn scaler(row: &str) -> Rig {
    let mut rig = prepared(Rig::new(row));
    rig.policy("p.yaml", &policy("scale", "{signal: anomaly, types: [resource]}", "{scale: {by: 1}}", ""));
    rig.start();
    rig
}

/// Which requests stand before the obstacle: ours alone bear the stamp of an intent, what the controllers write passes.
fn rule(rig: &Rig) -> Value {
    let ours = "has(object.metadata.annotations) && 'flyball.dev/intent' in object.metadata.annotations && \
                (!has(oldObject.metadata.annotations) || !('flyball.dev/intent' in oldObject.metadata.annotations))";
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": rig.namespace}},
        "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}],
        "matchConditions": [{"name": "ours", "expression": ours}],
    })
}

fn hook(rig: &Rig, client_config: &Value) -> Value {
    let rule = rule(rig);
    json!({
        "name": "row41.flyball.dev", "failurePolicy": "Fail", "timeoutSeconds": 1, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": rule["rules"], "namespaceSelector": rule["namespaceSelector"],
        "matchConditions": rule["matchConditions"], "clientConfig": client_config,
    })
}

/// A webhook in force that changes what we write by `patch`.
fn mutating(rig: &Rig, patch: &Value) -> Webhook {
    let webhook = Webhook::start(rig.cluster, patch.clone()).expect("a webhook");
    let mut hook = hook(rig, &webhook.client_config());
    // It answers at once; a busy machine may take its time.
    hook["timeoutSeconds"] = json!(10);
    put_up(rig, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", &json!({"webhooks": [hook]}));
    probed(rig, |_| webhook.asked() > 0);
    webhook
}

fn put_up(rig: &Rig, kind: &str, plural: &str, body: &Value) {
    let mut object = json!({"apiVersion": GROUP, "kind": kind, "metadata": {"name": rig.namespace}});
    object.as_object_mut().expect("an object").extend(body.as_object().cloned().unwrap_or_default());
    rig.cluster.api().post(&format!("/apis/{GROUP}/{plural}"), &object).and_then(Answer::ok).expect("put up");
}

fn take_down(rig: &Rig, plural: &str) {
    let place = format!("/apis/{GROUP}/{plural}/{}", rig.namespace);
    rig.cluster.api().delete(&place).and_then(Answer::ok).expect("taken down");
}

fn refuses(rig: &Rig) {
    probed(rig, |status| !(200..300).contains(&status));
}

/// Waits until the API server goes by what was put up: it watches its own configuration.
fn probed(rig: &Rig, in_force: impl Fn(u16) -> bool) {
    let probe = Workload::new(&rig.namespace, "probe");
    rig.cluster.api().create(&probe.deployment()).expect("created");
    rig.eventually("the obstacle is in force", || {
        let stamp = json!({"metadata": {"annotations": {"flyball.dev/intent": "probe"}}});
        let path = format!("{}?dryRun=All", probe.path("deployments"));
        let answer = rig.cluster.api().patch(&path, &stamp)?;
        ensure!(in_force(answer.status), "{}", answer.status);
        Ok(())
    });
}
