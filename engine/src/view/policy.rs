//! Policies as people see them.

use std::collections::BTreeMap;

use flyball_core::action::VerifySpec;
use flyball_core::history::History;
use flyball_core::limits::{Guardrails, PolicyLimits, Profile};
use flyball_core::policy::{self, Correlation, MatchOn, PolicySet};
use flyball_core::record::Demoted;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{time::short, words};

/// The policies in force, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Policies {
    /// Digest of the files that they were loaded from.
    pub digest: String,
    /// Why a newer set is not in force, if one was refused.
    pub error: Option<String>,
    /// The policies.
    pub policies: Vec<Policy>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// `disabled`, `shadow` or `enforce`.
    pub mode: String,
    /// Why it is taken for one in shadow all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demoted: Option<String>,
    /// Higher first.
    pub priority: i32,
    /// The profile that its limits and its verification started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The kind of signal that it is about.
    pub signal: String,
    /// The anomaly types or the causes that it is about; all if empty.
    pub about: Vec<String>,
    /// The least score or probability.
    pub least: f64,
    /// Namespaces of the target; all if empty.
    pub namespaces: Vec<String>,
    /// Names of the target; all if empty.
    pub services: Vec<String>,
    /// The condition of its match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What it asks of other signals about the same target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<String>,
    /// The kind of its target, if not what the signal names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What it asks for.
    pub action: String,
    /// Rest after an action.
    pub cooldown: String,
    /// Actions on one workload: how many, within how long.
    pub budget: String,
    /// Replicas that a scale may end at, and how fast it may grow.
    #[serde(default)]
    pub replicas: String,
    /// Least confidence of an rca.
    #[serde(default)]
    pub min_confidence: f64,
    /// Failed verifications in a row after which it is in shadow; 0: never.
    #[serde(default)]
    pub demote_after: u32,
    /// Its own guards: name and expression that denies.
    #[serde(default)]
    pub custom: Vec<String>,
    /// How success is judged.
    pub verification: String,
    /// Where it was read: `file:line`.
    pub source: String,
    /// By limit, whether it is the policy's own, its profile's or the default: where somebody asked for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, String>,
}

impl Policies {
    /// The set in force, and what is wrong with a newer one.
    pub(crate) fn of(set: &PolicySet, error: Option<String>, history: &History) -> Self {
        let policy = |it: &policy::Policy| {
            let since = |it: &Demoted| {
                format!("{} in a row failed, the last {}, at {}", it.failures, it.last, words::at(it.since))
            };
            Policy { demoted: history.demotion(&it.name).map(since), ..Policy::of(it) }
        };
        let policies = set.policies().iter().map(policy).collect();
        Self { digest: set.digest.to_string(), error, policies }
    }
}

/// The parts of a policy that can come from elsewhere, by the name that [`Policy::fields`] gives them.
type Part = (&'static str, fn(&PolicyLimits, &VerifySpec, &PolicyLimits, &VerifySpec) -> bool);

const INHERITED: [Part; 6] = [
    ("cooldown", |a, _, b, _| a.cooldown == b.cooldown),
    ("budget", |a, _, b, _| a.action_budget == b.action_budget),
    ("replicas", |a, _, b, _| a.replicas == b.replicas && a.scale_up == b.scale_up),
    ("minConfidence", |a, _, b, _| a.min_confidence.to_bits() == b.min_confidence.to_bits()),
    ("demoteAfter", |a, _, b, _| a.demote_after == b.demote_after),
    ("verification", |_, a, _, b| a == b),
];

/// Where the limits of a policy come from. What is written and says the same as what would be inherited counts as inherited.
pub(crate) fn origins(it: &policy::Policy, rules: &Guardrails) -> BTreeMap<String, String> {
    let default = Profile { limits: rules.defaults, verify: VerifySpec::default() };
    let profile = it.profile.as_ref().and_then(|name| Some((name, rules.profiles.get(name)?)));
    let origin = |(part, same): Part| {
        let is = |from: &Profile| same(&it.limits, &it.verify, &from.limits, &from.verify);
        let origin = match profile {
            _ if is(&default) => "default".to_owned(),
            Some((name, profile)) if is(profile) => format!("profile {name}"),
            _ => "its own".to_owned(),
        };
        (part.to_owned(), origin)
    };
    INHERITED.map(origin).into()
}

impl Policy {
    /// What decides, by name: where it was read does not.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let or_any = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(", ") };
        vec![
            ("mode", self.mode.clone()),
            ("priority", self.priority.to_string()),
            ("profile", self.profile.clone().unwrap_or_else(|| "none".to_owned())),
            ("signal", self.signal.clone()),
            ("about", or_any(&self.about)),
            ("least", self.least.to_string()),
            ("namespaces", or_any(&self.namespaces)),
            ("services", or_any(&self.services)),
            ("when", self.when.clone().unwrap_or_else(|| "always".to_owned())),
            ("besides", if self.besides.is_empty() { "nothing".to_owned() } else { self.besides.join("; ") }),
            ("target", self.target.clone().unwrap_or_else(|| "as the signal says".to_owned())),
            ("action", self.action.clone()),
            ("cooldown", self.cooldown.clone()),
            ("budget", self.budget.clone()),
            ("replicas", self.replicas.clone()),
            ("minConfidence", self.min_confidence.to_string()),
            ("demoteAfter", if self.demote_after == 0 { "never".to_owned() } else { self.demote_after.to_string() }),
            ("custom", if self.custom.is_empty() { "none".to_owned() } else { self.custom.join("; ") }),
            ("verification", self.verification.clone()),
            ("source", self.source.clone()),
        ]
    }

    fn of(it: &policy::Policy) -> Self {
        let (signal, about, least) = match &it.matches.on {
            MatchOn::Anomaly { types, min_score } => {
                ("anomaly", types.iter().map(|it| it.as_str().to_owned()).collect(), *min_score)
            }
            MatchOn::Rca { causes, min_probability } => {
                ("rca", causes.iter().map(ToString::to_string).collect(), *min_probability)
            }
        };
        let budget = it.limits.action_budget;
        Self {
            name: it.name.to_string(),
            mode: it.mode.as_str().to_owned(),
            demoted: None,
            priority: it.priority,
            profile: it.profile.as_ref().map(ToString::to_string),
            signal: signal.to_owned(),
            about,
            least,
            namespaces: it.matches.namespaces.iter().map(ToString::to_string).collect(),
            services: it.matches.services.iter().map(ToString::to_string).collect(),
            when: it.matches.when.as_ref().map(|it| it.text().to_owned()),
            besides: it.matches.correlation.iter().flat_map(Correlation::words).collect(),
            target: it.target_kind.map(|it| it.to_string()),
            action: words::steps(it),
            cooldown: short(it.limits.cooldown),
            budget: format!("{} per {}", budget.max, short(budget.per)),
            replicas: format!(
                "{} to {}, at most {} more per {}",
                it.limits.replicas.min,
                it.limits.replicas.max,
                it.limits.scale_up.max,
                short(it.limits.scale_up.per)
            ),
            min_confidence: it.limits.min_confidence,
            demote_after: it.limits.demote_after,
            custom: it.custom.iter().map(|it| format!("{}: {}", it.name, it.deny.text())).collect(),
            verification: words::verification(&it.verify),
            source: it.source.clone(),
            origins: BTreeMap::new(),
        }
    }
}
