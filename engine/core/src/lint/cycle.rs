//! Policies that feed each other: the action of one raises the signal that the next acts on, and so on back to the first.

use super::{Finding, Severity};
use crate::policy::{MatchOn, Policy, Raised};

/// Each cycle once, told of its first policy.
pub(super) fn cycles(policies: &[&Policy]) -> Vec<Finding> {
    let next: Vec<Vec<usize>> = policies
        .iter()
        .map(|from| (0..policies.len()).filter(|to| from.raises.iter().any(|it| about(it, policies[*to]))).collect())
        .collect();
    let mut found = Vec::new();
    for start in 0..policies.len() {
        if let Some(path) = back_to(start, &next) {
            let names: Vec<&str> = path.iter().chain([&start]).map(|it| &*policies[*it].name).collect();
            let message = format!("its action raises what it acts on: {}", names.join(" -> "));
            let hint = "break the cycle with a condition, or a cooldown longer than the raised signal lasts";
            found.push(Finding::new("cycle", Severity::Warning, policies[start], message, hint));
        }
    }
    found
}

/// The shortest way from `start` back to itself over places not before it, so that a cycle is found from its first place only.
fn back_to(start: usize, next: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut came_from: Vec<Option<usize>> = vec![None; next.len()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &to in next[at].iter().filter(|to| **to >= start) {
            if to == start {
                let mut path = vec![at];
                while let Some(before) = came_from[*path.last()?] {
                    path.push(before);
                }
                path.reverse();
                return Some(path);
            }
            if came_from[to].is_none() {
                came_from[to] = Some(at);
                queue.push_back(to);
            }
        }
    }
    None
}

fn about(raised: &Raised, policy: &Policy) -> bool {
    match (raised, &policy.matches.on) {
        (Raised::Anomaly(kind), MatchOn::Anomaly { types, .. }) => types.is_empty() || types.contains(kind),
        (Raised::Rca(cause), MatchOn::Rca { causes, .. }) => causes.is_empty() || causes.contains(cause),
        _ => false,
    }
}
