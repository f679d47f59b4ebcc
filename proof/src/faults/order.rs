//! Row 22: firing and clearing in any order. What is done, and what is made of it, does not depend on the order in which it
//! was said, but on the times that it bears.

use std::collections::BTreeMap;

use anyhow::ensure;
use flyball_core::intent::Event;
use flyball_core::outcome::Outcome;
use flyball_core::workload::{Workload as Target, WorkloadKind};
use flyball_devcluster::{Pods, Workload, workloads};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::bed::{accounted, effects, lawful, prepared};
use super::{Row, quick};
use crate::random::Random;
use crate::rig::{Rig, SOON, anomaly, outcome, policy};

pub(super) const ROWS: &[Row] = &[quick(
    22,
    "reordered-firing-and-clearing",
    "in every order one effect for each target; recovered where the newest says that it is gone, else not recovered",
    reordered,
)];

/// Orders, each on a target of its own. What is newest clears in the even ones and fires in the odd ones.
const SEEDS: u64 = 12;
/// Firings in a burst, and as many clearings.
const WINDOWS: i64 = 6;

/// Two bursts for each target, both in an order of its own, interleaved with those of the others: one that leads to the effect,
/// and one that comes while it is verified.
fn reordered() {
    let mut rig = prepared(Rig::new("f22"));
    // The second burst is read long before a verdict is due.
    let text = policy("scale", "{signal: anomaly, types: [resource]}", "{scale: {by: 1}}", "")
        .replace("stableFor: 500ms", "stableFor: 4s, recovered: {by: clear, within: 5s}, onFailure: none");
    rig.policy("p.yaml", &text).start();
    let targets = healthy(&rig);
    let past = Timestamp::now() - SignedDuration::from_secs(30);
    let mut sequences = publish(&rig, &targets, past, 0);
    rig.eventually("every target to be acted on", || {
        let history = rig.history();
        let landed = history.intents().filter(|it| it.events().iter().any(|(_, it)| matches!(it, Event::Applied(_))));
        let count = landed.count();
        ensure!(count == targets.len(), "{count}");
        Ok(())
    });
    sequences.extend(publish(&rig, &targets, Timestamp::now(), 100));
    let mut ends = BTreeMap::new();
    for (seed, target) in (0..).zip(&targets) {
        let ended = rig.ended(target, 1);
        assert_eq!((ended.len(), effects(&rig, target)), (1, 1), "intents and effects on {target}");
        assert_eq!(rig.object(target)["spec"]["replicas"], 2, "{target}");
        ends.insert(seed, outcome(&ended[0]));
    }
    let wanted = |seed: &u64| if is_cleared(*seed) { Outcome::Recovered } else { Outcome::NotRecovered };
    assert!(ends.iter().all(|(seed, end)| *end == wanted(seed)), "by order: {ends:?}");
    lawful(&rig);
    accounted(&rig, &sequences);
}

/// Whether the newest of a burst says that it is gone.
fn is_cleared(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

fn healthy(rig: &Rig) -> Vec<Target> {
    let of = |seed: u64| Workload::new(&rig.namespace, &format!("app-{seed}")).replicas(1).pods(Pods::Ready);
    for seed in 0..SEEDS {
        rig.cluster.api().create(&of(seed).deployment()).expect("created");
    }
    let ready = |seed| {
        workloads::wait_ready(rig.cluster.api(), &of(seed).path("deployments"), SOON).expect("it becomes ready");
        Target::new(WorkloadKind::Deployment, &rig.namespace, &format!("app-{seed}"))
    };
    (0..SEEDS).map(ready).collect()
}

/// A burst for each target: windows from `first` on, each fires and clears. All times differ, and what is newest clears or
/// fires.
fn publish(rig: &Rig, targets: &[Target], from: Timestamp, first: i64) -> Vec<u64> {
    let mut bursts: Vec<Vec<Value>> = (0..)
        .zip(targets)
        .map(|(seed, target)| {
            let mut random = Random::new(seed);
            let mut burst: Vec<Value> = (0..2 * WINDOWS)
                .map(|step| {
                    let fires = (step % 2 == 0) == is_cleared(seed);
                    let at = (from + SignedDuration::from_millis(100 * (step + 1))).to_string();
                    let mut body = anomaly(&target.name, &format!("w{}", first + step / 2), "resource");
                    (body["isAnomaly"], body["tsRange"]) = (fires.into(), json!([at, at]));
                    body
                })
                .collect();
            shuffle(&mut burst, &mut random);
            burst
        })
        .collect();
    let mut sequences = Vec::new();
    rig.runtime.block_on(async {
        let context = rig.jetstream().await;
        let subject = format!("flyball.signal.v1.anomaly.{}.{}", rig.name, rig.namespace);
        while bursts.iter().any(|it| !it.is_empty()) {
            for body in bursts.iter_mut().filter_map(Vec::pop) {
                let sent = context.publish(subject.clone(), body.to_string().into()).await.expect("published");
                sequences.push(sent.await.expect("stored").sequence);
            }
        }
    });
    sequences
}

fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for place in (1..all.len()).rev() {
        let other = usize::try_from(random.below(place as u64 + 1)).expect("it is small");
        all.swap(place, other);
    }
}
