//! A seeded sample of the crash points, and the judge itself.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use flyball_core::intent::{Event, Writer};
use flyball_core::record::{Entry, Record};
use flyball_proof::crash::{Args, cases, run_all};
use flyball_proof::judge::Evidence;
use flyball_proof::rig::{Rig, policy};

#[test]
fn a_sample_of_the_crash_points_does_nothing_twice_and_loses_nothing() {
    let asked = Args { sample: Some(24), seed: 20_261_121, ..Args::default() };
    let ended = run_all(&cases(&asked).unwrap(), 8);
    let failed: Vec<String> = ended
        .iter()
        .filter_map(|it| {
            it.result.as_ref().err().map(|error| format!("{error:#}\nrepeat: cargo xtask crash {}", it.case))
        })
        .collect();
    assert_eq!(ended.len(), 24);
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn every_point_applies_to_some_action() {
    let all = cases(&Args::default()).unwrap();
    for point in flyball_proof::crash::POINTS {
        assert!(all.iter().any(|it| it.point.name == point.name), "{}", point.name);
        let named = Args { point: Some(point.name.into()), ..Args::default() };
        assert!(cases(&named).unwrap().iter().all(|it| it.point.name == point.name), "names are unique");
    }
    assert!(cases(&Args { point: Some("nowhere".into()), ..Args::default() }).is_err());
}

/// What an honest run leaves.
fn evidence() -> Evidence {
    let mut rig = Rig::new("judge");
    rig.policy("p.yaml", &policy("restart", "{signal: rca, causes: [memory_leak]}", "{restart: {}}", "")).start();
    let cart = rig.healthy("cart", 1);
    let first = rig.rca("cart", "w1", "memory_leak");
    rig.ended(&cart, 1);
    let second = rig.rca("cart", "w2", "memory_leak");
    rig.denied(&cart, "CooldownActive");
    Evidence::of(&rig, &[], &[first, second]).unwrap()
}

fn is_closed(entry: &Entry) -> bool {
    matches!(entry.record, Record::Happened(Event::Closed { .. }))
}

/// A judge that finds nothing proves nothing: each lie about an honest run has to be found.
#[test]
fn the_judge_finds_what_is_doctored() {
    let honest = evidence();
    assert_eq!(honest.judge_at_rest(), []);
    // Some lies break the chain of sums as well: the kind that is meant has to be among what is found.
    let finds = |invariant: &str, change: &dyn Fn(&mut Evidence)| {
        let mut evidence = honest.clone();
        change(&mut evidence);
        let found = evidence.judge_at_rest();
        assert!(found.iter().any(|it| it.invariant == invariant), "{invariant} is not in {found:?}");
    };
    finds("S1", &|it| it.requests.push(it.requests[0].clone()));
    finds("S8", &|it| it.requests.clear());
    finds("S7", &|it| {
        let mut again = it.requests[0].clone();
        (again.code, again.object["spec"]) = (409, serde_json::json!({"paused": true}));
        it.requests.push(again);
    });
    finds("S2", &|it| it.requests[0].object["metadata"]["annotations"] = serde_json::Value::Null);
    finds("S4", &|it| it.requests[0].object["metadata"]["uid"] = "other".into());
    finds("S2", &|it| it.requests[0].object["metadata"]["resourceVersion"] = "1".into());
    finds("S2", &|it| it.requests[0].received = "2020-01-01T00:00:00.000000Z".into());
    finds("S9", &|it| it.requests[0].received = "2120-01-01T00:00:00.000000Z".into());
    finds("S3", &|it| it.signals.push(99_999_999));
    finds("S3", &|it| it.entries.retain(|entry| !matches!(entry.record, Record::Folded(_))));
    finds("L1", &|it| it.entries.retain(|entry| !is_closed(entry)));
    finds("G5", &|it| {
        let admission = it.entries.iter().find(|it| matches!(it.record, Record::Admitted(_))).unwrap().clone();
        it.entries.push(admission);
    });
    finds("S6", &|it| {
        let at = it.entries.iter().position(is_closed).unwrap();
        let by = Writer { replica: "two".into(), process: "p".into(), epoch: 7 };
        let mut entry = it.entries[at].clone();
        entry.record = Record::Happened(Event::TakenOver { by });
        it.entries.insert(at, entry);
    });
    finds("ledger", &|it| it.entries.retain(|entry| !matches!(entry.record, Record::Happened(Event::Applied(_)))));
}
