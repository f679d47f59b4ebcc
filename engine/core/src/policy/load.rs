//! Files to a `PolicySet`: the conversion is the only validation, happens once, and reports all faults together.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

use super::fault::{Fault, Faults, nearest};
use super::raw::{
    self, Document, GuardrailsSpec, Head, PolicySpec, RawAction, RawLimits, RawMode, RawPatch, RawSignal,
};
use super::{Match, MatchOn, Mode, Policy, PolicySet, patch};
use crate::action::{Action, Patch, PatchForm, RecoveredBy, Recovery, Scale, VerifySpec};
use crate::id::digest;
use crate::limits::{Bounds, Breaker, Budget, Guardrails, PolicyLimits};
use crate::window::FreezeWindow;

const API_VERSION: &str = "flyball.dev/v1alpha1";
const KINDS: [&str; 2] = ["RemediationPolicy", "Guardrails"];
/// Budgets look back at most a day: the ledger's fold keeps no more.
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// A policy file is written by people. A larger one is a mistake, and reading it would cost memory before any check.
const MAX_FILE_BYTES: usize = 1 << 20;

/// Reads a set from `(name, text)` of its files.
///
/// # Errors
/// Every fault of every document. A document that is not well-formed reports its first.
pub fn load(files: &[(String, String)]) -> Result<PolicySet, Faults> {
    let mut loading = Loading::default();
    for (file, text) in files {
        loading.file(file, text);
    }
    let all: String = files.iter().map(|(file, text)| format!("{file}\0{text}\0")).collect();
    loading.finish(digest(all.as_bytes()).into())
}

#[derive(Default)]
struct Loading {
    faults: Vec<Fault>,
    policies: Vec<(PolicySpec, Arc<str>, Source)>,
    guardrails: Option<(GuardrailsSpec, Source)>,
    names: BTreeMap<Arc<str>, String>,
}

/// A document's place: which file, how many lines above it, and its text.
#[derive(Clone)]
struct Source {
    file: String,
    above: u64,
    text: Arc<str>,
}

impl Source {
    fn fault(&self, at: Option<Location>, message: impl Into<String>, hint: Option<String>) -> Fault {
        let (line, column) = at.map_or((1, 1), |at| (at.line().max(1), at.column().max(1)));
        let text = self.text.lines().nth(usize::try_from(line - 1).unwrap_or(0)).unwrap_or_default();
        Fault {
            file: self.file.clone(),
            line: self.above + line,
            column,
            message: message.into(),
            hint,
            text: text.chars().take(200).collect(),
        }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        serde_saphyr::from_str_with_options(&self.text, options).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).trim_end_matches([':', ' ']).to_owned();
            let hint = did_you_mean(&message);
            self.fault(error.location(), message, hint)
        })
    }
}

/// serde says "unknown field `x`, expected one of `a`, `b`": offers the nearest of them.
fn did_you_mean(message: &str) -> Option<String> {
    let mut words = message.split('`').skip(1).step_by(2);
    let wrong = words.next().filter(|_| message.contains("unknown"))?;
    nearest(wrong, words).map(|near| format!("did you mean `{near}`?"))
}

impl Loading {
    fn file(&mut self, file: &str, text: &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_FILE_BYTES {
            let source = Source { file: file.into(), above: 0, text: "".into() };
            let message = format!("the file has {} bytes, more than the {MAX_FILE_BYTES} allowed", text.len());
            return self.faults.push(source.fault(None, message, Some("split it into several files".into())));
        }
        for (above, text) in documents(text) {
            let source = Source { file: file.into(), above, text: text.into() };
            if let Err(fault) = self.document(&source) {
                self.faults.push(fault);
            }
        }
    }

