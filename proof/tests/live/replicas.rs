//! Any number of replicas: they share the work and the guardrails, and each may die, freeze or be replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use flyball_core::intent::{Event, Intent};
use flyball_core::record::{Entry, Record};
use flyball_core::workload::Workload as Target;
use flyball_devcluster::{Pods, Workload};
use flyball_proof::rig::{Replica, Rig, WIDE, outcome, policy};

const RESTART: &str = "{signal: rca, causes: [memory_leak]}";

/// Replicas `a`, `b`, … of one engine, all ready.
fn replicas(rig: &mut Rig, names: &[&str]) {
    for name in names {
        rig.add(name).launch();
    }
    for name in names {
        rig.wait_ready_of(name);
    }
}

/// A policy whose verification takes long enough for somebody to die in it.
fn patient() -> String {
    policy("restart", RESTART, "{restart: {}}", "").replace("stableFor: 500ms", "stableFor: 12s")
}

/// Waits until the one intent on the target was sent, and tells who drives it.
fn driver(rig: &Rig, target: &Target) -> (Intent, Arc<Replica>) {
    let intent = rig.eventually("the effect", || {
        ensure!(rig.effects(target).len() == 1, "not yet");
        let history = rig.history();
        let found = history.open().find(|it| it.request().target == *target).cloned();
        found.ok_or_else(|| anyhow::anyhow!("no open intent"))
    });
    let replica = rig.replica(&intent.writer().replica).clone();
    (intent, replica)
}

fn taken_over(rig: &Rig) -> Option<Entry> {
    rig.entries().into_iter().find(|it| matches!(&it.record, Record::Happened(Event::TakenOver { .. })))
}

#[test]
fn what_a_killed_replica_left_is_inherited_within_lease_and_sweep() {
    let mut rig = Rig::new("inherit");
    rig.policy("p.yaml", &patient());
    replicas(&mut rig, &["a", "b"]);
    let cart = rig.healthy("cart", 1);
    rig.rca("cart", "w1", "memory_leak");
    let (intent, dead) = driver(&rig, &cart);
    dead.kill();
    let killed = jiff::Timestamp::now();
    let entry = rig.eventually("the other to take over", || taken_over(&rig).ok_or_else(|| anyhow::anyhow!("not yet")));
    // A lease of five beats, a sweep of one, and a second for a busy machine.
    let took = entry.at.duration_since(killed);
    assert!(took < jiff::SignedDuration::from_secs(7), "{took:#}");
    let ended = rig.ended(&cart, 1);
    assert_eq!((ended[0].id(), ended[0].writer().epoch), (intent.id(), 1));
    assert!(outcome(&ended[0]).is_success());
    assert_eq!(rig.effects(&cart).len(), 1);
}

#[test]
fn a_replica_that_was_frozen_wakes_up_and_does_no_harm() {
    let mut rig = Rig::new("frozen");
    rig.policy("p.yaml", &patient());
    replicas(&mut rig, &["a", "b"]);
    let (cart, mail) = (rig.healthy("cart", 1), rig.healthy("mail", 1));
    rig.rca("cart", "w1", "memory_leak");
    let (_, frozen) = driver(&rig, &cart);
    frozen.freeze();
    rig.eventually("the other to take over", || taken_over(&rig).ok_or_else(|| anyhow::anyhow!("not yet")));
    frozen.thaw();
    assert!(outcome(&rig.ended(&cart, 1)[0]).is_success());
    rig.wait_ready_of(&frozen.name);
    let takes = |it: &Entry| matches!(&it.record, Record::Happened(Event::TakenOver { .. }));
    assert_eq!(rig.entries().iter().filter(|it| takes(it)).count(), 1, "who woke up took nothing back");
    // It is as good as before: with the other gone it does the work.
    let other = rig.replicas().iter().find(|it| it.name != frozen.name).expect("two replicas").clone();
    other.terminate();
    rig.rca("mail", "w2", "memory_leak");
    assert!(outcome(&rig.ended(&mail, 1)[0]).is_success());
    assert_eq!((rig.effects(&cart).len(), rig.effects(&mail).len()), (1, 1));
}

