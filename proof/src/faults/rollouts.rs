//! Row 44: the change landed, and the rollout never completes.

use std::time::Duration;

use flyball_core::outcome::Outcome;
use flyball_devcluster::Workload;

use super::bed::{lawful, prepared};
use super::{Row, quick};
use crate::rig::{Rig, outcome, policy};

pub(super) const ROWS: &[Row] = &[
    quick(44, "image-cannot-be-pulled", "undone to the exact template, once", || undone("image-pull")),
    quick(44, "pods-crash", "undone to the exact template, once", || undone("crash")),
    quick(44, "progress-deadline-exceeded", "failed; nothing more is sent where the policy escalates", deadline),
];

fn undone(fate: &str) {
    let mut rig = prepared(Rig::new("f44"));
    let action = format!(
        "{{patch: {{merge: {{spec: {{template: {{metadata: {{annotations: {{test.flyball.dev/pod: {fate}}}}}}}}}}}}}}}"
    );
    let text = policy("patch", "{signal: rca, causes: [bad_config]}", &action, "")
        .replace("timeout: 40s", "timeout: 4s, onFailure: undo");
    rig.policy("p.yaml", &text).start();
    let cart = rig.healthy("cart", 2);
    let before = rig.object(&cart)["spec"]["template"].clone();
    rig.rca("cart", "w1", "bad_config");
    let ended = rig.ended(&cart, 2);
    assert_eq!(ended.len(), 2, "the patch and its undo");
    assert_eq!(outcome(&ended[0]), Outcome::RolledBack, "{:?}", ended[0].stage());
    assert!(outcome(&ended[1]).is_success(), "{:?}", ended[1].stage());
    assert_eq!(rig.object(&cart)["spec"]["template"], before);
    assert_eq!(rig.effects(&cart).len(), 2);
    lawful(&rig);
}

fn deadline() {
    let mut rig = prepared(Rig::new("f44d"));
    let action = "{patch: {merge: {spec: {template: {metadata: {annotations: {test.flyball.dev/pod: never-ready}}}}}}}";
    let text = policy("patch", "{signal: rca, causes: [bad_config]}", action, "")
        .replace("timeout: 40s", "timeout: 40s, onFailure: escalate");
    rig.policy("p.yaml", &text).start();
    let workload = Workload::new(&rig.namespace, "cart").replicas(1).progress_deadline(Duration::from_secs(2));
    let cart = rig.deployment(&workload, "cart");
    rig.rca("cart", "w1", "bad_config");
    let ended = rig.ended(&cart, 1);
    assert_eq!(outcome(&ended[0]), Outcome::Failed, "{:?}", ended[0].stage());
    assert_eq!((ended.len(), rig.effects(&cart).len()), (1, 1), "nothing more was sent");
    lawful(&rig);
}
