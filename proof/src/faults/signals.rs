//! Rows 21 to 25: signals that come too often, out of order, too late, or that nobody can read.

use std::collections::BTreeMap;

use anyhow::ensure;
use flyball_core::deny::DenyReason;
use flyball_core::record::{Record, Verdict};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::bed::{accounted, once, prepared, ready, slow, slow_ones};
use super::{Row, quick};
use crate::random::Random;
use crate::rig::{Rig, anomaly, policy, rca};
use crate::soak::memory;

pub(super) const ROWS: &[Row] = &[
    quick(21, "the-same-signal-100-times-two-replicas", "one effect; the other 99 accounted for", repeated),
    quick(21, "the-same-message-id-100-times", "the stream keeps one; one effect", repeated_with_id),
    quick(21, "the-same-event-on-two-subjects", "one effect", two_subjects),
    quick(
        22,
        "reordered-firing-and-clearing",
        "one effect for each target in every order; a clearing never acts",
        reordered,
    ),
    quick(23, "late-signal", "denied SignalExpired, no request", late),
    quick(
        23,
        "signal-of-the-future-and-without-time",
        "counted from when it reached the stream; one effect each",
        untimely,
    ),
    quick(24, "malformed-signals", "dead letters with their bytes; the next one acts; memory flat", malformed),
];

fn repeated() {
    let mut rig = ready("f21");
    rig.add("two");
    rig.start_replica("two");
    let cart = slow(&rig, "cart");
    let sequences: Vec<u64> = (0..100).map(|_| rig.rca("cart", "w1", "memory_leak")).collect();
    once(&rig, &cart);
    accounted(&rig, &sequences);
}

fn repeated_with_id() {
    let rig = ready("f21i");
    let cart = slow(&rig, "cart");
    let body = rca("cart", "w1", "memory_leak");
    let sequences: Vec<u64> =
        (0..100).map(|_| rig.publish("rca", &body, &[("Nats-Msg-Id", &format!("{}-one", rig.name))])).collect();
    assert!(sequences.iter().all(|it| *it == sequences[0]), "{sequences:?}");
    once(&rig, &cart);
}

/// A CloudEvent is the same wherever it comes: here on the subject of another namespace, with its own in the data.
fn two_subjects() {
    let rig = ready("f21s");
    let cart = slow(&rig, "cart");
    let event = json!({
        "specversion": "1.0", "type": "dev.flyball.signal.rca.v1", "source": "/detectors/one", "id": rig.name,
        "datacontenttype": "application/json", "data": rca("cart", "w1", "memory_leak"),
    });
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-type", "dev.flyball.signal.rca.v1"),
        ("ce-source", "/detectors/one"),
        ("ce-id", &rig.name),
        ("Content-Type", "application/json"),
    ];
    let mut sequences = Vec::new();
    for _ in 0..3 {
        sequences.push(rig.publish("rca", &event, &[("Content-Type", "application/cloudevents+json")]));
        sequences.push(rig.publish("rca", &event["data"], &binary));
    }
    once(&rig, &cart);
    accounted(&rig, &sequences);
}

/// An engine that adds a replica where a resource runs short: an anomaly says when it was observed, and whether it clears.
fn scaler(row: &str) -> Rig {
    let mut rig = prepared(Rig::new(row));
    rig.policy("p.yaml", &policy("scale", "{signal: anomaly, types: [resource]}", "{scale: {by: 1}}", ""));
    rig.start();
    rig
}

fn reordered() {
    let rig = scaler("f22");
    let targets = slow_ones(&rig, 5);
    let mut sequences = Vec::new();
    for (seed, target) in (0..).zip(&targets) {
        let said = |window: u32, fires: bool| {
            let mut body = anomaly(&target.name, &format!("w{window}"), "resource");
            body["isAnomaly"] = fires.into();
            body
        };
        let mut burst: Vec<Value> = (0..6).flat_map(|window| [said(window, true), said(window, false)]).collect();
        let mut random = Random::new(seed);
        for place in (1..burst.len()).rev() {
            let other = usize::try_from(random.below(place as u64 + 1)).expect("it is small");
            burst.swap(place, other);
        }
        sequences.extend(burst.iter().map(|body| rig.publish("anomaly", body, &[])));
    }
    for target in &targets {
        once(&rig, target);
        assert_eq!(rig.object(target)["spec"]["replicas"], 2, "{target}");
    }
    accounted(&rig, &sequences);
}

fn late() {
    let rig = scaler("f23");
    let cart = slow(&rig, "cart");
    let mut body = anomaly("cart", "w1", "resource");
    let then = Timestamp::now() - SignedDuration::from_hours(3);
    body["tsRange"] = json!([(then - SignedDuration::from_mins(1)).to_string(), then.to_string()]);
    rig.publish("anomaly", &body, &[]);
    rig.denied(&cart, "SignalExpired");
    assert!(rig.requests(&cart).is_empty(), "nothing was sent");
    let ages: Vec<SignedDuration> = rig.entries().iter().flat_map(|it| expired(&it.record)).collect();
    // The ledger's time and the wall clock that the signal was made with differ by no more than a replica bears.
    let least = SignedDuration::from_hours(3) - SignedDuration::from_secs(5);
    assert!(ages.iter().all(|it| *it >= least) && !ages.is_empty(), "{ages:?}");
}

