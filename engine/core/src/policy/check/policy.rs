//! A `kind: RemediationPolicy` document.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use serde_saphyr::Spanned;

use super::Checks;
use crate::action::{Action, Patch, PatchForm, RecoveredBy, Recovery, Scale, VerifySpec};
use crate::expr::{About, Expression};
use crate::id::digest;
use crate::limits::{Guardrails, Profile};
use crate::plan;
use crate::policy::raw::{
    PolicySpec, RawAction, RawMatch, RawMode, RawPatch, RawRaised, RawRollback, RawScale, RawSignal, RawVerify,
};
use crate::policy::source::{Source, one_of};
use crate::policy::{Match, MatchOn, Mode, Policy, Raised};
use crate::signal::AnomalyKind;
use crate::workload::WorkloadKind;

const MATCH_HINT: Option<&str> =
    Some("anomalies have `types` and `minScore`, an rca has `causes` and `minProbability`");

/// What both a match and what it looks for besides say of a signal.
pub(super) struct RawOn {
    pub(super) signal: RawSignal,
    pub(super) types: Option<Spanned<Vec<AnomalyKind>>>,
    pub(super) min_score: Option<Spanned<f64>>,
    pub(super) causes: Option<Spanned<Vec<String>>>,
    pub(super) min_probability: Option<Spanned<f64>>,
}