    fn document(&mut self, source: &Source) -> Result<(), Fault> {
        let head: Head = source.read()?;
        let Some(kind) = head.kind else {
            return Err(source.fault(None, "the document has no `kind`", Some(format!("one of {}", KINDS.join(", ")))));
        };
        match head.api_version {
            Some(version) if version.value == API_VERSION => {}
            Some(version) => {
                let message = format!("unknown apiVersion `{}`", version.value);
                return Err(source.fault(Some(version.referenced), message, Some(format!("write `{API_VERSION}`"))));
            }
            None => {
                return Err(source.fault(
                    None,
                    "the document has no `apiVersion`",
                    Some(format!("write `{API_VERSION}`")),
                ));
            }
        }
        match kind.value.as_str() {
            "RemediationPolicy" => self.policy(source),
            "Guardrails" if self.guardrails.is_some() => {
                Err(source.fault(Some(kind.referenced), "a second `Guardrails`: a set has one", None))
            }
            "Guardrails" => {
                let document: Document<GuardrailsSpec> = source.read()?;
                self.guardrails = Some((document.spec, source.clone()));
                Ok(())
            }
            other => {
                let hint = nearest(other, KINDS)
                    .map_or_else(|| format!("one of {}", KINDS.join(", ")), |near| format!("did you mean `{near}`?"));
                Err(source.fault(Some(kind.referenced), format!("unknown kind `{other}`"), Some(hint)))
            }
        }
    }

    fn policy(&mut self, source: &Source) -> Result<(), Fault> {
        let document: Document<PolicySpec> = source.read()?;
        let Some(name) = document.metadata.and_then(|metadata| metadata.name) else {
            return Err(source.fault(None, "the policy has no `metadata.name`", None));
        };
        let shape = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if name.value.is_empty() || name.value.len() > 253 || !name.value.chars().all(shape) || name.value == "api" {
            let hint = "lower-case letters, digits, `-` and `.`; `api` is taken by direct calls";
            return Err(source.fault(
                Some(name.referenced),
                format!("`{}` is no name for a policy", name.value),
                Some(hint.into()),
            ));
        }
        let place = format!("{}:{}", source.file, source.above + name.referenced.line());
        let key: Arc<str> = name.value.as_str().into();
        if let Some(first) = self.names.insert(key.clone(), place) {
            let message = format!("a second policy named `{key}`");
            return Err(source.fault(Some(name.referenced), message, Some(format!("the first is at {first}"))));
        }
        self.policies.push((document.spec, key, source.clone()));
        Ok(())
    }

    fn finish(mut self, digest: Arc<str>) -> Result<PolicySet, Faults> {
        let mut checks = Checks { faults: &mut self.faults };
        let guardrails = match self.guardrails {
            Some((spec, source)) => checks.guardrails(spec, &source),
            None => Guardrails::default(),
        };
        let mut policies: Vec<Policy> = self
            .policies
            .into_iter()
            .filter_map(|(spec, name, source)| {
                let place = self.names.get(&name).cloned().unwrap_or_default();
                checks.policy(spec, name, place, &source, &guardrails)
            })
            .collect();
        policies.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        if self.faults.is_empty() {
            Ok(PolicySet { policies, guardrails, digest })
        } else {
            self.faults.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
            Err(Faults(self.faults))
        }
    }
}

/// The documents of a file with the number of lines above each. Split here, so that a fault in one hides none in another.
fn documents(text: &str) -> Vec<(u64, String)> {
    let mut found = vec![(0, String::new())];
    for (number, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            found.push((number as u64 + 1, String::new()));
        } else if let Some((_, document)) = found.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let says_something =
        |text: &str| text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    found.retain(|(_, document)| says_something(document));
    found
}

/// Raw to meant. Each check pushes what it finds and goes on, so that one reading finds everything.
struct Checks<'a> {
    faults: &'a mut Vec<Fault>,
}

