//! Rows 27 to 29: the API server and etcd die, or stand still.

use std::time::{Duration, Instant};

use anyhow::ensure;
use flyball_core::facts::STAMP_INTENT;
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Answer, Cluster, Part};

use super::bed::{RESTART, effects, leak, mortal, patiently, prepared, slow_ones};
use super::{Row, quick, slow};
use crate::judge::Evidence;
use crate::rig::{Rig, WIDE, outcome, policy, shared_nats};

pub(super) const ROWS: &[Row] = &[
    quick(27, "api-server-killed-in-mid-flow", "read back when it is there again; one effect each", killed),
    slow(28, "api-server-stopped-12-s", "the send is unknown, and settled by reading; one effect each", || {
        stopped(Part::ApiServer, 12);
    }),
    slow(28, "api-server-stopped-60-s", "the send is unknown, and settled by reading; one effect each", || {
        stopped(Part::ApiServer, 60);
    }),
    slow(29, "etcd-stopped-12-s", "an unanswered write is read back; one effect each", || stopped(Part::Etcd, 12)),
    slow(29, "etcd-stopped-45-s", "the API server gives up first; one effect each", || stopped(Part::Etcd, 45)),
    quick(29, "etcd-killed", "one effect each", etcd_killed),
];

fn on(row: &str, cluster: &'static Cluster) -> Rig {
    let mut rig = prepared(Rig::on(row, cluster, &shared_nats().url()));
    rig.start();
    rig
}

fn settle(rig: &Rig, targets: &[Target]) {
    patiently(rig, "all intents to end", || {
        let history = rig.history();
        ensure!(history.intents().count() == targets.len() && history.open().count() == 0, "not yet");
        Ok(())
    });
    let stamp = |it: &Target| rig.object(it)["metadata"]["annotations"][STAMP_INTENT].as_str()?.parse().ok();
    let evidence = Evidence::of(rig, &[], &[]).expect("the audit log and the ledger");
    // A server that gave a request up may have carried it out: what it did tells, and not what it said.
    let found = Evidence { stamped: targets.iter().filter_map(stamp).collect(), ..evidence }.judge_at_rest();
    assert!(found.is_empty(), "{found:#?}");
    for target in targets {
        let ended = rig.ended(target, 1);
        assert_eq!(ended.len(), 1, "one intent on {target}");
        assert!(outcome(&ended[0]).is_success(), "{target}: {:?}", ended[0].stage());
        assert_eq!(templates(rig, target), 2, "the template before, and the one of a single effect, of {target}");
        assert!(effects(rig, target) <= 1, "effects on {target}");
    }
}

/// How many templates the target has had: each of its own has a ReplicaSet.
fn templates(rig: &Rig, target: &Target) -> usize {
    let path = format!("/apis/apps/v1/namespaces/{}/replicasets?labelSelector=app%3D{}", target.namespace, target.name);
    let found = rig.cluster.api().get(&path).and_then(Answer::ok).expect("its ReplicaSets");
    found["items"].as_array().map_or(0, Vec::len)
}

fn first_effect(rig: &Rig, targets: &[Target]) {
    rig.eventually("the first effect", || {
        ensure!(targets.iter().any(|it| !rig.effects(it).is_empty()), "not yet");
        Ok(())
    });
}

fn killed() {
    let (cluster, _turn) = mortal();
    let rig = on("f27", cluster);
    let targets = slow_ones(&rig, 4);
    rig.rca("app-0", "w1", "memory_leak");
    rig.rca("app-1", "w1", "memory_leak");
    first_effect(&rig, &targets);
    cluster.kill(Part::ApiServer).expect("killed");
    rig.rca("app-2", "w1", "memory_leak");
    rig.rca("app-3", "w1", "memory_leak");
    cluster.restart(Part::ApiServer).expect("restarted");
    settle(&rig, &targets);
}

/// A part stands still while some intents roll out and others are about to be sent. What it was given meanwhile it may
/// carry out when it goes on.
fn stopped(part: Part, seconds: u64) {
    let (cluster, _turn) = mortal();
    let mut rig = Rig::on(&format!("f28-{seconds}"), cluster, &shared_nats().url());
    // No rollout goes on while its API server stands still: who gives it less time than that is told that it timed out.
    let text = policy("restart", RESTART, "{restart: {}}", "").replace("timeout: 40s", "timeout: 3m");
    rig.policy("p.yaml", &text).policy("g.yaml", WIDE).start();
    let targets = slow_ones(&rig, 4);
    rig.rca("app-0", "w1", "memory_leak");
    rig.rca("app-1", "w1", "memory_leak");
    first_effect(&rig, &targets);
    rig.rca("app-2", "w1", "memory_leak");
    cluster.stop(part).expect("stopped");
    let start = Instant::now();
    rig.rca("app-3", "w1", "memory_leak");
    // How long it stands still is what this row is about.
    std::thread::sleep(Duration::from_secs(seconds).saturating_sub(start.elapsed()));
    cluster.cont(part).expect("it goes on");
    settle(&rig, &targets);
}

fn etcd_killed() {
    let (cluster, _turn) = mortal();
    let rig = on("f29", cluster);
    let targets = slow_ones(&rig, 4);
    leak(&rig, &targets[..2]);
    first_effect(&rig, &targets);
    cluster.kill(Part::Etcd).expect("killed");
    leak(&rig, &targets[2..]);
    cluster.restart(Part::Etcd).expect("restarted");
    settle(&rig, &targets);
}