#[test]
fn a_pause_reaches_every_replica_within_a_second() {
    let mut rig = Rig::new("pauses");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", ""));
    let names = ["a", "b", "c"];
    replicas(&mut rig, &names);
    let cart = rig.healthy("cart", 1);
    let (code, _, said) = rig.flyball_at("a", &["pause", "--all", "--reason", "INC-1", "--by", "ana"]);
    assert_eq!(code, 0, "{said}");
    let confirmed = Instant::now();
    for name in names {
        rig.eventually("the pause to be known", || {
            let known = rig.get_from(name, "/v1/pauses")?;
            ensure!(known["pauses"].as_array().is_some_and(|it| it.len() == 1), "{known}");
            Ok(())
        });
    }
    assert!(confirmed.elapsed() < Duration::from_secs(1), "{:?}", confirmed.elapsed());
    for count in 0..9 {
        rig.rca("cart", &format!("w{count}"), "memory_leak");
    }
    rig.eventually("all to be denied", || {
        let denied: u64 = rig.denials(&cart).iter().filter(|it| it.0 == "Paused").map(|it| it.1).sum();
        ensure!(denied == 9, "{denied} so far");
        Ok(())
    });
    assert!(rig.requests(&cart).is_empty());
}

#[test]
fn one_budget_holds_over_all_replicas() {
    let mut rig = Rig::new("budget");
    let tight = WIDE.replace("namespaceBudget: {max: 10000, per: 1h}", "namespaceBudget: {max: 4, per: 1h}");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).policy("g.yaml", &tight);
    replicas(&mut rig, &["a", "b", "c"]);
    let targets: Vec<Target> = (0..12).map(|n| rig.healthy(&format!("app-{n}"), 1)).collect();
    for target in &targets {
        rig.rca(&target.name, "w1", "memory_leak");
    }
    let settled = || targets.iter().map(|it| rig.effects(it).len() + rig.denials(it).len()).sum::<usize>();
    rig.eventually("every signal to be decided", || {
        ensure!(settled() == 12, "{} of 12", settled());
        Ok(())
    });
    assert_eq!(targets.iter().map(|it| rig.effects(it).len()).sum::<usize>(), 4);
}

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    let mut rig = Rig::new("rolling");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).policy("g.yaml", WIDE);
    let names = ["a", "b", "c"];
    replicas(&mut rig, &names);
    let targets: Vec<Target> = (0..15)
        .map(|n| {
            rig.deployment(
                &Workload::new(&rig.namespace, &format!("app-{n}")).pods(Pods::Slow(Duration::from_secs(1))),
                &format!("app-{n}"),
            )
        })
        .collect();
    for (round, name) in names.iter().enumerate() {
        for target in &targets[round * 5..round * 5 + 5] {
            rig.rca(&target.name, "w1", "memory_leak");
        }
        rig.replica(name).terminate();
        for target in &targets[round * 5..round * 5 + 5] {
            rig.rca(&target.name, "w2", "memory_leak");
        }
        rig.start_replica(name);
    }
    for target in &targets {
        assert!(outcome(&rig.ended(target, 1)[0]).is_success(), "{target}");
        rig.eventually("the second signal to be denied", || {
            let denied: u64 = rig.denials(target).iter().filter(|it| it.0 == "CooldownActive").map(|it| it.1).sum();
            ensure!(denied == 1, "{denied}: {:?}", rig.denials(target));
            Ok(())
        });
        assert_eq!(rig.effects(target).len(), 1, "{target}");
    }
}

#[test]
fn the_later_of_two_processes_with_one_name_stays() {
    let mut rig = Rig::new("namesake");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "")).start();
    let first = rig.replica("one").clone();
    let second = rig_twin(&rig);
    second.launch();
    rig.eventually("the first to end", || {
        ensure!(first.ensure_running().is_err(), "it still runs");
        Ok(())
    });
    assert!(first.last_words(5).contains("another process has started as replica `one`"), "{}", first.last_words(5));
    assert!(second.ensure_running().is_ok());
    second.terminate();
}

/// Another process under the first replica's name, on a port of its own.
fn rig_twin(rig: &Rig) -> Replica {
    let first = rig.replica("one");
    let mut twin = Replica::new("one", rig.folder().join("twin.log"));
    let listen = format!("127.0.0.1:{}", first.port);
    let own = format!("127.0.0.1:{}", twin.port);
    twin.arguments =
        first.arguments.iter().map(|it| if *it == *listen { own.clone().into() } else { it.clone() }).collect();
    twin
}
