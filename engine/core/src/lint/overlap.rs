//! Which policies are about the same signals.

use std::sync::Arc;

use super::{Finding, Severity};
use crate::action::{Action, Scale};
use crate::limits::glob;
use crate::policy::{Match, MatchOn, Mode, Policy};

/// Policies that one before them hides, wholly or perhaps. A policy is told of once.
pub(super) fn hidden(policies: &[&Policy]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, policy) in policies.iter().enumerate().filter(|(_, it)| it.mode == Mode::Enforce) {
        let before = || policies[..at].iter().filter(|it| it.mode == Mode::Enforce);
        if let Some(first) = before().find(|it| covers(it, policy)) {
            let message = format!("{} is asked before and matches everything that this one matches", first.name);
            let hint = "give this one a higher `priority`, or narrow the other";
            found.push(Finding::new("unreachable", Severity::Error, policy, message, hint));
        } else if let Some(first) = before().find(|it| meets(&it.matches, &policy.matches)) {
            let message = format!("{} may match the same signals and is asked before", first.name);
            let hint = "the one of higher `priority` acts: check that it is the one you mean";
            found.push(Finding::new("shadowed", Severity::Note, policy, message, hint));
        }
    }
    found
}

/// Pairs of policies that undo each other where both are about the same workloads.
pub(super) fn opposites(policies: &[&Policy]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, other) in policies.iter().enumerate() {
        for one in &policies[..at] {
            let targets = |a: &[Arc<str>], b: &[Arc<str>]| patterns_meet(a, b);
            let same = targets(&one.matches.namespaces, &other.matches.namespaces)
                && targets(&one.matches.services, &other.matches.services);
            let pairs = || one.actions().flat_map(|a| other.actions().map(move |b| (a, b)));
            if let Some((a, b)) = pairs().find(|(a, b)| same && undo_each_other(a, b)) {
                let message = format!("`{a}` here, and `{b}` by {}, on the same workloads", other.name);
                let hint = "a cooldown longer than both verifications keeps them from swinging; better: one policy with bounds";
                found.push(Finding::new("opposite", Severity::Warning, one, message, hint));
            }
        }
    }
    found
}

fn undo_each_other(one: &Action, other: &Action) -> bool {
    match (one, other) {
        (Action::Scale(Scale::By(a)), Action::Scale(Scale::By(b))) => a.signum() != b.signum(),
        (Action::Scale(Scale::To(a)), Action::Scale(Scale::To(b))) => a != b,
        (Action::Patch(_), Action::Rollback { .. }) | (Action::Rollback { .. }, Action::Patch(_)) => true,
        _ => false,
    }
}

/// Whether everything that `policy` matches is matched by `first`, as far as that can be told: a condition may keep it from matching.
fn covers(first: &Policy, policy: &Policy) -> bool {
    let (a, b) = (&first.matches, &policy.matches);
    let same_condition =
        (a.when.is_none() || a.when == b.when) && (a.correlation.is_none() || a.correlation == b.correlation);
    // Which cause it is about differs by the causes that a policy names, and with it the target.
    let on = match (&a.on, &b.on) {
        (MatchOn::Anomaly { types, min_score }, MatchOn::Anomaly { types: others, min_score: other }) => {
            min_score <= other && (types.is_empty() || !others.is_empty() && others.iter().all(|it| types.contains(it)))
        }
        (MatchOn::Rca { causes, min_probability }, MatchOn::Rca { causes: others, min_probability: other }) => {
            min_probability <= other
                && (causes == others || !others.is_empty() && others.iter().all(|it| causes.contains(it)))
        }
        _ => false,
    };
    let wider = |a: &[Arc<str>], b: &[Arc<str>]| {
        a.is_empty()
            || !b.is_empty() && b.iter().all(|narrow| a.iter().any(|wide| wide == narrow || glob(wide, narrow)))
    };
    on && same_condition && wider(&a.namespaces, &b.namespaces) && wider(&a.services, &b.services)
}

/// Whether some signal may match both.
fn meets(a: &Match, b: &Match) -> bool {
    let on = match (&a.on, &b.on) {
        (MatchOn::Anomaly { types, .. }, MatchOn::Anomaly { types: others, .. }) => {
            types.is_empty() || others.is_empty() || types.iter().any(|it| others.contains(it))
        }
        (MatchOn::Rca { causes, .. }, MatchOn::Rca { causes: others, .. }) => {
            causes.is_empty() || others.is_empty() || causes.iter().any(|it| others.contains(it))
        }
        _ => false,
    };
    on && patterns_meet(&a.namespaces, &b.namespaces) && patterns_meet(&a.services, &b.services)
}

/// Whether some name may fit a pattern of each list. Two patterns with `*` are taken to meet.
fn patterns_meet(a: &[Arc<str>], b: &[Arc<str>]) -> bool {
    let meet = |a: &str, b: &str| match (a.contains('*'), b.contains('*')) {
        (true, true) => true,
        (true, false) => glob(a, b),
        (false, true) => glob(b, a),
        (false, false) => a == b,
    };
    a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| meet(a, b)))
}
