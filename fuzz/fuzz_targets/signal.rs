//! A message of the bus. Three digits choose the subject, the kind and whether header lines follow; the rest is the body.

#![no_main]

use flyball_signals::{Body, Brief, Kind, Message, Parsed, brief, names, parse};
use libfuzzer_sys::fuzz_target;

/// A digit chooses the subject at its place, since `0` is a multiple of six.
const SUBJECTS: [Option<&str>; 6] = [
    Some("flyball.signal.v1.anomaly.prod.shop"),
    Some("flyball.signal.v1.rca.prod.shop"),
    None,
    Some("alerts.shop"),
    Some("flyball.signal.v1.anomaly.stage.shop"),
    Some("flyball.signal.v2.anomaly.prod.shop"),
];
const KINDS: [Option<Kind>; 3] = [None, Some(Kind::Anomaly), Some(Kind::Rca)];

fuzz_target!(|data: &[u8]| {
    let [subject, kind, form, rest @ ..] = data else { return };
    let (headers, body) = if form % 2 == 0 { (Vec::new(), rest) } else { opened(rest) };
    let message = Message {
        subject: SUBJECTS[usize::from(*subject) % SUBJECTS.len()],
        kind: KINDS[usize::from(*kind) % KINDS.len()],
        cluster: Some("prod"),
        namespace: Some("default"),
        headers: &headers,
        body,
    };
    let brief = brief(&message);
    match parse(&message) {
        Ok(parsed) => {
            is_meant(&parsed);
            if let Some(brief) = brief {
                agree(&brief, &parsed);
            }
        }
        Err(refusal) => {
            assert!(brief.is_none(), "read in brief and refused at length: {refusal}");
        }
    }
});

/// Header lines up to an empty one, and what follows it.
fn opened(rest: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let end = rest.windows(2).position(|it| it == b"\n\n").unwrap_or(rest.len());
    let lines = String::from_utf8_lossy(&rest[..end]);
    let headers = lines.lines().filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    (headers, rest.get(end + 2..).unwrap_or_default())
}

/// What `parse` promises of whatever it accepts.
fn is_meant(parsed: &Parsed) {
    let id = parsed.id.as_str();
    // The longest that is shown as it was sent, behind `ce:`.
    assert!(
        id.len() <= 3 + flyball_signals::identity::MAX_READABLE && id.bytes().all(|it| it.is_ascii_graphic()),
        "{id}"
    );
    assert!(names::is_subdomain(parsed.body.target_name()), "{parsed:?}");
    assert!(parsed.namespace.as_deref().is_some_and(names::is_label), "{parsed:?}");
    assert!(parsed.pod.as_deref().is_none_or(names::is_subdomain), "{parsed:?}");
}

fn agree(brief: &Brief<'_>, parsed: &Parsed) {
    let Body::Anomaly(anomaly) = &parsed.body else { panic!("read in brief, and no anomaly: {parsed:?}") };
    assert_eq!(Some(brief.namespace), parsed.namespace.as_deref());
    assert_eq!(brief.workload_kind.as_deref(), parsed.workload_kind.as_deref());
    assert_eq!(brief.pod.as_deref(), parsed.pod.as_deref());
    assert_eq!((&*brief.service, &*brief.window_id), (anomaly.service.as_str(), anomaly.window_id.as_str()));
    assert_eq!((brief.is_anomaly, brief.anomaly_type), (anomaly.is_anomaly, anomaly.anomaly_type));
    assert_eq!(brief.score.to_bits(), anomaly.score.to_bits());
    assert_eq!((&brief.id, brief.time), (&parsed.id, parsed.time));
    assert_eq!((parsed.expires, &parsed.traceparent, &parsed.correlation), (None, &None, &None));
}
