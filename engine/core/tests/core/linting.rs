//! What `lint` finds: one policy a line, as in `propose`, and the findings by rule and policy.

use flyball_core::lint::{Finding, RULES, lint};

use crate::propose::set;

const REST: &str = "action: {restart: {}}; guardrails: {cooldown: 7m}; verify: {onFailure: escalate}";

fn found(policies: &str) -> Vec<Finding> {
    let lines: Vec<String> = policies
        .lines()
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .map(|it| if it.contains(" | ") { it.to_owned() } else { format!("{it} | {REST}") })
        .collect();
    lint(&set(&lines.join("\n")))
}

fn check(policies: &str, expected: &[&str]) {
    let found = found(policies);
    for it in &found {
        assert!(RULES.iter().any(|(rule, _)| *rule == it.rule), "{} is a rule of the list", it.rule);
        assert!(it.source.starts_with("p.yaml:"), "{it}");
    }
    let told: Vec<String> =
        found.iter().map(|it| format!("{} {} {}", it.severity.as_str(), it.rule, it.policy)).collect();
    assert_eq!(told, expected, "{policies}\n{found:#?}");
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    check("a enforce 0 {signal: rca, causes: [leak]}\nb enforce 0 {signal: anomaly, types: [error]}", &[]);
    check("a disabled 0 {signal: rca}", &[]);
}

#[test]
fn a_finding_reads_like_a_fault() {
    let told = found("a enforce 0 {signal: rca}")[0].to_string();
    let expected = "\
note[unindexed]: a: it names no cause, type, namespace or service exactly, so it costs every signal some 30 ns
 --> p.yaml:3
  = hint: name what it is about: `causes`, `types`, `namespaces` or `services` without `*`";
    assert_eq!(told, expected);
}

#[test]
fn findings_stand_in_the_order_of_the_policies() {
    let never = "{signal: anomaly, types: [error], when: \"false\"}";
    check(&format!("a enforce 9 {{signal: rca}}\nb enforce 0 {never}"), &["note unindexed a", "error never b"]);
    check(&format!("a enforce 9 {never}\nb enforce 0 {{signal: rca}}"), &["error never a", "note unindexed b"]);
}

#[test]
fn a_policy_behind_one_that_matches_all_of_it_is_unreachable() {
    check(
        "a enforce 9 {signal: rca, causes: [leak, gc]}\nb enforce 0 {signal: rca, causes: [gc]}",
        &["error unreachable b"],
    );
    check(
        "a enforce 9 {signal: rca, causes: [gc]}\nb enforce 0 {signal: rca, causes: [leak, gc]}",
        &["note shadowed b"],
    );
    // A shadow hides nobody, and a condition may let signals pass.
    check("a shadow 9 {signal: rca, causes: [gc]}\nb enforce 0 {signal: rca, causes: [gc]}", &[]);
    let narrower = "a enforce 9 {signal: rca, causes: [gc], when: signal.confidence > 0.9}\nb enforce 0 {signal: rca, causes: [gc]}";
    check(narrower, &["note shadowed b"]);
    for (first, expected) in [
        (", when: signal.confidence > 0.9", "error unreachable b"),
        (", when: signal.confidence > 0.8", "note shadowed b"),
        ("", "error unreachable b"),
    ] {
        let policies = format!(
            "a enforce 9 {{signal: rca, causes: [gc]{first}}}
             b enforce 0 {{signal: rca, causes: [gc], when: signal.confidence > 0.9}}"
        );
        check(&policies, &[expected]);
    }
    // Whoever names no word may be about any.
    for (first, second) in [
        ("signal: anomaly, minScore: 0.9, namespaces: [shop]", "signal: anomaly, types: [error]"),
        ("signal: anomaly, types: [error]", "signal: anomaly, namespaces: [shop]"),
        ("signal: rca, minProbability: 0.9, namespaces: [shop]", "signal: rca, causes: [gc]"),
        ("signal: rca, causes: [gc]", "signal: rca, namespaces: [shop]"),
    ] {
        check(&format!("a enforce 9 {{{first}}}\nb enforce 0 {{{second}}}"), &["note shadowed b"]);
    }
    check(
        "a enforce 9 {signal: anomaly, types: [error], namespaces: [\"erp-*\"]}
         b enforce 0 {signal: anomaly, types: [error], namespaces: [erp-eu]}
         c enforce 0 {signal: anomaly, types: [error], namespaces: [shop]}",
        &["error unreachable b"],
    );
    check(
        "a enforce 9 {signal: anomaly, types: [error], minScore: 0.9}\nb enforce 0 {signal: anomaly, types: [error], minScore: 0.5}",
        &["note shadowed b"],
    );
}

