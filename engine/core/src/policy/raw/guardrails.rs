//! `kind: Guardrails`.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Length;
use super::policy::{RawBudget, RawLimits, RawVerify};
use crate::action::ActionKind;

/// Cluster-wide defaults and hard limits. A set has one of them, or the built-in values.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct GuardrailsSpec {
    /// What a policy starts from.
    #[serde(default)]
    pub(in crate::policy) defaults: RawLimits,
    /// By name, what several policies share: a policy takes one with `profile`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawProfile>")]
    pub(in crate::policy) profiles: BTreeMap<String, Spanned<RawProfile>>,
    /// What no policy can loosen.
    #[serde(default)]
    pub(in crate::policy) limits: RawHardLimits,
    /// Older signals do not act.
    #[schemars(with = "Option<Length>")]
    pub(in crate::policy) max_signal_age: Option<Spanned<SignedDuration>>,
    /// Times at which nothing new is started.
    #[serde(default)]
    #[schemars(with = "Vec<RawWindow>")]
    pub(in crate::policy) windows: Vec<Spanned<RawWindow>>,
    /// What is never touched.
    pub(in crate::policy) protect: Option<RawProtect>,
    /// What may be done at all.
    pub(in crate::policy) allow: Option<RawAllow>,
}

/// What several policies share.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawProfile {
    /// Limits; what is left out is the cluster's default.
    #[serde(default)]
    pub(in crate::policy) guardrails: RawLimits,
    /// How success is judged, and what follows failure.
    pub(in crate::policy) verify: Option<RawVerify>,
}

/// Limits that no policy and no default can cross.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawHardLimits {
    /// Actions in the cluster.
    #[schemars(with = "Option<RawBudget>")]
    pub(in crate::policy) cluster_budget: Option<Spanned<RawBudget>>,
    /// Actions in one namespace.
    #[schemars(with = "Option<RawBudget>")]
    pub(in crate::policy) namespace_budget: Option<Spanned<RawBudget>>,
    /// Rollouts of ours at once.
    pub(in crate::policy) concurrency: Option<RawConcurrency>,
    /// Of a namespace's workloads: those under remediation and the other unhealthy ones. One is always allowed.
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9]+%$"), example = "40%")]
    pub(in crate::policy) max_unavailable: Option<Spanned<String>>,
    /// No cooldown is shorter.
    #[schemars(with = "Option<Length>")]
    pub(in crate::policy) min_cooldown: Option<Spanned<SignedDuration>>,
    /// No scale goes higher.
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub(in crate::policy) max_replicas: Option<Spanned<i32>>,
    /// Verified failures open it; half-open lets one through.
    #[schemars(with = "Option<RawBreaker>")]
    pub(in crate::policy) breaker: Option<Spanned<RawBreaker>>,
}

/// Rollouts of ours at once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawConcurrency {
    /// In the cluster.
    #[schemars(with = "Option<u32>")]
    pub(in crate::policy) cluster: Option<Spanned<u32>>,
    /// In one namespace.
    #[schemars(with = "Option<u32>")]
    pub(in crate::policy) namespace: Option<Spanned<u32>>,
}

/// The breaker.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::policy) struct RawBreaker {
    /// So many verified failures
    pub(in crate::policy) failures: u32,
    /// within this time open it.
    #[schemars(with = "Length")]
    pub(in crate::policy) per: SignedDuration,
    /// After the last failure one probe is let through.
    #[schemars(with = "Length")]
    pub(in crate::policy) probe_after: SignedDuration,
}

/// A time at which nothing new is started.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawWindow {
    /// When it begins: five cron fields.
    #[schemars(example = "0 2 * * *")]
    pub(in crate::policy) deny: String,
    /// How long it lasts.
    #[schemars(with = "Length")]
    pub(in crate::policy) r#for: SignedDuration,
    /// An IANA time zone; UTC without it.
    #[schemars(example = "Europe/Berlin")]
    pub(in crate::policy) timezone: Option<String>,
}

/// What is never touched.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawProtect {
    /// Namespaces, `*` allowed.
    #[serde(default)]
    pub(in crate::policy) namespaces: Vec<String>,
    /// Labels of a workload that protect it.
    #[serde(default)]
    pub(in crate::policy) labels: BTreeMap<String, String>,
}

/// What may be done at all.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct RawAllow {
    /// Namespaces, `*` allowed.
    pub(in crate::policy) namespaces: Option<Vec<String>>,
    /// Actions.
    #[schemars(with = "Option<Vec<ActionKind>>")]
    pub(in crate::policy) actions: Option<Spanned<Vec<ActionKind>>>,
}
