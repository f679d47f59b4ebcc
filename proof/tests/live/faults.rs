//! The engine is stopped in mid-flow. What dies is in the fault matrix: `faults.rs`.

use std::time::Duration;

use flyball_devcluster::{Pods, Workload};

use flyball_proof::rig::{Rig, outcome, policy};

const RESTART: &str = "{signal: rca, causes: [memory_leak]}";

fn slow_deployment(rig: &Rig, name: &str) -> flyball_core::workload::Workload {
    let workload = Workload::new(&rig.namespace, name).replicas(1).pods(Pods::Slow(Duration::from_secs(2)));
    rig.deployment(&workload, name)
}

#[test]
fn a_stop_in_mid_verification_is_taken_up_without_a_second_patch() {
    let mut rig = Rig::new("sigterm");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "").replace("stableFor: 500ms", "stableFor: 3s"))
        .start();
    let cart = slow_deployment(&rig, "cart");
    rig.rca("cart", "w1", "memory_leak");
    rig.eventually("it is sent", || {
        anyhow::ensure!(rig.effects(&cart).len() == 1, "not yet");
        Ok(())
    });
    rig.terminate();
    let before = rig.history().intents().next().map(|it| (it.id(), it.is_open())).expect("an intent");
    assert!(before.1, "it is still open");
    rig.start();
    let ended = rig.ended(&cart, 1);
    assert_eq!(ended[0].id(), before.0);
    assert!(outcome(&ended[0]).is_success());
    assert_eq!(rig.effects(&cart).len(), 1);
}
