//! The API server's rules, as they were measured on a real one, and what may go wrong with a request.

mod common;

use common::{act, applied, attempt, block_on, millis, planned, request, secs, snapshot, world};
use flyball_core::action::{Action, Scale};
use flyball_core::deny::DenyReason;
use flyball_core::facts::{OPT_OUT, STAMP_INTENT};
use flyball_core::intent::Execution;
use flyball_core::ports::{Cluster, PortError};
use flyball_core::workload::{Workload, WorkloadKind};
use flyball_sim::{Fault, Manifest, Race, SimCluster};
use serde_json::{Value, json};

fn meta(cluster: &SimCluster, target: &Workload) -> (String, i64) {
    let object = cluster.object(target).expect("there");
    let version = object["metadata"]["resourceVersion"].as_str().expect("a text").to_owned();
    (version, object["metadata"]["generation"].as_i64().expect("a number"))
}

fn stamp(cluster: &SimCluster, target: &Workload) -> Option<String> {
    let annotations = cluster.object(target)?["metadata"]["annotations"].take();
    annotations[STAMP_INTENT].as_str().map(str::to_owned)
}

#[test]
fn of_sixty_identical_sends_one_is_accepted() {
    let (world, _) = world(1);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    let (request, change) = planned(cluster, cart.target(), Action::Restart, "s1");
    let answers: Vec<_> = (0..60).map(|_| block_on(cluster.execute(attempt(&request, &change)))).collect();
    let count = |which: fn(&Execution) -> bool| answers.iter().filter(|it| which(it)).count();
    assert_eq!(count(|it| matches!(it, Execution::Applied(_))), 1);
    assert_eq!(count(|it| matches!(it, Execution::Conflict(_))), 59);
    assert_eq!(world.effects().iter().filter(|it| it.accepted).count(), 1);
    assert_eq!(world.effects().len(), 60);
}

#[test]
fn identical_bytes_change_nothing_and_wake_nobody() {
    let (world, clock) = world(2);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    let (request, mut change) = planned(cluster, cart.target(), Action::Restart, "s1");
    applied(block_on(cluster.execute(attempt(&request, &change))));
    clock.advance(secs(5));
    let before = meta(cluster, cart.target());
    let mut changed = cluster.changed(cart.target());
    change.resource_version = before.0.as_str().into();
    let receipt = applied(block_on(cluster.execute(attempt(&request, &change))));
    assert_eq!((receipt.resource_version.to_string(), receipt.generation), before);
    assert_eq!(meta(cluster, cart.target()), before);
    assert!(common::poll_once(changed.as_mut()).is_pending());
    assert!(!world.effects().last().expect("the second send").accepted);
}

#[test]
fn what_bumps_the_generation() {
    for (kind, patch, bumps) in [
        (WorkloadKind::Deployment, json!({"metadata": {"annotations": {"a": "b"}}}), true),
        (WorkloadKind::StatefulSet, json!({"metadata": {"annotations": {"a": "b"}}}), false),
        (WorkloadKind::DaemonSet, json!({"metadata": {"annotations": {"a": "b"}}}), false),
        (WorkloadKind::Deployment, json!({"metadata": {"labels": {"a": "b"}}}), false),
        (WorkloadKind::StatefulSet, json!({"spec": {"replicas": 4}}), true),
        (WorkloadKind::DaemonSet, json!({"spec": {"minReadySeconds": 4}}), true),
    ] {
        let (world, _) = world(3);
        let target = Workload::new(kind, "shop", "cart");
        world.cluster.put(&Manifest::new(&target));
        let before = meta(&world.cluster, &target);
        assert!(world.cluster.edit(&target, &patch));
        let after = meta(&world.cluster, &target);
        assert_ne!(before.0, after.0, "{kind} {patch}");
        assert_eq!(after.1 - before.1, i64::from(bumps), "{kind} {patch}");
    }
}

#[test]
fn a_held_request_is_judged_by_what_is_there_when_it_arrives() {
    let (world, clock) = world(4);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    cluster.fault(Fault::Held(secs(60)));
    let (held, execution) = act(cluster, cart.target(), Action::Scale(Scale::To(5)), "s1");
    assert!(matches!(execution, Execution::Unknown(_)), "{execution:?}");
    assert_eq!(stamp(cluster, cart.target()), None);
    // A fence: whatever moves resourceVersion.
    cluster.edit(cart.target(), &json!({"metadata": {"annotations": {"fence": "1"}}}));
    clock.advance(secs(60));
    assert_eq!(stamp(cluster, cart.target()), None);
    let last = world.effects().pop().expect("the held one");
    assert_eq!((last.intent, last.accepted, &last.answer[..3]), (Some(held), false, "409"));

    // Without a fence it lands, a minute late.
    cluster.fault(Fault::Held(secs(60)));
    let (held, _) = act(cluster, cart.target(), Action::Scale(Scale::To(5)), "s2");
    clock.advance(secs(60));
    assert_eq!(stamp(cluster, cart.target()), Some(held.to_string()));

    // Shorter than the time-out the answer is only late.
    cluster.fault(Fault::Held(secs(4)));
    clock.advance(secs(5));
    applied(act(cluster, cart.target(), Action::Scale(Scale::To(2)), "s3").1);
}

