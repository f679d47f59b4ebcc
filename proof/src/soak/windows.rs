//! The limits of the soak, and whether the ledger kept them: asked anew of its entries, not of the engine's own windows.

use std::collections::BTreeMap;

use flyball_core::action::ActionKind;
use flyball_core::history::History;
use flyball_core::intent::{Event, Intent};
use flyball_core::record::Entry;
use flyball_core::workload::Workload;
use jiff::{SignedDuration, Timestamp};

use super::account::Findings;
use crate::rig::{Rig, policy};

/// Rest after an action.
const COOLDOWN: SignedDuration = SignedDuration::from_secs(12);
/// Actions in the cluster.
const CLUSTER: (usize, SignedDuration) = (40, SignedDuration::from_secs(10));
/// Actions of a kind on one workload.
const TARGET: (usize, SignedDuration) = (12, SignedDuration::from_mins(5));
/// Rollouts at once.
const SLOTS: u32 = 8;

/// Writes the policy files: restarts, one replica more, one replica less.
pub(super) fn install(rig: &mut Rig) {
    let limits = format!(
        "  guardrails: {{cooldown: {}s, actionBudget: {{max: {}, per: {}s}}, replicas: {{min: 1, max: 4}}, scaleUp: {{max: 1000, per: 1h}}}}\n",
        COOLDOWN.as_secs(),
        TARGET.0,
        TARGET.1.as_secs()
    );
    let of = |name: &str, on: &str, action: &str| policy(name, on, action, &limits);
    let guardrails = format!(
        "
apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  maxSignalAge: 60s
  limits:
    clusterBudget: {{max: {}, per: {}s}}
    namespaceBudget: {{max: 100000, per: 1h}}
    concurrency: {{cluster: {SLOTS}, namespace: {SLOTS}}}
    maxUnavailable: 100%
    minCooldown: 0s
    breaker: {{failures: 1000, per: 30m, probeAfter: 10m}}
",
        CLUSTER.0,
        CLUSTER.1.as_secs()
    );
    rig.policy("restart.yaml", &of("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}"))
        .policy("more.yaml", &of("more", "{signal: anomaly, types: [resource]}", "{scale: {by: 1}}"))
        .policy("less.yaml", &of("less", "{signal: anomaly, types: [other]}", "{scale: {by: -1}}"))
        .policy("guardrails.yaml", &guardrails);
}

/// G1, G2 and G3 of the ledger protocol.
pub(super) fn check(entries: &[Entry], findings: &mut Findings) {
    let mut history = History::default();
    let mut slots = 0;
    for entry in entries {
        if let Err(error) = history.apply(entry) {
            findings.violations.push(format!("entry {} is not lawful: {error}", entry.revision));
            return;
        }
        let now = history.slots(None);
        slots = slots.max(now);
        if now > SLOTS {
            findings.violations.push(format!("G3: {now} rollouts at once after entry {}", entry.revision));
        }
    }
    let first = |intent: &&Intent| intent.request().undoes().is_none();
    let intents: Vec<&Intent> = history.intents().filter(first).collect();
    let mut times: Vec<Timestamp> = intents.iter().map(|it| it.admitted_at()).collect();
    let most = within(&mut times, CLUSTER.1);
    if most > CLUSTER.0 {
        findings.violations.push(format!("G1: {most} actions in {:#}", CLUSTER.1));
    }
    let mut targets: BTreeMap<(Workload, ActionKind), Vec<&Intent>> = BTreeMap::new();
    for intent in intents {
        let request = intent.request();
        targets.entry((request.target.clone(), request.action.kind())).or_default().push(intent);
    }
    for ((target, kind), intents) in &mut targets {
        intents.sort_by_key(|it| it.admitted_at());
        let mut times: Vec<Timestamp> = intents.iter().map(|it| it.admitted_at()).collect();
        let used = within(&mut times, TARGET.1);
        if used > TARGET.0 {
            findings.violations.push(format!("G1: {used} times {kind} of {target} in {:#}", TARGET.1));
        }
        for pair in intents.windows(2) {
            let rested = ended(pair[0]).map(|end| pair[1].admitted_at().duration_since(end));
            if rested.is_none_or(|it| it < COOLDOWN) {
                findings.violations.push(format!("G2: {kind} of {target} after {rested:?}: {}", pair[1].id()));
            }
        }
    }
    findings.windows = format!("at most {most} actions in {:#}, {slots} rollouts at once", CLUSTER.1);
}

fn ended(intent: &Intent) -> Option<Timestamp> {
    intent.events().iter().find(|(_, event)| matches!(event, Event::Closed { .. })).map(|(at, _)| *at)
}

/// The most of `times` in any window of this length.
fn within(times: &mut [Timestamp], per: SignedDuration) -> usize {
    times.sort();
    let mut from = 0;
    let mut most = 0;
    for (place, at) in times.iter().enumerate() {
        while at.duration_since(times[from]) >= per {
            from += 1;
        }
        most = most.max(place + 1 - from);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_window_is_found() {
        let second = |n: i64| Timestamp::from_second(n).expect("a time");
        let mut times = [0, 1, 9, 10, 11, 30].map(second);
        // A mark that is as old as the window is long has left it.
        assert_eq!(within(&mut times, SignedDuration::from_secs(10)), 3);
        assert_eq!(within(&mut [], SignedDuration::from_secs(10)), 0);
    }
}
