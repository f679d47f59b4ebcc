//! `kind: RemediationPolicy`.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::Length;
use crate::action::{OnFailure, RecoveredBy};
use crate::signal::AnomalyKind;
use crate::workload::WorkloadKind;

/// Which signals a policy is about, what it asks for, and within which limits.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct PolicySpec {
    /// What happens when it matches.
    #[schemars(with = "RawMode")]
    pub(in crate::policy) mode: Spanned<RawMode>,
    /// Higher is asked first; equal: by name. The first enforcing match acts.
    #[serde(default)]
    pub(in crate::policy) priority: i32,
    /// When it matches.
    pub(in crate::policy) r#match: RawMatch,
    /// A profile of the `Guardrails` document: what the policy's own `guardrails` and `verify` leave out is taken from it.
    #[schemars(with = "Option<String>")]
    pub(in crate::policy) profile: Option<Spanned<String>>,
    /// What it acts on, if not on what the signal names.
    pub(in crate::policy) target: Option<RawTarget>,
    /// What it asks for: one of them. This, or `steps`.
    #[schemars(with = "Option<RawAction>")]
    pub(in crate::policy) action: Option<Spanned<RawAction>>,
    /// What it asks for, one after the other as long as it does not help: up to 8 steps. This, or `action`.
    #[schemars(with = "Option<Vec<RawStep>>")]
    pub(in crate::policy) steps: Option<Spanned<Vec<Spanned<RawStep>>>>,
    /// Its limits; what is left out is its profile's, or the cluster's default.
    pub(in crate::policy) guardrails: Option<RawLimits>,
    /// How success is judged, and what follows failure.
    pub(in crate::policy) verify: Option<RawVerify>,
    /// Signals that its action is known to raise: `policy lint` looks for cycles.
    #[serde(default)]
    #[schemars(with = "Vec<RawRaised>")]
    pub(in crate::policy) raises: Vec<Spanned<RawRaised>>,
}

/// A signal that an action raises: one of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawRaised {
    /// An anomaly of this type.
    pub(in crate::policy) anomaly: Option<AnomalyKind>,
    /// An rca with this cause.
    pub(in crate::policy) rca: Option<String>,
}

/// What happens when a policy matches.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::policy) enum RawMode {
    /// Nothing.
    Disabled,
    /// It is written down what would have been done.
    Shadow,
    /// A person is asked. Not available in this version.
    Approve,
    /// It acts.
    Enforce,
}

/// The kind of signal.
#[derive(Clone, Copy, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(in crate::policy) enum RawSignal {
    /// A metric left its normal range.
    Anomaly,
    /// Somebody worked out why.
    Rca,
}

/// When a policy matches. All of it has to hold.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawMatch {
    /// The kind of signal.
    pub(in crate::policy) signal: RawSignal,
    /// Types of an anomaly; any without it.
    #[schemars(with = "Option<Vec<AnomalyKind>>")]
    pub(in crate::policy) types: Option<Spanned<Vec<AnomalyKind>>>,
    /// Least score of an anomaly.
    #[schemars(with = "Option<f64>", range(min = 0.0))]
    pub(in crate::policy) min_score: Option<Spanned<f64>>,
    /// Causes of an rca: any ranked cause among them, probable enough; any without it.
    #[schemars(with = "Option<Vec<String>>")]
    pub(in crate::policy) causes: Option<Spanned<Vec<String>>>,
    /// Least probability of that cause, 0 to 1; 0.5 without it.
    #[schemars(with = "Option<f64>", range(min = 0.0, max = 1.0))]
    pub(in crate::policy) min_probability: Option<Spanned<f64>>,
    /// Namespaces of the target, `*` allowed; any without it.
    #[serde(default)]
    pub(in crate::policy) namespaces: Vec<String>,
    /// Names of the target, `*` allowed; any without it.
    #[serde(default)]
    pub(in crate::policy) services: Vec<String>,
    /// A condition in CEL over `signal`, `cause`, `target` and `now`.
    #[schemars(
        with = "Option<String>",
        length(max = 2048),
        example = "signal.confidence >= 0.8 && target.replicas.desired < 8"
    )]
    pub(in crate::policy) when: Option<Spanned<String>>,
    /// It takes so many such signals about the same target.
    #[schemars(with = "Option<RawOccurrences>")]
    pub(in crate::policy) occurrences: Option<Spanned<RawOccurrences>>,
    /// Each of these signals about the same target has to be there besides: up to 4.
    #[schemars(with = "Option<Vec<RawBeside>>")]
    pub(in crate::policy) all: Option<Spanned<Vec<Spanned<RawBeside>>>>,
    /// No such signal about the same target may come for `within` after the signal: so long the action waits. In shadow nothing waits.
    #[schemars(with = "Option<RawBeside>")]
    pub(in crate::policy) absent: Option<Spanned<RawBeside>>,
}

