//! What is read in brief is read alike at length.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use flyball_signals::v1::AnomalyType;
use flyball_signals::{Body, Message, brief, parse};
use proptest::prelude::*;

const SUBJECT: &str = "flyball.signal.v1.anomaly.prod.shop";

fn message(body: &[u8]) -> Message<'_> {
    Message { subject: Some(SUBJECT), cluster: Some("prod"), namespace: Some("default"), body, ..Message::default() }
}

/// Whether it was read in brief; if so, as at length.
fn agrees(body: &[u8]) -> bool {
    let message = message(body);
    let Some(brief) = brief(&message) else { return false };
    let parsed = parse(&message).expect("what is read in brief is a signal");
    let Body::Anomaly(anomaly) = &parsed.body else { panic!("an anomaly") };
    assert_eq!(Some(brief.namespace), parsed.namespace.as_deref());
    assert_eq!(brief.workload_kind.as_deref(), parsed.workload_kind.as_deref());
    assert_eq!(brief.pod.as_deref(), parsed.pod.as_deref());
    assert_eq!((&*brief.service, &*brief.window_id), (anomaly.service.as_str(), anomaly.window_id.as_str()));
    assert_eq!((brief.is_anomaly, brief.anomaly_type), (anomaly.is_anomaly, anomaly.anomaly_type));
    assert_eq!(brief.score.to_bits(), anomaly.score.to_bits());
    assert_eq!((&brief.id, brief.time), (&parsed.id, parsed.time));
    assert_eq!((parsed.expires, parsed.traceparent, parsed.correlation), (None, None, None));
    true
}

#[test]
fn usual_signals_are_read_in_brief_and_others_are_not() {
    let usual = |more: &str| {
        format!(r#"{{"windowId":"w","service":"cart","isAnomaly":true,"score":0.9,"type":"latency"{more}}}"#)
    };
    for more in [
        "",
        r#","modelVersion":null,"metadata":null"#,
        r#","tsRange":[1795000000,"2026-11-20T10:00:00Z"],"unknown":{"a":[1,{"b":null}]}"#,
        r#","metadata":{"namespace":"shop","kind":"StatefulSet","pod":"cart-0","x":[1.5,-2,true,"t",{"y":{}}]}"#,
        r#","metadata":{"pod":""}"#,
    ] {
        assert!(agrees(usual(more).as_bytes()), "{more}");
    }
    for more in [
        r#","metadata":{"namespace":"other"}"#,
        r#","metadata":{"kind":"a b"}"#,
        r#","metadata":{"pod":1}"#,
        r#","metadata":{"pod":"a","pod":"b"}"#,
        r#","metadata":{"x":1e999}"#,
        r#","metadata":{"x":"\ud800"}"#,
        r#","metadata":[]"#,
        r#","modelVersion":1"#,
        r#","tsRange":[1]"#,
        r#","specversion":"1.0""#,
        r#","score":1"#,
        "} x",
    ] {
        assert!(!agrees(usual(more).as_bytes()), "{more}");
    }
    let body = usual("");
    let other = |change: fn(&mut Message<'_>)| {
        let mut message = message(body.as_bytes());
        change(&mut message);
        brief(&message).is_some()
    };
    assert!(!other(|it| it.subject = Some("flyball.signal.v1.rca.prod.shop")));
    assert!(!other(|it| it.subject = Some("flyball.signal.v1.anomaly.prod.shop.more")));
    assert!(!other(|it| it.cluster = Some("other")));
    assert!(!other(|it| it.subject = None));
    assert!(!other(|it| it.kind = Some(flyball_signals::Kind::Rca)));
}

proptest! {
    #[test]
    fn whatever_is_read_in_brief_is_read_alike(
        window in "[ -~]{0,12}",
        service in "[a-zA-Z0-9.-]{0,12}",
        score in prop_oneof![Just("0.5"), Just("-1"), Just("1e400"), Just("7"), Just("\"x\""), Just("1e-320")],
        kind in prop_oneof![Just("latency"), Just("other"), Just("nothing")],
        more in "[\\[\\]{},:\"a0. \\\\-]{0,30}",
        pod in "[a-z0-9._-]{0,6}",
    ) {
        let window = serde_json::to_string(&window).unwrap();
        let body = format!(
            r#"{{"windowId":{window},"service":"{service}","isAnomaly":false,"score":{score},"type":"{kind}","metadata":{{"pod":"{pod}","x":{more}}}}}"#
        );
        agrees(body.as_bytes());
        let body = body.replace(&format!(r#","x":{more}"#), "");
        let good = AnomalyType::ALL.iter().any(|it| it.as_str() == kind);
        if agrees(body.as_bytes()) {
            prop_assert!(good && !service.is_empty());
        }
    }
}
