//! Which policy speaks up for which signal, about which target, or why none does.

use std::sync::Arc;

use flyball_core::action::Action;
use flyball_core::mapper::{Proposal, propose};
use flyball_core::policy::{PolicySet, load};
use flyball_core::signal::{Anomaly, AnomalyKind, RankedCause, Rca, Signal, SignalKind, TraceContext};

use crate::build::{at, workload};

/// One policy a line: `name mode priority match [| rest of the spec]`.
fn set(lines: &str) -> PolicySet {
    let documents = lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let (head, rest) = line.split_once(" | ").unwrap_or((line, "action: {restart: {}}"));
        let mut words = head.splitn(4, ' ');
        let mut next = || words.next().unwrap();
        let (name, mode, priority, matches) = (next(), next(), next(), next());
        format!(
            "apiVersion: flyball.dev/v1alpha1\nkind: RemediationPolicy\nmetadata: {{name: {name}}}\n\
             spec:\n  mode: {mode}\n  priority: {priority}\n  match: {matches}\n  {}\n",
            rest.replace("; ", "\n  ")
        )
    });
    let text = documents.collect::<Vec<_>>().join("---\n");
    load(&[("p.yaml".to_owned(), text)]).unwrap_or_else(|faults| panic!("{faults}"))
}

fn signal(kind: SignalKind) -> Signal {
    Signal {
        id: flyball_core::id::SignalId("s".into()),
        kind,
        subject: workload("shop/front"),
        service: "front".into(),
        pod: Some("front-1".into()),
        window_id: "w".into(),
        observed_at: at("10:00"),
        expires_at: None,
        trace: TraceContext::default(),
        sequence: 3,
    }
}

/// `anomaly error 0.95`, `clear error 0.95` or `rca 0.8 shop/cart leak 0.6, …`.
fn read(text: &str) -> Signal {
    let (kind, rest) = text.split_once(' ').unwrap();
    if kind == "rca" {
        let (confidence, causes) = rest.split_once(' ').unwrap_or((rest, ""));
        let cause = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let [target, cause, probability] = words[..] else { panic!("{text}") };
            RankedCause { target: workload(target), cause: cause.into(), probability: probability.parse().unwrap() }
        };
        let causes = causes.split(',').filter(|it| !it.trim().is_empty()).map(cause).collect();
        return signal(SignalKind::Rca(Rca { causes, confidence: confidence.parse().unwrap() }));
    }
    let (symptom, score) = rest.split_once(' ').unwrap();
    let kinds = [AnomalyKind::Latency, AnomalyKind::Error, AnomalyKind::Resource, AnomalyKind::Other];
    let symptom = kinds.into_iter().find(|it| it.as_str() == symptom).unwrap();
    signal(SignalKind::Anomaly(Anomaly { is_anomaly: kind == "anomaly", score: score.parse().unwrap(), kind: symptom }))
}

fn told(proposal: &Proposal) -> String {
    let act = match &proposal.act {
        Ok(request) => format!("{} on {}", request.policy.name, request.target),
        Err(silence) => silence.label().to_owned(),
    };
    let shadows: Vec<Arc<str>> = proposal.shadows.iter().map(|it| it.policy.name.clone()).collect();
    if shadows.is_empty() { act } else { format!("{act}; shadows {}", shadows.join(", ")) }
}

fn check(policies: &str, signal: &str, expected: &str) {
    assert_eq!(told(&propose(&set(policies), &read(signal))), expected, "{signal}\n{policies}");
}

const ERRORS: &str = "errors enforce 0 {signal: anomaly, types: [error], minScore: 0.9}";
const LEAKS: &str = "leaks enforce 0 {signal: rca, causes: [leak], minProbability: 0.5}";

#[test]
fn what_is_not_about_it_does_not_match() {
    check(ERRORS, "anomaly latency 0.95", "NoPolicyMatched");
    check(ERRORS, "anomaly error 0.89", "NoPolicyMatched");
    check(ERRORS, "anomaly error NaN", "NoPolicyMatched");
    check(ERRORS, "rca 0.9 shop/cart error 0.9", "NoPolicyMatched");
    check(LEAKS, "anomaly error 0.95", "NoPolicyMatched");
    check(LEAKS, "rca 0.9 shop/cart leak 0.49", "NoPolicyMatched");
    check(LEAKS, "rca 0.9 shop/cart leak NaN", "NoPolicyMatched");
    check(LEAKS, "rca 0.9 shop/cart other 0.9", "NoPolicyMatched");
    check(LEAKS, "rca 0.9", "NoPolicyMatched");
    check("any enforce 0 {signal: rca}", "rca 0.9 shop/cart leak 0.49", "NoPolicyMatched");
    check("none disabled 0 {signal: rca}", "rca 0.9 shop/cart leak 0.9", "PolicyDisabled");
    check("", "rca 0.9 shop/cart leak 0.9", "NoPolicyMatched");
}

