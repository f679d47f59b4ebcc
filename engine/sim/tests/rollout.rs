//! What becomes of the pods.

mod common;

use common::{act, applied, block_on, millis, rollout, secs, shown, snapshot, world};
use flyball_core::action::{Action, Scale};
use flyball_core::ports::Cluster;
use flyball_core::workload::WorkloadKind;
use flyball_sim::Manifest;
use serde_json::json;

#[test]
fn a_rollout_replaces_one_pod_after_the_other() {
    let (world, clock) = world(1);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    let before = cluster.pods(cart.target());
    assert_eq!(shown(cluster, cart.target()), "3/3 updated, 3 available, 3 in all, complete");

    let receipt = applied(act(cluster, cart.target(), Action::Restart, "s1").1);
    assert_eq!(receipt.generation, 2);
    assert_eq!(shown(cluster, cart.target()), "3/3 updated, 3 available, 3 in all, not observed");
    clock.advance(millis(10));
    assert_eq!(shown(cluster, cart.target()), "1/3 updated, 3 available, 4 in all");
    clock.advance(millis(700));
    assert!(!rollout(cluster, cart.target()).complete(), "no rollout takes less than 0.8 s");
    clock.advance(millis(1_900));
    assert_eq!(shown(cluster, cart.target()), "3/3 updated, 3 available, 3 in all, complete");
    let after = cluster.pods(cart.target());
    assert!(before.iter().all(|pod| !after.contains(pod)));
}

#[test]
fn never_too_few_pods_are_available_while_a_deployment_rolls() {
    for seed in 0..20 {
        let (world, clock) = world(seed);
        let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart").replicas(5));
        cluster.put(&cart);
        applied(act(cluster, cart.target(), Action::Restart, "s1").1);
        for _ in 0..60 {
            clock.advance(millis(50));
            let seen = rollout(cluster, cart.target());
            assert!(seen.available >= 5 && seen.total <= 6, "{seen:?}");
        }
        assert!(rollout(cluster, cart.target()).complete());
    }
}

#[test]
fn a_bad_image_stops_at_its_first_pod_and_going_back_heals() {
    for kind in WorkloadKind::ALL {
        let (world, clock) = world(2);
        let target = flyball_core::workload::Workload::new(kind, "shop", "cart");
        let cluster = &world.cluster;
        cluster.put(&Manifest::new(&target).image("cart:1"));
        let image = |tag: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "cart", "image": format!("cart:{tag}")}]}}}});
        assert!(cluster.edit(&target, &image("2-bad")));
        clock.advance(secs(60));
        let stuck = match kind {
            WorkloadKind::Deployment => "1/3 updated, 3 available, 4 in all",
            _ => "1/3 updated, 2 available, 3 in all",
        };
        assert_eq!(shown(cluster, &target), stuck, "{kind}");
        clock.advance(secs(600));
        let expected = if kind == WorkloadKind::Deployment { ", deadline exceeded" } else { "" };
        assert_eq!(shown(cluster, &target), format!("{stuck}{expected}"), "{kind}");

        let (_, execution) = act(cluster, &target, Action::Rollback { revision: None }, "s1");
        applied(execution);
        clock.advance(secs(3));
        assert_eq!(shown(cluster, &target), "3/3 updated, 3 available, 3 in all, complete", "{kind}");
        let spec = snapshot(cluster, &common::request(&target, Action::Restart, "s2")).spec;
        assert_eq!(spec["template"]["spec"]["containers"][0]["image"], "cart:1");
    }
}

#[test]
fn a_template_decides_how_its_pods_start() {
    for (fate, after_three_seconds, after_a_minute) in [
        ("hang", "1/2 updated, 2 available, 3 in all", "1/2 updated, 2 available, 3 in all"),
        ("crash", "1/2 updated, 2 available, 3 in all", "1/2 updated, 2 available, 3 in all"),
        ("slow", "1/2 updated, 2 available, 3 in all", "2/2 updated, 2 available, 2 in all, complete"),
    ] {
        let (world, clock) = world(3);
        let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart").replicas(2));
        cluster.put(&cart);
        cluster.edit(
            cart.target(),
            &json!({"spec": {"template": {"metadata": {"annotations": {"sim.flyball.dev/rollout": fate}}}}}),
        );
        clock.advance(secs(3));
        assert_eq!(shown(cluster, cart.target()), after_three_seconds, "{fate}");
        clock.advance(secs(60));
        assert_eq!(shown(cluster, cart.target()), after_a_minute, "{fate}");
    }
}