/// So many within some time.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawOccurrences {
    /// How many, the signal that is acted on among them.
    #[schemars(range(min = 2, max = 100))]
    pub(in crate::policy) count: u32,
    /// Within how long, by when they were observed.
    #[schemars(with = "Length")]
    pub(in crate::policy) within: SignedDuration,
}

/// Another signal about the same target.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawBeside {
    /// The kind of signal.
    pub(in crate::policy) signal: RawSignal,
    /// Types of an anomaly; any without it.
    #[schemars(with = "Option<Vec<AnomalyKind>>")]
    pub(in crate::policy) types: Option<Spanned<Vec<AnomalyKind>>>,
    /// Least score of an anomaly.
    #[schemars(with = "Option<f64>", range(min = 0.0))]
    pub(in crate::policy) min_score: Option<Spanned<f64>>,
    /// Causes of an rca; any without it.
    #[schemars(with = "Option<Vec<String>>")]
    pub(in crate::policy) causes: Option<Spanned<Vec<String>>>,
    /// Least probability of that cause, 0 to 1; 0.5 without it.
    #[schemars(with = "Option<f64>", range(min = 0.0, max = 1.0))]
    pub(in crate::policy) min_probability: Option<Spanned<f64>>,
    /// The anomaly's clearing signal is meant, not the anomaly.
    #[serde(default)]
    pub(in crate::policy) cleared: bool,
    /// How far from the signal at most, by when they were observed.
    #[schemars(with = "Length")]
    pub(in crate::policy) within: Spanned<SignedDuration>,
}

/// What is acted on.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawTarget {
    /// Its kind.
    pub(in crate::policy) kind: Option<WorkloadKind>,
    /// Labels that it has to have, each with this value. A target that is not known has none.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub(in crate::policy) labels: Option<Spanned<BTreeMap<String, String>>>,
}

/// One of them is to be written. As a mapping and not an enum, since the parser then knows where what else was written is.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(in crate::policy) struct RawAction {
    /// Change the number of replicas.
    pub(in crate::policy) scale: Option<RawScale>,
    /// Roll all pods.
    pub(in crate::policy) restart: Option<Nothing>,
    /// Change allow-listed fields.
    pub(in crate::policy) patch: Option<RawPatch>,
    /// Back to an older template.
    pub(in crate::policy) rollback: Option<RawRollback>,
    /// Evict the pod that the signal names.
    pub(in crate::policy) delete_pod: Option<Nothing>,
    /// Change nothing and tell a person.
    pub(in crate::policy) escalate: Option<Nothing>,
}

/// `{}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Nothing {}

/// One step: an action, or `escalate`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawStep {
    /// So long after the step before has ended; at once without it.
    #[schemars(with = "Option<Length>")]
    pub(in crate::policy) after: Option<Spanned<SignedDuration>>,
    /// On what condition; `not recovered` without it, which is all that there is.
    pub(in crate::policy) r#if: Option<RawIf>,
    /// What it does.
    #[schemars(with = "Option<RawAction>")]
    pub(in crate::policy) action: Option<Spanned<RawAction>>,
    /// It changes nothing and tells a person: the last step. Short for `action: {escalate: {}}`.
    pub(in crate::policy) escalate: Option<Nothing>,
}

/// When a step is taken.
#[derive(Deserialize, JsonSchema)]
pub(in crate::policy) enum RawIf {
    /// The step before it did not help: its verification failed, the API server refused it, or a guardrail denied it.
    #[serde(rename = "not recovered")]
    NotRecovered,
}

