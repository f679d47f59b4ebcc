//! What a policy asks for, and what asked for it.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{IntentId, SignalId};
use crate::limits::PolicyLimits;
use crate::signal::{Signal, TraceContext};
use crate::workload::{Workload, WorkloadKind};

/// An action as a policy words it: relative where people think relatively. `plan` makes it absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Change the number of replicas.
    Scale(Scale),
    /// Roll all pods, as `kubectl rollout restart` does.
    Restart,
    /// Change allow-listed fields.
    Patch(Patch),
    /// Back to the previous template, or to a numbered revision.
    Rollback {
        /// The revision as `kubectl rollout history` numbers it.
        revision: Option<i64>,
    },
    /// Evict one pod.
    DeletePod {
        /// The pod that the signal names.
        pod: Option<Arc<str>>,
    },
    /// Change nothing: tell a person.
    Escalate,
    /// Take back what an intent of ours changed. Only `follow_up` makes one.
    Undo {
        /// What it was.
        of: ActionKind,
        /// Merge patch that restores the old values.
        revert: Value,
        /// Merge patch that we sent: what must still be there.
        applied: Value,
    },
}

/// How many replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// So many more (or fewer) than now.
    By(i32),
    /// Exactly so many.
    To(i32),
}

/// A patch as written in a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// How `body` is to be read.
    pub form: PatchForm,
    /// The patch.
    pub body: Value,
}

/// The three patch languages of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PatchForm {
    /// Lists of containers and env merge by name.
    Strategic,
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
}

/// An action's kind: the word in metrics, budgets and allow lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActionKind {
    /// Scale.
    Scale,
    /// Restart.
    Restart,
    /// Patch.
    Patch,
    /// Rollback.
    Rollback,
    /// Delete pod.
    DeletePod,
    /// Tell a person.
    Escalate,
    /// Undo of one of the others.
    Undo,
}

impl ActionKind {
    /// The kinds that a policy can ask for and that change something.
    pub const POLICY: [Self; 5] = [Self::Scale, Self::Restart, Self::Patch, Self::Rollback, Self::DeletePod];

    /// The word in policies, metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Restart => "restart",
            Self::Patch => "patch",
            Self::Rollback => "rollback",
            Self::DeletePod => "deletePod",
            Self::Escalate => "escalate",
            Self::Undo => "undo",
        }
    }

    /// Whether the action makes sense on `kind`. A DaemonSet has no number of replicas.
    pub fn fits(self, kind: WorkloadKind) -> bool {
        !(self == Self::Scale && kind == WorkloadKind::DaemonSet)
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Action {
    /// The action's kind.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Scale(_) => ActionKind::Scale,
            Self::Restart => ActionKind::Restart,
            Self::Patch(_) => ActionKind::Patch,
            Self::Rollback { .. } => ActionKind::Rollback,
            Self::DeletePod { .. } => ActionKind::DeletePod,
            Self::Escalate => ActionKind::Escalate,
            Self::Undo { .. } => ActionKind::Undo,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scale(Scale::By(by)) => write!(f, "scale by {by:+}"),
            Self::Scale(Scale::To(to)) => write!(f, "scale to {to}"),
            Self::Rollback { revision: Some(revision) } => write!(f, "rollback to revision {revision}"),
            Self::DeletePod { pod: Some(pod) } => write!(f, "delete pod {pod}"),
            other => f.write_str(other.kind().as_str()),
        }
    }
}

/// What asked for an action.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// A signal, through a policy.
    Signal(SignalId),
    /// A direct call, by its idempotency key.
    Api(Arc<str>),
    /// The failure of an intent of ours.
    Undo(IntentId),
    /// The step before.
    Step(IntentId),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(id) => write!(f, "signal {id}"),
            Self::Api(key) => write!(f, "api {key}"),
            Self::Undo(id) => write!(f, "undo {id}"),
            Self::Step(id) => write!(f, "step {id}"),
        }
    }
}

/// Which policy, in which version of the set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRef {
    /// The policy's name; `api` for a direct call.
    pub name: Arc<str>,
    /// Digest of the whole set that decided.
    pub digest: Arc<str>,
}

/// What is asked: one action on one target, with all that the guardrails need to know of the asker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionRequest {
    /// Who asks.
    pub policy: PolicyRef,
    /// On what.
    pub target: Workload,
    /// What.
    pub action: Action,
    /// Because of what.
    pub cause: Cause,
    /// Position in the policy's steps.
    pub step: u32,
    /// The policy's steps after this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<NextStep>,
    /// It waits until then before anything is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Higher goes first.
    pub priority: i32,
    /// The limits of the policy, defaults filled in.
    pub limits: PolicyLimits,
    /// How success is judged.
    pub verify: VerifySpec,
    /// What is known of the signal behind it.
    pub evidence: Evidence,
}

/// What a policy does next if an action of it did not help.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextStep {
    /// So long after the step before has ended.
    pub after: SignedDuration,
    /// What.
    pub action: Action,
}

/// A request that is not to be acted on before its time, nor if the symptom goes away meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What is heard after this counts.
    pub since: Timestamp,
    /// It is acted on from here on.
    pub until: Timestamp,
}

impl ActionRequest {
    /// The id of the intent that this request would become.
    pub fn id(&self, cluster: &str) -> IntentId {
        IntentId::derive(cluster, &self.policy.name, &self.cause, &self.target, self.action.kind(), self.step)
    }

    /// Whether it only tells a person: what limits changes says nothing to it.
    pub fn only_tells(&self) -> bool {
        self.action == Action::Escalate
    }

    /// Whether this takes back an intent of ours.
    pub fn undoes(&self) -> Option<IntentId> {
        match self.cause {
            Cause::Undo(parent) => Some(parent),
            _ => None,
        }
    }
}

/// What the guardrails and `why` need to know of the signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// `anomaly` or `rca`; `api` for a direct call.
    pub kind: Arc<str>,
    /// What it said, in one line for people.
    pub summary: Arc<str>,
    /// Confidence of an rca.
    pub confidence: Option<f64>,
    /// When it was observed.
    pub observed_at: Timestamp,
    /// When it expires by its publisher's word.
    pub expires_at: Option<Timestamp>,
    /// Its trace.
    pub trace: TraceContext,
    /// Sequence in its stream.
    pub sequence: u64,
    /// The whole signal, for a policy whose expressions ask about it again later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Arc<Signal>>,
}

/// How success is judged, and what follows failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifySpec {
    /// The rollout has to be complete by then.
    pub timeout: SignedDuration,
    /// And stay complete for so long.
    pub stable_for: SignedDuration,
    /// Whether the symptom has to be gone, too.
    pub recovered: Option<Recovery>,
    /// What follows failure.
    pub on_failure: OnFailure,
}

impl Default for VerifySpec {
    fn default() -> Self {
        Self {
            timeout: SignedDuration::from_mins(5),
            stable_for: SignedDuration::from_secs(10),
            recovered: None,
            on_failure: OnFailure::None,
        }
    }
}

/// How the symptom is known to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// By what.
    pub by: RecoveredBy,
    /// Counted from the end of the rollout.
    pub within: SignedDuration,
}

/// What tells that the symptom is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecoveredBy {
    /// No new signal: most detectors never clear.
    Silence,
    /// A clearing signal.
    Clear,
}

/// What follows a failed verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Nothing.
    None,
    /// Take it back, where the action has an inverse; else escalate.
    Undo,
    /// Leave it and tell a person.
    Escalate,
}
