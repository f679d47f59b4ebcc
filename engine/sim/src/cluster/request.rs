//! One request that changes something, from the moment it reaches the server.

use std::sync::Arc;

use flyball_core::deny::DenyReason;
use flyball_core::facts::STAMP_INTENT;
use flyball_core::id::IntentId;
use flyball_core::intent::{Attempt, Execution, Fence, Receipt};
use flyball_core::workload::Workload;
use serde_json::Value;

use super::faults::Race;
use super::model::Model;
use crate::world::{Effect, Found, Sent};

/// A merge patch, and after it an eviction where one is asked for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) intent: IntentId,
    number: u32,
    pub(super) target: Workload,
    pub(super) summary: String,
    body: Value,
    /// Name and uid.
    evict: Option<(Arc<str>, Arc<str>)>,
    /// The eviction is never sent.
    pub(super) halfway: bool,
    fences: bool,
}

impl Request {
    pub(super) fn of(attempt: &Attempt) -> Self {
        let evict = attempt.change().edit.evicted().map(|(pod, uid)| (pod.clone(), uid.clone()));
        Self {
            intent: attempt.intent(),
            number: attempt.number(),
            target: attempt.request().target.clone(),
            summary: attempt.change().edit.summary(),
            body: attempt.body(),
            evict,
            halfway: false,
            fences: false,
        }
    }

    /// A fence: it changes what is said about the target, not what is wanted of it.
    pub(super) fn fencing(fence: &Fence) -> Self {
        Self {
            intent: fence.intent(),
            number: fence.number(),
            target: fence.target().clone(),
            summary: format!("fence of send {}", fence.number()),
            body: fence.body().clone(),
            evict: None,
            halfway: false,
            fences: true,
        }
    }
}

/// What an eviction came to.
enum Eviction {
    Evicted,
    /// The uid is dead, by whosever hand.
    Gone,
    Forbidden(DenyReason),
}

impl Model {
    /// The server takes a request.
    pub(super) fn apply(&mut self, request: Request) -> Execution {
        let found = self.objects.get(&request.target).map(|it| Found {
            uid: it.uid.clone(),
            resource_version: it.resource_version,
            spec: it.spec.clone(),
            stamp: it.annotations.get(STAMP_INTENT).and_then(|it| it.parse().ok()),
        });
        let (mut changed, mut execution) = self.patch(&request.target, &request.body);
        if request.evict.is_some() && matches!(execution, Execution::Conflict(_)) {
            // Sent again: the stamp is there, so only the eviction is left to do, as in the real adapter.
            execution = self.stamped_by(&request).map_or(execution, Execution::Applied);
        }
        if let (Execution::Applied(_), Some((pod, uid))) = (&execution, &request.evict) {
            // The stamp alone is no effect: the pod's death is.
            changed = false;
            if request.halfway {
                execution = Execution::Unknown("no answer: the eviction was lost".into());
            } else {
                match self.evict(&request.target, pod, uid) {
                    Eviction::Evicted => changed = true,
                    Eviction::Gone => {}
                    Eviction::Forbidden(reason) => execution = Execution::Rejected(reason),
                }
            }
        }
        // A fence takes a token and changes nothing that was asked for.
        let changed = changed && !request.fences;
        let answer = match &execution {
            Execution::Applied(_) if request.fences => "200, fenced".to_owned(),
            Execution::Applied(_) if changed => "200".to_owned(),
            Execution::Applied(_) => "200, unchanged".to_owned(),
            Execution::Conflict(detail) | Execution::Unknown(detail) => detail.clone(),
            Execution::Rejected(reason) => reason.label().to_owned(),
        };
        let sent =
            Sent { number: request.number, fences: request.fences, body: request.body, evict: request.evict, found };
        self.shared.record(Effect {
            at: self.now,
            intent: Some(request.intent),
            target: request.target,
            summary: request.summary,
            accepted: changed,
            answer,
            sent: Some(sent),
        });
        execution
    }

    /// A receipt, if the target carries the stamp of this very request.
    fn stamped_by(&self, request: &Request) -> Option<Receipt> {
        let object = self.objects.get(&request.target)?;
        let stamp = object.annotations.get(STAMP_INTENT)?;
        (*stamp == request.intent.to_string()).then(|| Receipt {
            generation: object.generation,
            resource_version: object.resource_version.to_string().into(),
        })
    }

    /// A merge patch with its preconditions. Whether it changed anything, and the answer.
    fn patch(&mut self, target: &Workload, body: &Value) -> (bool, Execution) {
        let asked = |path: &str| body.pointer(path).and_then(Value::as_str);
        let Some(object) = self.objects.get_mut(target) else {
            return (false, Execution::Rejected(DenyReason::TargetNotFound { what: target.to_string() }));
        };
        let held = object.resource_version.to_string();
        if asked("/metadata/resourceVersion").is_some_and(|it| it != held) {
            return (false, Execution::Conflict("409: the object has been modified".into()));
        }
        if asked("/metadata/uid").is_some_and(|it| *it != *object.uid) {
            return (false, Execution::Conflict("409: another object has this name".into()));
        }
        let changed = object.merge(body);
        // Measured: identical bytes are answered with 200, move nothing and wake nobody.
        if changed {
            self.written(target);
        }
        let receipt = self.objects.get(target).map(|object| Receipt {
            generation: object.generation,
            resource_version: object.resource_version.to_string().into(),
        });
        (changed, Execution::Applied(receipt.expect("a patch does not remove its object")))
    }

    fn evict(&mut self, target: &Workload, pod: &str, uid: &str) -> Eviction {
        let Some(object) = self.objects.get_mut(target) else { return Eviction::Gone };
        // Measured: a wrong uid is answered with 409, a dead one with 404. Both mean that this pod is no more.
        let Some(at) = object.pods.iter().position(|it| *it.name == *pod && *it.uid == *uid) else {
            return Eviction::Gone;
        };
        if let Some(budget) = self.budgets.get(&target.namespace) {
            return Eviction::Forbidden(DenyReason::DisruptionBudget { budget: budget.clone() });
        }
        object.pods.remove(at);
        self.moved(target);
        self.wake(target);
        Eviction::Evicted
    }

    /// Somebody else writes to the target.
    pub(super) fn race(&mut self, target: &Workload, race: &Race) {
        match race {
            Race::Status => {
                self.bump(target);
                self.moved(target);
            }
            Race::Edit(patch) => {
                self.edit(target, patch);
            }
        }
    }

    /// A merge patch by somebody else, without preconditions. Whether it changed anything.
    pub(super) fn edit(&mut self, target: &Workload, patch: &Value) -> bool {
        let (changed, execution) = self.patch(target, patch);
        let answer = if matches!(execution, Execution::Applied(_)) { "200" } else { "404" };
        self.record(target, format!("edit {patch}"), changed, answer.to_owned());
        changed
    }

    /// What somebody else did.
    pub(super) fn record(&self, target: &Workload, summary: String, accepted: bool, answer: String) {
        let target = target.clone();
        self.shared.record(Effect { at: self.now, intent: None, target, summary, accepted, answer, sent: None });
    }
}
