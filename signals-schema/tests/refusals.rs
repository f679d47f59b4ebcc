//! What is not a signal is refused, with the field at fault, and nothing brings the reader down.

mod support;

use flyball_signals::{Kind, MAX_BYTES, RefusalReason};
use proptest::prelude::*;
use support::{Sent, bad_example, example, files, plain};

const ANOMALY: &str = r#"{"windowId":"w","service":"cart","isAnomaly":true,"score":1,"type":"error"}"#;

#[test]
fn every_bad_example_is_refused_as_it_expects() {
    let mut faults = Vec::new();
    for (name, text) in files("bad") {
        let (sent, expected) = bad_example(&text);
        match sent.parse() {
            Ok(_) => faults.push(format!("{name}: read as a signal")),
            Err(refusal) => {
                let found = serde_json::json!({"reason": refusal.reason, "field": refusal.field});
                if found != expected {
                    faults.push(format!("{name}: {found}: {refusal}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_reason_but_the_size_has_an_example() {
    let seen: Vec<String> = files("bad").iter().map(|(_, text)| bad_example(text).1["reason"].to_string()).collect();
    for reason in RefusalReason::ALL.into_iter().filter(|reason| *reason != RefusalReason::TooLarge) {
        assert!(seen.contains(&format!("\"{reason}\"")), "{reason}");
    }
}

#[test]
fn refusals_read_well() {
    let check = |from: &str, to: &str, expected: &str| {
        let refusal = plain(Kind::Anomaly, ANOMALY.replacen(from, to, 1)).parse().unwrap_err();
        assert_eq!(refusal.to_string(), expected);
    };
    check("1", "\"1\"", "field `score`: expected a number, found a string");
    check("1", "null", "field `score`: expected a number, found null");
    check("true", "1.5", "field `isAnomaly`: expected a boolean, found a number");
    check("\"cart\"", "[]", "field `service`: expected a string, found an array");
    check(
        "\"error\"",
        "\"errors\"",
        "field `type`: expected one of `latency`, `error`, `resource`, `other`, found `errors`",
    );
    check("\"windowId\":\"w\",", "", "field `windowId`: is required and missing");
    check("1", "-3", "field `score`: expected a number of at least 0, found -3");
    check("1", "NaN", "field `score`: not JSON: expected value at line 1 column 59");
    check(
        "\"type\"",
        "\"tsRange\":[\"noon\",1],\"type\"",
        "field `tsRange[0]`: expected an RFC 3339 time with an offset, epoch seconds or epoch milliseconds, found text that is none",
    );
}

#[test]
fn a_body_over_the_size_is_refused_and_one_at_the_size_is_read() {
    let padded = |length: usize| format!("{ANOMALY}{}", " ".repeat(length - ANOMALY.len()));
    assert!(plain(Kind::Anomaly, padded(MAX_BYTES)).parse().is_ok());
    let refusal = plain(Kind::Anomaly, padded(MAX_BYTES + 1)).parse().unwrap_err();
    assert_eq!((refusal.reason, refusal.field), (RefusalReason::TooLarge, None));
}

#[test]
fn depth_is_refused_before_it_can_hurt() {
    let depth = 100_000;
    let opening = ANOMALY.trim_end_matches('}');
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[", "")] {
        let depth = depth.min((MAX_BYTES - 1_000) / (open.len() + close.len()));
        for field in ["unknown", "metadata", "tsRange", "score"] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let refusal = plain(Kind::Anomaly, format!("{opening},\"{field}\":{deep}}}")).parse().unwrap_err();
            assert_eq!(refusal.reason, RefusalReason::TooDeep, "{field} {open}");
        }
    }
    let event = format!(r#"{{"specversion":"1.0","data":{}"#, "[".repeat(depth));
    assert_eq!(plain(Kind::Rca, event).parse().unwrap_err().reason, RefusalReason::TooDeep);
}

#[test]
fn a_hostile_refusal_stays_small_and_on_one_line() {
    let long = "x\\n".repeat(50_000);
    let body = ANOMALY.replace("\"error\"", &format!("\"{long}\""));
    let refusal = plain(Kind::Anomaly, body).parse().unwrap_err();
    assert!(refusal.to_string().len() < 2_000 && !refusal.to_string().contains('\n'), "{refusal}");
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop::sample::select(vec![
        "ce-specversion",
        "CE-Id",
        "ce-source",
        "ce-type",
        "ce-time",
        "ce-expirytime",
        "content-type",
        "Traceparent",
        "tracestate",
        "Nats-Msg-Id",
    ]);
    let value = prop_oneof![
        ".{0,40}",
        Just("1.0".to_owned()),
        Just("dev.flyball.signal.anomaly.v1".to_owned()),
        Just("application/cloudevents+json".to_owned()),
        "(%[0-9a-fA-F]{0,2}|\"|\\\\|a){0,12}",
    ];
    prop::collection::vec((name.prop_map(str::to_owned), value), 0..6)
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        subject in prop::option::of("flyball\\.signal\\..{0,30}|.{0,20}"),
        headers in headers(),
    ) {
        let kind = subject.is_none().then_some(Kind::Rca);
        let _ = Sent { subject, kind, cluster: None, headers, body }.parse();
    }

    #[test]
    fn a_damaged_signal_never_panics(
        name in prop::sample::select(vec!["anomaly", "anomaly-pod", "anomaly-cloudevent-structured", "rca"]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        headers in headers(),
    ) {
        let mut sent = Sent { headers, ..example(name) };
        for (at, byte) in damage {
            let at = at.index(sent.body.len());
            sent.body[at] = byte;
        }
        if let Some(cut) = cut {
            sent.body.truncate(cut.index(sent.body.len()));
        }
        if let Ok(parsed) = sent.parse() {
            prop_assert!(!parsed.body.target_name().is_empty());
            prop_assert!(parsed.id.as_str().len() <= 150 && parsed.id.as_str().is_ascii());
        }
    }

    #[test]
    fn arbitrary_json_never_panics(text in "[\\[\\]{}:,\" \\\\]{0,60}", kind in prop::sample::select(Kind::ALL.to_vec())) {
        let _ = plain(kind, text).parse();
    }
}
