//! What makes two messages the same signal: the rule as a table.

mod support;

use flyball_signals::{Kind, Message, parse};
use support::{Sent, example, plain};

/// Reads a body about `cart` with one change made to its text.
fn id(kind: Kind, change: (&str, &str)) -> String {
    let body = match kind {
        Kind::Anomaly => {
            r#"{"windowId":"w-1","service":"cart","isAnomaly":true,"score":0.9,"type":"error","metadata":{}}"#
        }
        Kind::Rca => r#"{"windowId":"w-1","service":"cart","rankedCauses":[],"confidence":0.9,"metadata":{}}"#,
    };
    assert!(body.contains(change.0), "{change:?}");
    plain(kind, body.replacen(change.0, change.1, 1)).parse().expect("a good signal").id.to_string()
}

const NOTHING: (&str, &str) = ("w-1", "w-1");

#[test]
fn what_makes_another_signal_and_what_does_not() {
    let first = id(Kind::Anomaly, NOTHING);
    assert!(first.starts_with("w:") && first.len() == 34, "{first}");
    for same in [
        ("0.9", "0.8"),
        ("\"metadata\"", "\"modelVersion\":\"2\",\"metadata\""),
        ("\"metadata\"", "\"tsRange\":[1,2],\"metadata\""),
        ("{}", r#"{"kind":"Deployment"}"#),
        ("{}", r#"{"namespace":"shop"}"#),
        ("{}", r#"{"pod":"cart-1"}"#),
        (",\"metadata\":{}", ""),
        ("{\"windowId\":\"w-1\"", " {  \"windowId\" : \"w-1\""),
    ] {
        assert_eq!(id(Kind::Anomaly, same), first, "{same:?}");
    }
    for other in
        [("w-1", "w-2"), ("cart", "catalog"), ("true", "false"), ("error", "other"), ("{}", r#"{"kind":"DaemonSet"}"#)]
    {
        assert_ne!(id(Kind::Anomaly, other), first, "{other:?}");
    }
    let rca = id(Kind::Rca, NOTHING);
    assert_ne!(rca, first);
    assert_eq!(id(Kind::Rca, ("0.9", "0.5")), rca);
    assert_ne!(id(Kind::Rca, ("cart", "catalog")), rca);
}

#[test]
fn the_place_makes_another_signal() {
    let body = example("anomaly-minimal").body;
    let at = |subject: &str| {
        Sent { subject: Some(subject.to_owned()), body: body.clone(), ..Sent::default() }.parse().unwrap().id
    };
    let first = at("flyball.signal.v1.anomaly.prod.shop");
    assert_ne!(at("flyball.signal.v1.anomaly.prod.erp"), first);
    assert_ne!(at("flyball.signal.v1.anomaly.staging.shop"), first);
    let http = Message {
        kind: Some(Kind::Anomaly),
        cluster: Some("prod"),
        namespace: Some("shop"),
        body: &body,
        ..Message::default()
    };
    assert_eq!(parse(&http).unwrap().id, first, "the same signal by another way");
}

#[test]
fn the_first_that_there_is_decides() {
    let window = plain(Kind::Anomaly, example("anomaly").body).with_header("Nats-Msg-Id", "n-1");
    assert!(window.parse().unwrap().id.as_str().starts_with("w:"));
    let event = example("anomaly-cloudevent-binary").with_header("Nats-Msg-Id", "n-1");
    assert_eq!(event.parse().unwrap().id.as_str(), "ce:/detectors/iforest:a-17");
    let unnamed =
        || plain(Kind::Anomaly, r#"{"windowId":"","service":"cart","isAnomaly":true,"score":1,"type":"error"}"#);
    assert_eq!(unnamed().with_header("nats-msg-id", "n-1").parse().unwrap().id.as_str(), "m:n-1");
    let bytes = unnamed().parse().unwrap().id;
    assert!(bytes.as_str().starts_with("b:") && bytes.as_str().len() == 34, "{bytes}");
    let spaced = Sent { body: [unnamed().body, b" ".to_vec()].concat(), ..unnamed() };
    assert_ne!(spaced.parse().unwrap().id, bytes);
    let elsewhere = Sent { subject: Some("flyball.signal.v1.anomaly.prod.erp".to_owned()), ..unnamed() };
    assert_ne!(elsewhere.parse().unwrap().id, bytes);
}

#[test]
fn ids_never_change() {
    // Computed apart from this code: SHA-256 over (length as 8 bytes, big-endian; text) of each field, in the order of the rule.
    assert_eq!(id(Kind::Anomaly, NOTHING), "w:c1105e777f18063fe02e5733fc1a7daf");
}