fn expired(record: &Record) -> Vec<SignedDuration> {
    let Record::Folded(notes) = record else { return Vec::new() };
    let reasons = notes.iter().filter_map(|it| if let Verdict::Denied(it) = &it.verdict { Some(it) } else { None });
    let age = |it: &DenyReason| if let DenyReason::SignalExpired { age, .. } = it { Some(*age) } else { None };
    reasons.flatten().filter_map(age).collect()
}

fn untimely() {
    let rig = scaler("f23f");
    let targets = slow_ones(&rig, 2);
    let mut future = anomaly("app-0", "w1", "resource");
    let then = Timestamp::now() + SignedDuration::from_hours(3);
    future["tsRange"] = json!([then.to_string(), then.to_string()]);
    rig.publish("anomaly", &future, &[]);
    rig.anomaly("app-1", "w1", "resource");
    for target in &targets {
        let intent = once(&rig, target);
        let ahead = intent.request().evidence.observed_at.duration_since(intent.admitted_at());
        assert!(ahead <= SignedDuration::from_secs(5), "{ahead:#} ahead of the ledger");
    }
}

fn malformed() {
    let rig = ready("f24");
    let cart = slow(&rig, "cart");
    let here = format!("flyball.signal.v1.anomaly.{}.{}", rig.name, rig.namespace);
    let bad = bodies();
    let pid = rig.replica("one").pid().expect("it runs");
    let before = memory::resident(pid).expect("its memory");
    for round in 0..20 {
        for (name, body) in &bad {
            // 20 rounds for memory; the first alone is looked for by name.
            let name = if round == 0 { (*name).to_owned() } else { format!("{name} {round}") };
            rig.publish_raw(&here, body, &[("X-Name", &name)]);
        }
    }
    rig.rca("cart", "after", "memory_leak");
    once(&rig, &cart);
    rig.eventually("all are dead letters", || {
        let letters = dead_letters(&rig, &here);
        for (name, body) in &bad {
            ensure!(letters.get(*name) == Some(body), "{name} is missing");
        }
        ensure!(letters.len() == 20 * bad.len(), "{} letters", letters.len());
        Ok(())
    });
    let grown = memory::resident(pid).expect("its memory").saturating_sub(before);
    assert!(grown < 64 * 1024, "{} bad signals took {grown} KiB", 20 * bad.len());
    let metrics = rig.get("/metrics").expect("metrics");
    assert!(metrics.as_str().unwrap_or_default().contains(r#"result="refused""#), "people see it, too");
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let anomaly = |more: &str| {
        format!(r#"{{"windowId":"w","service":"a","isAnomaly":true,"score":1,"type":"error"{more}}}"#).into_bytes()
    };
    vec![
        ("broken", b"{\"windowId\": ".to_vec()),
        ("wrong type", br#"{"windowId":"w","service":"a","isAnomaly":"yes","score":1,"type":"error"}"#.to_vec()),
        ("NaN", br#"{"windowId":"w","service":"a","isAnomaly":true,"score":NaN,"type":"error"}"#.to_vec()),
        ("huge number", br#"{"windowId":"w","service":"a","isAnomaly":true,"score":1e999,"type":"error"}"#.to_vec()),
        ("too large", format!("{{\"windowId\": \"{}\"}}", "x".repeat(300 * 1024)).into_bytes()),
        ("too deep", "[".repeat(100_000).into_bytes()),
        ("deep inside", anomaly(&format!(r#","metadata":{{"a":{}}}"#, "[".repeat(10_000)))),
        ("duplicate key", anomaly(r#","score":2"#)),
        ("another namespace", anomaly(r#","metadata":{"namespace":"kube-system"}"#)),
        ("not UTF-8", vec![b'"', 0xff, 0xfe, b'"']),
        ("nothing", Vec::new()),
        ("NUL", vec![0; 64]),
        (
            "unknown version",
            br#"{"specversion":"9.9","id":"1","source":"x","type":"dev.flyball.signal.anomaly.v1","data":{}}"#.to_vec(),
        ),
        ("no target", br#"{"windowId":"w","isAnomaly":true,"score":1,"type":"error"}"#.to_vec()),
    ]
}

/// What was refused of a subject, by its `X-Name`.
fn dead_letters(rig: &Rig, subject: &str) -> BTreeMap<String, Vec<u8>> {
    rig.runtime.block_on(async {
        let context = rig.jetstream().await;
        let Ok(mut stream) = context.get_stream("FLYBALL_REFUSED").await else { return BTreeMap::new() };
        let last = stream.info().await.map_or(0, |it| it.state.last_sequence);
        let mut found = BTreeMap::new();
        for sequence in 1..=last {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            let header = |name: &str| message.headers.get(name).map(|it| it.as_str().to_owned()).unwrap_or_default();
            if header("Flyball-Refused-Subject") == subject {
                found.insert(header("X-Name"), message.payload.to_vec());
            }
        }
        found
    })
}
