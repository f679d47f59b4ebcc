//! Action and fresh read to the exact edit: everything relative is made absolute here, before it is recorded, so that the
//! executor has no choices left and a resend is byte-identical.

mod allow;
mod patch;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use allow::ALLOWED;
pub(crate) use allow::permitted;

use crate::action::{Action, ActionKind, Scale};
use crate::deny::DenyReason;
use crate::facts::Snapshot;
use crate::merge;

/// The restart marker of kubectl: what `kubectl rollout history` and people look for.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The exact edit, planned against one version of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The object's uid: another object under the same name is not touched.
    pub uid: Arc<str>,
    /// The single-use token.
    pub resource_version: Arc<str>,
    /// `metadata.generation` of that version.
    pub generation: i64,
    /// Digest of the `spec` of that version: tells a spec that somebody changed from one that only looks newer, since
    /// an annotation alone bumps a Deployment's generation.
    pub base: Arc<str>,
    /// What changes.
    pub edit: Edit,
}

impl Change {
    /// Of what changes nothing: it was planned on nothing.
    pub(crate) fn none() -> Self {
        let nothing = Arc::<str>::default;
        Self { uid: nothing(), resource_version: nothing(), generation: 0, base: nothing(), edit: Edit::Tell }
    }
}

/// What changes, in absolute values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Edit {
    /// Fields of the workload, as merge patches.
    Fields {
        /// In a few words, for people: `replicas 3 -> 4`.
        summary: String,
        /// Sets the new values.
        apply: Value,
        /// Sets the old values again; none where the action has no inverse.
        revert: Option<Value>,
    },
    /// One pod is evicted; the workload only gets our stamp.
    Evict {
        /// The pod's name.
        pod: Arc<str>,
        /// Its uid: a uid dies once.
        uid: Arc<str>,
    },
    /// Nothing: a person is told.
    Tell,
}

impl Edit {
    /// Name and uid of the pod that it evicts.
    pub fn evicted(&self) -> Option<(&Arc<str>, &Arc<str>)> {
        if let Self::Evict { pod, uid } = self { Some((pod, uid)) } else { None }
    }

    /// In a few words, for people.
    pub fn summary(&self) -> String {
        match self {
            Self::Fields { summary, .. } => summary.clone(),
            Self::Evict { pod, .. } => format!("evict pod {pod}"),
            Self::Tell => "tell a person".to_owned(),
        }
    }
}

/// Plans `action` on what was read. `at` is the time of the intent: a restart is marked with it, never with the time of
/// sending.
///
/// # Errors
/// Why there is nothing to plan.
pub fn plan(action: &Action, seen: &Snapshot, at: Timestamp) -> Result<Change, DenyReason> {
    let edit = match action {
        Action::Scale(scale) => scaled(*scale, seen)?,
        Action::Restart => restarted(seen, at),
        Action::Patch(patch) => patch::patched(patch, seen)?,
        Action::Rollback { revision } => rolled_back(*revision, seen)?,
        Action::DeletePod { pod } => evicted(pod.as_deref(), seen)?,
        Action::Escalate => Edit::Tell,
        Action::Undo { revert, applied, .. } => undone(revert, applied, seen)?,
    };
    Ok(Change {
        uid: seen.uid.clone(),
        resource_version: seen.resource_version.clone(),
        generation: seen.rollout.generation,
        base: seen.spec_digest(),
        edit,
    })
}

/// The number of replicas that `scale` asks for.
pub fn scale_target(scale: Scale, seen: &Snapshot) -> i32 {
    match scale {
        Scale::To(to) => to,
        Scale::By(by) => seen.replicas().saturating_add(by),
    }
}

fn scaled(scale: Scale, seen: &Snapshot) -> Result<Edit, DenyReason> {
    let (from, to) = (seen.replicas(), scale_target(scale, seen));
    if from == to {
        return Err(DenyReason::NothingToDo { what: format!("{to} replicas already") });
    }
    let replicas = |n: i32| json!({"spec": {"replicas": n}});
    Ok(Edit::Fields { summary: format!("replicas {from} -> {to}"), apply: replicas(to), revert: Some(replicas(from)) })
}

