//! One shared watch per kind, reduced on arrival to a few numbers.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use flyball_core::ports::PortError;
use flyball_core::workload::{Workload, WorkloadKind};
use futures::StreamExt;
use futures::future::join_all;
use kube::api::{Api, ApiResource, GroupVersionKind, ObjectMeta};
use kube::core::Object;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event};
use kube::{Client, runtime};
use serde::Deserialize;

use super::Observer;
use super::error::{chain, class};
use super::watched::{Health, Watched};

/// The server ends a watch after so long. It is short because a dead connection is only noticed at its end; the client adds
/// 5 s of patience.
const LIFE: u32 = 55;
/// A watcher that fails so often in a row is made anew: a version that is too old is only forgotten with its watcher when
/// a proxy reports it in a way of its own.
const REBUILD_AFTER: u32 = 3;

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    replicas: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    updated_replicas: Option<i32>,
    ready_replicas: Option<i32>,
    available_replicas: Option<i32>,
    desired_number_scheduled: Option<i32>,
    updated_number_scheduled: Option<i32>,
    number_ready: Option<i32>,
    number_available: Option<i32>,
}

/// All that is read of a workload: the rest is dropped while its JSON is parsed.
type Seen = Object<Spec, Status>;

fn project(kind: WorkloadKind, seen: Seen) -> (Workload, Health) {
    let Seen { metadata: ObjectMeta { name, namespace, generation, labels, .. }, spec, status, .. } = seen;
    let it = status.unwrap_or_default();
    let numbers = match kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => {
            [spec.replicas.or(Some(1)), it.updated_replicas, it.ready_replicas, it.available_replicas]
        }
        WorkloadKind::DaemonSet => {
            [it.desired_number_scheduled, it.updated_number_scheduled, it.number_ready, it.number_available]
        }
    };
    let [desired, updated, ready, available] = numbers.map(Option::unwrap_or_default);
    let target = Workload::new(kind, &namespace.unwrap_or_default(), &name.unwrap_or_default());
    let labels = Arc::new(labels.unwrap_or_default());
    let health = Health { desired, updated, ready, available, generation: generation.unwrap_or_default(), labels };
    (target, health)
}

/// Follows the three kinds for ever.
pub(super) async fn follow_all(client: Client, watched: Arc<Watched>, observer: Arc<dyn Observer>) {
    let each = WorkloadKind::ALL.map(|kind| Follower::new(kind, client.clone(), watched.clone(), observer.clone()));
    join_all(each.map(Follower::follow)).await;
}

/// Follows one kind.
struct Follower {
    kind: WorkloadKind,
    api: Api<Seen>,
    watched: Arc<Watched>,
    observer: Arc<dyn Observer>,
    /// The list that is being read, and since when.
    list: BTreeMap<Workload, Health>,
    listing: (SystemTime, Instant),
}

impl Follower {
    fn new(kind: WorkloadKind, client: Client, watched: Arc<Watched>, observer: Arc<dyn Observer>) -> Self {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", kind.as_str()), kind.plural());
        let listing = (SystemTime::now(), Instant::now());
        Self { kind, api: Api::all_with(client, &resource), watched, observer, list: BTreeMap::new(), listing }
    }

    async fn follow(mut self) {
        let mut pause = DefaultBackoff::default();
        loop {
            let mut events = pin!(runtime::watcher(self.api.clone(), watcher::Config::default().timeout(LIFE)));
            let mut failures = 0;
            while failures < REBUILD_AFTER {
                match events.next().await {
                    Some(Ok(event)) => {
                        if self.take(event) {
                            failures = 0;
                            pause.reset();
                        }
                    }
                    Some(Err(error)) => {
                        failures += 1;
                        self.failed(&error, failures);
                        tokio::time::sleep(pause.next().unwrap_or(Duration::from_secs(u64::from(LIFE)))).await;
                    }
                    None => break,
                }
            }
        }
    }

    /// Takes an event; whether it shows that the watch works. A list that is not complete shows nothing.
    fn take(&mut self, event: Event<Seen>) -> bool {
        match event {
            Event::Init => {
                self.list.clear();
                self.listing = (SystemTime::now(), Instant::now());
                return false;
            }
            Event::InitApply(seen) => {
                self.list.extend([project(self.kind, seen)]);
                return false;
            }
            Event::InitDone => {
                self.watched.replace(self.kind, std::mem::take(&mut self.list));
                self.observe("list", Ok(200), self.listing);
            }
            Event::Apply(seen) => {
                let (target, health) = project(self.kind, seen);
                self.watched.set(target, Some(health));
            }
            Event::Delete(seen) => self.watched.set(project(self.kind, seen).0, None),
        }
        true
    }

    fn failed(&self, error: &watcher::Error, failures: u32) {
        let (verb, status) = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status)) => ("list", Some(status)),
            watcher::Error::InitialListFailed(_) => ("list", None),
            watcher::Error::WatchStartFailed(kube::Error::Api(status)) | watcher::Error::WatchError(status) => {
                ("watch", Some(status))
            }
            _ => ("watch", None),
        };
        let outcome = status.map_or_else(|| Err(class(error)), |it| Ok(it.code));
        self.observe(verb, outcome, (SystemTime::now(), Instant::now()));
        let error = match status {
            Some(status) if status.is_forbidden() => PortError::Forbidden(status.message.clone()),
            Some(status) => PortError::Unavailable(status.message.clone()),
            None => PortError::Unavailable(chain(error)),
        };
        tracing::debug!(kind = %self.kind, %error, failures, "A watch failed");
        // The first failures are mostly connections that end; the next request goes on where they stopped.
        if failures >= REBUILD_AFTER || !self.watched.is_synced(self.kind) {
            self.watched.failed(self.kind, error);
        }
    }

    fn observe(&self, verb: &'static str, outcome: Result<u16, &str>, (started, clock): (SystemTime, Instant)) {
        self.observer.call(verb, self.kind.plural(), "", outcome, started, clock.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_becomes_a_few_numbers() {
        let metadata = json!({"namespace": "shop", "name": "cart", "generation": 4});
        for (kind, spec, status, desired, available) in [
            (WorkloadKind::Deployment, json!({"replicas": 3}), json!({"availableReplicas": 2}), 3, 2),
            (WorkloadKind::Deployment, json!({}), json!({}), 1, 0),
            (WorkloadKind::StatefulSet, json!({"replicas": 0}), json!({"availableReplicas": 0}), 0, 0),
            (WorkloadKind::DaemonSet, json!({}), json!({"desiredNumberScheduled": 5, "numberAvailable": 4}), 5, 4),
            (WorkloadKind::DaemonSet, json!({}), json!(null), 0, 0),
        ] {
            let seen = json!({"metadata": metadata, "spec": spec, "status": status});
            let (target, health) = project(kind, serde_json::from_value(seen).unwrap());
            assert_eq!(target, Workload::new(kind, "shop", "cart"));
            assert_eq!((health.desired, health.available, health.generation), (desired, available, 4));
        }
    }
}
