//! What is decided: a storm of anomalies about a thousand sick workloads, and sets of policies of any size of which exactly one
//! matches each signal.

use std::fmt::Write;

/// The cluster's name in every subject.
pub(crate) const CLUSTER: &str = "bench";
/// Workloads that are sick: so many signals are admitted.
pub(crate) const WORKLOADS: u64 = 1_000;
/// Namespaces that they lie in.
pub(crate) const NAMESPACES: u64 = 50;
/// Up to so many policies each is about whole namespaces; in larger sets each is about one workload, or about one that does not
/// exist.
const BROAD: usize = 10;

/// Limits that let every sick workload be helped once: what is measured is deciding, not waiting.
const GUARDRAILS: &str = "apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  maxSignalAge: 24h
  limits:
    clusterBudget: {max: 1000000, per: 1h}
    namespaceBudget: {max: 1000000, per: 1h}
    concurrency: {cluster: 1000000, namespace: 1000000}
    maxUnavailable: 100%
";

/// The namespace of a workload.
pub(crate) fn namespace(workload: u64) -> String {
    format!("team-{:02}", workload % NAMESPACES)
}

/// The name of a workload.
pub(crate) fn name(workload: u64) -> String {
    format!("service-{:04}", workload / NAMESPACES)
}

/// Which workload the `number`th signal is about: in no order, as storms come, and every workload within the first few thousand.
pub(crate) fn workload_of(number: u64) -> u64 {
    // SplitMix64: the same in every run.
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % WORKLOADS
}

/// Subject and body of a signal: 333 bytes. `ended`: when its window ended, in seconds since 1970.
pub(crate) fn signal(number: u64, ended: i64) -> (String, String) {
    let workload = workload_of(number);
    let (namespace, name) = (namespace(workload), name(workload));
    let kind = ["latency", "error", "resource"][usize::try_from(number % 3).unwrap_or_default()];
    let mut body = String::with_capacity(336);
    // Writing into a String cannot fail.
    let _ = write!(
        body,
        r#"{{"windowId":"w-{number:09}","service":"{name}","isAnomaly":true,"score":0.97,"type":"{kind}","modelVersion":"detector-2026.11","#
    );
    let begun = ended - 60;
    let _ = write!(
        body,
        r#""tsRange":[{begun},{ended}],"metadata":{{"namespace":"{namespace}","kind":"Deployment","metric":"http_server_duration_p99","value":"#
    );
    let _ = write!(body, r#"2.31,"unit":"s","dashboard":"https://grafana.example/d/"}}}}"#);
    // Made as long as the reference's signals.
    let room = 333usize.saturating_sub(body.len());
    let filled = format!("https://grafana.example/d/{}", "x".repeat(room));
    let body = body.replace("https://grafana.example/d/", &filled);
    (format!("flyball.signal.v1.anomaly.{CLUSTER}.{namespace}"), body)
}

/// `count` policies, in files of a thousand each, and the guardrails.
pub(crate) fn policies(count: usize) -> Vec<(String, String)> {
    let numbers: Vec<usize> = (0..count).collect();
    let file = |(at, numbers): (usize, &[usize])| {
        let documents: Vec<String> = numbers.iter().map(|it| policy(*it, count)).collect();
        (format!("policies-{at:03}.yaml"), documents.join("---\n"))
    };
    let mut files: Vec<_> = numbers.chunks(1_000).enumerate().map(file).collect();
    files.push(("guardrails.yaml".to_owned(), GUARDRAILS.to_owned()));
    files
}

fn policy(number: usize, of: usize) -> String {
    let about = if of <= BROAD {
        let share = usize::try_from(NAMESPACES).unwrap_or(1) / of;
        let names: Vec<String> = (0..share).map(|it| format!("team-{:02}", number * share + it)).collect();
        format!("namespaces: [{}]", names.join(", "))
    } else {
        let at = u64::try_from(number).unwrap_or_default();
        // Beyond the workloads that there are: in the same namespaces, of the same form, and about nobody.
        format!("namespaces: [{}], services: [{}]", namespace(at), name(at))
    };
    format!(
        "apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata: {{name: policy-{number:06}}}
spec:
  mode: enforce
  match: {{signal: anomaly, minScore: 0.9, {about}}}
  action: {{restart: {{}}}}
  guardrails: {{cooldown: 5m}}
  verify: {{timeout: 10m, stableFor: 60s}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use flyball_core::signal::{Anomaly, AnomalyKind, Signal, SignalKind, TraceContext};
    use flyball_core::workload::{Workload, WorkloadKind};
    use jiff::Timestamp;
    use std::collections::BTreeSet;

    #[test]
    fn exactly_one_policy_matches_each_workload_in_every_size_of_set() {
        for count in [10, 1_000, 2_000] {
            let set = flyball_core::policy::load(&policies(count)).unwrap();
            assert_eq!(set.policies().len(), count);
            for workload in 0..WORKLOADS {
                let subject = Workload::new(WorkloadKind::Deployment, &namespace(workload), &name(workload));
                let anomaly = Anomaly { is_anomaly: true, score: 0.97, kind: AnomalyKind::Latency };
                let signal = Signal {
                    id: flyball_core::id::SignalId("w:1".into()),
                    kind: SignalKind::Anomaly(anomaly),
                    service: subject.name.clone(),
                    subject,
                    pod: None,
                    window_id: "w".into(),
                    observed_at: Timestamp::UNIX_EPOCH,
                    expires_at: None,
                    trace: TraceContext::default(),
                    sequence: 1,
                };
                let matching = set.policies().iter().filter(|it| it.matched(&signal).is_some()).count();
                assert_eq!(matching, 1, "{count} policies, {}", signal.subject);
            }
        }
    }

    #[test]
    fn a_signal_is_as_long_as_the_references_and_every_workload_comes_early() {
        let (subject, body) = signal(999_999, 1_795_000_000);
        assert_eq!(body.len(), 333, "{body}");
        let message = flyball_signals_message(&subject, &body);
        assert!(message.is_ok(), "{message:?}");
        assert_eq!((0..20_000).map(workload_of).collect::<BTreeSet<_>>().len() as u64, WORKLOADS);
    }

    fn flyball_signals_message(subject: &str, body: &str) -> Result<Signal, String> {
        let reader = flyball::intake::Reader {
            cluster: CLUSTER.into(),
            namespace: "default".into(),
            aliases: std::collections::BTreeMap::new(),
        };
        let message = flyball_core::ports::Message {
            subject: Some(subject.to_owned()),
            body: body.as_bytes().to_vec(),
            sequence: 1,
            published_at: Timestamp::now(),
            ..flyball_core::ports::Message::default()
        };
        reader.read(&message).map_err(|error| error.to_string())
    }
}
