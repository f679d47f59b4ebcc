//! Actions to exact edits: absolute values, their inverse, and why there is nothing to plan.

use flyball_core::action::{Action, ActionKind, Patch, PatchForm, Scale};
use flyball_core::facts::{PodFacts, Snapshot, TemplateRevision};
use flyball_core::merge;
use flyball_core::plan::{Edit, RESTARTED_AT, plan};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::build::{at, snapshot};

fn seen(change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut seen = snapshot("shop/cart");
    change(&mut seen);
    seen
}

/// `summary; apply; revert`, or the reason.
fn told(action: &Action, seen: &Snapshot) -> String {
    match plan(action, seen, at("10:00")) {
        Err(reason) => format!("{} {reason:?}", reason.label()).split(" { ").next().unwrap().to_owned(),
        Ok(change) => match change.edit {
            Edit::Evict { pod, uid } => format!("evict {pod} {uid}"),
            Edit::Tell => "tell".to_owned(),
            Edit::Fields { summary, apply, revert } => {
                format!("{summary}; {apply}; {}", revert.map_or_else(|| "-".to_owned(), |it| it.to_string()))
            }
        },
    }
}

fn check(action: Action, change: impl FnOnce(&mut Snapshot), expected: &str) {
    let told = told(&action, &seen(change));
    assert_eq!(told.split(' ').collect::<Vec<_>>(), expected.split(' ').collect::<Vec<_>>(), "{action}");
}

fn patch(form: PatchForm, body: Value) -> Action {
    Action::Patch(Patch { form, body })
}

fn pod_spec(fields: Value) -> Value {
    json!({"spec": {"template": {"spec": fields}}})
}

#[test]
fn scales_are_absolute() {
    check(Action::Scale(Scale::To(3)), |_| (), "NothingToDo NothingToDo");
    check(Action::Scale(Scale::By(2)), |_| (), r#"replicas 3 -> 5; {"spec":{"replicas":5}}; {"spec":{"replicas":3}}"#);
    check(Action::Scale(Scale::To(1)), |_| (), r#"replicas 3 -> 1; {"spec":{"replicas":1}}; {"spec":{"replicas":3}}"#);
    let without = |it: &mut Snapshot| drop(it.spec.as_object_mut().unwrap().remove("replicas"));
    check(Action::Scale(Scale::By(1)), without, r#"replicas 1 -> 2; {"spec":{"replicas":2}}; {"spec":{"replicas":1}}"#);
}

#[test]
fn a_restart_is_marked_with_the_intents_time_and_has_no_inverse() {
    let marked = |at: &str| {
        format!(
            r#"restart at {at}; {{"spec":{{"template":{{"metadata":{{"annotations":{{"kubectl.kubernetes.io/restartedAt":"{at}"}}}}}}}}}}; -"#
        )
    };
    check(Action::Restart, |_| (), &marked("2026-01-10T10:00:00Z"));
    // Within one second the same text would restart nothing.
    let same = seen(|it| {
        it.spec["template"]["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/restartedAt": "2026-01-10T10:00:00Z"});
    });
    let later = "2026-01-10T10:00:00.25Z".parse().unwrap();
    let Edit::Fields { summary, .. } = plan(&Action::Restart, &same, later).unwrap().edit else { panic!() };
    assert_eq!(summary, "restart at 2026-01-10T10:00:00.25Z");
    let once = plan(&Action::Restart, &same, later);
    assert_eq!(once, plan(&Action::Restart, &same, later), "the same bytes for the same intent");
}

#[test]
fn a_change_is_tied_to_what_was_read() {
    let change = plan(&Action::Restart, &seen(|it| it.rollout.generation = 9), at("10:00")).unwrap();
    assert_eq!((&*change.uid, &*change.resource_version, change.generation), ("uid-1", "7", 9));
}

#[test]
fn patches_of_all_forms_become_one_merge_patch() {
    let containers = |image: &str, value: &str| {
        format!(
            r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"env":[{{"name":"A","value":"{value}"}}],"image":"{image}","name":"app"}}]}}}}}}}}"#
        )
    };
    let path = "patch containers";
    let image = format!("{path}; {}; {}", containers("app:2", "1"), containers("app:1", "1"));
    check(
        patch(PatchForm::Strategic, pod_spec(json!({"containers": [{"name": "app", "image": "app:2"}]}))),
        |_| (),
        &image,
    );
    let operation = json!([
        {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "app"},
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "app:2"}]);
    check(patch(PatchForm::Json, operation), |_| (), &image);
    let env = format!("{path}; {}; {}", containers("app:1", "2"), containers("app:1", "1"));
    let body = pod_spec(json!({"containers": [{"name": "app", "env": [{"name": "A", "value": "2"}]}]}));
    check(patch(PatchForm::Strategic, body), |_| (), &env);
    check(
        patch(PatchForm::Merge, json!({"spec": {"minReadySeconds": 5}})),
        |_| (),
        r#"patch /spec/minReadySeconds; {"spec":{"minReadySeconds":5}}; {"spec":{"minReadySeconds":null}}"#,
    );
    check(
        patch(PatchForm::Merge, json!({"metadata": {"annotations": {"team": null}}})),
        |it| drop(it.annotations.insert("team".into(), "a".into())),
        r#"patch /metadata/annotations/team; {"metadata":{"annotations":{"team":null}}}; {"metadata":{"annotations":{"team":"a"}}}"#,
    );
    let add = json!([{"op": "add", "path": "/metadata/annotations/a.b~1c", "value": "x"}]);
    check(
        patch(PatchForm::Json, add),
        |_| (),
        r#"patch /metadata/annotations/a.b/c; {"metadata":{"annotations":{"a.b/c":"x"}}}; {"metadata":{"annotations":{"a.b/c":null}}}"#,
    );
}

