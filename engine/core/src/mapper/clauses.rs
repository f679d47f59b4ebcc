//! Why a policy matches a signal or does not, clause by clause: for people, not for the way of a signal.

use std::sync::Arc;

use jiff::Timestamp;

use crate::expr::{Facts, TargetView};
use crate::limits::glob;
use crate::policy::{Correlation, MatchOn, Policy};
use crate::signal::{Signal, SignalKind};
use crate::workload::Workload;

/// One clause of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// What the policy asks for.
    pub asks: String,
    /// What the signal, or its target, says.
    pub found: String,
    /// Whether that is enough.
    pub holds: bool,
}

impl Clause {
    fn new(asks: String, found: impl Into<String>, holds: bool) -> Self {
        Self { asks, found: found.into(), holds }
    }
}

/// Every clause of a policy's match. All are asked, also after one that does not hold; only `when` needs a target to ask about.
pub fn clauses(
    policy: &Policy,
    signal: &Signal,
    view: impl Fn(&Workload) -> Option<TargetView>,
    now: Timestamp,
) -> Vec<Clause> {
    let mut all = about(&policy.matches.on, signal);
    let cause = policy.matches.on.cause(signal);
    let mut target = cause.flatten().map_or(&signal.subject, |it| &it.target).clone();
    target.kind = policy.target_kind.unwrap_or(target.kind);
    for (what, patterns, name) in [
        ("namespace", &policy.matches.namespaces, &target.namespace),
        ("service", &policy.matches.services, &target.name),
    ] {
        if !patterns.is_empty() {
            let holds = patterns.iter().any(|it| glob(it, name));
            all.push(Clause::new(format!("{what} in {}", list(patterns)), &**name, holds));
        }
    }
    if let Some(correlation) = &policy.matches.correlation {
        all.extend(correlated(correlation));
    }
    if let Some(when) = &policy.matches.when {
        let seen = view(&target);
        let facts = Facts { signal, cause: cause.flatten(), target: seen.as_ref(), now };
        let (found, holds) = match when.holds(&facts) {
            Ok(holds) => (holds.to_string(), holds),
            Err(why) => (format!("could not be evaluated: {why}"), false),
        };
        all.push(Clause::new(format!("when {}", when.text()), found, holds));
    }
    all
}

/// What is asked of other signals: one alone cannot answer it.
fn correlated(it: &Correlation) -> Vec<Clause> {
    let mut all: Vec<Clause> = it.words().into_iter().map(|it| Clause::new(it, "one signal alone", false)).collect();
    // The last, where there is one: the action would wait for it.
    if let Some(absent) = all.last_mut().filter(|_| it.absent.is_some()) {
        (absent.found, absent.holds) = ("it would be waited for".to_owned(), true);
    }
    all
}

fn about(on: &MatchOn, signal: &Signal) -> Vec<Clause> {
    let (asked, kind) = match on {
        MatchOn::Anomaly { .. } => ("anomaly", signal.kind.as_str()),
        MatchOn::Rca { .. } => ("rca", signal.kind.as_str()),
    };
    let mut all = vec![Clause::new(format!("signal is an {asked}"), kind, asked == kind)];
    match (on, &signal.kind) {
        (MatchOn::Anomaly { types, min_score }, SignalKind::Anomaly(it)) => {
            all.push(Clause::new("it is one, and no clearing".to_owned(), it.is_anomaly.to_string(), it.is_anomaly));
            if !types.is_empty() {
                let words: Vec<&str> = types.iter().map(|it| it.as_str()).collect();
                all.push(Clause::new(
                    format!("type in [{}]", words.join(", ")),
                    it.kind.as_str(),
                    types.contains(&it.kind),
                ));
            }
            all.push(Clause::new(format!("score >= {min_score}"), it.score.to_string(), it.score >= *min_score));
        }
        (MatchOn::Rca { causes, min_probability }, SignalKind::Rca(it)) => {
            let told: Vec<String> =
                it.causes.iter().map(|it| format!("{} {} ({})", it.target.name, it.cause, it.probability)).collect();
            let asks = match causes.as_slice() {
                [] => format!("any cause, probability >= {min_probability}"),
                some => format!("cause in {}, probability >= {min_probability}", list(some)),
            };
            let found = if told.is_empty() { "no causes".to_owned() } else { told.join(", ") };
            all.push(Clause::new(asks, found, on.cause(signal).is_some()));
        }
        _ => {}
    }
    all
}

fn list(words: &[Arc<str>]) -> String {
    format!("[{}]", words.iter().map(|it| &**it).collect::<Vec<_>>().join(", "))
}