impl Checks<'_> {
    pub(in crate::policy) fn policy(
        &mut self,
        spec: PolicySpec,
        name: Arc<str>,
        place: String,
        source: &Source,
        rules: &Guardrails,
    ) -> Option<Policy> {
        let mode = self.mode(&spec.mode, source);
        let (target_kind, labels) = spec.target.map_or((None, None), |it| (it.kind, it.labels));
        let mut matches = self.matches(spec.r#match, rules, source);
        if let Some(labels) = labels {
            matches.when = self.selected(&labels, matches.when.take(), about(&matches.on), source);
        }
        let base = self.start(spec.profile.as_ref(), rules, source);
        let mut raw = spec.guardrails.unwrap_or_default();
        let custom = self.custom(std::mem::take(&mut raw.custom), about(&matches.on), source);
        let limits = self.limits(raw, &base.limits, source);
        let limits = self.bounded(limits, &rules.limits, source);
        let verify = self.verify(spec.verify, base.verify, source);
        let raises = spec.raises.into_iter().filter_map(|it| self.raised(it, source)).collect();
        let (action, then) = match (spec.action, spec.steps) {
            (Some(action), None) => (self.action(action, target_kind, source)?, Vec::new()),
            (None, Some(steps)) => self.steps(steps, &limits, &verify, target_kind, source)?,
            (Some(action), Some(_)) => {
                let hint = Some("make it the first of the steps");
                self.fault(source, &action, "a policy has an `action` or `steps`, not both", hint);
                return None;
            }
            (None, None) => {
                let hint = Some("write such as `action: {restart: {}}`");
                self.at(source, spec.mode.referenced, "the policy has neither `action` nor `steps`", hint);
                return None;
            }
        };
        let priority = spec.priority;
        Some(Policy {
            name,
            mode,
            priority,
            profile: spec.profile.map(|it| it.value.into()),
            matches,
            target_kind,
            action,
            then,
            limits,
            custom,
            verify,
            raises,
            source: place,
        })
    }

    /// What the policy's own words are laid over.
    fn start(&mut self, profile: Option<&Spanned<String>>, rules: &Guardrails, source: &Source) -> Profile {
        let found = profile.map(|name| (name, rules.profiles.get(name.value.as_str())));
        if let Some((name, None)) = found {
            let known: Vec<&str> = rules.profiles.keys().map(|it| &**it).collect();
            let hint = if known.is_empty() {
                "write it into `profiles` of the `Guardrails` document".to_owned()
            } else {
                one_of(&name.value, &known).unwrap_or_default()
            };
            self.fault(source, name, format!("there is no profile `{}`", name.value), Some(&hint));
        }
        let otherwise = Profile { limits: rules.defaults, verify: VerifySpec::default() };
        found.and_then(|(_, profile)| profile.copied()).unwrap_or(otherwise)
    }

    /// Labels are a condition like any other, in front of the policy's own: asked of the watched target, and of the fresh read again.
    fn selected(
        &mut self,
        labels: &Spanned<BTreeMap<String, String>>,
        when: Option<Expression>,
        about: About,
        source: &Source,
    ) -> Option<Expression> {
        let written = labels.value.iter().all(|(key, value)| is_label(key) && is_label(value));
        if labels.value.is_empty() || !written {
            let hint = Some("write such as `labels: {tier: web}`; letters, digits, `-`, `_`, `.` and `/`");
            self.fault(source, labels, "these are no labels", hint);
            return when;
        }
        let has = |(key, value): (&String, &String)| {
            format!("'{key}' in target.labels && target.labels['{key}'] == '{value}'")
        };
        let asked = labels.value.iter().map(has).collect::<Vec<_>>().join(" && ");
        let own = when.as_ref().map(|it| format!(" && ({})", it.text())).unwrap_or_default();
        let text = format!("target != null && {asked}{own}");
        match Expression::read(&text, about) {
            Ok(expression) => Some(expression),
            Err(wrong) => {
                let message = format!("as a condition, beside `when`: {}", wrong.message);
                self.fault(source, labels, message, Some(&wrong.hint));
                when
            }
        }
    }

    fn raised(&mut self, raw: Spanned<RawRaised>, source: &Source) -> Option<Raised> {
        let at = raw.referenced;
        match raw.value {
            RawRaised { anomaly: Some(kind), rca: None } => Some(Raised::Anomaly(kind)),
            RawRaised { anomaly: None, rca: Some(cause) } => Some(Raised::Rca(cause.into())),
            _ => {
                let hint = Some("write `{anomaly: latency}` or `{rca: memory_leak}`");
                self.at(source, at, "a raised signal is an anomaly or an rca", hint);
                None
            }
        }
    }

    fn mode(&mut self, raw: &Spanned<RawMode>, source: &Source) -> Mode {
        match raw.value {
            RawMode::Disabled => Mode::Disabled,
            RawMode::Shadow => Mode::Shadow,
            RawMode::Enforce => Mode::Enforce,
            RawMode::Approve => {
                let hint = Some("use `shadow` or `enforce`");
                self.fault(source, raw, "mode `approve` is not available in this version", hint);
                Mode::Disabled
            }
        }
    }

    fn matches(&mut self, raw: RawMatch, rules: &Guardrails, source: &Source) -> Match {
        let RawMatch { signal, types, min_score, causes, min_probability, occurrences, all, absent, .. } = raw;
        let on = self.on(RawOn { signal, types, min_score, causes, min_probability }, source);
        let names = |list: Vec<String>| list.into_iter().map(Arc::from).collect();
        let when = raw.when.and_then(|it| self.expression(&it, about(&on), source));
        let words = when.as_ref().map(Expression::text);
        let counted = digest(format!("{on:?} {words:?}").as_bytes());
        let correlation = self.correlation(occurrences, all, absent, counted, rules, source);
        Match { on, namespaces: names(raw.namespaces), services: names(raw.services), when, correlation }
    }

    /// Which signals are meant.
    pub(super) fn on(&mut self, raw: RawOn, source: &Source) -> MatchOn {
        let anomaly = raw.signal == RawSignal::Anomaly;
        if let Some(causes) = raw.causes.as_ref().filter(|_| anomaly) {
            self.fault(source, causes, "`causes` is for `signal: rca` only", MATCH_HINT);
        }
        if let Some(least) = raw.min_probability.as_ref().filter(|_| anomaly) {
            self.fault(source, least, "`minProbability` is for `signal: rca` only", MATCH_HINT);
        }
        if let Some(types) = raw.types.as_ref().filter(|_| !anomaly) {
            self.fault(source, types, "`types` is for `signal: anomaly` only", MATCH_HINT);
        }
        if let Some(least) = raw.min_score.as_ref().filter(|_| !anomaly) {
            self.fault(source, least, "`minScore` is for `signal: anomaly` only", MATCH_HINT);
        }
        let min_probability = self.fraction(raw.min_probability, 0.5, "minProbability", source);
        let min_score = self.score(raw.min_score, source);
        if anomaly {
            MatchOn::Anomaly { types: raw.types.map(|it| it.value).unwrap_or_default(), min_score }
        } else {
            let causes = raw.causes.map(|it| it.value).unwrap_or_default();
            MatchOn::Rca { causes: causes.into_iter().map(Arc::from).collect(), min_probability }
        }
    }

    /// Detectors scale their scores as they like, so all that is asked is a number that a score can reach.
    fn score(&mut self, raw: Option<Spanned<f64>>, source: &Source) -> f64 {
        let Some(raw) = raw else { return 0.0 };
        if !raw.value.is_finite() || raw.value < 0.0 {
            self.fault(
                source,
                &raw,
                format!("minScore is {}; it is a number from 0 up", raw.value),
                Some("write such as 0.9"),
            );
        }
        raw.value
    }

    pub(super) fn action(
        &mut self,
        raw: Spanned<RawAction>,
        target: Option<WorkloadKind>,
        source: &Source,
    ) -> Option<Action> {
        let at = raw.referenced;
        match meant(raw.value, target) {
            Ok(action) => Some(action),
            Err((message, hint)) => {
                self.at(source, at, message, Some(&hint));
                None
            }
        }
    }

    /// `base` fills in what is left out.
    pub(super) fn verify(&mut self, raw: Option<RawVerify>, base: VerifySpec, source: &Source) -> VerifySpec {
        let Some(raw) = raw else { return base };
        let recovered = raw.recovered.map(|it| Recovery {
            by: it.by.unwrap_or(RecoveredBy::Silence),
            within: self.some_time(Some(it.within), SignedDuration::ZERO, "recovered.within", source),
        });
        VerifySpec {
            timeout: self.some_time(raw.timeout, base.timeout, "timeout", source),
            stable_for: self.duration(raw.stable_for, base.stable_for, "stableFor", source),
            recovered: recovered.or(base.recovered),
            on_failure: raw.on_failure.map_or(base.on_failure, |it| it.value),
        }
    }
}