impl Checks<'_> {
    fn fault<T>(&mut self, source: &Source, at: &Spanned<T>, message: impl Into<String>, hint: Option<&str>) {
        self.faults.push(source.fault(Some(at.referenced), message, hint.map(str::to_owned)));
    }

    fn policy(
        &mut self,
        spec: PolicySpec,
        name: Arc<str>,
        place: String,
        source: &Source,
        rules: &Guardrails,
    ) -> Option<Policy> {
        let mode = match spec.mode.value {
            RawMode::Disabled => Mode::Disabled,
            RawMode::Shadow => Mode::Shadow,
            RawMode::Enforce => Mode::Enforce,
            RawMode::Approve => {
                self.fault(
                    source,
                    &spec.mode,
                    "mode `approve` is not available in this version",
                    Some("use `shadow` or `enforce`"),
                );
                Mode::Disabled
            }
        };
        let matches = self.matches(spec.r#match, source);
        let target_kind = spec.target.and_then(|target| target.kind);
        let limits = self.limits(spec.guardrails.unwrap_or_default(), &rules.defaults, source);
        let action = self.action(spec.action, target_kind, source);
        let verify = self.verify(spec.verify, source);
        let hard = &rules.limits;
        if limits.0.cooldown < hard.min_cooldown {
            let message = format!(
                "cooldown {:#} is shorter than the cluster's minCooldown {:#}",
                limits.0.cooldown, hard.min_cooldown
            );
            self.faults.push(source.fault(
                limits.1,
                message,
                Some("raise it; no policy can go below `limits.minCooldown`".into()),
            ));
        }
        if limits.0.replicas.max > hard.max_replicas {
            let message = format!(
                "replicas.max {} is above the cluster's maxReplicas {}",
                limits.0.replicas.max, hard.max_replicas
            );
            self.faults.push(source.fault(
                limits.2,
                message,
                Some("lower it; no policy can go above `limits.maxReplicas`".into()),
            ));
        }
        Some(Policy {
            name,
            mode,
            priority: spec.priority,
            matches,
            target_kind,
            action: action?,
            limits: limits.0,
            verify,
            source: place,
        })
    }

    fn matches(&mut self, raw: raw::RawMatch, source: &Source) -> Match {
        let anomaly = raw.signal == RawSignal::Anomaly;
        if let Some(when) = &raw.when {
            self.fault(
                source,
                when,
                "`when` is not available in this version",
                Some("use types, causes, scores, namespaces and services"),
            );
        }
        let hint = Some("anomalies have `types` and `minScore`, an rca has `causes` and `minProbability`");
        if let Some(causes) = raw.causes.as_ref().filter(|_| anomaly) {
            self.fault(source, causes, "`causes` is for `signal: rca` only", hint);
        }
        if let Some(least) = raw.min_probability.as_ref().filter(|_| anomaly) {
            self.fault(source, least, "`minProbability` is for `signal: rca` only", hint);
        }
        if let Some(types) = raw.types.as_ref().filter(|_| !anomaly) {
            self.fault(source, types, "`types` is for `signal: anomaly` only", hint);
        }
        if let Some(least) = raw.min_score.as_ref().filter(|_| !anomaly) {
            self.fault(source, least, "`minScore` is for `signal: anomaly` only", hint);
        }
        let min_probability = self.fraction(raw.min_probability, 0.5, "minProbability", source);
        let names = |list: Vec<String>| list.into_iter().map(Arc::from).collect();
        let on = if anomaly {
            MatchOn::Anomaly {
                types: raw.types.map(|it| it.value).unwrap_or_default(),
                min_score: raw.min_score.map_or(0.0, |it| it.value),
            }
        } else {
            MatchOn::Rca { causes: names(raw.causes.map(|it| it.value).unwrap_or_default()), min_probability }
        };
        Match { on, namespaces: names(raw.namespaces), services: names(raw.services) }
    }

    fn action(
        &mut self,
        raw: Spanned<RawAction>,
        target: Option<crate::workload::WorkloadKind>,
        source: &Source,
    ) -> Option<Action> {
        let at = raw.referenced;
        let mut bad = |message: String, hint: &str| {
            self.faults.push(source.fault(Some(at), message, Some(hint.to_owned())));
            None
        };
        let action = match raw.value {
            RawAction::Scale(raw::RawScale { by: Some(0), .. }) => {
                bad("scale by 0 does nothing".into(), "write `by: 1`, or `to: N`")
            }
            RawAction::Scale(raw::RawScale { by: Some(by), to: None }) => Some(Action::Scale(Scale::By(by))),
            RawAction::Scale(raw::RawScale { by: None, to: Some(to) }) if to >= 0 => Some(Action::Scale(Scale::To(to))),
            RawAction::Scale(_) => bad(
                "scale needs either `by` or `to`, not both, and no negative `to`".into(),
                "write `scale: {by: 1}` or `scale: {to: 4}`",
            ),
            RawAction::Restart(_) => Some(Action::Restart),
            RawAction::Rollback(raw) => Some(Action::Rollback { revision: raw.revision }),
            RawAction::DeletePod(_) => Some(Action::DeletePod { pod: None }),
            RawAction::Patch(raw) => {
                let (form, body) = match raw {
                    RawPatch::Strategic(body) => (PatchForm::Strategic, body),
                    RawPatch::Merge(body) => (PatchForm::Merge, body),
                    RawPatch::Json(body) => (PatchForm::Json, body),
                };
                match patch::check(form, &body) {
                    Ok(()) => Some(Action::Patch(Patch { form, body })),
                    Err(message) => bad(message, &format!("a policy may patch: {}", crate::plan::ALLOWED.join(", "))),
                }
            }
        }?;
        if let Some(kind) = target.filter(|kind| !action.kind().fits(*kind)) {
            bad(format!("a {kind} cannot be the target of {}", action.kind()), "it has no number of replicas")?;
        }
        Some(action)
    }

    /// The limits, and where `cooldown` and `replicas` were written.
    fn limits(
        &mut self,
        raw: RawLimits,
        base: &PolicyLimits,
        source: &Source,
    ) -> (PolicyLimits, Option<Location>, Option<Location>) {
        let places = (raw.cooldown.as_ref().map(|it| it.referenced), raw.replicas.as_ref().map(|it| it.referenced));
        let replicas = raw.replicas.map_or(base.replicas, |it| {
            let bounds = Bounds {
                min: it.value.min.unwrap_or(base.replicas.min),
                max: it.value.max.unwrap_or(base.replicas.max),
            };
            if bounds.min < 0 || bounds.min > bounds.max {
                self.fault(
                    source,
                    &it,
                    format!("replicas.min {} and max {} leave no room", bounds.min, bounds.max),
                    None,
                );
            }
            bounds
        });
        let limits = PolicyLimits {
            cooldown: self.duration(raw.cooldown, base.cooldown, "cooldown", source),
            action_budget: self.budget(raw.action_budget, base.action_budget, "actionBudget", source),
            replicas,
            scale_up: self.budget(raw.scale_up, base.scale_up, "scaleUp", source),
            min_confidence: self.fraction(raw.min_confidence, base.min_confidence, "minConfidence", source),
        };
        (limits, places.0, places.1)
    }

    fn verify(&mut self, raw: Option<raw::RawVerify>, source: &Source) -> VerifySpec {
        let base = VerifySpec::default();
        let Some(raw) = raw else { return base };
        let recovered = raw.recovered.map(|it| Recovery {
            by: it.by.unwrap_or(RecoveredBy::Silence),
            within: self.duration(Some(it.within), SignedDuration::ZERO, "recovered.within", source),
        });
        VerifySpec {
            timeout: self.duration(raw.timeout, base.timeout, "timeout", source),
            stable_for: self.duration(raw.stable_for, base.stable_for, "stableFor", source),
            recovered,
            on_failure: raw.on_failure.map_or(base.on_failure, |it| it.value),
        }
    }

    fn guardrails(&mut self, spec: GuardrailsSpec, source: &Source) -> Guardrails {
        let base = Guardrails::default();
        let (defaults, ..) = self.limits(spec.defaults, &base.defaults, source);
        let raw = spec.limits;
        let mut limits = base.limits;
        limits.cluster_budget = self.budget(raw.cluster_budget, limits.cluster_budget, "clusterBudget", source);
        limits.namespace_budget = self.budget(raw.namespace_budget, limits.namespace_budget, "namespaceBudget", source);
        limits.min_cooldown = self.duration(raw.min_cooldown, limits.min_cooldown, "minCooldown", source);
        limits.max_replicas = raw.max_replicas.unwrap_or(limits.max_replicas);
        if let Some(concurrency) = raw.concurrency {
            limits.concurrency_cluster = concurrency.cluster.unwrap_or(limits.concurrency_cluster);
            limits.concurrency_namespace = concurrency.namespace.unwrap_or(limits.concurrency_namespace);
        }
        if let Some(breaker) = raw.breaker {
            let raw::RawBreaker { failures, per, probe_after } = breaker.value;
            if failures == 0
                || per <= SignedDuration::ZERO
                || per > LONGEST_WINDOW
                || probe_after < SignedDuration::ZERO
            {
                self.fault(source, &breaker, "a breaker needs at least one failure, within at most 24h", None);
            }
            limits.breaker = Breaker { failures, per, probe_after };
        }
        if let Some(percent) = raw.max_unavailable {
            match percent.value.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()).filter(|n| *n <= 100) {
                Some(n) => limits.max_unavailable_percent = n,
                None => self.fault(
                    source,
                    &percent,
                    format!("`{}` is no share", percent.value),
                    Some("write a percentage such as `40%`"),
                ),
            }
        }
        let windows = spec.windows.into_iter().filter_map(|it| {
            let raw::RawWindow { deny, r#for, timezone } = &it.value;
            match FreezeWindow::new(deny, timezone.as_deref().unwrap_or("UTC"), *r#for) {
                Ok(window) => Some(window),
                Err(error) => {
                    self.fault(source, &it, format!("window `{deny}`: {error}"), Some("five cron fields and an IANA time zone, such as {deny: \"0 2 * * *\", for: 2h, timezone: Europe/Berlin}"));
                    None
                }
            }
        });
        let windows = windows.collect();
        let mut allow = base.allow;
        if let Some(raw) = spec.allow {
            allow.namespaces =
                raw.namespaces.map_or(allow.namespaces, |list| list.into_iter().map(Arc::from).collect());
            allow.actions = raw.actions.unwrap_or(allow.actions);
        }
        let mut protect = base.protect;
        if let Some(raw) = spec.protect {
            // What is protected by default stays so: a file can only add to it.
            protect.namespaces.extend(raw.namespaces.into_iter().map(Arc::from));
            protect.labels.extend(raw.labels.into_iter().map(|(key, value)| (key.into(), value.into())));
        }
        let max_signal_age = self.duration(spec.max_signal_age, base.max_signal_age, "maxSignalAge", source);
        Guardrails { defaults, limits, max_signal_age, windows, protect, allow }
    }

    fn duration(
        &mut self,
        raw: Option<Spanned<SignedDuration>>,
        base: SignedDuration,
        what: &str,
        source: &Source,
    ) -> SignedDuration {
        let Some(raw) = raw else { return base };
        if raw.value.is_negative() {
            self.fault(source, &raw, format!("{what} is negative"), None);
        }
        raw.value
    }

    fn budget(&mut self, raw: Option<Spanned<raw::RawBudget>>, base: Budget, what: &str, source: &Source) -> Budget {
        let Some(raw) = raw else { return base };
        if raw.value.per <= SignedDuration::ZERO || raw.value.per > LONGEST_WINDOW {
            self.fault(
                source,
                &raw,
                format!("{what}: `per` is {:#}; it must be more than nothing and at most 24h", raw.value.per),
                None,
            );
        }
        Budget { max: raw.value.max, per: raw.value.per }
    }

    fn fraction(&mut self, raw: Option<Spanned<f64>>, base: f64, what: &str, source: &Source) -> f64 {
        let Some(raw) = raw else { return base };
        if !(0.0..=1.0).contains(&raw.value) {
            self.fault(source, &raw, format!("{what} is {}; it is a probability, 0 to 1", raw.value), None);
        }
        raw.value
    }
}
