//! What a policy asks of other signals about the same target.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{MatchOn, Policy};
use crate::action::Hold;
use crate::history::History;
use crate::record::{Part, Sighted, Sought};
use crate::signal::{Signal, SignalKind};
use crate::workload::Workload;

/// `match.occurrences`, `match.all` and `match.absent`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Correlation {
    /// So many matching signals.
    pub occurrences: Option<Occurrences>,
    /// Digest of what a signal has to be to be counted.
    pub counted: Arc<str>,
    /// Each of these besides.
    pub all: Vec<Beside>,
    /// And then, for so long, none of these.
    pub absent: Option<Beside>,
}

/// So many signals, none further from another than `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrences {
    /// How many, the one that is acted on among them.
    pub count: u32,
    /// Within how long.
    pub within: SignedDuration,
}

/// Another signal about the same target.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    /// Which.
    pub on: MatchOn,
    /// The one that clears.
    pub cleared: bool,
    /// How far away at most.
    pub within: SignedDuration,
    /// Digest of the rest.
    pub rule: Arc<str>,
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, words, least): (_, Vec<&str>, _) = match &self.on {
            MatchOn::Anomaly { types, min_score } => {
                ("anomaly", types.iter().map(|it| it.as_str()).collect(), format!("score >= {min_score}"))
            }
            MatchOn::Rca { causes, min_probability } => {
                ("rca", causes.iter().map(|it| &**it).collect(), format!("probability >= {min_probability}"))
            }
        };
        let words = if words.is_empty() { String::new() } else { format!(" [{}]", words.join(", ")) };
        let how = if self.cleared { ", clearing".to_owned() } else { format!(", {least}") };
        write!(f, "{kind}{words}{how}, within {:#}", self.within)
    }
}

impl Beside {
    /// What a signal is about, if it is one of these.
    fn about<'a>(&self, signal: &'a Signal) -> Option<&'a Workload> {
        match (&self.on, &signal.kind) {
            (MatchOn::Anomaly { types, .. }, SignalKind::Anomaly(it)) if self.cleared => {
                (!it.is_anomaly && (types.is_empty() || types.contains(&it.kind))).then_some(&signal.subject)
            }
            _ => self.on.cause(signal).map(|cause| cause.map_or(&signal.subject, |it| &it.target)),
        }
    }
}

impl Correlation {
    /// What it looks for besides the signals that it is about.
    pub(super) fn beside(&self) -> impl Iterator<Item = (Part, &Beside)> {
        let all = self.all.iter().zip(0..).map(|(it, n)| (Part::Beside(n), it));
        all.chain(self.absent.iter().map(|it| (Part::Absent, it)))
    }

    /// Whether what is remembered, and the signal itself, is all that is asked for. An absence is waited for afterwards.
    pub fn holds(&self, policy: &Policy, target: &Workload, signal: &Signal, history: &History) -> bool {
        let seen = |part, rule: &Arc<str>| {
            let (policy, rule) = (policy.name.clone(), rule.clone());
            history.sightings(&Sought { policy, part, rule, target: target.clone() })
        };
        let counted = || seen(Part::Itself, &self.counted);
        let often = self.occurrences.is_none_or(|it| counted().reach(signal, it.count as usize, it.within));
        let beside = |(n, it): (u8, &Beside)| seen(Part::Beside(n), &it.rule).any_near(signal, it.within);
        often && (0..).zip(&self.all).all(beside)
    }

    /// What it asks for, in words.
    pub fn words(&self) -> Vec<String> {
        let often = self.occurrences.map(|it| format!("{} of them within {:#}", it.count, it.within));
        let beside = self.all.iter().map(|it| format!("beside it {it}"));
        let absent = self.absent.as_ref().map(|it| format!("and then no {it}"));
        often.into_iter().chain(beside).chain(absent).collect()
    }

    /// How long a request waits to see whether what has to be absent is.
    pub fn hold(&self, signal: &Signal) -> Option<Hold> {
        let within = self.absent.as_ref()?.within;
        let since = signal.observed_at;
        Some(Hold { since, until: since.saturating_add(within).unwrap_or(Timestamp::MAX) })
    }
}

impl Policy {
    /// What a signal that matches it is to its count of occurrences.
    pub(crate) fn occurrence(&self, target: &Workload, signal: &Signal) -> Option<Sighted> {
        let correlation = self.matches.correlation.as_ref()?;
        let Occurrences { count, within } = correlation.occurrences?;
        Some(self.sighted((Part::Itself, &correlation.counted), target.clone(), signal, (count, within)))
    }

    /// What a signal is to one of those that it looks for besides.
    pub(super) fn sees(&self, part: Part, beside: &Beside, signal: &Signal) -> Option<Sighted> {
        let target = self.acts_on(beside.about(signal)?)?;
        // The newest, and one more: the newest may be the very signal that asks.
        let keep = if part == Part::Absent { 1 } else { 2 };
        Some(self.sighted((part, &beside.rule), target, signal, (keep, beside.within)))
    }

    fn sighted(
        &self,
        (part, rule): (Part, &Arc<str>),
        target: Workload,
        signal: &Signal,
        (keep, within): (u32, SignedDuration),
    ) -> Sighted {
        let sought = Sought { policy: self.name.clone(), part, rule: rule.clone(), target };
        Sighted { sought, signal: signal.id.clone(), observed_at: signal.observed_at, keep, within }
    }
}
