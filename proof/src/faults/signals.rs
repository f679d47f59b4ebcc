//! Rows 21 and 23: signals that come too often, too late, or without a time.

use flyball_core::deny::DenyReason;
use flyball_core::record::{Record, Verdict};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bed::{accounted, once, prepared, ready, slow, slow_ones};
use super::{Row, quick};
use crate::rig::{Rig, anomaly, policy, rca};

pub(super) const ROWS: &[Row] = &[
    quick(21, "the-same-signal-100-times-two-replicas", "one effect; the other 99 accounted for", repeated),
    quick(21, "the-same-message-id-100-times", "the stream keeps one; one effect", repeated_with_id),
    quick(21, "the-same-event-on-two-subjects", "one effect", two_subjects),
    quick(23, "late-signal", "denied SignalExpired, no request", late),
    quick(
        23,
        "signal-of-the-future-and-without-time",
        "counted from when it reached the stream; one effect each",
        untimely,
    ),
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
