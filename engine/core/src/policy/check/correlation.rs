//! `match.occurrences`, `match.all` and `match.absent`.

use jiff::SignedDuration;
use serde_saphyr::Spanned;

use super::Checks;
use super::policy::RawOn;
use crate::id::digest;
use crate::limits::Guardrails;
use crate::policy::raw::{RawBeside, RawOccurrences, RawSignal};
use crate::policy::source::Source;
use crate::policy::{Beside, Correlation, Occurrences};

/// Signals that one policy counts of one target: what is remembered of each is bounded by it.
const MOST_COUNTED: u32 = 100;
/// Signals that a policy looks for besides.
const MOST_BESIDE: usize = 4;

impl Checks<'_> {
    pub(super) fn correlation(
        &mut self,
        occurrences: Option<Spanned<RawOccurrences>>,
        all: Option<Spanned<Vec<Spanned<RawBeside>>>>,
        absent: Option<Spanned<RawBeside>>,
        counted: String,
        rules: &Guardrails,
        source: &Source,
    ) -> Option<Correlation> {
        if occurrences.is_none() && all.is_none() && absent.is_none() {
            return None;
        }
        let occurrences = occurrences.map(|it| self.occurrences(&it, source));
        if let Some(all) = all.as_ref().filter(|it| it.value.is_empty() || it.value.len() > MOST_BESIDE) {
            let message = format!("`all` has {} signals; it has 1 to {MOST_BESIDE}", all.value.len());
            self.fault(source, all, message, Some("write such as `[{signal: anomaly, types: [error], within: 5m}]`"));
        }
        let all = all.into_iter().flat_map(|it| it.value);
        let all = all.map(|it| self.beside(it, false, source)).collect();
        let longest = rules.max_signal_age;
        if let Some(it) = absent.as_ref().filter(|it| it.value.within.value >= longest) {
            let message = format!("by then the signal has expired: `maxSignalAge` is {longest:#}");
            self.fault(source, &it.value.within, message, Some("shorten `within`, or raise `maxSignalAge`"));
        }
        let absent = absent.map(|it| self.beside(it, true, source));
        Some(Correlation { occurrences, counted: counted.into(), all, absent })
    }

    fn occurrences(&mut self, raw: &Spanned<RawOccurrences>, source: &Source) -> Occurrences {
        let RawOccurrences { count, within } = raw.value;
        if !(2..=MOST_COUNTED).contains(&count) {
            let message = format!("`occurrences` counts to {count}; it counts from 2 to {MOST_COUNTED}");
            self.fault(source, raw, message, Some("write such as `{count: 3, within: 5m}`"));
        }
        let within = self.some_time(
            Some(Spanned::new(within, raw.referenced, raw.defined)),
            SignedDuration::ZERO,
            "within",
            source,
        );
        Occurrences { count, within }
    }

    fn beside(&mut self, raw: Spanned<RawBeside>, absent: bool, source: &Source) -> Beside {
        let at = raw.referenced;
        let RawBeside { signal, types, min_score, causes, min_probability, cleared, within } = raw.value;
        if cleared && (signal == RawSignal::Rca || min_score.is_some()) {
            self.at(
                source,
                at,
                "only an anomaly clears, whatever its score",
                Some("take out `cleared`, or `minScore`"),
            );
        }
        if cleared && !absent {
            self.at(source, at, "a clearing signal can only be asked to be absent", Some("write it as `absent`"));
        }
        let on = self.on(RawOn { signal, types, min_score, causes, min_probability }, source);
        let within = self.some_time(Some(within), SignedDuration::ZERO, "within", source);
        let rule = digest(format!("{on:?} {cleared}").as_bytes()).into();
        Beside { on, cleared, within, rule }
    }
}
