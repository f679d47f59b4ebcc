//! Policy files as written: clumsy, optional, with positions. Unknown and duplicate keys are errors. What is said here of a field is
//! what editors show.

mod guardrails;
mod policy;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;

pub(super) use guardrails::{GuardrailsSpec, RawAllow, RawBreaker, RawHardLimits, RawProfile, RawProtect, RawWindow};
pub(super) use policy::{
    PolicySpec, RawAction, RawBeside, RawBudget, RawCustomGuard, RawLimits, RawMatch, RawMode, RawOccurrences,
    RawPatch, RawRaised, RawRollback, RawScale, RawSignal, RawStep, RawVerify,
};

/// Tells what kind of document follows; everything else is read later.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) api_version: Option<Spanned<String>>,
    pub(super) kind: Option<Spanned<String>>,
}

/// One document of a policy file.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document<S> {
    /// `flyball.dev/v1alpha1`
    #[serde(rename = "apiVersion")]
    _api_version: String,
    /// What it is.
    #[serde(rename = "kind")]
    _kind: String,
    /// Its name, and what people say about it.
    pub(super) metadata: Option<Metadata>,
    /// What it says.
    pub(super) spec: S,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    /// The name, unique in the set: lower-case letters, digits, `-` and `.`.
    #[schemars(with = "Option<String>", regex(pattern = r"^[a-z0-9.-]{1,253}$"))]
    pub(super) name: Option<Spanned<String>>,
    /// For people, such as `flyball.dev/title`.
    #[serde(rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
    /// For people.
    #[serde(rename = "labels")]
    _labels: Option<BTreeMap<String, String>>,
}

// A duration as it is written. Its schema stands in place and says no more of it: what a field is for, the field says.
#[derive(JsonSchema)]
#[schemars(inline, extend("examples" = ["90s", "5m", "1h30m"], "minLength" = 2))]
pub(super) struct Length(#[expect(dead_code, reason = "there is only its schema")] String);
