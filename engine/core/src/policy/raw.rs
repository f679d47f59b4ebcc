//! Policy files as written: clumsy, optional, with positions. Unknown and duplicate keys are errors.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::action::{ActionKind, OnFailure, RecoveredBy};
use crate::signal::AnomalyKind;
use crate::workload::WorkloadKind;

/// Tells what kind of document follows; everything else is read later.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) api_version: Option<Spanned<String>>,
    pub(super) kind: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub(super) metadata: Option<Metadata>,
    pub(super) spec: S,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: Option<Spanned<String>>,
    #[serde(rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "labels")]
    _labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PolicySpec {
    pub(super) mode: Spanned<RawMode>,
    #[serde(default)]
    pub(super) priority: i32,
    pub(super) r#match: RawMatch,
    pub(super) target: Option<RawTarget>,
    pub(super) action: Spanned<RawAction>,
    pub(super) guardrails: Option<RawLimits>,
    pub(super) verify: Option<RawVerify>,
    #[serde(default)]
    pub(super) raises: Vec<Spanned<RawRaised>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRaised {
    pub(super) anomaly: Option<AnomalyKind>,
    pub(super) rca: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawMode {
    Disabled,
    Shadow,
    Approve,
    Enforce,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawSignal {
    Anomaly,
    Rca,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMatch {
    pub(super) signal: RawSignal,
    pub(super) types: Option<Spanned<Vec<AnomalyKind>>>,
    pub(super) min_score: Option<Spanned<f64>>,
    pub(super) causes: Option<Spanned<Vec<String>>>,
    pub(super) min_probability: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) namespaces: Vec<String>,
    #[serde(default)]
    pub(super) services: Vec<String>,
    pub(super) when: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawTarget {
    pub(super) kind: Option<WorkloadKind>,
}

/// One of them is to be written. As a mapping and not an enum, since the parser then knows where what else was written is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawAction {
    pub(super) scale: Option<RawScale>,
    pub(super) restart: Option<Nothing>,
    pub(super) patch: Option<RawPatch>,
    pub(super) rollback: Option<RawRollback>,
    pub(super) delete_pod: Option<Nothing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScale {
    pub(super) by: Option<i32>,
    pub(super) to: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPatch {
    pub(super) strategic: Option<Value>,
    pub(super) merge: Option<Value>,
    pub(super) json: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRollback {
    pub(super) revision: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) cooldown: Option<Spanned<SignedDuration>>,
    pub(super) action_budget: Option<Spanned<RawBudget>>,
    pub(super) replicas: Option<Spanned<RawBounds>>,
    pub(super) scale_up: Option<Spanned<RawBudget>>,
    pub(super) min_confidence: Option<Spanned<f64>>,
    #[serde(default)]
    pub(super) custom: Vec<RawCustomGuard>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCustomGuard {
    pub(super) name: Spanned<String>,
    pub(super) deny: Spanned<String>,
    pub(super) message: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBudget {
    pub(super) max: u32,
    pub(super) per: SignedDuration,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBounds {
    pub(super) min: Option<i32>,
    pub(super) max: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawVerify {
    pub(super) timeout: Option<Spanned<SignedDuration>>,
    pub(super) stable_for: Option<Spanned<SignedDuration>>,
    pub(super) recovered: Option<RawRecovery>,
    pub(super) on_failure: Option<Spanned<OnFailure>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecovery {
    pub(super) by: Option<RecoveredBy>,
    pub(super) within: Spanned<SignedDuration>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GuardrailsSpec {
    #[serde(default)]
    pub(super) defaults: RawLimits,
    #[serde(default)]
    pub(super) limits: RawHardLimits,
    pub(super) max_signal_age: Option<Spanned<SignedDuration>>,
    #[serde(default)]
    pub(super) windows: Vec<Spanned<RawWindow>>,
    pub(super) protect: Option<RawProtect>,
    pub(super) allow: Option<RawAllow>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawHardLimits {
    pub(super) cluster_budget: Option<Spanned<RawBudget>>,
    pub(super) namespace_budget: Option<Spanned<RawBudget>>,
    pub(super) concurrency: Option<RawConcurrency>,
    pub(super) max_unavailable: Option<Spanned<String>>,
    pub(super) min_cooldown: Option<Spanned<SignedDuration>>,
    pub(super) max_replicas: Option<Spanned<i32>>,
    pub(super) breaker: Option<Spanned<RawBreaker>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConcurrency {
    pub(super) cluster: Option<Spanned<u32>>,
    pub(super) namespace: Option<Spanned<u32>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawBreaker {
    pub(super) failures: u32,
    pub(super) per: SignedDuration,
    pub(super) probe_after: SignedDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWindow {
    pub(super) deny: String,
    pub(super) r#for: SignedDuration,
    pub(super) timezone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProtect {
    #[serde(default)]
    pub(super) namespaces: Vec<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAllow {
    pub(super) namespaces: Option<Vec<String>>,
    pub(super) actions: Option<Spanned<Vec<ActionKind>>>,
}
