//! Servers and the engine itself die in mid-flow.

use std::sync::OnceLock;
use std::time::Duration;

use flyball_devcluster::{Cluster, NatsServer, Options, Part, Pods, Workload};

use flyball_proof::rig::{Rig, WIDE, outcome, policy};

const RESTART: &str = "{signal: rca, causes: [memory_leak]}";

/// A cluster whose parts are killed: not the shared one.
fn mortal() -> &'static Cluster {
    static MORTAL: OnceLock<Cluster> = OnceLock::new();
    MORTAL.get_or_init(|| Cluster::start(&Options::default()).expect("a cluster"))
}

fn slow_deployment(rig: &Rig, name: &str) -> flyball_core::workload::Workload {
    let workload = Workload::new(&rig.namespace, name).replicas(1).pods(Pods::Slow(Duration::from_secs(2)));
    rig.deployment(&workload, name)
}

#[test]
fn a_nats_server_that_dies_in_mid_flow_loses_nothing() {
    let nats = NatsServer::start().expect("a nats-server");
    let mut rig = Rig::on("natsdown", Cluster::shared(), &nats.url());
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).policy("g.yaml", WIDE).start();
    let targets: Vec<_> = (0..3).map(|n| slow_deployment(&rig, &format!("app-{n}"))).collect();
    for target in &targets {
        rig.rca(&target.name, "w1", "memory_leak");
    }
    rig.eventually("the first effect", || {
        anyhow::ensure!(targets.iter().any(|it| !rig.effects(it).is_empty()), "not yet");
        Ok(())
    });
    nats.kill().expect("killed");
    nats.restart().expect("restarted");
    for target in &targets {
        assert!(outcome(&rig.ended(target, 1)[0]).is_success(), "{target}");
        assert_eq!(rig.effects(target).len(), 1, "{target}");
    }
}

#[test]
fn an_api_server_that_dies_in_mid_flow_loses_nothing() {
    let cluster = mortal();
    let mut rig = Rig::on("apidown", cluster, &flyball_proof::rig::shared_nats().url());
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).policy("g.yaml", WIDE).start();
    let targets: Vec<_> = (0..3).map(|n| slow_deployment(&rig, &format!("app-{n}"))).collect();
    rig.rca("app-0", "w1", "memory_leak");
    rig.eventually("the first effect", || {
        anyhow::ensure!(!rig.effects(&targets[0]).is_empty(), "not yet");
        Ok(())
    });
    cluster.kill(Part::ApiServer).expect("killed");
    rig.rca("app-1", "w1", "memory_leak");
    rig.rca("app-2", "w1", "memory_leak");
    cluster.restart(Part::ApiServer).expect("restarted");
    for target in &targets {
        assert!(outcome(&rig.ended(target, 1)[0]).is_success(), "{target}");
        assert_eq!(rig.effects(target).len(), 1, "{target}");
    }
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

#[test]
fn a_kill_right_after_the_signal_is_taken_up() {
    let mut rig = Rig::new("sigkill");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    let cart = slow_deployment(&rig, "cart");
    rig.rca("cart", "w1", "memory_leak");
    rig.eventually("it is recorded", || {
        anyhow::ensure!(rig.history().intents().count() == 1, "not yet");
        Ok(())
    });
    rig.kill();
    rig.start();
    assert!(outcome(&rig.ended(&cart, 1)[0]).is_success());
    assert_eq!(rig.effects(&cart).len(), 1);
}
