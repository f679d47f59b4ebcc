//! Old templates of a workload, as its controller keeps them.

use flyball_core::facts::TemplateRevision;
use flyball_core::workload::WorkloadKind;
use serde_json::Value;

/// The number that `kubectl rollout history` shows for a ReplicaSet.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// What the controller adds to a template to tell its pods from others.
const HASH: &str = "pod-template-hash";

/// The templates kept in `items`, newest first: ReplicaSets of a Deployment, ControllerRevisions of the other kinds. Only
/// those that the workload with uid `owner` controls.
pub(super) fn revisions(kind: WorkloadKind, items: &[Value], owner: &str) -> Vec<TemplateRevision> {
    let read = match kind {
        WorkloadKind::Deployment => of_replica_set,
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => of_controller_revision,
    };
    let its = items.iter().filter(|it| controller(it).is_some_and(|by| by["uid"] == owner));
    let mut found: Vec<_> = its.filter_map(read).collect();
    found.sort_by_key(|it| std::cmp::Reverse(it.revision));
    found
}

/// The owner that manages `object`.
pub(super) fn controller(object: &Value) -> Option<&Value> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|it| it["controller"] == true)
}

/// Without the fields that are there but null. Older servers write some, newer ones do not, and a controller may keep an
/// old writing: the same template has to be equal to itself.
pub(super) fn without_nulls(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, it| !it.is_null());
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

fn of_replica_set(object: &Value) -> Option<TemplateRevision> {
    let revision = object["metadata"]["annotations"][REVISION].as_str()?.parse().ok()?;
    let mut template = object.pointer("/spec/template")?.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    kept(object, revision, template)
}

fn of_controller_revision(object: &Value) -> Option<TemplateRevision> {
    let revision = object["revision"].as_i64()?;
    let mut template = object.pointer("/data/spec/template")?.clone();
    // How the controller applies it, not part of it.
    template.as_object_mut()?.remove("$patch");
    kept(object, revision, template)
}

fn kept(object: &Value, revision: i64, template: Value) -> Option<TemplateRevision> {
    let uid = object.pointer("/metadata/uid")?.as_str()?.into();
    Some(TemplateRevision { revision, uid, template: without_nulls(template) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owner(uid: &str, controller: bool) -> Value {
        json!([{"kind": "Deployment", "name": "cart", "uid": uid, "controller": controller}])
    }

    fn replica_set(revision: Option<&str>, owners: Value, image: &str) -> Value {
        json!({
            "metadata": {"uid": format!("rs-{image}"), "ownerReferences": owners,
                "annotations": revision.map(|it| json!({REVISION: it}))},
            "spec": {"template": {"metadata": {"creationTimestamp": null, "labels": {"app": "cart", HASH: "x"}},
                "spec": {"containers": [{"image": image}]}}},
        })
    }

    fn template(image: &str) -> Value {
        json!({"metadata": {"labels": {"app": "cart"}}, "spec": {"containers": [{"image": image}]}})
    }

    #[test]
    fn a_deployments_are_its_replica_sets() {
        let items = [
            replica_set(Some("9"), owner("u", true), "nine"),
            replica_set(Some("10"), owner("u", true), "ten"),
            replica_set(Some("11"), owner("other", true), "a namesake's"),
            replica_set(Some("12"), owner("u", false), "not controlled"),
            replica_set(None, owner("u", true), "no number"),
            replica_set(Some("13"), json!(null), "orphan"),
        ];
        let found = revisions(WorkloadKind::Deployment, &items, "u");
        let short: Vec<_> = found.iter().map(|it| (it.revision, &*it.uid, it.template.clone())).collect();
        assert_eq!(short, [(10, "rs-ten", template("ten")), (9, "rs-nine", template("nine"))]);
    }

    #[test]
    fn the_others_are_controller_revisions() {
        let kept = |revision: i64, image: &str| {
            let mut data = template(image);
            data["$patch"] = json!("replace");
            data["metadata"]["creationTimestamp"] = Value::Null;
            json!({"metadata": {"uid": format!("cr-{revision}"), "ownerReferences": owner("u", true)}, "revision": revision,
                "data": {"spec": {"template": data}}})
        };
        let items = [kept(1, "one"), kept(3, "three"), kept(2, "two")];
        for kind in [WorkloadKind::StatefulSet, WorkloadKind::DaemonSet] {
            let found = revisions(kind, &items, "u");
            assert_eq!(found.iter().map(|it| it.revision).collect::<Vec<_>>(), [3, 2, 1]);
            assert_eq!(found[2].template, template("one"));
        }
    }
}
