//! What people and other controllers do to the cluster, and what tests ask it for.

use std::sync::Arc;

use flyball_core::facts::Rollout;
use flyball_core::ports::PortError;
use flyball_core::workload::Workload;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::SimCluster;
use super::faults::Fault;
use super::manifest::Manifest;
use super::object::Object;

impl SimCluster {
    /// Puts a workload in place of whatever has its name; its pods are ready at once, if they ever will be.
    pub fn put(&self, manifest: &Manifest) {
        self.advanced().put(manifest);
    }

    /// Deletes a workload and its pods. Whether it was there.
    pub fn delete(&self, target: &Workload) -> bool {
        let mut model = self.advanced();
        let there = model.remove(target);
        model.record(target, "delete".into(), there, if there { "200" } else { "404" }.into());
        there
    }

    /// Deletes a workload and puts it back as it was first put: same name, another uid.
    pub fn recreate(&self, target: &Workload) {
        let mut model = self.advanced();
        if let Some(manifest) = model.objects.get(target).map(|it| it.manifest.clone()) {
            model.put(&manifest);
            model.record(target, "recreate".into(), true, "201".into());
        }
    }

    /// Marks a workload as being deleted: it stays until its finalizers are done, which here is never.
    pub fn begin_delete(&self, target: &Workload) {
        let mut model = self.advanced();
        if let Some(object) = model.objects.get_mut(target) {
            object.deleting = true;
            model.written(target);
        }
    }

    /// From now on it is kept what each rollout looked like, from when on.
    pub fn keep_past(&self) {
        let mut model = self.advanced();
        let now = model.now;
        let past = model.objects.iter().map(|(target, it)| (target.clone(), vec![(now, Some(it.rollout()))]));
        let past = past.collect();
        model.past = Some(past);
    }

    /// What the rollout of a workload looked like since [`Self::keep_past`], each from its time on; nothing while there is no such
    /// workload.
    pub fn past(&self, target: &Workload) -> Vec<(Timestamp, Option<Rollout>)> {
        self.advanced().past.as_ref().and_then(|it| it.get(target)).cloned().unwrap_or_default()
    }

    /// A merge patch by somebody else, without preconditions. Whether it changed anything.
    pub fn edit(&self, target: &Workload, patch: &Value) -> bool {
        self.advanced().edit(target, patch)
    }

    /// What `kubectl rollout undo` does: back to the template before, and the annotations of then in place of today's.
    /// Whether there was anything to go back to.
    pub fn rollout_undo(&self, target: &Workload) -> bool {
        let mut model = self.advanced();
        let Some(object) = model.objects.get(target) else { return false };
        let others = object.revisions.iter().filter(|it| it.key != object.current);
        let Some(previous) = others.max_by_key(|it| it.number).cloned() else { return false };
        let nothing = object.annotations.keys().map(|key| (key.clone(), Value::Null));
        let then = previous.annotations.into_iter().map(|(key, value)| (key, Value::from(value)));
        let annotations: serde_json::Map<String, Value> = nothing.chain(then).collect();
        let mut patch = json!({"metadata": {"annotations": annotations}});
        if let Some(template) = flyball_core::merge::diff(object.template(), &previous.template) {
            patch["spec"] = json!({ "template": template });
        }
        model.edit(target, &patch)
    }

    /// Every pod of a workload starts to fail, without a rollout. Pods made later are sound.
    pub fn crash(&self, target: &Workload) {
        self.on(target, |object| {
            for pod in &mut object.pods {
                (pod.ready, pod.ready_at, pod.crashing) = (false, None, true);
            }
        });
    }

    /// Pods that failed are ready again, those of a bad template excepted.
    pub fn heal(&self, target: &Workload) {
        self.on(target, |object| {
            for at in 0..object.pods.len() {
                if object.fate(object.pods[at].template).starts() {
                    let pod = &mut object.pods[at];
                    (pod.ready, pod.ready_at, pod.crashing) = (true, None, false);
                }
            }
        });
    }

    /// An autoscaler of this name owns the replicas; `None` removes it.
    pub fn set_hpa(&self, target: &Workload, name: Option<&str>) {
        let mut model = self.advanced();
        match name {
            Some(name) => model.autoscalers.insert(target.clone(), name.to_owned()),
            None => model.autoscalers.remove(target),
        };
    }

    /// Sets an annotation of a namespace; `None` removes it.
    pub fn set_namespace_annotation(&self, namespace: &str, key: &str, value: Option<&str>) {
        let mut model = self.advanced();
        let annotations = model.namespaces.entry(namespace.into()).or_default();
        match value {
            Some(value) => annotations.insert(key.to_owned(), value.to_owned()),
            None => annotations.remove(key),
        };
    }

    /// A disruption budget of this name forbids every eviction in the namespace; `None` removes it.
    pub fn set_pdb(&self, namespace: &str, name: Option<&str>) {
        let mut model = self.advanced();
        match name {
            Some(name) => model.budgets.insert(namespace.into(), name.to_owned()),
            None => model.budgets.remove(namespace),
        };
    }

    /// The next request that changes something suffers `fault`. Several queue up.
    pub fn fault(&self, fault: Fault) {
        self.advanced().script.push(fault);
    }

    /// Of 1,000 requests so many suffer a fault, drawn from the seed. Replaces the odds before.
    pub fn chaos(&self, odds: Vec<(u32, Fault)>) {
        self.advanced().script.set_odds(odds);
    }

    /// The next read fails so. Several queue up.
    pub fn read_fault(&self, error: PortError) {
        self.advanced().reads.push_back(error);
    }

    /// Neither reads nor writes get through for so long.
    pub fn outage(&self, duration: SignedDuration) {
        let mut model = self.advanced();
        let until = model.now.saturating_add(duration).unwrap_or(Timestamp::MAX);
        model.script.set_down(until);
    }

    /// Faults that were asked for and did not happen yet never will, and an outage ends. What is held back stays so until
    /// its time.
    pub fn calm(&self) {
        let mut model = self.advanced();
        model.script.calm();
        model.reads.clear();
        model.latency = SignedDuration::ZERO;
    }

    /// How long a caller waits for an answer; 5 s at first.
    pub fn set_timeout(&self, timeout: SignedDuration) {
        self.advanced().timeout = timeout;
    }

    /// Requests take up to so long to arrive, drawn from the seed; nothing at first.
    pub fn set_latency(&self, latency: SignedDuration) {
        self.advanced().latency = latency;
    }

    /// How often a workload with crashing pods writes its status; 5 s at first. With `None` no status write moves
    /// resourceVersion at all.
    pub fn set_churn(&self, period: Option<SignedDuration>) {
        self.advanced().churn = period;
    }

    /// Every workload, by name.
    pub fn targets(&self) -> Vec<Workload> {
        self.advanced().objects.keys().cloned().collect()
    }

    /// The object as the API server would show it.
    pub fn object(&self, target: &Workload) -> Option<Value> {
        self.advanced().objects.get(target).map(Object::to_json)
    }

    /// The pods of a workload: name and uid.
    pub fn pods(&self, target: &Workload) -> Vec<(Arc<str>, Arc<str>)> {
        let model = self.advanced();
        let pods = model.objects.get(target).into_iter().flat_map(|it| &it.pods);
        pods.map(|it| (it.name.clone(), it.uid.clone())).collect()
    }

    /// Changes pods and lets the controller see it at once.
    fn on(&self, target: &Workload, change: impl FnOnce(&mut Object)) {
        let mut model = self.advanced();
        if let Some(object) = model.objects.get_mut(target) {
            change(object);
            model.look(target);
        }
    }
}
