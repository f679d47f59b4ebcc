//! A rollout's numbers: complete by kubectl's rules, in progress by the contract's, or neither.

use flyball_core::facts::Rollout;
use flyball_core::workload::WorkloadKind::{self, DaemonSet, Deployment, StatefulSet};

use crate::build::rollout;

/// `desired total updated ready available`.
fn check(kind: WorkloadKind, numbers: [i32; 5], change: impl FnOnce(&mut Rollout), expected: &str) {
    let mut it = rollout(kind);
    [it.desired, it.total, it.updated, it.ready, it.available] = numbers;
    change(&mut it);
    let told = match (it.complete(), it.in_progress()) {
        (true, false) => "complete",
        (false, true) => "in progress",
        (false, false) => "neither",
        (true, true) => "both",
    };
    assert_eq!(told, expected, "{it:?}");
}

fn as_is(_: &mut Rollout) {}

#[test]
fn a_generation_that_nobody_has_looked_at_is_in_progress() {
    for kind in WorkloadKind::ALL {
        check(kind, [3, 3, 3, 3, 3], |it| it.generation = 2, "in progress");
        check(kind, [3, 3, 3, 3, 3], as_is, "complete");
        check(kind, [0, 0, 0, 0, 0], as_is, "complete");
    }
}

#[test]
fn deployments() {
    check(Deployment, [3, 4, 1, 3, 3], as_is, "in progress");
    check(Deployment, [3, 4, 3, 4, 3], as_is, "in progress");
    check(Deployment, [3, 4, 1, 3, 3], |it| it.deadline_exceeded = true, "neither");
    // Crash-looping, with the new template everywhere: broken, not rolling.
    check(Deployment, [3, 3, 3, 0, 0], as_is, "neither");
    // Crash-looping halfway, not yet given up.
    check(Deployment, [3, 4, 1, 2, 2], as_is, "in progress");
    // Scaled up: the new pods come, or a quota holds them back for ever. No deadline counts for either.
    check(Deployment, [5, 5, 5, 3, 3], as_is, "neither");
    check(Deployment, [5, 3, 3, 3, 3], as_is, "neither");
    // `Recreate` between the last old and the first new pod.
    check(Deployment, [3, 0, 0, 0, 0], as_is, "in progress");
    // Scaled down, the surplus not yet gone: kubectl calls it complete.
    check(Deployment, [3, 5, 5, 5, 5], as_is, "complete");
}

#[test]
fn stateful_sets() {
    check(StatefulSet, [3, 3, 1, 3, 3], as_is, "in progress");
    check(StatefulSet, [3, 3, 1, 2, 2], as_is, "in progress");
    check(StatefulSet, [3, 3, 3, 2, 2], as_is, "neither");
    let partition = |it: &mut Rollout| it.partition = 2;
    check(StatefulSet, [3, 3, 1, 3, 3], partition, "complete");
    check(StatefulSet, [3, 3, 0, 3, 3], partition, "in progress");
    check(StatefulSet, [3, 3, 1, 2, 2], partition, "neither");
    let on_delete = |it: &mut Rollout| it.on_delete = true;
    check(StatefulSet, [3, 3, 0, 3, 3], on_delete, "complete");
    check(StatefulSet, [3, 3, 0, 2, 2], on_delete, "neither");
}

#[test]
fn daemon_sets() {
    // Many at once may be down while they are replaced.
    check(DaemonSet, [10, 10, 6, 2, 2], as_is, "in progress");
    check(DaemonSet, [10, 10, 10, 9, 9], as_is, "neither");
    check(DaemonSet, [10, 10, 6, 10, 10], as_is, "in progress");
    let on_delete = |it: &mut Rollout| it.on_delete = true;
    check(DaemonSet, [10, 10, 0, 10, 10], on_delete, "complete");
    check(DaemonSet, [10, 10, 0, 9, 9], on_delete, "neither");
}