#[test]
fn patches_that_do_not_fit_are_refused() {
    let form = PatchForm::Strategic;
    check(
        patch(form, pod_spec(json!({"containers": [{"name": "app", "image": "app:1"}]}))),
        |_| (),
        "NothingToDo NothingToDo",
    );
    check(
        patch(form, pod_spec(json!({"containers": [{"name": "nope", "image": "x"}]}))),
        |_| (),
        "TargetNotFound TargetNotFound",
    );
    let test = json!([
        {"op": "test", "path": "/spec/replicas", "value": 4},
        {"op": "add", "path": "/spec/minReadySeconds", "value": 1}]);
    check(patch(PatchForm::Json, test), |_| (), "TargetChanged TargetChanged");
    for path in ["/spec/minReadySeconds", "/spec/template/spec/containers/7/image"] {
        let missing = json!([{"op": "remove", "path": path}]);
        check(patch(PatchForm::Json, missing), |_| (), "TargetNotFound TargetNotFound");
    }
    for body in [
        json!({"metadata": {"annotations": null}}),
        json!({"metadata": {"annotations": {"flyball.dev/intent": "x"}}}),
        json!({"spec": {"template": {"metadata": {"annotations": null}}}}),
        json!({"spec": {"replicas": 9}}),
        json!({"spec": {"template": {"spec": {"containers": []}}}}),
    ] {
        check(
            patch(PatchForm::Merge, body),
            |it| drop(it.annotations.insert("a".into(), "b".into())),
            "ActionNotAllowed ActionNotAllowed",
        );
    }
}

fn revision(revision: i64, template: Value) -> TemplateRevision {
    TemplateRevision { revision, uid: format!("rs-{revision}").into(), template }
}

#[test]
fn rollbacks_name_the_template() {
    let current = snapshot("shop/cart").spec["template"].clone();
    let with = |image: &str| {
        let mut template = current.clone();
        template["spec"]["containers"][0]["image"] = json!(image);
        template
    };
    let revisions = |it: &mut Snapshot| {
        it.revisions = vec![revision(3, current.clone()), revision(2, with("app:0")), revision(1, with("app:00"))];
    };
    check(Action::Rollback { revision: None }, |_| (), "TargetNotFound TargetNotFound");
    check(
        Action::Rollback { revision: None },
        |it| it.revisions = vec![revision(3, current.clone())],
        "TargetNotFound TargetNotFound",
    );
    check(Action::Rollback { revision: Some(7) }, revisions, "TargetNotFound TargetNotFound");
    check(Action::Rollback { revision: Some(3) }, revisions, "NothingToDo NothingToDo");
    for (asked, image, found) in [(None, "app:0", 2), (Some(1), "app:00", 1)] {
        let seen = seen(revisions);
        let Edit::Fields { summary, apply, revert } =
            plan(&Action::Rollback { revision: asked }, &seen, at("10:00")).unwrap().edit
        else {
            panic!()
        };
        assert_eq!(summary, format!("rollback to revision {found}"));
        let after = merge::apply(&json!({"spec": seen.spec}), &apply);
        assert_eq!(after["spec"]["template"], with(image));
        assert_eq!(merge::apply(&after, &revert.unwrap())["spec"], seen.spec);
    }
}

/// A restart is a revision of its own, of the same pods: what a rollback goes back to lies behind it.
#[test]
fn a_rollback_goes_behind_restarts() {
    let template = |image: &str, restarted: Option<&str>| {
        let mut template = snapshot("shop/cart").spec["template"].clone();
        template["spec"]["containers"][0]["image"] = json!(image);
        if let Some(at) = restarted {
            template["metadata"]["annotations"] = json!({RESTARTED_AT: at});
        }
        template
    };
    let seen = seen(|it| {
        it.spec["template"] = template("app:2", Some("now"));
        it.revisions = vec![
            revision(4, template("app:2", Some("now"))),
            revision(3, template("app:2", Some("before"))),
            revision(2, template("app:2", None)),
            revision(1, template("app:1", None)),
        ];
    });
    let planned = plan(&Action::Rollback { revision: None }, &seen, at("10:00")).unwrap();
    assert_eq!(planned.edit.summary(), "rollback to revision 1");
}