fn restarted(seen: &Snapshot, at: Timestamp) -> Edit {
    let text = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let before = seen.spec.pointer("/template/metadata/annotations").and_then(|it| it.get(RESTARTED_AT));
    // Two restarts within one second would be the same text and so no restart: the second one says it to the nanosecond.
    let text = if before.and_then(Value::as_str) == Some(&text) { at.to_string() } else { text };
    let apply = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: text}}}}});
    Edit::Fields { summary: format!("restart at {text}"), apply, revert: None }
}

/// The edit that turns the spec read into `spec`.
fn respec(seen: &Snapshot, spec: &Value, summary: String) -> Result<Edit, DenyReason> {
    let wrap = |patch: Value| json!({ "spec": patch });
    let nothing = || DenyReason::NothingToDo { what: format!("{summary}: it is so already") };
    let apply = merge::diff(&seen.spec, spec).map(wrap).ok_or_else(nothing)?;
    let revert = Some(merge::inverse(&json!({ "spec": seen.spec }), &apply));
    Ok(Edit::Fields { summary, apply, revert })
}

fn rolled_back(revision: Option<i64>, seen: &Snapshot) -> Result<Edit, DenyReason> {
    // A restart makes a revision of its own that differs in nothing else: who rolls back wants to be behind it.
    let current = bare(seen.spec.get("template").unwrap_or(&Value::Null));
    let found = match revision {
        Some(wanted) => seen.revisions.iter().find(|it| it.revision == wanted),
        None => seen.revisions.iter().filter(|it| bare(&it.template) != current).max_by_key(|it| it.revision),
    };
    let what = || revision.map_or_else(|| "an older revision".to_owned(), |n| format!("revision {n}"));
    let found = found.ok_or_else(|| DenyReason::TargetNotFound { what: what() })?;
    let mut spec = seen.spec.clone();
    if let Value::Object(fields) = &mut spec {
        fields.insert("template".into(), found.template.clone());
    }
    respec(seen, &spec, format!("rollback to revision {}", found.revision))
}

/// A template without the mark of a restart.
fn bare(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(Value::Object(metadata)) = template.get_mut("metadata") {
        let marked = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        if marked.is_some_and(|it| it.remove(RESTARTED_AT).is_some() && it.is_empty()) {
            metadata.remove("annotations");
        }
    }
    template
}

fn evicted(pod: Option<&str>, seen: &Snapshot) -> Result<Edit, DenyReason> {
    let named = pod.ok_or_else(|| DenyReason::TargetNotFound { what: "a pod: the signal names none".into() })?;
    let pod = seen.pod.as_ref().ok_or_else(|| DenyReason::TargetNotFound { what: format!("pod {named}") })?;
    Ok(Edit::Evict { pod: pod.name.clone(), uid: pod.uid.clone() })
}

fn undone(revert: &Value, applied: &Value, seen: &Snapshot) -> Result<Edit, DenyReason> {
    let current = json!({"spec": seen.spec, "metadata": {"annotations": seen.annotations}});
    if merge::in_place(&current, revert) {
        return Err(DenyReason::NothingToDo { what: "what would be undone is undone already".into() });
    }
    if !merge::in_place(&current, applied) {
        return Err(DenyReason::TargetChanged { what: "somebody changed what we had changed".into() });
    }
    Ok(Edit::Fields { summary: "undo".into(), apply: revert.clone(), revert: None })
}

/// The kinds whose changes `kind` competes with for the GitOps owner: it would revert them.
pub fn reverted_by_gitops(kind: ActionKind) -> bool {
    matches!(kind, ActionKind::Patch | ActionKind::Rollback | ActionKind::Undo)
}