#[test]
fn what_a_caller_knows_and_what_happened() {
    for (fault, known, landed) in [
        (Fault::Lost, "Unknown", false),
        (Fault::AnswerLost, "Unknown", true),
        (Fault::Unavailable, "Unknown", false),
        (Fault::Forbidden, "Rejected", false),
        (Fault::Duplicated(secs(1)), "Applied", true),
        (Fault::Raced(Race::Status), "Conflict", false),
        (Fault::Raced(Race::Edit(json!({"spec": {"replicas": 9}}))), "Conflict", false),
    ] {
        let (world, clock) = world(5);
        let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
        cluster.put(&cart);
        cluster.fault(fault.clone());
        let (id, execution) = act(cluster, cart.target(), Action::Restart, "s1");
        assert!(format!("{execution:?}").starts_with(known), "{fault:?}: {execution:?}");
        clock.advance(secs(10));
        assert_eq!(stamp(cluster, cart.target()), landed.then(|| id.to_string()), "{fault:?}");
        let effects = world.effects().iter().filter(|it| it.intent == Some(id) && it.accepted).count();
        assert_eq!(effects, usize::from(landed), "{fault:?}");
    }
}

#[test]
fn an_outage_ends() {
    let (world, clock) = world(6);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    let (request, change) = planned(cluster, cart.target(), Action::Restart, "s1");
    cluster.outage(secs(30));
    assert!(matches!(block_on(cluster.ready()), Err(PortError::Unavailable(_))));
    assert!(matches!(block_on(cluster.execute(attempt(&request, &change))), Execution::Unknown(_)));
    assert!(block_on(cluster.snapshot(&request)).is_err());
    clock.advance(secs(30));
    assert!(block_on(cluster.sight(cart.target(), None)).is_ok());
    applied(block_on(cluster.execute(attempt(&request, &change))));
}

#[test]
fn status_churn_moves_the_version_only_where_it_is_asked_for() {
    for churn in [None, Some(secs(2))] {
        let (world, clock) = world(7);
        let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
        cluster.set_churn(churn);
        cluster.put(&cart);
        cluster.crash(cart.target());
        let (request, change) = planned(cluster, cart.target(), Action::Restart, "s1");
        let before = meta(cluster, cart.target());
        clock.advance(secs(20));
        let after = meta(cluster, cart.target());
        assert_eq!(before.1, after.1);
        assert_eq!(before.0 != after.0, churn.is_some());
        let execution = block_on(cluster.execute(attempt(&request, &change)));
        assert_eq!(matches!(execution, Execution::Conflict(_)), churn.is_some(), "{execution:?}");
    }
}

#[test]
fn another_object_under_the_same_name_is_not_touched() {
    let (world, _) = world(8);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    let (request, change) = planned(cluster, cart.target(), Action::Restart, "s1");
    cluster.recreate(cart.target());
    assert_ne!(snapshot(cluster, &request).uid, change.uid);
    assert!(matches!(block_on(cluster.execute(attempt(&request, &change))), Execution::Conflict(_)));
    cluster.delete(cart.target());
    let gone = block_on(cluster.execute(attempt(&request, &change)));
    assert!(matches!(gone, Execution::Rejected(DenyReason::TargetNotFound { .. })), "{gone:?}");
    assert!(block_on(cluster.snapshot(&request)).expect("readable").is_none());
}

