//! Policies as meant: checked, defaults filled in, in the order in which they are asked. `policy::load` reads the files.

mod check;
mod fault;
mod load;
mod raw;
mod source;

use std::sync::Arc;

pub(crate) use fault::nearest;
pub use fault::{Fault, Faults};
pub use load::load;

use crate::action::{Action, VerifySpec};
use crate::limits::{Guardrails, PolicyLimits, glob};
use crate::signal::{AnomalyKind, Signal, SignalKind};
use crate::workload::{Workload, WorkloadKind};

/// Everything that decides, loaded together or not at all.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
    /// The cluster's guardrails.
    pub guardrails: Guardrails,
    /// Digest of the files that it was loaded from.
    pub digest: Arc<str>,
}

impl PolicySet {
    /// The policies in the order in which they are asked: higher priority first, then by name.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }
}

/// One `RemediationPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `metadata.name`, unique in the set.
    pub name: Arc<str>,
    /// What happens when it matches.
    pub mode: Mode,
    /// Higher first.
    pub priority: i32,
    /// When it matches.
    pub matches: Match,
    /// The target's kind, if not what the signal names.
    pub target_kind: Option<WorkloadKind>,
    /// What it asks for.
    pub action: Action,
    /// Its limits, the defaults filled in.
    pub limits: PolicyLimits,
    /// How success is judged.
    pub verify: VerifySpec,
    /// Where it was read: `file:line`.
    pub source: String,
}

/// What happens when a policy matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Disabled,
    /// It is written down what would have happened.
    Shadow,
    /// It acts.
    Enforce,
}

impl Mode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }
}

/// When a policy matches. Empty lists match everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// On which kind of signal.
    pub on: MatchOn,
    /// Namespaces of the target, `*` allowed.
    pub namespaces: Vec<Arc<str>>,
    /// Names of the target, `*` allowed.
    pub services: Vec<Arc<str>>,
}

/// The part of a match that differs by kind of signal.
#[derive(Clone, Debug, PartialEq)]
pub enum MatchOn {
    /// An anomaly of one of `types` with at least `min_score`.
    Anomaly {
        /// Symptoms.
        types: Vec<AnomalyKind>,
        /// Least score.
        min_score: f64,
    },
    /// An rca with any ranked cause in `causes` of at least `min_probability`.
    Rca {
        /// Causes' words.
        causes: Vec<Arc<str>>,
        /// Least probability.
        min_probability: f64,
    },
}

impl Policy {
    /// The target that this policy would act on for this signal, or nothing if it is not about it. A clearing signal
    /// matches nothing.
    pub fn target(&self, signal: &Signal) -> Option<Workload> {
        let mut target = match (&self.matches.on, &signal.kind) {
            (MatchOn::Anomaly { types, min_score }, SignalKind::Anomaly(anomaly)) => {
                let about = types.is_empty() || types.contains(&anomaly.kind);
                (about && anomaly.is_anomaly && anomaly.score >= *min_score).then(|| signal.subject.clone())?
            }
            (MatchOn::Rca { causes, min_probability }, SignalKind::Rca(rca)) => {
                let matched =
                    rca.causes.iter().find(|it| causes.contains(&it.cause) && it.probability >= *min_probability);
                // Without `causes` the policy is about any analysis, and so about what the signal itself is about.
                let any = causes.is_empty()
                    && (rca.causes.is_empty() || rca.causes.iter().any(|it| it.probability >= *min_probability));
                matched.map(|it| it.target.clone()).or_else(|| any.then(|| signal.subject.clone()))?
            }
            _ => return None,
        };
        if let Some(kind) = self.target_kind {
            target.kind = kind;
        }
        let named = |patterns: &[Arc<str>], name: &str| patterns.is_empty() || patterns.iter().any(|it| glob(it, name));
        (named(&self.matches.namespaces, &target.namespace) && named(&self.matches.services, &target.name))
            .then_some(target)
    }
}
