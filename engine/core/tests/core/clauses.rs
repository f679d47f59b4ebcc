//! Why a policy matches a signal or does not, clause by clause.

use flyball_core::expr::TargetView;
use flyball_core::mapper::clauses;
use flyball_core::workload::Workload;

use crate::build::at;
use crate::propose::{read, set, view};

/// Each clause as `yes` or `no`, what is asked, and what was found.
fn check_seen(policy: &str, signal: &str, view: impl Fn(&Workload) -> Option<TargetView>, expected: &[&str]) {
    let all = clauses(&set(policy).policies()[0], &read(signal), view, at("10:00"));
    let told = all.iter().map(|it| {
        // Why something could not be evaluated is said in the words of whoever evaluates.
        let found = it.found.split(": ").next().unwrap();
        format!("{} {}: {found}", if it.holds { "yes" } else { "no" }, it.asks)
    });
    assert_eq!(told.collect::<Vec<_>>(), expected, "{signal}\n{policy}");
}

fn check(policy: &str, signal: &str, expected: &[&str]) {
    check_seen(policy, signal, |_| None, expected);
}

#[test]
fn an_anomaly_is_asked_for_its_type_and_its_score() {
    let policy = "p enforce 0 {signal: anomaly, types: [error, latency], minScore: 0.9}";
    check(
        policy,
        "anomaly error 0.9",
        &[
            "yes signal is an anomaly: anomaly",
            "yes it is one, and no clearing: true",
            "yes type in [error, latency]: error",
            "yes score >= 0.9: 0.9",
        ],
    );
    check(
        policy,
        "clear other 0.8",
        &[
            "yes signal is an anomaly: anomaly",
            "no it is one, and no clearing: false",
            "no type in [error, latency]: other",
            "no score >= 0.9: 0.8",
        ],
    );
    check(
        "p enforce 0 {signal: anomaly}",
        "anomaly other 0.1",
        &["yes signal is an anomaly: anomaly", "yes it is one, and no clearing: true", "yes score >= 0: 0.1"],
    );
    check(policy, "rca 0.9 shop/cart error 0.9", &["no signal is an anomaly: rca"]);
}

#[test]
fn an_rca_is_asked_for_its_causes() {
    let policy = "p enforce 0 {signal: rca, causes: [leak, gc], minProbability: 0.5}";
    check(
        policy,
        "rca 0.9 shop/db slow 0.9, shop/cart leak 0.6",
        &["yes signal is an rca: rca", "yes cause in [leak, gc], probability >= 0.5: db slow (0.9), cart leak (0.6)"],
    );
    check(policy, "rca 0.9", &["yes signal is an rca: rca", "no cause in [leak, gc], probability >= 0.5: no causes"]);
    check(
        "p enforce 0 {signal: rca, minProbability: 0.7}",
        "rca 0.9 shop/cart leak 0.6",
        &["yes signal is an rca: rca", "no any cause, probability >= 0.7: cart leak (0.6)"],
    );
    check(policy, "anomaly error 0.9", &["no signal is an rca: anomaly"]);
}

#[test]
fn names_are_those_of_the_target() {
    check(
        "p enforce 0 {signal: rca, causes: [leak], namespaces: [shop, \"erp-*\"], services: [front]}",
        "rca 0.9 erp-eu/cart leak 0.9",
        &[
            "yes signal is an rca: rca",
            "yes cause in [leak], probability >= 0.5: cart leak (0.9)",
            "yes namespace in [shop, erp-*]: erp-eu",
            "no service in [front]: cart",
        ],
    );
}

#[test]
fn a_condition_is_asked_of_the_target_that_the_policy_means() {
    let policy = "p enforce 0 {signal: rca, causes: [leak], when: \"target.name == 'cart' && target.kind == 'StatefulSet'\"} \
                  | target: {kind: StatefulSet}; action: {restart: {}}";
    let asked = |found: &str, view: &dyn Fn(&Workload) -> Option<TargetView>| {
        let cause = "yes cause in [leak], probability >= 0.5: cart leak (0.9)";
        check_seen(policy, "rca 0.9 shop/cart leak 0.9", view, &["yes signal is an rca: rca", cause, found]);
    };
    let text = "when target.name == 'cart' && target.kind == 'StatefulSet'";
    asked(&format!("yes {text}: true"), &view(3));
    let other = |_: &Workload| view(3)(&"shop/front".parse().unwrap());
    asked(&format!("no {text}: false"), &other);
    check(
        "p enforce 0 {signal: anomaly, when: target.name == 'front'}",
        "anomaly other 0.5",
        &[
            "yes signal is an anomaly: anomaly",
            "yes it is one, and no clearing: true",
            "yes score >= 0: 0.5",
            "no when target.name == 'front': could not be evaluated",
        ],
    );
}
