//! One attempt, one send. What comes back is sorted into four ends; whatever is not plainly one of the first three is
//! unknown, and only a read settles that.

use flyball_core::deny::DenyReason;
use flyball_core::facts::STAMP_INTENT;
use flyball_core::intent::{Attempt, Execution, Fence, Receipt};
use flyball_core::workload::Workload;
use serde_json::{Value, json};

use super::error::{NoAnswer, Reply};
use super::path::{Place, can_exist};
use super::throttle::Door;

/// Sends the attempt.
pub(super) async fn send(door: &Door, attempt: &Attempt) -> Execution {
    let target = &attempt.request().target;
    if !can_exist(target) {
        return Execution::Rejected(DenyReason::TargetNotFound { what: target.to_string() });
    }
    let place = Place::workloads(target.kind, &target.namespace);
    let patched = door.patch(place, &target.name, &attempt.body()).await;
    let patched = patched.map_or_else(unknown, |reply| patch_outcome(&reply, target));
    let Some((pod, uid)) = attempt.change().edit.evicted() else { return patched };
    let stamped = match patched {
        Execution::Conflict(detail) => stamped_before(door, attempt, detail).await,
        other => other,
    };
    match stamped {
        Execution::Applied(receipt) => evict(door, target, pod, uid, receipt).await,
        other => other,
    }
}

/// Sends the fence.
pub(super) async fn fence(door: &Door, fence: &Fence) -> Execution {
    let target = fence.target();
    let place = Place::workloads(target.kind, &target.namespace);
    let patched = door.patch(place, &target.name, fence.body()).await;
    patched.map_or_else(unknown, |reply| patch_outcome(&reply, target))
}

/// A second send of an eviction finds its stamp already there. That is no conflict but where the first send stopped.
async fn stamped_before(door: &Door, attempt: &Attempt, conflict: String) -> Execution {
    let target = &attempt.request().target;
    match door.get(Place::workloads(target.kind, &target.namespace), &target.name).await {
        Ok(Some(object)) if is_stamped(&object, attempt) => match receipt(&object) {
            Some(receipt) => Execution::Applied(receipt),
            None => Execution::Unknown("the API server sent an object without a version".to_owned()),
        },
        Ok(_) => Execution::Conflict(conflict),
        Err(error) => Execution::Unknown(error.to_string()),
    }
}

fn is_stamped(object: &Value, attempt: &Attempt) -> bool {
    object["metadata"]["uid"] == *attempt.change().uid
        && object["metadata"]["annotations"][STAMP_INTENT] == attempt.intent().to_string()
}

/// Evicts the pod, if it still is the one with this uid. `receipt`: of the stamp that went before.
async fn evict(door: &Door, target: &Workload, pod: &str, uid: &str, receipt: Receipt) -> Execution {
    let place = Place::pods(&target.namespace);
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": &*target.namespace, "name": pod},
        "deleteOptions": {"preconditions": {"uid": uid}},
    });
    let reply = match door.evict(place, pod, &body).await {
        Ok(reply) => reply,
        Err(silent) => return unknown(silent),
    };
    if reply.status == 409 {
        return match door.get(place, pod).await {
            Ok(Some(other)) if other["metadata"]["uid"] == uid => Execution::Conflict(reply.message()),
            // Gone, or its name is another pod's: this uid is dead.
            Ok(_) => Execution::Applied(receipt),
            Err(error) => Execution::Unknown(error.to_string()),
        };
    }
    eviction_outcome(&reply, target, receipt)
}

fn unknown(silent: NoAnswer) -> Execution {
    Execution::Unknown(silent.detail)
}

fn receipt(object: &Value) -> Option<Receipt> {
    let metadata = object.get("metadata")?;
    Some(Receipt {
        generation: metadata["generation"].as_i64()?,
        resource_version: metadata["resourceVersion"].as_str()?.into(),
    })
}

fn patch_outcome(reply: &Reply, target: &Workload) -> Execution {
    if !reply.is_success() {
        return refusal(reply, target);
    }
    let garbled = || Execution::Unknown(format!("the API server answered {} without an object", reply.status));
    receipt(&reply.body).map_or_else(garbled, Execution::Applied)
}

fn eviction_outcome(reply: &Reply, target: &Workload, receipt: Receipt) -> Execution {
    match reply.status {
        // A uid dies once: what is not there needs no second death.
        200..300 | 404 => Execution::Applied(receipt),
        429 | 500 => match budget(reply) {
            Some(budget) => Execution::Rejected(DenyReason::DisruptionBudget { budget }),
            None => refusal(reply, target),
        },
        _ => refusal(reply, target),
    }
}

