//! The `kind: Guardrails` document.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_saphyr::Spanned;

use super::Checks;
use crate::action::{ActionKind, VerifySpec};
use crate::history::LONGEST_WINDOW;
use crate::limits::{Allow, Breaker, Guardrails, HardLimits, PolicyLimits, Profile, Protect};
use crate::policy::raw::{
    GuardrailsSpec, RawAllow, RawBreaker, RawHardLimits, RawLimits, RawProfile, RawProtect, RawWindow,
};
use crate::policy::source::Source;
use crate::window::FreezeWindow;

const WINDOW_HINT: &str = "five cron fields, an IANA time zone and a length of at most a year, such as \
                           {deny: \"0 2 * * *\", for: 2h, timezone: Europe/Berlin}";

impl Checks<'_> {
    pub(in crate::policy) fn guardrails(&mut self, spec: GuardrailsSpec, source: &Source) -> Guardrails {
        let base = Guardrails::default();
        let limits = self.hard_limits(spec.limits, base.limits, source);
        let defaults = self.shared(spec.defaults, &base.defaults, &limits, source);
        let profiles = spec.profiles.into_iter();
        let profiles = profiles.map(|(name, raw)| self.profile(name, raw, &defaults, &limits, source)).collect();
        Guardrails {
            defaults,
            profiles,
            limits,
            max_signal_age: self.some_time(spec.max_signal_age, base.max_signal_age, "maxSignalAge", source),
            windows: spec.windows.into_iter().filter_map(|it| self.freeze(&it, source)).collect(),
            protect: protect(spec.protect, base.protect),
            allow: self.allow(spec.allow, base.allow, source),
            conditions: base.conditions,
            absent: base.absent,
            modes: base.modes,
        }
    }

    /// Limits that several policies start from.
    fn shared(&mut self, raw: RawLimits, base: &PolicyLimits, hard: &HardLimits, source: &Source) -> PolicyLimits {
        if let Some(guard) = raw.custom.first() {
            let hint = Some("write it into the policies that need it: it is about their kind of signal");
            self.fault(source, &guard.name, "`custom` guards belong to a policy", hint);
        }
        let limits = self.limits(raw, base, source);
        self.bounded(limits, hard, source)
    }

    fn profile(
        &mut self,
        name: String,
        raw: Spanned<RawProfile>,
        base: &PolicyLimits,
        hard: &HardLimits,
        source: &Source,
    ) -> (Arc<str>, Profile) {
        if name.trim().is_empty() {
            self.fault(
                source,
                &raw,
                "a profile has a name",
                Some("write such as `web: {guardrails: {cooldown: 10m}}`"),
            );
        }
        let RawProfile { guardrails, verify } = raw.value;
        let limits = self.shared(guardrails, base, hard, source);
        let verify = self.verify(verify, VerifySpec::default(), source);
        (name.into(), Profile { limits, verify })
    }

    fn hard_limits(&mut self, raw: RawHardLimits, base: HardLimits, source: &Source) -> HardLimits {
        let mut limits = base;
        limits.cluster_budget = self.budget(raw.cluster_budget, base.cluster_budget, "clusterBudget", source);
        limits.namespace_budget = self.budget(raw.namespace_budget, base.namespace_budget, "namespaceBudget", source);
        limits.min_cooldown = self.duration(raw.min_cooldown, base.min_cooldown, "minCooldown", source);
        if let Some(max) = raw.max_replicas {
            if max.value < 1 {
                self.fault(
                    source,
                    &max,
                    format!("maxReplicas is {}; it is at least 1", max.value),
                    Some("write such as 50"),
                );
            }
            limits.max_replicas = max.value;
        }
        if let Some(raw) = raw.concurrency {
            limits.concurrency_cluster = self.slots(raw.cluster, base.concurrency_cluster, "cluster", source);
            limits.concurrency_namespace = self.slots(raw.namespace, base.concurrency_namespace, "namespace", source);
        }
        if let Some(breaker) = raw.breaker {
            limits.breaker = self.breaker(&breaker, source);
        }
        if let Some(percent) = raw.max_unavailable {
            let share = percent.value.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()).filter(|n| *n <= 100);
            if share.is_none() {
                let hint = Some("write a percentage such as `40%`");
                self.fault(source, &percent, format!("`{}` is no share", percent.value), hint);
            }
            limits.max_unavailable_percent = share.unwrap_or(base.max_unavailable_percent);
        }
        limits
    }

    fn slots(&mut self, raw: Option<Spanned<u32>>, base: u32, scope: &str, source: &Source) -> u32 {
        let Some(raw) = raw else { return base };
        if raw.value == 0 {
            let hint = Some("at least 1; to stop acting press `flyball pause`");
            self.fault(source, &raw, format!("concurrency.{scope} is 0, so everything would wait for ever"), hint);
        }
        raw.value
    }

    fn breaker(&mut self, raw: &Spanned<RawBreaker>, source: &Source) -> Breaker {
        let RawBreaker { failures, per, probe_after } = raw.value;
        let within = per > SignedDuration::ZERO && per <= LONGEST_WINDOW;
        let probes = !probe_after.is_negative() && probe_after <= LONGEST_WINDOW;
        if failures == 0 || !within || !probes {
            let message = "a breaker needs at least one failure, within more than nothing and at most 24h, and probes after at most 24h";
            self.fault(source, raw, message, Some("write such as `{failures: 5, per: 30m, probeAfter: 10m}`"));
        }
        Breaker { failures, per, probe_after }
    }

    fn freeze(&mut self, raw: &Spanned<RawWindow>, source: &Source) -> Option<FreezeWindow> {
        let RawWindow { deny, r#for, timezone } = &raw.value;
        match FreezeWindow::new(deny, timezone.as_deref().unwrap_or("UTC"), *r#for) {
            Ok(window) => Some(window),
            Err(error) => {
                self.fault(source, raw, format!("window `{deny}`: {error}"), Some(WINDOW_HINT));
                None
            }
        }
    }

    fn allow(&mut self, raw: Option<RawAllow>, base: Allow, source: &Source) -> Allow {
        let Some(raw) = raw else { return base };
        for (kind, why) in [
            (ActionKind::Undo, "`undo` cannot be allowed or forbidden: a policy asks for it with `verify.onFailure`"),
            (ActionKind::Escalate, "`escalate` cannot be allowed or forbidden: it changes nothing"),
        ] {
            if let Some(actions) = raw.actions.as_ref().filter(|it| it.value.contains(&kind)) {
                self.fault(source, actions, why, Some("leave it out of `allow.actions`"));
            }
        }
        Allow {
            namespaces: raw.namespaces.map_or(base.namespaces, |list| list.into_iter().map(Arc::from).collect()),
            actions: raw.actions.map_or(base.actions, |it| it.value),
        }
    }
}

/// What is protected by default stays so: a file can only add to it.
fn protect(raw: Option<RawProtect>, base: Protect) -> Protect {
    let Protect { mut namespaces, mut labels } = base;
    if let Some(raw) = raw {
        let more: Vec<Arc<str>> = raw.namespaces.into_iter().map(Arc::from).collect();
        namespaces.extend(more.into_iter().filter(|it| !Guardrails::default().protect.namespaces.contains(it)));
        let more: Vec<(Arc<str>, Arc<str>)> =
            raw.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        labels.extend(more.into_iter().filter(|it| !Guardrails::default().protect.labels.contains(it)));
    }
    Protect { namespaces, labels }
}
