//! An object's numbers, kind by kind, as `kubectl rollout status` reads them.

use flyball_core::facts::Rollout;
use flyball_core::workload::WorkloadKind;
use serde_json::Value;

/// The numbers of `object`. What a young object does not have yet is zero, so that it never looks complete.
pub(super) fn rollout(kind: WorkloadKind, object: &Value) -> Rollout {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let count = |path: &str| i32::try_from(number(path)).unwrap_or(i32::MAX);
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let [desired, total, updated, ready, available] = match kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => [
            // The API server fills in 1; a missing number is not a wish for none.
            object.pointer("/spec/replicas").map_or(1, |_| count("/spec/replicas")),
            count("/status/replicas"),
            count("/status/updatedReplicas"),
            count("/status/readyReplicas"),
            count("/status/availableReplicas"),
        ],
        WorkloadKind::DaemonSet => [
            count("/status/desiredNumberScheduled"),
            count("/status/currentNumberScheduled"),
            count("/status/updatedNumberScheduled"),
            count("/status/numberReady"),
            count("/status/numberAvailable"),
        ],
    };
    Rollout {
        kind,
        uid: text("/metadata/uid").into(),
        generation: number("/metadata/generation"),
        observed_generation: number("/status/observedGeneration"),
        desired,
        total,
        updated,
        ready,
        available,
        deadline_exceeded: kind == WorkloadKind::Deployment && gave_up(object),
        on_delete: text("/spec/updateStrategy/type") == "OnDelete",
        partition: count("/spec/updateStrategy/rollingUpdate/partition"),
    }
}

fn gave_up(object: &Value) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| it["type"] == "Progressing" && it["reason"] == "ProgressDeadlineExceeded")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn numbers(it: &Rollout) -> [i32; 5] {
        [it.desired, it.total, it.updated, it.ready, it.available]
    }

    #[test]
    fn a_deployment() {
        let object = json!({
            "metadata": {"uid": "u", "generation": 7},
            "spec": {"replicas": 5, "strategy": {"type": "RollingUpdate"}},
            "status": {"observedGeneration": 6, "replicas": 6, "updatedReplicas": 2, "readyReplicas": 4, "availableReplicas": 3,
                "conditions": [{"type": "Available", "status": "True"},
                    {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]},
        });
        let seen = rollout(WorkloadKind::Deployment, &object);
        assert_eq!(numbers(&seen), [5, 6, 2, 4, 3]);
        assert_eq!((&*seen.uid, seen.generation, seen.observed_generation), ("u", 7, 6));
        assert!(seen.deadline_exceeded && !seen.on_delete);
    }

    #[test]
    fn a_stateful_set() {
        let object = json!({
            "metadata": {"uid": "u", "generation": 2},
            "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 3},
        });
        let seen = rollout(WorkloadKind::StatefulSet, &object);
        assert_eq!((numbers(&seen), seen.partition), ([3, 3, 1, 3, 3], 2));
        assert!(seen.complete());
        let waits = json!({"spec": {"replicas": 3, "updateStrategy": {"type": "OnDelete"}}});
        assert!(rollout(WorkloadKind::StatefulSet, &waits).on_delete);
    }

    #[test]
    fn a_daemon_set() {
        let object = json!({
            "metadata": {"uid": "u", "generation": 2},
            "spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}},
            "status": {"observedGeneration": 2, "desiredNumberScheduled": 4, "currentNumberScheduled": 3,
                "updatedNumberScheduled": 2, "numberReady": 3, "numberAvailable": 1},
        });
        assert_eq!(numbers(&rollout(WorkloadKind::DaemonSet, &object)), [4, 3, 2, 3, 1]);
    }

    #[test]
    fn what_has_no_status_is_not_complete() {
        let young = json!({"metadata": {"uid": "u", "generation": 1}, "spec": {}});
        for kind in WorkloadKind::ALL {
            assert!(!rollout(kind, &young).complete(), "{kind}");
        }
    }
}
