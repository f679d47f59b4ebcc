//! A pod to be evicted: whether it is the target's, and whether a disruption budget forbids it.

use flyball_core::facts::PodFacts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use super::revisions::controller;

/// Name of the ReplicaSet between a pod and its Deployment, if there is one.
pub(super) fn replica_set(pod: &Value) -> Option<&str> {
    controller(pod).filter(|by| by["kind"] == "ReplicaSet")?["name"].as_str()
}

/// Whether `pod` is controlled by the workload with uid `owner`: directly, or through `replica_set`.
pub(super) fn belongs(pod: &Value, replica_set: Option<&Value>, owner: &str) -> bool {
    let by = |object: &Value| controller(object).map(|it| it["uid"].clone());
    let through = || replica_set.filter(|set| by(pod).as_ref() == Some(&set["metadata"]["uid"])).and_then(by);
    by(pod).is_some_and(|uid| uid == owner) || through().is_some_and(|uid| uid == owner)
}

/// What the guardrails need to know of `pod`, by the budgets of its namespace.
pub(super) fn facts(pod: &Value, budgets: &[Value]) -> Option<PodFacts> {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).map(Into::into);
    Some(PodFacts { name: text("/metadata/name")?, uid: text("/metadata/uid")?, blocked_by: blocked_by(pod, budgets) })
}

fn blocked_by(pod: &Value, budgets: &[Value]) -> Option<String> {
    let name = |budget: &Value| budget["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let over_it: Vec<&Value> = budgets.iter().filter(|it| covers(it, pod)).collect();
    match over_it[..] {
        [] => None,
        [one] => forbids(one, pod).then(|| name(one)),
        // The API server evicts no pod that has more than one.
        ref several => Some(several.iter().map(|it| name(it)).collect::<Vec<_>>().join(" and ")),
    }
}

fn covers(budget: &Value, pod: &Value) -> bool {
    // No selector selects nothing, an empty one everything.
    let Some(wanted) = budget.pointer("/spec/selector").filter(|it| !it.is_null()) else { return false };
    let selector =
        serde_json::from_value::<LabelSelector>(wanted.clone()).ok().and_then(|it| Selector::try_from(it).ok());
    let labels = serde_json::from_value(pod["metadata"]["labels"].clone()).unwrap_or_default();
    // One that we cannot read may cover the pod.
    selector.is_none_or(|it| it.matches(&labels))
}

fn forbids(budget: &Value, pod: &Value) -> bool {
    let allowed = budget.pointer("/status/disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0);
    let spares_broken_pods = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" && !ready(pod);
    allowed < 1 && !spares_broken_pods
}

fn ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ready: &str) -> Value {
        json!({
            "metadata": {"name": "cart-1", "uid": "p", "labels": {"app": "cart", "tier": "web"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "cart-x", "uid": "rs", "controller": true}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn budget(name: &str, selector: Value, allowed: i64, policy: Option<&str>) -> Value {
        json!({"metadata": {"name": name}, "spec": {"selector": selector, "unhealthyPodEvictionPolicy": policy},
            "status": {"disruptionsAllowed": allowed}})
    }

    #[test]
    fn a_budget_blocks_the_pods_that_it_selects() {
        let cart = || json!({"matchLabels": {"app": "cart"}});
        let none = budget("b", cart(), 0, None);
        for (ready, budgets, blocked) in [
            ("True", vec![], None),
            ("True", vec![none.clone()], Some("b")),
            ("True", vec![budget("b", cart(), 1, None)], None),
            ("True", vec![budget("b", json!({"matchLabels": {"app": "web"}}), 0, None)], None),
            ("True", vec![budget("b", json!({}), 0, None)], Some("b")),
            ("True", vec![budget("b", json!(null), 0, None)], None),
            (
                "True",
                vec![budget("b", json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), 0, None)],
                Some("b"),
            ),
            (
                "True",
                vec![budget("b", json!({"matchExpressions": [{"key": "tier", "operator": "Odd"}]}), 0, None)],
                Some("b"),
            ),
            ("True", vec![budget("b", cart(), 0, Some("AlwaysAllow"))], Some("b")),
            ("False", vec![budget("b", cart(), 0, Some("AlwaysAllow"))], None),
            ("False", vec![budget("b", cart(), 0, Some("IfHealthyBudget"))], Some("b")),
            ("True", vec![budget("a", cart(), 1, None), budget("b", cart(), 1, None)], Some("a and b")),
        ] {
            let seen = facts(&pod(ready), &budgets).expect("a whole pod");
            assert_eq!((&*seen.name, &*seen.uid, seen.blocked_by.as_deref()), ("cart-1", "p", blocked), "{budgets:?}");
        }
    }

    #[test]
    fn a_pod_belongs_to_who_controls_it() {
        let set = |uid: &str, owner: &str| json!({"metadata": {"uid": uid, "ownerReferences": [{"kind": "Deployment", "uid": owner, "controller": true}]}});
        let pod = pod("True");
        assert_eq!(replica_set(&pod), Some("cart-x"));
        assert!(belongs(&pod, None, "rs"));
        assert!(belongs(&pod, Some(&set("rs", "d")), "d"));
        assert!(!belongs(&pod, Some(&set("rs", "other")), "d"));
        assert!(!belongs(&pod, Some(&set("a newer namesake", "d")), "d"));
        assert!(!belongs(&pod, None, "d"));
        assert!(!belongs(&json!({"metadata": {"name": "orphan"}}), None, "d"));
    }
}