#[test]
fn what_clears_never_acts() {
    check(ERRORS, "clear error 0.95", "NotAnomalous");
    check("all shadow 0 {signal: anomaly}", "clear other 1", "NotAnomalous");
}

#[test]
fn anomalies_are_about_their_subject() {
    check(ERRORS, "anomaly error 0.9", "errors on shop/Deployment/front");
    check("all enforce 0 {signal: anomaly}", "anomaly other 0", "all on shop/Deployment/front");
}

#[test]
fn an_rca_is_about_the_cause_that_matched() {
    check(LEAKS, "rca 0.9 shop/db slow 0.9, shop/cart leak 0.5", "leaks on shop/Deployment/cart");
    check(LEAKS, "rca 0.9 shop/db leak 0.4, shop/sts/cart leak 0.6", "leaks on shop/StatefulSet/cart");
    // Without causes it is about what the signal is about.
    check("any enforce 0 {signal: rca}", "rca 0.9 shop/db slow 0.9", "any on shop/Deployment/front");
    check("any enforce 0 {signal: rca}", "rca 0.9", "any on shop/Deployment/front");
}

#[test]
fn namespaces_and_services_are_the_targets() {
    let policy = "p enforce 0 {signal: rca, causes: [leak], namespaces: [shop, \"erp-*\"], services: [\"*-db\", cart]}";
    check(policy, "rca 0.9 bank/cart leak 0.9", "NoPolicyMatched");
    check(policy, "rca 0.9 shop/front leak 0.9", "NoPolicyMatched");
    check(policy, "rca 0.9 shop/cart leak 0.9", "p on shop/Deployment/cart");
    check(policy, "rca 0.9 erp-eu/main-db leak 0.9", "p on erp-eu/Deployment/main-db");
}

#[test]
fn a_policy_may_name_the_kind() {
    let policy = "p enforce 0 {signal: anomaly} | target: {kind: StatefulSet}; action: {restart: {}}";
    check(policy, "anomaly other 1", "p on shop/StatefulSet/front");
}

#[test]
fn the_first_by_priority_then_by_name_acts() {
    let policies =
        "b enforce 5 {signal: anomaly}\nc enforce 9 {signal: anomaly, types: [error]}\na enforce 5 {signal: anomaly}";
    check(policies, "anomaly error 1", "c on shop/Deployment/front");
    check(policies, "anomaly other 1", "a on shop/Deployment/front");
}

#[test]
fn a_shadow_or_a_disabled_policy_hides_nobody() {
    let both = "watch shadow 9 {signal: anomaly}\nacts enforce 1 {signal: anomaly}";
    check(both, "anomaly other 1", "acts on shop/Deployment/front; shadows watch");
    check("watch shadow 9 {signal: anomaly}", "anomaly other 1", "ShadowOnly; shadows watch");
    check(
        "off disabled 9 {signal: anomaly}\nacts enforce 1 {signal: anomaly}",
        "anomaly other 1",
        "acts on shop/Deployment/front",
    );
    for order in ["9", "1"] {
        let policies = format!("off disabled {order} {{signal: anomaly}}\nwatch shadow 5 {{signal: anomaly}}");
        check(&policies, "anomaly other 1", "ShadowOnly; shadows watch");
    }
}

#[test]
fn the_request_carries_what_the_guardrails_need() {
    let set = set("evict enforce 7 {signal: rca, causes: [leak]} | action: {deletePod: {}}");
    let request = propose(&set, &read("rca 0.8 shop/cart leak 0.6")).act.unwrap();
    assert_eq!(request.action, Action::DeletePod { pod: Some("front-1".into()) });
    assert_eq!((request.priority, request.step, &request.policy.digest), (7, 0, &set.digest));
    assert_eq!((request.evidence.confidence, request.evidence.sequence), (Some(0.8), 3));
    assert_eq!(&*request.evidence.summary, "cart leak (0.6), confidence 0.8");
    assert_eq!(request.cause.to_string(), "signal s");
}
