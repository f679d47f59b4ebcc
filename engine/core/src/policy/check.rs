//! Raw to meant. Each check pushes what it finds and goes on, so that one reading finds everything.

mod correlation;
mod expression;
mod guardrails;
mod policy;
mod steps;

use jiff::SignedDuration;
use serde_saphyr::{Location, Spanned};

use super::fault::Fault;
use super::raw::{RawBudget, RawLimits};
use super::source::Source;
use crate::history::LONGEST_WINDOW;
use crate::limits::{Bounds, Budget, HardLimits, PolicyLimits};

/// Failures of one policy that are remembered in a row.
const MOST_IN_A_ROW: u32 = 100;

pub(super) struct Checks<'a> {
    pub(super) faults: &'a mut Vec<Fault>,
}

/// Limits, and where those were written that the cluster bounds.
struct Written {
    limits: PolicyLimits,
    cooldown: Option<Location>,
    replicas: Option<Location>,
}

impl Checks<'_> {
    fn fault<T>(&mut self, source: &Source, at: &Spanned<T>, message: impl Into<String>, hint: Option<&str>) {
        self.at(source, at.referenced, message, hint);
    }

    fn at(&mut self, source: &Source, at: Location, message: impl Into<String>, hint: Option<&str>) {
        self.faults.push(source.fault(Some(at), message, hint.map(str::to_owned)));
    }

    fn limits(&mut self, raw: RawLimits, base: &PolicyLimits, source: &Source) -> Written {
        let cooldown = raw.cooldown.as_ref().map(|it| it.referenced);
        let replicas = raw.replicas.as_ref().map(|it| it.referenced);
        let bounds = raw.replicas.map_or(base.replicas, |it| {
            let min = it.value.min.unwrap_or(base.replicas.min);
            let max = it.value.max.unwrap_or(base.replicas.max);
            if min < 0 || min > max {
                self.fault(
                    source,
                    &it,
                    format!("replicas.min {min} and max {max} leave no room"),
                    Some("min is at least 0 and at most max"),
                );
            }
            Bounds { min, max }
        });
        let limits = PolicyLimits {
            cooldown: self.duration(raw.cooldown, base.cooldown, "cooldown", source),
            action_budget: self.budget(raw.action_budget, base.action_budget, "actionBudget", source),
            replicas: bounds,
            // No growth at all is a limit that makes sense; no action at all is a mode.
            scale_up: self.growth(raw.scale_up, base.scale_up, source),
            min_confidence: self.fraction(raw.min_confidence, base.min_confidence, "minConfidence", source),
            demote_after: self.demote_after(raw.demote_after, base.demote_after, source),
        };
        Written { limits, cooldown, replicas }
    }

    fn demote_after(&mut self, raw: Option<Spanned<u32>>, base: u32, source: &Source) -> u32 {
        let Some(raw) = raw else { return base };
        if raw.value > MOST_IN_A_ROW {
            let message = format!("demoteAfter is {}; it is at most {MOST_IN_A_ROW}", raw.value);
            self.fault(source, &raw, message, Some("write such as 3, or 0 for never"));
        }
        raw.value
    }

    /// What was written must be within the cluster's hard limits; what was inherited is brought within them.
    fn bounded(&mut self, written: Written, hard: &HardLimits, source: &Source) -> PolicyLimits {
        let Written { mut limits, cooldown, replicas } = written;
        let floor = hard.min_cooldown;
        match cooldown {
            _ if limits.cooldown.is_negative() || limits.cooldown >= floor => {}
            Some(at) => {
                let message =
                    format!("cooldown {:#} is shorter than the cluster's minCooldown {floor:#}", limits.cooldown);
                self.at(source, at, message, Some("raise it; nothing can go below `limits.minCooldown`"));
            }
            None => limits.cooldown = floor,
        }
        let ceiling = hard.max_replicas;
        match replicas {
            _ if limits.replicas.max <= ceiling => {}
            Some(at) => {
                let message =
                    format!("replicas.max {} is above the cluster's maxReplicas {ceiling}", limits.replicas.max);
                self.at(source, at, message, Some("lower it; nothing can go above `limits.maxReplicas`"));
            }
            None => limits.replicas = Bounds { min: limits.replicas.min.min(ceiling), max: ceiling },
        }
        limits
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
            self.fault(source, &raw, format!("{what} is negative"), Some("write such as `90s`, `5m` or `0s`"));
        }
        self.remembered(&raw, what, source);
        raw.value
    }

    /// What ended longer ago is forgotten, so a longer time would end early.
    fn remembered(&mut self, raw: &Spanned<SignedDuration>, what: &str, source: &Source) {
        if raw.value > LONGEST_WINDOW {
            let message = format!("{what} is {:#}; it must be at most 24h", raw.value);
            self.fault(source, raw, message, Some("nothing is remembered for longer than a day; write such as `12h`"));
        }
    }

    /// A duration of which nothing would be left at zero.
    fn some_time(
        &mut self,
        raw: Option<Spanned<SignedDuration>>,
        base: SignedDuration,
        what: &str,
        source: &Source,
    ) -> SignedDuration {
        let Some(raw) = raw else { return base };
        if raw.value <= SignedDuration::ZERO {
            self.fault(
                source,
                &raw,
                format!("{what} must be more than nothing"),
                Some("write such as `90s`, `5m`, `1h30m` or `24h`"),
            );
        }
        self.remembered(&raw, what, source);
        raw.value
    }

    fn budget(&mut self, raw: Option<Spanned<RawBudget>>, base: Budget, what: &str, source: &Source) -> Budget {
        let Some(raw) = raw else { return base };
        if raw.value.max == 0 {
            let hint = Some("to stop acting write `mode: disabled`, or press `flyball pause`");
            self.fault(source, &raw, format!("{what}: `max` is 0, so nothing could ever be done"), hint);
        }
        self.window(&raw, what, source)
    }

    fn growth(&mut self, raw: Option<Spanned<RawBudget>>, base: Budget, source: &Source) -> Budget {
        raw.map_or(base, |raw| self.window(&raw, "scaleUp", source))
    }

    fn window(&mut self, raw: &Spanned<RawBudget>, what: &str, source: &Source) -> Budget {
        let RawBudget { max, per } = raw.value;
        if per <= SignedDuration::ZERO || per > LONGEST_WINDOW {
            let message = format!("{what}: `per` is {per:#}; it must be more than nothing and at most 24h");
            self.fault(source, raw, message, Some("write such as `{max: 6, per: 1h}`"));
        }
        Budget { max, per }
    }

    fn fraction(&mut self, raw: Option<Spanned<f64>>, base: f64, what: &str, source: &Source) -> f64 {
        let Some(raw) = raw else { return base };
        if !(0.0..=1.0).contains(&raw.value) {
            self.fault(
                source,
                &raw,
                format!("{what} is {}; it is a probability, 0 to 1", raw.value),
                Some("write such as 0.8"),
            );
        }
        raw.value
    }
}
