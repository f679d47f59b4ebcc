//! Which policy speaks up for which signal, about which target, or why none does.

use std::sync::Arc;

use flyball_core::action::Action;
use flyball_core::expr::TargetView;
use flyball_core::history::History;
use flyball_core::mapper::{Proposal, propose};
use flyball_core::policy::{PolicySet, load};
use flyball_core::signal::{Anomaly, AnomalyKind, RankedCause, Rca, Signal, SignalKind, TraceContext};
use flyball_core::workload::Workload;
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::build::{at, workload};

/// One policy a line: `name mode priority match [| rest of the spec]`.
pub(crate) fn set(lines: &str) -> PolicySet {
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
pub(crate) fn read(text: &str) -> Signal {
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
    assert_eq!(
        told(&propose(&set(policies), &read(signal), |_| None, &History::default(), at("10:00"))),
        expected,
        "{signal}\n{policies}"
    );
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

pub(crate) fn view(desired: i32) -> impl Fn(&Workload) -> Option<TargetView> {
    move |it| {
        let (workload, labels) = (it.clone(), Arc::default());
        Some(TargetView { workload, desired, updated: desired, ready: desired, available: desired, labels })
    }
}

#[test]
fn a_condition_is_asked_of_the_signal_and_of_what_is_known_of_the_target() {
    let policies = "small enforce 9 {signal: anomaly, when: target.replicas.desired < 3}
        any enforce 1 {signal: anomaly, when: signal.score > 0.5}";
    let told = |view: &dyn Fn(&Workload) -> Option<TargetView>, signal: &str| {
        let proposal = propose(&set(policies), &read(signal), view, &History::default(), at("10:00"));
        let failed: Vec<String> = proposal.unevaluated.iter().map(|(name, _)| name.to_string()).collect();
        format!(
            "{}{}",
            told(&proposal),
            if failed.is_empty() { String::new() } else { format!(", not {}", failed.join(" ")) }
        )
    };
    assert_eq!(told(&view(2), "anomaly error 0.9"), "small on shop/Deployment/front");
    assert_eq!(told(&view(3), "anomaly error 0.9"), "any on shop/Deployment/front");
    assert_eq!(told(&view(3), "anomaly error 0.4"), "NoPolicyMatched");
    // What asks about an unknown target does not match, and that is told.
    assert_eq!(told(&|_| None, "anomaly error 0.9"), "any on shop/Deployment/front, not small");
}

#[test]
fn a_request_of_a_policy_with_expressions_carries_its_signal() {
    let policies = "a enforce 1 {signal: anomaly, when: signal.score > 0.5}\nb shadow 2 {signal: anomaly}";
    let signal = read("anomaly error 0.9");
    let proposal = propose(&set(policies), &signal, |_| None, &History::default(), at("10:00"));
    assert_eq!(proposal.act.unwrap().evidence.signal.as_deref(), Some(&signal));
    assert_eq!(proposal.shadows[0].evidence.signal, None);
}

/// A policy of random exact and wild words, and a signal of the same ones.
fn words() -> impl Strategy<Value = (Vec<String>, String)> {
    let some = |all: &'static [&'static str]| subsequence(all, 0..=all.len()).prop_map(|it| it.join(", "));
    let policy = (
        0..3_usize,
        any::<bool>(),
        some(&["leak", "gc", "slow"]),
        some(&["shop", "erp", "\"e*\""]),
        some(&["cart", "db", "\"*b\""]),
    )
        .prop_map(|(mode, rca, words, namespaces, services)| {
            let mode = ["enforce", "shadow", "disabled"][mode];
            let types = if words.contains("leak") { "types: [error]" } else { "types: []" };
            let on = if rca { format!("signal: rca, causes: [{words}]") } else { format!("signal: anomaly, {types}") };
            format!("{mode} 0 {{{on}, namespaces: [{namespaces}], services: [{services}]}}")
        });
    let cause = (0..2_usize, 0..2_usize, 0..3_usize).prop_map(|(namespace, name, cause)| {
        format!("{}/{} {} 0.9", ["shop", "erp"][namespace], ["cart", "db"][name], ["leak", "gc", "slow"][cause])
    });
    let signal = prop_oneof![
        Just("anomaly error 1".to_owned()),
        Just("anomaly other 1".to_owned()),
        proptest::collection::vec(cause, 0..4).prop_map(|it| format!("rca 0.9 {}", it.join(", "))),
    ];
    (proptest::collection::vec(policy, 1..12), signal)
}

proptest! {
    /// The index leaves nobody out: whoever matches is among the candidates, in the order of the set.
    #[test]
    fn whoever_matches_is_found((policies, signal) in words()) {
        let lines: Vec<String> = policies.iter().enumerate().map(|(n, it)| format!("p{n} {it}")).collect();
        let (set, signal) = (set(&lines.join("\n")), read(signal.trim()));
        let all: Vec<_> = set.policies().iter().filter(|it| it.matched(&signal).is_some()).map(|it| &it.name).collect();
        let found: Vec<_> = set.candidates(&signal).filter(|it| it.matched(&signal).is_some()).map(|it| &it.name).collect();
        prop_assert_eq!(found, all);
    }
}

#[test]
fn only_policies_that_name_nothing_exactly_are_always_asked() {
    let policies = "a enforce 0 {signal: rca, causes: [leak]}
        b enforce 0 {signal: rca, services: [\"*-db\"]}
        c enforce 0 {signal: anomaly, namespaces: [shop]}
        d enforce 0 {signal: anomaly}";
    let set = set(policies);
    // What a condition pins is as good as what is named.
    let pinned = super::propose::set(
        "e enforce 0 {signal: anomaly, when: \"signal.name in ['cart', 'db'] && signal.score > 0.1\"}",
    );
    assert_eq!(pinned.scanned().count(), 0);
    assert_eq!(pinned.candidates(&read("anomaly other 1")).count(), 0, "it is about `front`");
    assert_eq!(set.scanned().map(|it| &*it.name).collect::<Vec<_>>(), ["d", "b"]);
    let found =
        |signal: &str| set.candidates(&read(signal)).map(|it| it.name.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(found("anomaly other 1"), "c d");
    assert_eq!(found("rca 0.9 shop/cart leak 0.9, shop/db leak 0.8"), "a b");
    assert_eq!(found("rca 0.9 shop/cart other 0.9"), "b");
}

#[test]
fn the_request_carries_what_the_guardrails_need() {
    let set = set("evict enforce 7 {signal: rca, causes: [leak]} | action: {deletePod: {}}");
    let request =
        propose(&set, &read("rca 0.8 shop/cart leak 0.6"), |_| None, &History::default(), at("10:00")).act.unwrap();
    assert_eq!(request.action, Action::DeletePod { pod: Some("front-1".into()) });
    assert_eq!((request.priority, request.step, &request.policy.digest), (7, 0, &set.digest));
    assert_eq!((request.evidence.confidence, request.evidence.sequence), (Some(0.8), 3));
    assert_eq!(&*request.evidence.summary, "cart leak (0.6), confidence 0.8");
    assert_eq!(request.cause.to_string(), "signal s");
}
