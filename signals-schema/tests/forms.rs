//! The forms a signal may take are one signal.

mod support;

use flyball_signals::{Body, Kind, Message, Parsed, parse};
use support::{Sent, example, files, plain};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER_TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn parsed(name: &str) -> Parsed {
    example(name).parse().unwrap_or_else(|refusal| panic!("{name}: {refusal}"))
}

#[test]
fn every_good_example_is_read() {
    for (name, _) in files("") {
        assert!(!parsed(&name).body.target_name().is_empty(), "{name}");
    }
}

#[test]
fn each_form_is_the_same_signal() {
    for (kind, forms) in [
        ("anomaly", &["epoch-seconds", "epoch-milliseconds", "epoch-fraction", "unknown-fields"][..]),
        ("anomaly", &["cloudevent-structured", "cloudevent-binary"]),
        ("rca", &["cloudevent-structured", "cloudevent-binary"]),
    ] {
        let plain = parsed(kind);
        let forms: Vec<_> = forms.iter().map(|form| parsed(&format!("{kind}-{form}"))).collect();
        for form in &forms {
            assert_eq!((&form.body, &form.namespace), (&plain.body, &plain.namespace));
            assert_eq!((&form.workload_kind, &form.pod), (&plain.workload_kind, &plain.pod));
            assert_eq!(form.id, forms[0].id);
        }
        assert_eq!(plain.namespace.as_deref(), Some("shop"));
    }
    assert_eq!(parsed("anomaly").id, parsed("anomaly-epoch-seconds").id);
    assert_eq!(parsed("anomaly-cloudevent-binary"), parsed("anomaly-cloudevent-structured"));
    assert_eq!(parsed("rca-cloudevent-binary"), parsed("rca-cloudevent-structured"));
}

#[test]
fn an_envelope_says_when_until_when_and_in_which_trace() {
    let event = parsed("anomaly-cloudevent-structured");
    assert_eq!(event.id.as_str(), "ce:/detectors/iforest:a-17");
    assert_eq!(event.time.unwrap().to_string(), "2026-03-01T12:00:01Z");
    assert_eq!(event.expires.unwrap().to_string(), "2026-03-01T12:10:00Z");
    assert_eq!(event.traceparent.as_deref(), Some(TRACE));
    assert_eq!((event.tracestate.as_deref(), event.correlation.as_deref()), (Some("vendor=a1"), Some("incident-17")));
    let plain = parsed("anomaly");
    assert_eq!(plain.time.unwrap().to_string(), "2026-03-01T12:00:00Z");
    assert_eq!((plain.expires, plain.traceparent, plain.correlation), (None, None, None));
    assert_eq!(parsed("rca").time, None);
}

#[test]
fn a_structured_event_is_known_by_its_media_type_or_its_specversion() {
    let bare = example("anomaly-cloudevent-structured");
    let labelled = bare.clone().with_header("CONTENT-TYPE", "Application/CloudEvents+JSON; charset=UTF-8");
    let mislabelled = bare.clone().with_header("content-type", "application/json");
    assert_eq!(bare.parse(), labelled.parse());
    assert_eq!(bare.parse(), mislabelled.parse());
}

#[test]
fn the_kind_may_come_from_the_envelope_alone() {
    for name in ["anomaly-cloudevent-binary", "rca-cloudevent-structured"] {
        let sent = Sent { kind: None, ..example(name) };
        assert_eq!(sent.parse(), example(name).parse());
    }
}

#[test]
fn header_names_are_read_in_any_case() {
    let reference = example("anomaly-cloudevent-binary");
    let recased = |recase: fn(&str) -> String| {
        let headers = reference.headers.iter().map(|(name, value)| (recase(name), value.clone())).collect();
        Sent { headers, ..reference.clone() }.parse()
    };
    assert_eq!(recased(str::to_uppercase), reference.parse());
    assert_eq!(recased(str::to_lowercase), reference.parse());
    let title =
        |name: &str| name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect::<Vec<_>>().join("-");
    assert_eq!(recased(title), reference.parse());
    let traced = plain(Kind::Anomaly, example("anomaly").body).with_header("Traceparent", TRACE);
    assert_eq!(traced.parse().unwrap().traceparent.as_deref(), Some(TRACE));
}