#[test]
fn a_paused_deployment_does_not_roll() {
    let (world, clock) = world(4);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart").spec(&json!({"paused": true})));
    cluster.put(&cart);
    clock.advance(secs(5));
    applied(act(cluster, cart.target(), Action::Restart, "s1").1);
    clock.advance(secs(5));
    assert_eq!(rollout(cluster, cart.target()).updated, 0);
    cluster.edit(cart.target(), &json!({"spec": {"paused": null}}));
    clock.advance(secs(5));
    assert!(rollout(cluster, cart.target()).complete());
}

#[test]
fn scaling_adds_and_removes_pods() {
    for kind in [WorkloadKind::Deployment, WorkloadKind::StatefulSet] {
        let (world, clock) = world(5);
        let target = flyball_core::workload::Workload::new(kind, "shop", "cart");
        let cluster = &world.cluster;
        cluster.put(&Manifest::new(&target));
        applied(act(cluster, &target, Action::Scale(Scale::To(5)), "s1").1);
        clock.advance(millis(20));
        assert_eq!(shown(cluster, &target).split(',').nth(1), Some(" 3 available"));
        clock.advance(secs(3));
        assert_eq!(shown(cluster, &target), "5/5 updated, 5 available, 5 in all, complete");
        applied(act(cluster, &target, Action::Scale(Scale::To(1)), "s2").1);
        clock.advance(millis(20));
        assert_eq!(shown(cluster, &target), "1/1 updated, 1 available, 1 in all, complete");
    }
}

#[test]
fn crashed_pods_make_an_unhealthy_neighbour_and_a_restart_heals_them() {
    let (world, clock) = world(6);
    let cluster = &world.cluster;
    let (cart, pay) = (Manifest::deployment("shop", "cart"), Manifest::stateful_set("shop", "pay"));
    cluster.put(&cart);
    cluster.put(&pay);
    cluster.put(&Manifest::deployment("shop", "idle").replicas(0));
    cluster.put(&Manifest::deployment("other", "cart"));
    cluster.crash(pay.target());
    let seen = snapshot(cluster, &common::request(cart.target(), Action::Restart, "s1")).neighbours;
    assert_eq!((seen.total, seen.unhealthy.iter().collect::<Vec<_>>()), (2, vec![pay.target()]));
    applied(act(cluster, pay.target(), Action::Restart, "s2").1);
    clock.advance(secs(3));
    let seen = snapshot(cluster, &common::request(cart.target(), Action::Restart, "s1")).neighbours;
    assert!(seen.unhealthy.is_empty());
}

#[test]
fn changed_returns_when_something_happens_and_not_before() {
    let (world, clock) = world(7);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    let mut quiet = cluster.changed(cart.target());
    assert!(common::poll_once(quiet.as_mut()).is_pending());
    cluster.edit(cart.target(), &json!({"metadata": {"labels": {"a": "b"}}}));
    assert!(common::poll_once(quiet.as_mut()).is_ready());

    applied(act(cluster, cart.target(), Action::Restart, "s1").1);
    let mut looks = 0;
    while !rollout(cluster, cart.target()).complete() {
        block_on(cluster.changed(cart.target()));
        looks += 1;
    }
    assert!(looks >= 4, "observed, and once for each pod");
    assert!(flyball_core::ports::Clock::monotonic(&clock) < secs(3));
}

#[test]
fn a_partition_keeps_the_pods_below_it() {
    let (world, clock) = world(8);
    let partition = json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}});
    let (cluster, db) = (&world.cluster, Manifest::stateful_set("shop", "db").spec(&partition));
    cluster.put(&db);
    applied(act(cluster, db.target(), Action::Restart, "s1").1);
    clock.advance(secs(3));
    assert_eq!(shown(cluster, db.target()), "1/3 updated, 3 available, 3 in all, complete");
}
