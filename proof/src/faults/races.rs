//! Rows 39 and 40, between the entry and the effect: somebody else is faster, by the length of a wire.

use flyball_core::outcome::Outcome;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Answer, Api};
use serde_json::json;

use super::bed::{Wired, effects, lawful, path, slow, wired};
use super::targets::remake;
use super::wires::effect;
use super::{Row, quick};
use crate::proxy::{ApiRule, Call};
use crate::rig::{SOON, outcome};

pub(super) const ROWS: &[Row] = &[
    quick(39, "target-made-anew-with-its-effect-on-the-way", "refused; superseded, no effect on the new uid", || {
        raced("f39w", remake, true);
    }),
    quick(
        40,
        "a-person-scales-with-the-effect-on-the-way",
        "refused; superseded or planned anew, the person's value stays",
        || {
            raced("f40w", scale, false);
        },
    ),
    quick(
        40,
        "a-person-changes-the-image-with-the-effect-on-the-way",
        "refused; superseded or planned anew, the person's value stays",
        || {
            raced("f40i", release, false);
        },
    ),
];

fn scale(api: &Api, target: &Target) {
    api.patch(&path(target), &json!({"spec": {"replicas": 3}})).and_then(Answer::ok).expect("scaled");
}

fn release(api: &Api, target: &Target) {
    let body = json!({"spec": {"template": {"metadata": {"annotations": {"example.com/release": "theirs"}}}}});
    api.patch(&path(target), &body).and_then(Answer::ok).expect("released");
}

/// The effect has left the engine when somebody else does this; then it arrives.
fn raced(row: &str, hand: fn(&Api, &Target), gone: bool) {
    let Wired { mut rig, api, nats: _nats } = wired(row);
    let cart = slow(&rig, "cart");
    rig.start();
    let (theirs, target) = (rig.cluster.api().clone(), cart.clone());
    let trigger = api.add(ApiRule::on(effect(&cart)).nth(1).before(move |_: &Call| hand(&theirs, &target)));
    rig.rca("cart", "w1", "memory_leak");
    trigger.wait(1, SOON).expect("they were faster");
    let after = rig.object(&cart);
    let ended = rig.ended(&cart, 1);
    assert_eq!(ended.len(), 1, "one intent");
    let first = rig.requests(&cart).into_iter().next().expect("it arrived");
    assert_eq!(first.code, 409, "the first one is refused");
    let how = outcome(&ended[0]);
    assert!(how == Outcome::Superseded || (how.is_success() && !gone), "{:?}", ended[0].stage());
    assert_eq!(effects(&rig, &cart), usize::from(how.is_success()), "{:?}", ended[0].stage());
    let now = rig.object(&cart);
    assert_eq!(now["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(now["spec"]["replicas"], after["spec"]["replicas"], "their value stays");
    let theirs = "/spec/template/metadata/annotations/example.com~1release";
    assert_eq!(now.pointer(theirs), after.pointer(theirs), "their value stays");
    lawful(&rig);
}