#[test]
fn pods_are_evicted_by_uid() {
    let evict = |pod: Option<&str>| Action::DeletePod { pod: pod.map(Into::into) };
    let there =
        |it: &mut Snapshot| it.pod = Some(PodFacts { name: "cart-1".into(), uid: "pod-1".into(), blocked_by: None });
    check(evict(None), there, "TargetNotFound TargetNotFound");
    check(evict(Some("cart-1")), |_| (), "TargetNotFound TargetNotFound");
    check(evict(Some("cart-1")), there, "evict cart-1 pod-1");
}

#[test]
fn an_undo_takes_back_only_what_is_still_as_it_was_left() {
    let undo = || Action::Undo {
        of: ActionKind::Scale,
        revert: json!({"spec": {"replicas": 3}}),
        applied: json!({"spec": {"replicas": 5}}),
    };
    let replicas = |n: i32| move |it: &mut Snapshot| it.spec["replicas"] = json!(n);
    check(undo(), replicas(4), "TargetChanged TargetChanged");
    check(undo(), replicas(3), "NothingToDo NothingToDo");
    check(undo(), replicas(5), r#"undo; {"spec":{"replicas":3}}; -"#);
}

#[test]
fn an_undo_leaves_what_others_did_meanwhile() {
    let seen = seen(|_| ());
    let body = json!({"spec": {"template": {"metadata": {"annotations": {"ours": "1"}}}}});
    let Edit::Fields { apply, revert, .. } = plan(&patch(PatchForm::Merge, body), &seen, at("10:00")).unwrap().edit
    else {
        panic!()
    };
    let mut now = seen.clone();
    now.spec["template"]["metadata"]["annotations"] = json!({"ours": "1", "theirs": "2"});
    let undo =
        plan(&Action::Undo { of: ActionKind::Scale, revert: revert.unwrap(), applied: apply }, &now, at("10:01"))
            .unwrap();
    let Edit::Fields { apply: back, .. } = undo.edit else { panic!() };
    let after = merge::apply(&json!({"spec": now.spec}), &back);
    assert_eq!(after["spec"]["template"]["metadata"]["annotations"], json!({"theirs": "2"}));
}

fn actions() -> impl Strategy<Value = Action> {
    let image = "[a-c]".prop_map(|tag| {
        patch(
            PatchForm::Strategic,
            pod_spec(json!({"containers": [{"name": "app", "image": tag, "env": [{"name": "B", "value": "x"}]}]})),
        )
    });
    let fields = (0..3i64, "[a-c]").prop_map(|(seconds, key)| {
        patch(
            PatchForm::Merge,
            json!({"spec": {"minReadySeconds": seconds, "template": {"metadata": {"annotations": {key: "v"}}}}}),
        )
    });
    prop_oneof![
        (0..9i32).prop_map(|n| Action::Scale(Scale::To(n))),
        (-3..3i32).prop_map(|n| Action::Scale(Scale::By(n))),
        (1..4i64).prop_map(|n| Action::Rollback { revision: Some(n) }),
        image,
        fields,
    ]
}

proptest! {
    #[test]
    fn what_was_applied_is_restored_by_its_undo(action in actions(), replicas in 0..9i32, seconds in prop::option::of(0..3i64)) {
        let mut seen = snapshot("shop/cart");
        seen.spec["replicas"] = json!(replicas);
        if let Some(seconds) = seconds {
            seen.spec["minReadySeconds"] = json!(seconds);
        }
        seen.revisions = (1..4).map(|n| revision(n, json!({"spec": {"containers": [{"name": "app", "image": n.to_string()}]}}))).collect();
        let Ok(change) = plan(&action, &seen, at("10:00")) else { return Ok(()) };
        let Edit::Fields { apply, revert: Some(revert), .. } = change.edit else { panic!("it has an inverse") };
        let mut after = seen.clone();
        after.spec = merge::apply(&json!({"spec": seen.spec}), &apply)["spec"].clone();
        let undo = plan(&Action::Undo { of: ActionKind::Scale, revert, applied: apply }, &after, at("10:01")).unwrap();
        let Edit::Fields { apply: back, .. } = undo.edit else { panic!("an undo sets fields") };
        let mut restored = merge::apply(&json!({"spec": after.spec}), &back)["spec"].clone();
        // A map that the patch made is left empty, which the API server stores as absent.
        let metadata = restored["template"].get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata.filter(|it| it.get("annotations") == Some(&json!({}))) {
            metadata.remove("annotations");
        }
        prop_assert_eq!(&restored, &seen.spec);
    }
}
