//! The limits of the soak, and whether the ledger kept them: asked anew of its entries, not of the engine's own windows.

use std::collections::BTreeMap;

use flyball_core::action::ActionKind;
use flyball_core::history::History;
use flyball_core::id::IntentId;
use flyball_core::intent::Event;
use flyball_core::record::{Entry, Record, Topic};
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
    let taken = taken(entries);
    let mut times: Vec<Timestamp> = taken.iter().map(|it| it.admitted).collect();
    let most = within(&mut times, CLUSTER.1);
    if most > CLUSTER.0 {
        findings.violations.push(format!("G1: {most} actions in {:#}", CLUSTER.1));
    }
    let mut targets: BTreeMap<(Workload, ActionKind), Vec<&Taken>> = BTreeMap::new();
    for it in &taken {
        targets.entry((it.target.clone(), it.kind)).or_default().push(it);
    }
    for ((target, kind), taken) in &mut targets {
        taken.sort_by_key(|it| it.admitted);
        let mut times: Vec<Timestamp> = taken.iter().map(|it| it.admitted).collect();
        let used = within(&mut times, TARGET.1);
        if used > TARGET.0 {
            findings.violations.push(format!("G1: {used} times {kind} of {target} in {:#}", TARGET.1));
        }
        for pair in taken.windows(2) {
            let rested = pair[0].ended.map(|end| pair[1].admitted.duration_since(end));
            if rested.is_none_or(|it| it < COOLDOWN) {
                findings.violations.push(format!("G2: {kind} of {target} after {rested:?}: {}", pair[1].id));
            }
        }
    }
    findings.windows = format!("at most {most} actions in {:#}, {slots} rollouts at once", CLUSTER.1);
}

/// What was admitted for a signal, read from the entries: a fold keeps only the newest of what is over.
struct Taken {
    id: IntentId,
    target: Workload,
    kind: ActionKind,
    admitted: Timestamp,
    ended: Option<Timestamp>,
}

fn taken(entries: &[Entry]) -> Vec<Taken> {
    let mut taken: BTreeMap<IntentId, Taken> = BTreeMap::new();
    for entry in entries {
        match (&entry.record, entry.topic) {
            (Record::Admitted(all), _) => {
                for it in all.iter().filter(|it| it.request.undoes().is_none()) {
                    let (target, kind) = (it.request.target.clone(), it.request.action.kind());
                    taken.insert(it.id, Taken { id: it.id, target, kind, admitted: entry.at, ended: None });
                }
            }
            (Record::Happened(Event::Closed { .. }), Topic::Intent(id)) => {
                if let Some(it) = taken.get_mut(&id) {
                    it.ended = Some(entry.at);
                }
            }
            _ => {}
        }
    }
    taken.into_values().collect()
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
