//! Why not: the closed list of reasons, each with the numbers that decided. `reasons` makes `docs/reasons.md` of this file:
//! a variant's doc comment is what an operator reads at night.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::id::IntentId;

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])+ $name:ident $({ $( $(#[doc = $fdoc:literal])+ $field:ident : $ty:ty ),+ $(,)? })? ),+ $(,)?) => {
        /// Why a request was denied or has to wait.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "reason")]
        pub enum DenyReason {
            $( $(#[doc = $doc])+ $name $({ $( $(#[doc = $fdoc])+ $field: $ty ),+ })? ),+
        }

        impl DenyReason {
            /// Every reason's word with its documentation, in the order of the contract.
            pub const DOCS: &'static [(&'static str, &'static str)] =
                &[ $( (stringify!($name), concat!($($doc, "\n"),+)) ),+ ];

            /// Every reason's word with the names and the documentation of its numbers.
            pub const NUMBERS: &'static [(&'static str, &'static [(&'static str, &'static str)])] =
                &[ $( (stringify!($name), &[ $( $( (stringify!($field), concat!($($fdoc),+)) ),+ )? ]) ),+ ];

            /// Its place in the list, from 0: fewer than 64, so that a set of reasons is one number.
            pub fn place(&self) -> u32 {
                #[derive(Clone, Copy)]
                enum Place { $( $name ),+ }
                match self { $( Self::$name { .. } => Place::$name as u32 ),+ }
            }

            /// The fixed word: the same in CLI, API, spans, metrics, Events and docs.
            pub fn label(&self) -> &'static str {
                match self { $( Self::$name { .. } => stringify!($name) ),+ }
            }
        }
    };
}

reasons! {
    /// Somebody pressed the stop button for this target, its namespace or the whole cluster. `flyball get pauses` shows who and why; `flyball resume` releases it.
    Paused {
        /// The pause that decided.
        pause: String,
        /// What the person said.
        because: String,
        /// When it ends by itself.
        until: Option<Timestamp>,
    },
    /// The workload or its namespace carries the annotation `flyball.dev/paused: "true"`. Its owner does not want to be helped.
    OptedOut {
        /// Where the annotation is.
        on: String,
    },
    /// The target is on the protected list (namespaces such as `kube-system`, or a protecting label). No policy can reach it.
    Protected {
        /// The namespace or label that protects it.
        by: String,
    },
    /// The guardrails do not allow this action, or this namespace, at all (`allow`).
    ActionNotAllowed {
        /// What is not allowed.
        what: String,
    },
    /// The signal is too old to act on: what it saw may have passed. Raise `maxSignalAge`, or look for a slow publisher or a backlog. A request that waited until it expired names its last objection.
    SignalExpired {
        /// How old it is.
        age: SignedDuration,
        /// How old it may be.
        limit: SignedDuration,
        /// What it waited for, if it waited.
        waited_for: Option<String>,
    },
    /// The analysis is less sure of itself than the policy asks (`minConfidence`).
    ConfidenceTooLow {
        /// The signal's confidence, 0 to 1.
        confidence: f64,
        /// The least that is asked.
        required: f64,
    },
    /// This signal has already led to an action. Publishing it again never leads to a second one.
    DuplicateSignal {
        /// The intent that it led to.
        intent: IntentId,
    },
    /// A freeze window is open (`windows`). Nothing new is started until it ends.
    OutsideWindow {
        /// When the window ends.
        until: Timestamp,
    },
    /// Acting again so soon would hide whether the last action helped. Wait, or shorten `cooldown` in the policy.
    CooldownActive {
        /// The last action of this kind on this target.
        last: IntentId,
        /// When it is allowed again; none while the last action is still open.
        until: Option<Timestamp>,
    },
    /// The budget of actions for this workload, namespace or cluster is spent. Many actions in a short time mean that acting does not help.
    ActionBudgetExhausted {
        /// `workload`, `namespace` or `cluster`.
        scope: String,
        /// How many were done.
        used: u32,
        /// How many are allowed.
        max: u32,
        /// Within how long.
        per: SignedDuration,
        /// When the oldest one leaves the window.
        until: Timestamp,
    },
    /// The scale would end outside `replicas.min` to `replicas.max`, or above the cluster's `maxReplicas`.
    ReplicaBounds {
        /// The number asked for.
        to: i32,
        /// The least allowed.
        min: i32,
        /// The most allowed.
        max: i32,
    },
    /// The workload grew too fast already (`scaleUp`). If the load is real, a person or an autoscaler should look.
    ScaleVelocityExceeded {
        /// Replicas added within the window.
        added: u32,
        /// Replicas asked for now.
        asked: u32,
        /// How many may be added.
        max: u32,
        /// Within how long.
        per: SignedDuration,
        /// When enough of the increases leave the window; none if it asks for more than is ever allowed.
        until: Option<Timestamp>,
    },
    /// As many rollouts as allowed are under way in the cluster or the namespace. The request waits for a slot. One that frees is kept for an undo whose action had given its own back.
    ConcurrencyLimit {
        /// `cluster` or `namespace`.
        scope: String,
        /// Slots in use.
        used: u32,
        /// Slots.
        max: u32,
    },
    /// Another action on the same target is not closed yet. The request waits for it.
    TargetBusy {
        /// The open intent.
        intent: IntentId,
    },
    /// Too many of the namespace's workloads are down or under remediation already (`maxUnavailable`). So many at once have one cause, and restarting them one by one will not mend it.
    BlastRadiusExceeded {
        /// Workloads down or under remediation, the target included.
        affected: u32,
        /// How many there may be.
        allowed: u32,
        /// Workloads in the namespace.
        total: u32,
    },
    /// Verified failures opened the breaker: what the engine does does not help. After `probeAfter` one action is let through to find out.
    BreakerOpen {
        /// Failures within the window.
        failures: u32,
        /// How many open it.
        max: u32,
        /// When one probe is let through; none while a probe is under way.
        until: Option<Timestamp>,
    },
    /// The policy's last actions all failed their verification (`demoteAfter`): it is in shadow until a person has looked and says `flyball policy trust`. This request was under way when that was found.
    PolicyDemoted {
        /// Failed verifications in a row.
        failures: u32,
        /// The last of them.
        last: IntentId,
    },
    /// A rollout of the target is making progress. Acting now would mix two changes. The request waits for it.
    RolloutInProgress {
        /// Pods of the new generation.
        updated: i32,
        /// Pods wanted.
        desired: i32,
    },
    /// A PodDisruptionBudget does not allow the pod to be evicted now. The request waits.
    DisruptionBudget {
        /// The budget's name.
        budget: String,
    },
    /// The target does not exist: no such workload, pod or revision.
    TargetNotFound {
        /// What was looked for.
        what: String,
    },
    /// The target is not what it was: another object under the same name, or somebody changed what the undo would take back.
    TargetChanged {
        /// What changed.
        what: String,
    },
    /// The Deployment is paused (`spec.paused`), or the workload is being deleted. Its rollout would not start.
    TargetPaused {
        /// `paused` or `deleting`.
        state: String,
    },
    /// Something else owns the field: an autoscaler owns `replicas`, or a GitOps tool would revert the change. Change it where its owner keeps it.
    ManagedElsewhere {
        /// Who owns it.
        owner: String,
    },
    /// The target is already as the action would make it.
    NothingToDo {
        /// What is already so.
        what: String,
    },
    /// The API server does not let Flyball do this. Compare its role with `deploy/rbac.yaml`.
    Forbidden {
        /// The API server's words.
        detail: String,
    },
    /// The policy asks for a person's approval (`mode: approve`), and nobody has given it yet.
    ApprovalRequired,
    /// A person was asked for approval and said no. Who and why is in `flyball why`.
    ApprovalRejected,
    /// A person was asked for approval and nobody answered before it expired. It is never executed later.
    ApprovalExpired,
    /// An expression of the policy (`guardrails.custom`) objects.
    CustomGuard {
        /// The guard's name.
        guard: String,
        /// What the policy says about it, or why it could not be evaluated.
        message: String,
    },
    /// The policy waits before it acts: for the time of its next step (`after`), or to see whether the symptom goes away by itself (`absent`). The request waits.
    NotYet {
        /// When it is due.
        until: Timestamp,
    },
    /// While the request waited for its time, what the policy asks to be absent came: the symptom cleared, or a signal of `match.absent`. There is nothing left to help.
    Contradicted {
        /// When that was observed.
        at: Timestamp,
    },
    /// What is needed to decide could not be read. Flyball does not act on what it cannot see.
    StateUnavailable {
        /// What could not be read, and why.
        detail: String,
    },
}

impl DenyReason {
    /// The words of the reasons that pass by themselves.
    pub const WAITS: [&'static str; 6] =
        ["ConcurrencyLimit", "TargetBusy", "RolloutInProgress", "DisruptionBudget", "NotYet", "StateUnavailable"];

    /// Whether the objection passes by itself, so that the request waits for it instead of being denied.
    pub fn passes_by_itself(&self) -> bool {
        Self::WAITS.contains(&self.label())
    }

    /// When the same request would be allowed as far as this reason goes, where that is known.
    pub fn allowed_at(&self) -> Option<Timestamp> {
        match self {
            Self::OutsideWindow { until } | Self::ActionBudgetExhausted { until, .. } | Self::NotYet { until } => {
                Some(*until)
            }
            Self::Paused { until, .. }
            | Self::CooldownActive { until, .. }
            | Self::ScaleVelocityExceeded { until, .. }
            | Self::BreakerOpen { until, .. } => *until,
            _ => None,
        }
    }
}

/// Why a signal asked for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoAction {
    /// It clears.
    NotAnomalous,
    /// No policy is about it.
    NoPolicyMatched,
    /// Only disabled policies are about it.
    PolicyDisabled,
    /// What the policies about it ask of other signals has not come.
    Uncorrelated,
    /// Only shadow policies are about it.
    ShadowOnly,
}

impl NoAction {
    /// Every one of them.
    pub const ALL: [Self; 5] =
        [Self::NotAnomalous, Self::NoPolicyMatched, Self::PolicyDisabled, Self::Uncorrelated, Self::ShadowOnly];

    /// The fixed word.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotAnomalous => "NotAnomalous",
            Self::NoPolicyMatched => "NoPolicyMatched",
            Self::PolicyDisabled => "PolicyDisabled",
            Self::Uncorrelated => "Uncorrelated",
            Self::ShadowOnly => "ShadowOnly",
        }
    }
}