/// What a key or a value of a label is made of; the API server knows the rest of its rules.
fn is_label(text: &str) -> bool {
    text.len() <= 253 && text.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.' | '/'))
}

fn about(on: &MatchOn) -> About {
    if matches!(on, MatchOn::Anomaly { .. }) { About::Anomaly } else { About::Rca }
}

/// What is wrong, and a hint.
type Wrong = (String, String);

fn wrong(message: &str, hint: &str) -> Wrong {
    (message.to_owned(), hint.to_owned())
}

fn meant(raw: RawAction, target: Option<WorkloadKind>) -> Result<Action, Wrong> {
    let RawAction { scale, restart, patch, rollback, delete_pod, escalate } = raw;
    let written = [
        scale.map(scaled),
        restart.map(|_| Ok(Action::Restart)),
        patch.map(patched),
        rollback.map(rolled_back),
        delete_pod.map(|_| Ok(Action::DeletePod { pod: None })),
        escalate.map(|_| Ok(Action::Escalate)),
    ];
    let mut written = written.into_iter().flatten();
    let action = match (written.next(), written.next()) {
        (Some(action), None) => action?,
        (None, _) => return Err(wrong("no action is written", "write such as `restart: {}`")),
        (Some(_), Some(_)) => {
            return Err(wrong("these are two actions", "write them as `steps`, or split it into two policies"));
        }
    };
    if let Some(kind) = target.filter(|kind| !action.kind().fits(*kind)) {
        let message = format!("a {kind} cannot be the target of {}", action.kind());
        return Err(wrong(&message, "it has no number of replicas"));
    }
    Ok(action)
}

fn scaled(raw: RawScale) -> Result<Action, Wrong> {
    match (raw.by, raw.to) {
        (Some(0), None) => Err(wrong("scale by 0 does nothing", "write `by: 1`, or `to: N`")),
        (Some(by), None) => Ok(Action::Scale(Scale::By(by))),
        (None, Some(to)) if to >= 0 => Ok(Action::Scale(Scale::To(to))),
        _ => {
            let message = "scale needs either `by` or `to`, not both, and no negative `to`";
            Err(wrong(message, "write `scale: {by: 1}` or `scale: {to: 4}`"))
        }
    }
}

fn rolled_back(raw: RawRollback) -> Result<Action, Wrong> {
    match raw.revision {
        Some(..=0) => Err(wrong("revisions count from 1", "write `rollback: {}` for the one before")),
        revision => Ok(Action::Rollback { revision }),
    }
}

fn patched(raw: RawPatch) -> Result<Action, Wrong> {
    let (form, body) = match raw {
        RawPatch { strategic: Some(body), merge: None, json: None } => (PatchForm::Strategic, body),
        RawPatch { strategic: None, merge: Some(body), json: None } => (PatchForm::Merge, body),
        RawPatch { strategic: None, merge: None, json: Some(body) } => (PatchForm::Json, body),
        _ => return Err(wrong("a patch has one form", "write one of `strategic`, `merge` and `json`")),
    };
    let patch = Patch { form, body };
    match plan::permitted(&patch) {
        Ok(()) => Ok(Action::Patch(patch)),
        Err(message) => Err((message, format!("these may be patched: {}", plan::ALLOWED.join(", ")))),
    }
}
