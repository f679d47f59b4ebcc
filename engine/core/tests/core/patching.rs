//! Patches field by field: what each form may touch, how lists merge, and what an operation does to what is there.

use flyball_core::action::{Action, Patch, PatchForm};
use flyball_core::facts::Snapshot;
use flyball_core::plan::{Edit, plan};
use serde_json::{Value, json};

use crate::build::{at, snapshot};

/// One container `app` with `A=1` and `B=2`, five seconds until ready, and the annotation `team`.
fn target() -> Snapshot {
    let mut seen = snapshot("shop/cart");
    seen.spec["minReadySeconds"] = json!(5);
    seen.spec["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    seen.annotations.insert("team".into(), "a".into());
    seen
}

/// What is sent, or why not.
fn told(form: PatchForm, body: Value) -> Value {
    match plan(&Action::Patch(Patch { form, body }), &target(), at("10:00")) {
        Err(reason) => serde_json::to_value(reason).unwrap(),
        Ok(change) => match change.edit {
            Edit::Fields { apply, .. } => apply,
            other => panic!("a patch is no {}", other.summary()),
        },
    }
}

fn refused(what: &str) -> Value {
    json!({"reason": "ActionNotAllowed", "what": what})
}

fn missing(what: &str) -> Value {
    json!({"reason": "TargetNotFound", "what": what})
}

/// A strategic patch of the one container's environment to what it becomes.
fn check_env(patched: Value, expected: Value) {
    let body = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "env": patched}]}}}});
    let sent = told(PatchForm::Strategic, body);
    assert_eq!(sent["spec"]["template"]["spec"]["containers"][0]["env"], expected);
}

#[test]
fn environments_merge_by_name() {
    check_env(json!([{"name": "B", "value": "3"}]), json!([{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]));
    check_env(
        json!([{"name": "C", "value": "3"}]),
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]),
    );
}

#[test]
fn null_takes_a_field_away() {
    let body = json!({"spec": {"minReadySeconds": null}});
    for form in [PatchForm::Strategic, PatchForm::Merge] {
        assert_eq!(told(form, body.clone()), body);
    }
    let absent = json!({"spec": {"progressDeadlineSeconds": null}});
    assert_eq!(told(PatchForm::Strategic, absent)["reason"], "NothingToDo");
}

#[test]
fn operations_add_replace_and_remove() {
    let operation = |op: &str, path: &str| told(PatchForm::Json, json!([{"op": op, "path": path, "value": "x"}]));
    assert_eq!(operation("remove", "/metadata/annotations/team"), json!({"metadata": {"annotations": {"team": null}}}));
    assert_eq!(operation("replace", "/metadata/annotations/team"), json!({"metadata": {"annotations": {"team": "x"}}}));
    assert_eq!(operation("add", "/metadata/annotations/new"), json!({"metadata": {"annotations": {"new": "x"}}}));
    let container = "/spec/template/spec/containers/0";
    let replaced = operation("replace", &format!("{container}/env/1"));
    assert_eq!(replaced["spec"]["template"]["spec"]["containers"][0]["env"], json!([{"name": "A", "value": "1"}, "x"]));
    for (op, path) in [
        ("remove", "/metadata/annotations/nope".to_owned()),
        ("add", "/spec/template/spec/affinity/nodeAffinity".to_owned()),
        ("remove", format!("{container}/env/1")),
        ("replace", format!("{container}/env/7")),
    ] {
        assert_eq!(operation(op, &path), missing(&format!("field {path}")), "{op}");
    }
}

#[test]
fn a_test_must_hold_and_changes_nothing_itself() {
    let minutes = |expected: i64| {
        let test = json!({"op": "test", "path": "/spec/replicas", "value": expected});
        told(PatchForm::Json, json!([test, {"op": "replace", "path": "/spec/minReadySeconds", "value": 9}]))
    };
    assert_eq!(minutes(3), json!({"spec": {"minReadySeconds": 9}}));
    assert_eq!(minutes(4), json!({"reason": "TargetChanged", "what": "/spec/replicas is not what the patch expects"}));
}

#[test]
fn a_name_is_a_containers_key_and_a_field_anywhere_else() {
    let body = json!({"metadata": {"name": "other", "annotations": {"a": "b"}}});
    assert_eq!(told(PatchForm::Strategic, body), refused("a policy may not patch `/metadata/name`"));
}

#[test]
fn an_empty_map_is_a_field_as_well() {
    let body = json!({"spec": {"minReadySeconds": 9, "selector": {}}});
    for form in [PatchForm::Strategic, PatchForm::Merge] {
        assert_eq!(told(form, body.clone()), refused("a policy may not patch `/spec/selector`"));
    }
}

#[test]
fn what_lies_beside_an_allowed_map_is_not_below_it() {
    for field in ["nodeSelectorOther", "priorityClassNames"] {
        let body = json!({"spec": {"template": {"spec": {field: "x"}}}});
        let expected = refused(&format!("a policy may not patch `/spec/template/spec/{field}`"));
        assert_eq!(told(PatchForm::Merge, body), expected);
    }
    let body = json!({"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}});
    assert_eq!(told(PatchForm::Merge, body.clone()), body);
}

#[test]
fn the_mark_of_a_restart_is_not_for_patches() {
    let path = "/spec/template/metadata/annotations/kubectl.kubernetes.io/restartedAt";
    let body = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "x"}}}}});
    assert_eq!(told(PatchForm::Merge, body), refused(&format!("a policy may not patch `{path}`")));
}