#[test]
fn the_header_of_a_trace_goes_before_the_extension() {
    let mut sent = example("anomaly-cloudevent-structured").with_header("traceparent", OTHER_TRACE);
    let read = sent.parse().unwrap();
    assert_eq!((read.traceparent.as_deref(), read.tracestate), (Some(OTHER_TRACE), None));
    sent.headers[0].1 = "malformed".to_owned();
    assert_eq!(sent.parse().unwrap().traceparent.as_deref(), Some(TRACE));
}

#[test]
fn headers_are_percent_decoded() {
    let mut sent = example("anomaly-cloudevent-binary");
    for (name, value) in &mut sent.headers {
        match name.as_str() {
            "ce-id" => *value = "a%2D17".to_owned(),
            "ce-time" => *value = "2026-03-01T12%3A00%3A01Z".to_owned(),
            "ce-correlationid" => *value = "\"incident%2017 %E2%82%AC\"".to_owned(),
            _ => {}
        }
    }
    let read = sent.parse().unwrap();
    assert_eq!(read.id.as_str(), "ce:/detectors/iforest:a-17");
    assert_eq!(read.time.unwrap().to_string(), "2026-03-01T12:00:01Z");
    assert_eq!(read.correlation.as_deref(), Some("incident 17 €"));
}

#[test]
fn place_is_the_subject_then_the_body_then_the_reader() {
    let body = br#"{"windowId":"w","service":"cart","isAnomaly":true,"score":1,"type":"error","metadata":{"namespace":"erp"}}"#;
    let nowhere = br#"{"windowId":"w","service":"cart","isAnomaly":true,"score":1,"type":"error","metadata":null}"#;
    let place = |message: Message<'_>| {
        let read = parse(&message).unwrap();
        (read.cluster.unwrap_or_default(), read.namespace.unwrap_or_default())
    };
    let http =
        Message { kind: Some(Kind::Anomaly), cluster: Some("prod"), namespace: Some("default"), ..Message::default() };
    let nats = Message { subject: Some("flyball.signal.v1.anomaly.prod.shop"), ..http };
    let foreign = Message { subject: Some("detectors.iforest.alerts"), ..http };
    let pair = |cluster: &str, namespace: &str| (cluster.to_owned(), namespace.to_owned());
    assert_eq!(place(Message { body: nowhere, ..nats }), pair("prod", "shop"));
    assert_eq!(place(Message { body: nowhere, cluster: None, ..nats }), pair("prod", "shop"));
    assert_eq!(place(Message { body, ..http }), pair("prod", "erp"));
    assert_eq!(place(Message { body, ..foreign }), pair("prod", "erp"));
    assert_eq!(place(Message { body: nowhere, ..http }), pair("prod", "default"));
    assert_eq!(place(Message { body: nowhere, cluster: None, namespace: None, ..http }), pair("", ""));
}

#[test]
fn a_pod_is_named_and_a_clear_clears() {
    let read = parsed("anomaly-pod");
    assert_eq!((read.pod.as_deref(), read.workload_kind.as_deref()), (Some("erp-db-0"), Some("StatefulSet")));
    assert_eq!(read.body.metadata().rest["container"], "postgres");
    let Body::Anomaly(clear) = parsed("anomaly-clearing").body else { panic!("not an anomaly") };
    assert!(!clear.is_anomaly);
}

#[test]
fn the_top_cause_is_the_most_probable_whatever_the_order() {
    let cause = |svc: &str, probability: f64| format!(r#"{{"svc":"{svc}","cause":"c","probability":{probability}}}"#);
    let rca = |causes: &[String]| format!(r#"{{"windowId":"w","rankedCauses":[{}],"confidence":1}}"#, causes.join(","));
    let target = |causes: &[String]| plain(Kind::Rca, rca(causes)).parse().unwrap().body.target_name().to_owned();
    assert_eq!(target(&[cause("a", 0.2), cause("b", 0.7), cause("c", 0.7)]), "b");
    assert_eq!(parsed("rca-without-service").body.target_name(), "cart");
}
