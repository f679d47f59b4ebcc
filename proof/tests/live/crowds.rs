//! Many at once.

use std::collections::BTreeSet;

use flyball_core::intent::Event;
use flyball_core::record::{Record, Topic, Verdict};
use flyball_core::workload::{Workload as Target, WorkloadKind};
use flyball_devcluster::{Workload, workloads};

use flyball_proof::rig::{Rig, SOON, WIDE, outcome, policy};

const RESTART: &str = "{signal: rca, causes: [memory_leak]}";

#[test]
fn a_thousand_signals_on_fifty_workloads_are_fifty_effects() {
    let mut rig = Rig::new("thousand");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "").replace("timeout: 40s", "timeout: 3m"))
        .policy("g.yaml", WIDE);
    let names: Vec<String> = (0..50).map(|n| format!("app-{n}")).collect();
    for name in &names {
        rig.cluster.api().create(&Workload::new(&rig.namespace, name).deployment()).expect("created");
    }
    for name in &names {
        let path = Workload::new(&rig.namespace, name).path("deployments");
        workloads::wait_ready(rig.cluster.api(), &path, SOON).expect("ready");
    }
    rig.start();
    let subject = format!("flyball.signal.v1.rca.{}.{}", rig.name, rig.namespace);
    rig.runtime.block_on(async {
        let context = rig.jetstream().await;
        let mut acks = Vec::new();
        for round in 0..20 {
            for name in &names {
                let body = flyball_proof::rig::rca(name, &format!("w{round}"), "memory_leak").to_string();
                acks.push(context.publish(subject.clone(), body.into()).await.expect("published"));
            }
        }
        for ack in acks {
            ack.await.expect("stored");
        }
    });
    let accounted = rig.eventually("every signal is accounted for", || {
        let mut intents = 0;
        let mut others = 0;
        for entry in rig.entries() {
            match entry.record {
                Record::Admitted(admissions) => intents += admissions.len() as u64,
                Record::Folded(notes) => {
                    let ends = |it: &&flyball_core::record::Folded| {
                        matches!(it.verdict, Verdict::Denied(_) | Verdict::Joined(_))
                    };
                    others += notes.iter().filter(ends).map(|it| it.count).sum::<u64>();
                }
                _ => {}
            }
        }
        anyhow::ensure!(intents + others == 1_000, "{intents} intents and {others} others");
        Ok((intents, others))
    });
    assert_eq!(accounted, (50, 950));
    for name in &names {
        let target = Target::new(WorkloadKind::Deployment, &rig.namespace, name);
        assert!(outcome(&rig.ended(&target, 1)[0]).is_success(), "{name}");
        assert_eq!(rig.effects(&target).len(), 1, "{name}");
    }
}

#[test]
fn twelve_sick_workloads_with_five_slots_are_all_helped() {
    let mut rig = Rig::new("twelve");
    rig.policy("p.yaml", &policy("restart", RESTART, "{restart: {}}", "").replace("timeout: 40s", "timeout: 2m"));
    let namespaces: Vec<String> =
        (0..4).map(|n| rig.cluster.namespace(&format!("twelve-{n}")).expect("a namespace")).collect();
    let all = namespaces.iter().flat_map(|namespace| (0..10).map(move |n| (namespace.clone(), format!("app-{n}"))));
    let all: Vec<(String, String)> = all.collect();
    for (namespace, name) in &all {
        rig.cluster.api().create(&Workload::new(namespace, name).deployment()).expect("created");
    }
    for (namespace, name) in &all {
        workloads::wait_ready(rig.cluster.api(), &Workload::new(namespace, name).path("deployments"), SOON)
            .expect("ready");
    }
    rig.start();
    let sick: Vec<_> = all.iter().filter(|(_, name)| ["app-0", "app-1", "app-2"].contains(&name.as_str())).collect();
    for (namespace, name) in &sick {
        let subject = format!("flyball.signal.v1.rca.{}.{namespace}", rig.name);
        rig.publish_raw(&subject, flyball_proof::rig::rca(name, "w1", "memory_leak").to_string().as_bytes(), &[]);
    }
    for (namespace, name) in &sick {
        let target = Target::new(WorkloadKind::Deployment, namespace, name);
        assert!(outcome(&rig.ended(&target, 1)[0]).is_success(), "{namespace}/{name}");
        assert_eq!(rig.effects(&target).len(), 1);
    }
    let (mut in_flight, mut most) = (BTreeSet::new(), 0);
    for entry in rig.entries() {
        match (&entry.topic, &entry.record) {
            (_, Record::Admitted(admissions)) => in_flight.extend(admissions.iter().map(|it| it.id)),
            (Topic::Intent(id), Record::Happened(Event::RolledOut | Event::Closed { .. })) => {
                in_flight.remove(id);
            }
            _ => {}
        }
        most = most.max(in_flight.len());
    }
    assert!((2..=5).contains(&most), "{most} rollouts of ours at once");
}
