//! Policies as meant: checked, defaults filled in, in the order in which they are asked. `policy::load` reads the files.

mod check;
mod conditions;
mod correlation;
mod fault;
mod index;
mod load;
mod raw;
mod schema;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use conditions::{Conditions, CustomGuard};
pub use correlation::{Beside, Correlation, Occurrences};
pub(crate) use fault::nearest;
pub use fault::{Fault, Faults};
pub use load::{MAX_FILE_BYTES, load, too_large};
pub use schema::{guardrails_schema, policy_schema};

use crate::action::{Action, NextStep, VerifySpec};
use crate::expr::Expression;
use crate::limits::{Guardrails, PolicyLimits, glob};
use crate::record::{Part, Sighted};
use crate::signal::{AnomalyKind, RankedCause, Signal, SignalKind};
use crate::workload::{Workload, WorkloadKind};
use index::{Index, Listeners};

/// Everything that decides, loaded together or not at all.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
    index: Index,
    listeners: Listeners,
    counting: bool,
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

    /// The same set with its shadow policies enforcing: what it would do if it were let.
    #[must_use]
    pub fn enforced(mut self) -> Self {
        for policy in self.policies.iter_mut().filter(|it| it.mode == Mode::Shadow) {
            policy.mode = Mode::Enforce;
        }
        for mode in self.guardrails.modes.iter_mut().flat_map(BTreeMap::values_mut).filter(|it| **it == Mode::Shadow) {
            *mode = Mode::Enforce;
        }
        self
    }

    /// The same set with its policies trusted, however often they fail: where nobody knows whether an action has helped.
    #[must_use]
    pub fn trusted(mut self) -> Self {
        self.policies.iter_mut().for_each(|it| it.limits.demote_after = 0);
        self
    }

    /// The policy of that name.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|it| *it.name == *name)
    }

    /// The policies that may be about a signal, in the order in which they are asked. Each has still to be asked.
    pub fn candidates(&self, signal: &Signal) -> impl Iterator<Item = &Policy> {
        self.index.candidates(signal).into_iter().filter_map(|place| self.policies.get(place as usize))
    }

    /// Whether one of them counts signals.
    pub(crate) fn count_signals(&self) -> bool {
        self.counting
    }

    /// What a signal is to policies that look for it beside the signals that they act on.
    pub fn sightings(&self, signal: &Signal) -> impl Iterator<Item = Sighted> {
        let found = self.listeners.candidates(signal).into_iter();
        found.filter_map(|(place, part)| {
            // In shadow nothing is waited for.
            let waits = |it: &&Policy| part != Part::Absent || it.mode == Mode::Enforce;
            let policy = self.policies.get(place as usize).filter(waits)?;
            let (_, beside) = policy.matches.correlation.as_ref()?.beside().find(|(it, _)| *it == part)?;
            policy.sees(part, beside, signal)
        })
    }

    /// The policies that name no cause, type, namespace or service exactly: each is asked about every signal of its kind.
    pub fn scanned(&self) -> impl Iterator<Item = &Policy> {
        self.index.scanned().filter_map(|place| self.policies.get(place))
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
    /// The profile that its limits and its verification started from.
    pub profile: Option<Arc<str>>,
    /// When it matches.
    pub matches: Match,
    /// The target's kind, if not what the signal names.
    pub target_kind: Option<WorkloadKind>,
    /// What it asks for: its first step, where it has several.
    pub action: Action,
    /// What it asks for next if that did not help.
    pub then: Vec<NextStep>,
    /// Its limits, the defaults filled in.
    pub limits: PolicyLimits,
    /// Its own guards: what denies a request that the lists would let pass.
    pub custom: Vec<CustomGuard>,
    /// How success is judged.
    pub verify: VerifySpec,
    /// The signals that its action raises, by its author's word: `lint` looks for cycles.
    pub raises: Vec<Raised>,
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

/// A signal that an action raises.
#[derive(Clone, Debug, PartialEq)]
pub enum Raised {
    /// An anomaly of this type.
    Anomaly(AnomalyKind),
    /// An rca with this cause.
    Rca(Arc<str>),
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
    /// A condition on the signal and its target.
    pub when: Option<Expression>,
    /// What it asks of other signals about the same target.
    pub correlation: Option<Correlation>,
}

/// What a policy's match found in a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched<'a> {
    /// What it would act on.
    pub target: Workload,
    /// The ranked cause that it is about, if it names causes.
    pub cause: Option<&'a RankedCause>,
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

impl MatchOn {
    /// The ranked cause of a signal that this is about; none for one about the signal's own subject. Nothing if it is not about it.
    pub fn cause<'a>(&self, signal: &'a Signal) -> Option<Option<&'a RankedCause>> {
        match (self, &signal.kind) {
            (Self::Anomaly { types, min_score }, SignalKind::Anomaly(anomaly)) => {
                let about = types.is_empty() || types.contains(&anomaly.kind);
                (about && anomaly.is_anomaly && anomaly.score >= *min_score).then_some(None)
            }
            (Self::Rca { causes, min_probability }, SignalKind::Rca(rca)) => {
                let matched =
                    rca.causes.iter().find(|it| causes.contains(&it.cause) && it.probability >= *min_probability);
                // Without `causes` the policy is about any analysis, and so about what the signal itself is about.
                let any = causes.is_empty()
                    && (rca.causes.is_empty() || rca.causes.iter().any(|it| it.probability >= *min_probability));
                matched.map(Some).or_else(|| any.then_some(None))
            }
            _ => None,
        }
    }
}

impl Policy {
    /// Whether it counts the signals that match it.
    pub(crate) fn counts(&self) -> bool {
        self.matches.correlation.as_ref().is_some_and(|it| it.occurrences.is_some())
    }

    /// All that it may ask for, in the order of its steps.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        std::iter::once(&self.action).chain(self.then.iter().map(|it| &it.action))
    }

    /// What this policy would act on for this signal, or nothing if it is not about it. A clearing signal matches nothing.
    /// `when` is not asked here.
    pub fn matched<'a>(&self, signal: &'a Signal) -> Option<Matched<'a>> {
        let cause = self.matches.on.cause(signal)?;
        let about = cause.map_or(&signal.subject, |it| &it.target);
        Some(Matched { target: self.acts_on(about)?, cause })
    }

    /// The target of a signal about `about`, if it is one of the policy's.
    fn acts_on(&self, about: &Workload) -> Option<Workload> {
        let mut target = about.clone();
        if let Some(kind) = self.target_kind {
            target.kind = kind;
        }
        let named = |patterns: &[Arc<str>], name: &str| patterns.is_empty() || patterns.iter().any(|it| glob(it, name));
        (named(&self.matches.namespaces, &target.namespace) && named(&self.matches.services, &target.name))
            .then_some(target)
    }

    /// Whether it has expressions: then what it asks for carries the whole signal.
    pub fn has_expressions(&self) -> bool {
        self.matches.when.is_some() || !self.custom.is_empty()
    }

    /// What its expressions say, if it has any.
    pub(crate) fn conditions(&self) -> Option<Conditions> {
        let Match { on, when, .. } = &self.matches;
        self.has_expressions().then(|| Conditions { on: on.clone(), when: when.clone(), custom: self.custom.clone() })
    }
}