/// What a refusal of the workload's patch, or of the eviction for reasons that are not its own, says.
fn refusal(reply: &Reply, target: &Workload) -> Execution {
    let message = reply.message();
    match reply.status {
        404 => Execution::Rejected(DenyReason::TargetNotFound { what: target.to_string() }),
        403 => Execution::Rejected(DenyReason::Forbidden { detail: message }),
        409 => Execution::Conflict(message),
        // Turned away before it was carried out: sent again after a read, at the driver's pace.
        429 => Execution::Conflict(format!("throttled: {message}")),
        // A token that has expired is replaced: nothing was carried out, and what was planned is still right.
        401 => Execution::Conflict(format!("not recognised: {message}")),
        // The server stopped waiting for the request, or for itself.
        408 => Execution::Unknown(format!("408: {message}")),
        400..500 => Execution::Rejected(DenyReason::ActionNotAllowed { what: message }),
        status => Execution::Unknown(format!("{status}: {message}")),
    }
}

/// The disruption budget that refuses an eviction; none if something else does (a 429 may be for our haste).
fn budget(reply: &Reply) -> Option<String> {
    let causes = reply.body.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
    let cause = causes.into_iter().find(|it| it["reason"] == "DisruptionBudget");
    if let Some(cause) = cause {
        let message = cause["message"].as_str().unwrap_or_default();
        let name = message.split_once("disruption budget ").and_then(|(_, rest)| rest.split_whitespace().next());
        return Some(name.map_or_else(|| reply.message(), str::to_owned));
    }
    let message = reply.message();
    // A pod under two budgets is never evicted, however often one asks.
    message.contains("more than one PodDisruptionBudget").then_some(message)
}

#[cfg(test)]
mod tests {
    use flyball_core::workload::WorkloadKind;

    use super::*;

    fn target() -> Workload {
        Workload::new(WorkloadKind::Deployment, "shop", "cart")
    }

    fn reply(status: u16, body: Value) -> Reply {
        Reply { status, body, retry_after: None }
    }

    fn said(status: u16) -> Reply {
        reply(status, json!({"kind": "Status", "message": "m"}))
    }

    fn proof() -> Receipt {
        Receipt { generation: 3, resource_version: "17".into() }
    }

    #[test]
    fn a_patch_has_four_ends() {
        let rejected = |reason| Execution::Rejected(reason);
        let bad = || rejected(DenyReason::ActionNotAllowed { what: "m".into() });
        for (status, end) in [
            (400, bad()),
            (401, Execution::Conflict("not recognised: m".into())),
            (403, rejected(DenyReason::Forbidden { detail: "m".into() })),
            (404, rejected(DenyReason::TargetNotFound { what: "shop/Deployment/cart".into() })),
            (408, Execution::Unknown("408: m".into())),
            (409, Execution::Conflict("m".into())),
            (413, bad()),
            (422, bad()),
            (429, Execution::Conflict("throttled: m".into())),
            (500, Execution::Unknown("500: m".into())),
            (503, Execution::Unknown("503: m".into())),
            (504, Execution::Unknown("504: m".into())),
            (302, Execution::Unknown("302: m".into())),
        ] {
            assert_eq!(patch_outcome(&said(status), &target()), end, "{status}");
        }
        let object = json!({"metadata": {"generation": 3, "resourceVersion": "17"}});
        assert_eq!(patch_outcome(&reply(200, object), &target()), Execution::Applied(proof()));
        assert!(matches!(patch_outcome(&reply(200, json!("half an obj")), &target()), Execution::Unknown(_)));
    }

    #[test]
    fn an_eviction_has_its_own() {
        let over = json!({"message": "Cannot evict pod as it would violate the pod's disruption budget.", "details": {"causes": [
            {"reason": "DisruptionBudget", "message": "The disruption budget keep needs 2 healthy pods and has 2 currently"}]}});
        let two = json!({"message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."});
        let budget = |name: &str| Execution::Rejected(DenyReason::DisruptionBudget { budget: name.into() });
        for (answer, end) in [
            (said(200), Execution::Applied(proof())),
            (said(201), Execution::Applied(proof())),
            (said(404), Execution::Applied(proof())),
            (said(403), Execution::Rejected(DenyReason::Forbidden { detail: "m".into() })),
            (reply(429, over), budget("keep")),
            (
                reply(429, json!("Too many requests, please try again later.\n")),
                Execution::Conflict("throttled: Too many requests, please try again later.".into()),
            ),
            (reply(500, two.clone()), budget(two["message"].as_str().unwrap())),
            (said(500), Execution::Unknown("500: m".into())),
        ] {
            assert_eq!(eviction_outcome(&answer, &target(), proof()), end, "{answer:?}");
        }
    }
}