/// One of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawScale {
    /// So many more, or fewer.
    pub(in crate::policy) by: Option<i32>,
    /// Exactly so many.
    pub(in crate::policy) to: Option<i32>,
}

/// One of them.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawPatch {
    /// Lists of containers and env merge by name.
    pub(in crate::policy) strategic: Option<Value>,
    /// RFC 7386.
    pub(in crate::policy) merge: Option<Value>,
    /// RFC 6902.
    pub(in crate::policy) json: Option<Value>,
}

/// Which template.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawRollback {
    /// As `kubectl rollout history` numbers it; the one before without it.
    #[schemars(range(min = 1))]
    pub(in crate::policy) revision: Option<i64>,
}

/// Limits that a policy may tighten or loosen, within the hard ones.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawLimits {
    /// Rest after an action, per workload and action type.
    #[schemars(with = "Option<Length>")]
    pub(in crate::policy) cooldown: Option<Spanned<SignedDuration>>,
    /// Actions per workload and action type.
    #[schemars(with = "Option<RawBudget>")]
    pub(in crate::policy) action_budget: Option<Spanned<RawBudget>>,
    /// Replicas that a scale may end at.
    #[schemars(with = "Option<RawBounds>")]
    pub(in crate::policy) replicas: Option<Spanned<RawBounds>>,
    /// Sum of increases per workload.
    #[schemars(with = "Option<RawBudget>")]
    pub(in crate::policy) scale_up: Option<Spanned<RawBudget>>,
    /// Least confidence of an rca, 0 to 1.
    #[schemars(with = "Option<f64>", range(min = 0.0, max = 1.0))]
    pub(in crate::policy) min_confidence: Option<Spanned<f64>>,
    /// After so many failed verifications in a row the policy is in shadow until `flyball policy trust`; 0: never.
    #[schemars(with = "Option<u32>", range(max = 100))]
    pub(in crate::policy) demote_after: Option<Spanned<u32>>,
    /// Guards of the policy's own.
    #[serde(default)]
    pub(in crate::policy) custom: Vec<RawCustomGuard>,
}

/// A guard of the policy's own. If it cannot be evaluated, it denies.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawCustomGuard {
    /// What a denial is told under.
    #[schemars(with = "String", length(min = 1))]
    pub(in crate::policy) name: Spanned<String>,
    /// What denies: a condition in CEL over `signal`, `cause`, `target` and `now`.
    #[schemars(with = "String", length(max = 2048), example = "target.labels['tier'] == 'db'")]
    pub(in crate::policy) deny: Spanned<String>,
    /// What people read.
    pub(in crate::policy) message: Option<String>,
}

/// At most so many within any time of that length.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawBudget {
    /// How many.
    pub(in crate::policy) max: u32,
    /// Within how long: at most 24h.
    #[schemars(with = "Length")]
    pub(in crate::policy) per: SignedDuration,
}

/// From and to, both allowed.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawBounds {
    /// Least.
    pub(in crate::policy) min: Option<i32>,
    /// Most.
    pub(in crate::policy) max: Option<i32>,
}

/// How success is judged, and what follows failure.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawVerify {
    /// The rollout has to be complete by then.
    #[schemars(with = "Option<Length>")]
    pub(in crate::policy) timeout: Option<Spanned<SignedDuration>>,
    /// And stay complete for so long.
    #[schemars(with = "Option<Length>")]
    pub(in crate::policy) stable_for: Option<Spanned<SignedDuration>>,
    /// Whether the symptom has to be gone, too.
    pub(in crate::policy) recovered: Option<RawRecovery>,
    /// What follows failure.
    #[schemars(with = "Option<OnFailure>")]
    pub(in crate::policy) on_failure: Option<Spanned<OnFailure>>,
}

/// How the symptom is known to be gone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawRecovery {
    /// By what; silence without it.
    pub(in crate::policy) by: Option<RecoveredBy>,
    /// Counted from the end of the rollout.
    #[schemars(with = "Length")]
    pub(in crate::policy) within: Spanned<SignedDuration>,
}
