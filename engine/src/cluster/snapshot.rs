//! Fresh reads: all that an action needs to know of its target, and the little that verification needs.

use std::collections::BTreeMap;

use flyball_core::action::{Action, ActionRequest};
use flyball_core::facts::{OPT_OUT, PodFacts, STAMP_INTENT, Sighting, Snapshot, TemplateRevision};
use flyball_core::ports::PortError;
use flyball_core::workload::{Workload, WorkloadKind};
use futures::try_join;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use serde_json::Value;

use super::managers::managers;
use super::path::{Place, can_exist};
use super::pod;
use super::revisions::{revisions, without_nulls};
use super::rollout::rollout;
use super::throttle::Door;
use super::watched::Watched;

/// Reads the target of `request`; nothing if there is no such workload.
pub(super) async fn take(
    door: &Door,
    watched: &Watched,
    request: &ActionRequest,
) -> Result<Option<Snapshot>, PortError> {
    let target = &request.target;
    if !can_exist(target) {
        return Ok(None);
    }
    let namespace = &*target.namespace;
    let (object, home, autoscalers, pod) = try_join!(
        door.get(Place::workloads(target.kind, namespace), &target.name),
        door.get(Place::namespaces(), namespace),
        door.list(Place::autoscalers(namespace), None),
        named_pod(door, request),
    )?;
    let Some(mut object) = object else { return Ok(None) };
    let rollout = rollout(target.kind, &object);
    let (revisions, pod) =
        try_join!(old_templates(door, request, &object, &rollout.uid), owned_pod(door, namespace, pod, &rollout.uid),)?;
    Ok(Some(Snapshot {
        target: target.clone(),
        uid: rollout.uid.clone(),
        resource_version: object["metadata"]["resourceVersion"].as_str().unwrap_or_default().into(),
        annotations: texts(&object["metadata"]["annotations"]),
        labels: texts(&object["metadata"]["labels"]),
        rollout,
        deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
        namespace_opted_out: home.is_some_and(|it| it["metadata"]["annotations"][OPT_OUT] == "true"),
        managers: managers(target, &object, &autoscalers),
        spec: without_nulls(object["spec"].take()),
        revisions,
        pod,
        neighbours: watched.neighbours(namespace)?,
    }))
}

/// Reads what verification asks for. `evicted`: name and uid of the pod that was evicted.
pub(super) async fn sight(
    door: &Door,
    target: &Workload,
    evicted: Option<(&str, &str)>,
) -> Result<Option<Sighting>, PortError> {
    if !can_exist(target) {
        return Ok(None);
    }
    let pod = async {
        match evicted {
            Some((name, _)) => door.get(Place::pods(&target.namespace), name).await,
            None => Ok(None),
        }
    };
    let (object, pod) = try_join!(door.get(Place::workloads(target.kind, &target.namespace), &target.name), pod)?;
    let Some(mut object) = object else { return Ok(None) };
    Ok(Some(Sighting {
        rollout: rollout(target.kind, &object),
        stamp: object["metadata"]["annotations"][STAMP_INTENT].as_str().and_then(|it| it.parse().ok()),
        spec: without_nulls(object["spec"].take()),
        // A StatefulSet gives the name to the next pod: only the uid tells.
        pod_still_there: pod.zip(evicted).is_some_and(|(pod, (_, uid))| pod["metadata"]["uid"] == uid),
        read_at: Timestamp::now(),
    }))
}

/// The pod that `request` names, and the budgets of its namespace.
async fn named_pod(door: &Door, request: &ActionRequest) -> Result<Option<(Value, Vec<Value>)>, PortError> {
    let Action::DeletePod { pod: Some(name) } = &request.action else { return Ok(None) };
    let namespace = &request.target.namespace;
    let (pod, budgets) = try_join!(door.get(Place::pods(namespace), name), door.list(Place::budgets(namespace), None))?;
    Ok(pod.map(|pod| (pod, budgets)))
}

/// Drops a pod that is not the target's: a signal that names somebody else's pod must not cost that one its life.
async fn owned_pod(
    door: &Door,
    namespace: &str,
    named: Option<(Value, Vec<Value>)>,
    owner: &str,
) -> Result<Option<PodFacts>, PortError> {
    let Some((pod, budgets)) = named else { return Ok(None) };
    let between = match pod::replica_set(&pod) {
        Some(name) => door.get(Place::replica_sets(namespace), name).await?,
        None => None,
    };
    Ok(if pod::belongs(&pod, between.as_ref(), owner) { pod::facts(&pod, &budgets) } else { None })
}

async fn old_templates(
    door: &Door,
    request: &ActionRequest,
    object: &Value,
    owner: &str,
) -> Result<Vec<TemplateRevision>, PortError> {
    if !matches!(request.action, Action::Rollback { .. }) {
        return Ok(Vec::new());
    }
    let Workload { kind, namespace, .. } = &request.target;
    let place = match kind {
        WorkloadKind::Deployment => Place::replica_sets(namespace),
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => Place::controller_revisions(namespace),
    };
    // Only spares the server work: whose they are is decided by uid.
    let labels = serde_json::from_value::<LabelSelector>(object["spec"]["selector"].clone()).ok();
    let labels = labels.and_then(|it| Selector::try_from(it).ok()).map(|it| it.to_string());
    Ok(revisions(*kind, &door.list(place, labels.as_deref()).await?, owner))
}

fn texts(map: &Value) -> BTreeMap<String, String> {
    let fields = map.as_object().into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
