//! What a fresh read shows.

use std::sync::Arc;

use flyball_core::action::{Action, ActionRequest};
use flyball_core::expr::TargetView;
use flyball_core::facts::{
    Managers, Neighbours, OPT_OUT, PodFacts, STAMP_INTENT, Sighting, Snapshot, TemplateRevision,
};
use flyball_core::ports::PortError;
use flyball_core::workload::Workload;

use super::model::Model;
use super::object::Object;

impl Model {
    /// Whether a read gets through. The bearer of a bad answer is used up by one read.
    pub(super) fn readable(&mut self) -> Result<(), PortError> {
        if self.script.down(self.now).is_some() {
            return Err(PortError::Unavailable("the cluster cannot be reached".into()));
        }
        self.reads.pop_front().map_or(Ok(()), Err)
    }

    pub(super) fn snapshot(&self, request: &ActionRequest) -> Option<Snapshot> {
        let target = &request.target;
        let object = self.objects.get(target)?;
        let annotations = self.namespaces.get(&target.namespace);
        let opted_out = annotations.and_then(|it| it.get(OPT_OUT)).is_some_and(|it| it == "true");
        Some(Snapshot {
            target: target.clone(),
            uid: object.uid.clone(),
            resource_version: object.resource_version.to_string().into(),
            annotations: object.annotations.clone(),
            labels: object.labels.clone(),
            spec: object.spec.clone(),
            rollout: object.rollout(),
            deleting: object.deleting,
            namespace_opted_out: opted_out,
            managers: self.managers(object),
            revisions: match request.action {
                Action::Rollback { .. } => revisions(object),
                _ => Vec::new(),
            },
            pod: match &request.action {
                Action::DeletePod { pod: Some(name) } => self.pod(object, name),
                _ => None,
            },
            neighbours: self.neighbours(&target.namespace),
        })
    }

    pub(super) fn view(&self, target: &Workload) -> Option<TargetView> {
        let object = self.objects.get(target)?;
        Some(TargetView::of(target.clone(), &object.rollout(), Arc::new(object.labels.clone())))
    }

    fn managers(&self, object: &Object) -> Managers {
        let argo = object.annotations.get("argocd.argoproj.io/tracking-id").map(|_| "Argo CD".to_owned());
        let flux = object.labels.get("kustomize.toolkit.fluxcd.io/name");
        let gitops = argo.or_else(|| flux.map(|name| format!("Flux Kustomization/{name}")));
        Managers {
            autoscaler: self.autoscalers.get(&object.target).map(|it| format!("HorizontalPodAutoscaler/{it}")),
            gitops_owns_replicas: gitops.is_some() && object.manifest.gitops_owns_replicas,
            gitops,
        }
    }

    fn pod(&self, object: &Object, name: &str) -> Option<PodFacts> {
        let pod = object.pods.iter().find(|it| *it.name == *name)?;
        let blocked_by = self.budgets.get(&object.target.namespace).cloned();
        Some(PodFacts { name: pod.name.clone(), uid: pod.uid.clone(), blocked_by })
    }

    fn neighbours(&self, namespace: &str) -> Neighbours {
        let mut neighbours = Neighbours::default();
        for (target, object) in self.objects.iter().filter(|(it, _)| *it.namespace == *namespace) {
            let rollout = object.rollout();
            // Who is scaled to nothing is not down and cannot go down.
            if rollout.desired > 0 {
                neighbours.total += 1;
                if rollout.unhealthy() {
                    neighbours.unhealthy.insert(target.clone());
                }
            }
        }
        neighbours
    }

    pub(super) fn sight(&self, target: &Workload, evicted: Option<(&str, &str)>) -> Option<Sighting> {
        let object = self.objects.get(target)?;
        let still_there = |(name, uid): (&str, &str)| object.pods.iter().any(|it| *it.name == *name && *it.uid == *uid);
        Some(Sighting {
            rollout: object.rollout(),
            spec: object.spec.clone(),
            stamp: object.annotations.get(STAMP_INTENT).and_then(|it| it.parse().ok()),
            pod_still_there: evicted.is_some_and(still_there),
            read_at: self.now,
        })
    }
}

/// Old templates, newest first, as the ReplicaSets or ControllerRevisions keep them: the current one is among them.
fn revisions(object: &Object) -> Vec<TemplateRevision> {
    let mut found: Vec<_> = object
        .revisions
        .iter()
        .map(|it| TemplateRevision { revision: it.number, uid: it.uid.clone(), template: it.template.clone() })
        .collect();
    found.sort_by_key(|it| std::cmp::Reverse(it.revision));
    found
}