#[test]
fn an_eviction_kills_one_uid_once_and_keeps_to_the_budget() {
    let (world, clock) = world(9);
    let (cluster, db) = (&world.cluster, Manifest::stateful_set("shop", "db"));
    cluster.put(&db);
    let (name, uid) = cluster.pods(db.target()).swap_remove(1);
    let evict = || Action::DeletePod { pod: Some(name.clone()) };

    cluster.set_pdb("shop", Some("db-budget"));
    let blocked = act(cluster, db.target(), evict(), "s1").1;
    assert_eq!(blocked, Execution::Rejected(DenyReason::DisruptionBudget { budget: "db-budget".into() }));
    let facts = snapshot(cluster, &request(db.target(), evict(), "s1")).pod.expect("there");
    assert_eq!((facts.uid, facts.blocked_by.as_deref()), (uid.clone(), Some("db-budget")));

    cluster.set_pdb("shop", None);
    clock.advance(secs(1));
    cluster.fault(Fault::Halfway);
    let (request, mut change) = planned(cluster, db.target(), evict(), "s2");
    assert!(matches!(block_on(cluster.execute(attempt(&request, &change))), Execution::Unknown(_)));
    assert_eq!(stamp(cluster, db.target()), Some(request.id("test").to_string()));
    let still_there = || {
        let seen = block_on(cluster.sight(db.target(), Some((&*name, &*uid)))).expect("readable").expect("there");
        seen.pod_still_there
    };
    assert!(still_there());

    for accepted in [true, false] {
        clock.advance(secs(4));
        change.resource_version = meta(cluster, db.target()).0.into();
        applied(block_on(cluster.execute(attempt(&request, &change))));
        assert_eq!(world.effects().last().expect("an eviction").accepted, accepted);
        assert!(!still_there());
    }
    let (again, other) = cluster.pods(db.target()).swap_remove(1);
    assert_eq!(again, name);
    assert_ne!(other, uid);
}

#[test]
fn undoing_a_rollout_by_hand_brings_an_older_stamp_back() {
    let (world, clock) = world(10);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    let mut stamps = Vec::new();
    for cause in ["s1", "s2"] {
        let (id, execution) =
            act(cluster, cart.target(), Action::Rollback { revision: None }, cause_of(cluster, &cart, cause));
        applied(execution);
        stamps.push(id.to_string());
        clock.advance(secs(5));
    }
    assert_eq!(stamp(cluster, cart.target()), Some(stamps[1].clone()));
    assert!(cluster.rollout_undo(cart.target()));
    clock.advance(secs(5));
    assert_eq!(stamp(cluster, cart.target()), Some(stamps[0].clone()));
}

/// Makes another template current, so that there is something to go back to.
fn cause_of<'a>(cluster: &SimCluster, cart: &Manifest, cause: &'a str) -> &'a str {
    let image: Value = json!([{"name": "cart", "image": format!("cart:{cause}")}]);
    cluster.edit(cart.target(), &json!({"spec": {"template": {"spec": {"containers": image}}}}));
    while !common::rollout(cluster, cart.target()).complete() {
        block_on(cluster.changed(cart.target()));
    }
    cause
}

#[test]
fn a_snapshot_names_the_owners_and_the_revisions() {
    let (world, _) = world(11);
    let cluster = &world.cluster;
    let cart = Manifest::deployment("shop", "cart")
        .image("cart:1")
        .then()
        .image("cart:2")
        .annotation("argocd.argoproj.io/tracking-id", "shop:apps/Deployment:shop/cart")
        .gitops_owns_replicas();
    let pay = Manifest::deployment("shop", "pay").label("kustomize.toolkit.fluxcd.io/name", "apps");
    cluster.put(&cart);
    cluster.put(&pay);
    cluster.set_hpa(cart.target(), Some("cart"));
    cluster.set_namespace_annotation("shop", OPT_OUT, Some("true"));
    let seen = snapshot(cluster, &request(cart.target(), Action::Rollback { revision: None }, "s1"));
    assert_eq!(seen.managers.gitops.as_deref(), Some("Argo CD"));
    assert_eq!(seen.managers.autoscaler.as_deref(), Some("HorizontalPodAutoscaler/cart"));
    assert!(seen.managers.gitops_owns_replicas && seen.namespace_opted_out);
    let numbers: Vec<_> = seen.revisions.iter().map(|it| it.revision).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(seen.revisions[0].template, seen.spec["template"]);
    assert_eq!(seen.revisions[1].template["spec"]["containers"][0]["image"], "cart:1");
    let seen = snapshot(cluster, &request(pay.target(), Action::Restart, "s1"));
    assert_eq!(seen.managers.gitops.as_deref(), Some("Flux Kustomization/apps"));
    assert!(seen.revisions.is_empty() && !seen.managers.gitops_owns_replicas);
}

#[test]
fn the_controller_sees_a_change_ten_milliseconds_later() {
    let (world, clock) = world(12);
    let (cluster, cart) = (&world.cluster, Manifest::deployment("shop", "cart"));
    cluster.put(&cart);
    cluster.edit(cart.target(), &json!({"metadata": {"annotations": {"a": "b"}}}));
    let observed = || common::rollout(cluster, cart.target()).observed_generation;
    clock.advance(millis(9));
    assert_eq!(observed(), 1);
    clock.advance(millis(1));
    assert_eq!(observed(), 2);
}