#[test]
fn policies_that_undo_each_other_are_told() {
    let more = "action: {scale: {by: 1}}; guardrails: {cooldown: 7m}; verify: {onFailure: undo}";
    let less = "action: {scale: {by: -1}}; guardrails: {cooldown: 7m}; verify: {onFailure: undo}";
    let both = |where_: &str| {
        format!(
            "up enforce 0 {{signal: anomaly, types: [latency]}} | {more}\ndown enforce 0 {{signal: anomaly, types: [other]{where_}}} | {less}"
        )
    };
    check(&both(""), &["warning opposite down"]);
    check(&both(", namespaces: [shop]"), &["warning opposite down"]);
    let apart = both(", namespaces: [shop]").replace("[latency]", "[latency], namespaces: [erp]");
    check(&apart, &[]);
    let patch = "patch: {merge: {spec: {template: {metadata: {annotations: {a: b}}}}}}";
    for (one, other, expected) in [
        ("scale: {to: 2}", "scale: {to: 3}", &["warning opposite a"][..]),
        ("scale: {to: 2}", "scale: {to: 2}", &[]),
        ("scale: {by: 2}", "scale: {by: 3}", &[]),
        (patch, "rollback: {}", &["warning opposite a"]),
        ("rollback: {}", patch, &["warning opposite a"]),
        (patch, patch, &[]),
        ("restart: {}", "rollback: {}", &[]),
    ] {
        let rest = "guardrails: {cooldown: 7m}; verify: {onFailure: undo}";
        let policies = format!(
            "a enforce 0 {{signal: anomaly, types: [latency]}} | action: {{{one}}}; {rest}
             b enforce 0 {{signal: anomaly, types: [other]}} | action: {{{other}}}; {rest}"
        );
        check(&policies, expected);
    }
}

#[test]
fn policies_that_feed_each_other_are_told_once() {
    let a = format!("a enforce 0 {{signal: rca, causes: [leak]}} | {REST}; raises: [{{anomaly: latency}}]");
    let b = format!("b enforce 0 {{signal: anomaly, types: [latency]}} | {REST}; raises: [{{rca: slow}}]");
    let c = format!("c enforce 0 {{signal: rca, causes: [slow]}} | {REST}");
    check(&format!("{a}\n{b}\n{c}"), &[]);
    let all = format!("{a}\n{b}\n{c}; raises: [{{rca: leak}}]");
    check(&all, &["warning cycle a"]);
    assert_eq!(found(&all)[0].message, "its action raises what it acts on: a -> b -> c -> a");
    check(
        &c.replace("[slow]", "[slow, leak]").replace("escalate}", "escalate}; raises: [{rca: slow}]"),
        &["warning cycle c"],
    );
}

#[test]
fn a_condition_that_contradicts_itself_is_told() {
    let when = |signal: &str, when: &str| format!("a enforce 0 {{signal: {signal}, when: \"{when}\"}}");
    let anomaly = "anomaly, types: [error], minScore: 0.8";
    for never in [
        "signal.score < 0.8",
        "signal.score > 0.9 && signal.type == 'error' && 0.9 >= signal.score",
        "signal.service == 'a' && signal.service in ['b', 'c']",
        "false",
        "target.replicas.desired > 3 && target.replicas.desired == 3",
        "target.replicas.desired >= 4 && target.replicas.desired <= 3",
        // The narrower end counts, whichever stands first and whether it is among the numbers or not.
        "signal.score >= 3 && signal.score > 3 && signal.score <= 3",
        "signal.score > 3 && signal.score >= 3 && signal.score <= 3",
        "signal.score <= 3 && signal.score < 3 && signal.score >= 3",
        "signal.score < 3 && signal.score <= 3 && signal.score >= 3",
        "signal.score > 1 && signal.score >= 5 && signal.score < 4",
        "signal.score >= 5 && signal.score > 1 && signal.score < 4",
        "signal.score < 9 && signal.score <= 2 && signal.score > 3",
        "signal.score <= 2 && signal.score < 9 && signal.score > 3",
    ] {
        check(&when(anomaly, never), &["error never a"]);
    }
    for may in [
        "signal.score >= 0.8",
        "signal.score < 0.9 || signal.score > 0.95",
        "signal.service in ['a', 'b'] && signal.service == 'b'",
        "true && signal.score > 0.9",
        "signal.score > 3 && signal.score < 5",
        "signal.score >= 3 && signal.score <= 3",
    ] {
        check(&when(anomaly, may), &[]);
    }
    for (never, why) in [
        ("signal.score < 0.8", "at least 0.8 and less than 0.8"),
        ("signal.score > 0.9 && signal.score <= 0.9", "more than 0.9 and at most 0.9"),
    ] {
        let told = format!("`{never}` can never be true: `signal.score` would have to be {why}");
        assert_eq!(found(&when(anomaly, never))[0].message, told);
    }
    check(&when("rca, causes: [leak]", "cause.probability < 0.5"), &["error never a"]);
}

#[test]
fn limits_that_do_nothing_are_told() {
    let with = |rest: &str| format!("a enforce 0 {{signal: rca, causes: [leak]}} | action: {{restart: {{}}}}; {rest}");
    check(&with("verify: {onFailure: undo}"), &["warning no-guardrail a"]);
    check(&with("guardrails: {cooldown: 7m}"), &["note no-guardrail a"]);
    let budget = "guardrails: {actionBudget: {max: 30, per: 1h}}; verify: {onFailure: undo}";
    check(&with(budget), &["warning looser a"]);
    check(&with(&budget.replace("30", "20")), &[]);
    check(&with("guardrails: {scaleUp: {max: 9, per: 1h}}; verify: {onFailure: undo}"), &["note looser a"]);
    check(&with("guardrails: {scaleUp: {max: 8, per: 1h}}; verify: {onFailure: undo}"), &[]);
    // How sure a signal has to be limits no action.
    check(&with("guardrails: {minConfidence: 0.9}; verify: {onFailure: undo}"), &["warning no-guardrail a"]);
    check("a enforce 0 {signal: rca}", &["note unindexed a"]);
}
