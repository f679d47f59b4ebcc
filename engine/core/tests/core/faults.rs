//! What is wrong with a policy file: `line:column message | hint`. A hint that ends in `…` goes on from there; one that is
//! left out is there all the same: every fault has one.

use flyball_core::policy::load;

use crate::build::POLICY;

/// `POLICY` with one text replaced.
pub(crate) fn check(from: &str, to: &str, expected: &str) {
    assert!(POLICY.contains(from), "{from}");
    check_text(&POLICY.replacen(from, to, 1), expected);
}

fn check_guardrails(spec: &str, expected: &str) {
    check_text(&format!("apiVersion: flyball.dev/v1alpha1\nkind: Guardrails\nspec:\n{spec}"), expected);
}

pub(crate) fn check_text(text: &str, expected: &str) {
    let faults = load(&[("p.yaml".to_owned(), text.to_owned())]).expect_err(text).0;
    let mut lines = expected.lines();
    let told = faults.iter().map(|it| {
        let line = usize::try_from(it.line).unwrap() - 1;
        assert_eq!(text.lines().nth(line), Some(it.text.as_str()), "the line shown is not the line named:\n{it}");
        let hint = it.hint.as_ref().unwrap_or_else(|| panic!("no hint:\n{it}"));
        let shown = lines.next().is_some_and(|line| line.contains(" | ") || line.ends_with('…'));
        let hint = if shown { format!(" | {hint}") } else { String::new() };
        format!("{}:{} {}{hint}", it.line, it.column, it.message)
    });
    let told = told.collect::<Vec<_>>().join("\n");
    match expected.strip_suffix('…') {
        Some(start) => assert!(told.starts_with(start), "{told}\nis not\n{expected}"),
        None => assert_eq!(told, expected),
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    check("mode: enforce", "mode: enforce\n  prioritty: 5", "7:3 unknown field `prioritty` | did you mean `priority`?");
    check(
        "mode: enforce",
        "mode: enforce\n  zzzzzz: 5",
        "7:3 unknown field `zzzzzz` | one of mode, priority, match, profile, target, action, steps, guardrails, verify, raises",
    );
    check("mode: enforce", "mode: enforce\n  mode: shadow", "7:3 `mode` is written twice | keep one of them");
    check("signal: rca", "signal: rca, signal: rca", "7:24 `signal` is written twice | keep one of them");
    check(
        "{cooldown: 10m}",
        "{cooldown: 5 parsecs}",
        "9:26 this is no duration | write such as `90s`, `5m`, `1h30m` or `24h`",
    );
    check(
        "{cooldown: 10m}",
        "{cooldown: 10}",
        "9:26 this is no duration | write such as `90s`, `5m`, `1h30m` or `24h`",
    );
    check("  mode: enforce", "\tmode: enforce", "6:2 tabs disallowed within this context (block indentation)");
    check(
        "mode: enforce",
        "on: yes\n  mode: enforce",
        "6:3 unknown field `on` | one of mode, priority, match, profile, target, action, steps, guardrails, verify, raises",
    );
    check("mode: enforce", "mode: yes", "6:9 unknown value `yes` | one of disabled, shadow, approve, enforce");
    check("{restart: {}}", "{scale: {to: many}}", "8:24 a whole number is expected here");
    check("{signal: rca, causes: [leak]}", "[rca]", "7:10 a mapping is expected here");
    check("guardrails: {cooldown: 10m}", "verify: 5", "9:11 a mapping is expected here");
    check("guardrails: {cooldown: 10m}", "verify: {recovered: {by: clear}}", "9:24 `within` is missing");
}

#[test]
fn every_unknown_key_of_a_document_is_told() {
    check(
        "mode: enforce",
        "mod: enforce\n  prioritty: 5\n  verfy:\n    timeout: 5m\n  mode: enforce",
        "6:3 unknown field `mod` | did you mean `mode`?\n7:3 unknown field `prioritty` | did you mean `priority`?\n\
         8:3 unknown field `verfy` | did you mean `verify`?",
    );
    // What else is wrong with the document is told as well.
    check(
        "mode: enforce",
        "prioritty: 5\n  mode: approve",
        "6:3 unknown field `prioritty` | did you mean `priority`?\n7:9 mode `approve` is not available in this version",
    );
}

#[test]
fn what_is_no_document_of_ours_is_refused() {
    check(
        "kind: RemediationPolicy",
        "kind: RemedyPolicy",
        "2:7 unknown kind `RemedyPolicy` | one of RemediationPolicy, Guardrails",
    );
    check("kind: RemediationPolicy\n", "", "1:1 the document has no `kind` | one of RemediationPolicy, Guardrails");
    check("v1alpha1", "v2", "1:13 unknown apiVersion `flyball.dev/v2` | write `apiVersion: flyball.dev/v1alpha1`");
    check(
        "apiVersion: flyball.dev/v1alpha1\n",
        "",
        "1:1 the document has no `apiVersion` | write `apiVersion: flyball.dev/v1alpha1`",
    );
    check("name: leak", "labels: {a: b}", "1:1 the policy has no `metadata.name`");
    check(
        "name: leak",
        "name: Leak_1",
        "4:9 `Leak_1` is no name for a policy | lower-case letters, digits, `-` and `.`; `api` is taken by direct calls",
    );
    check(
        "name: leak",
        "name: api",
        "4:9 `api` is no name for a policy | lower-case letters, digits, `-` and `.`; `api` is taken by direct calls",
    );
}

#[test]
fn what_cannot_match_is_refused() {
    check("causes: [leak]", "types: [error]", "7:31 `types` is for `signal: anomaly` only | …");
    check("causes: [leak]", "minScore: 1", "7:34 `minScore` is for `signal: anomaly` only | …");
    check("signal: rca", "signal: anomaly", "7:36 `causes` is for `signal: rca` only | …");
    check(
        "signal: rca, causes: [leak]",
        "signal: anomaly, minProbability: 0.5",
        "7:44 `minProbability` is for `signal: rca` only | …",
    );
    check("causes: [leak]", "minProbability: 1.5", "7:40 minProbability is 1.5; it is a probability, 0 to 1");
    check("causes: [leak]", "minProbability: .nan", "7:40 value `.nan` is not a finite number");
    check(
        "signal: rca, causes: [leak]",
        "signal: anomaly, minScore: -1",
        "7:38 minScore is -1; it is a number from 0 up",
    );
    check("signal: rca, causes: [leak]", "signal: anomaly, minScore: .nan", "7:38 value `.nan` is not a finite number");
    let when = "causes: [leak]";
    check(
        when,
        "when: signal.score > 0.5",
        "7:30 `score` is a field of an anomaly, and this policy is about the other kind…",
    );
    check(
        when,
        "when: signal.confidence > cause.probabilty",
        "7:50 there is no field `probabilty` here | did you mean `probability`?",
    );
    check(
        when,
        "when: \"signal.confidence >= 'high'\"",
        "7:31 found no matching overload for '_>=_' applied to '(double, string)'…",
    );
    check(
        "  match: {signal: rca, causes: [leak]}",
        "  match:\n    signal: rca\n    when: >-\n      signal.confidence > 0.5 &&\n      nothing == 1",
        "11:7 there is no `nothing` here…",
    );
    let guards = "guardrails: {cooldown: 10m}";
    check(
        guards,
        "guardrails: {custom: [{name: a, deny: targt == null}]}",
        "9:41 there is no `targt` here | did you mean `target`?",
    );
    check(
        guards,
        "guardrails: {custom: [{name: a, deny: target == null}, {name: a, deny: target == null}]}",
        "9:65 `a` is no name for a guard, or is used twice…",
    );
    check(
        "mode: enforce",
        "mode: approve",
        "6:9 mode `approve` is not available in this version | use `shadow` or `enforce`",
    );
}

#[test]
fn a_fault_in_an_expression_on_several_lines_is_told_where_it_is() {
    for (form, lines, place) in [
        (">-", "true && nothing == 1", "11:15 there is no `nothing`…"),
        (">-", "\n      true && nothing == 1", "12:15 there is no `nothing`…"),
        ("|", "\n      true &&\n      true && nothing == 1", "13:15 there is no `nothing`…"),
        (">-", "'ü' == nothing &&\n      true", "11:14 there is no `nothing`…"),
        (">-", "'ü' == 'ü' &&\n      'ü' == 'ü' && nothing == 1", "12:21 there is no `nothing`…"),
        (">-", "signal.confidence >", "11:26 Syntax error…"),
        ("|", "signal.confidence >\n", "11:26 Syntax error…"),
        ("|", "nothing == 1 &&\n      true", "11:7 there is no `nothing`…"),
    ] {
        let when =
            format!("  match:\n    signal: rca\n    when: {form}\n      signal.confidence > 0.5 &&\n      {lines}");
        check("  match: {signal: rca, causes: [leak]}", &when, place);
    }
}

#[test]
fn what_is_no_action_is_refused() {
    check(
        "{restart: {}}",
        "{scale: {}}",
        "8:11 scale needs either `by` or `to`, not both, and no negative `to` | write `scale: {by: 1}` or `scale: {to: 4}`",
    );
    check(
        "{restart: {}}",
        "{scale: {by: 1, to: 2}}",
        "8:11 scale needs either `by` or `to`, not both, and no negative `to` | write `scale: {by: 1}` or `scale: {to: 4}`",
    );
    check("{restart: {}}", "{scale: {by: 0}}", "8:11 scale by 0 does nothing | write `by: 1`, or `to: N`");
    check(
        "{restart: {}}",
        "{scale: {to: -1}}",
        "8:11 scale needs either `by` or `to`, not both, and no negative `to` | write `scale: {by: 1}` or `scale: {to: 4}`",
    );
    check(
        "action: {restart: {}}",
        "target: {kind: DaemonSet}\n  action: {scale: {by: 1}}",
        "9:11 a DaemonSet cannot be the target of scale | it has no number of replicas",
    );
    check(
        "action: {restart: {}}",
        "target: {kind: Pod}\n  action: {restart: {}}",
        "8:18 unknown value `Pod` | one of Deployment, StatefulSet, DaemonSet",
    );
    check(
        "{restart: {}}",
        "{restart: {}, rollback: {}}",
        "8:11 these are two actions | write them as `steps`, or split it into two policies",
    );
    check("{restart: {}}", "{restart: }", "8:11 no action is written | write such as `restart: {}`");
    check("{restart: {}}", "restart", "8:11 a mapping is expected here");
    check(
        "{restart: {}}",
        "{reboot: {}}",
        "8:12 unknown field `reboot` | one of scale, restart, patch, rollback, deletePod, escalate",
    );
    check("{restart: {}}", "{restart: {force: true}}", "8:22 unknown field `force`");
    check(
        "{restart: {}}",
        "{rollback: {revision: 0}}",
        "8:11 revisions count from 1 | write `rollback: {}` for the one before",
    );
}

#[test]
fn limits_that_limit_nothing_or_cross_the_clusters_are_refused() {
    check(
        "{cooldown: 10m}",
        "{cooldown: 30s}",
        "9:26 cooldown 30s is shorter than the cluster's minCooldown 1m | raise it; nothing can go below `limits.minCooldown`",
    );
    check("{cooldown: 10m}", "{cooldown: -5m}", "9:26 cooldown is negative");
    check(
        "{cooldown: 10m}",
        "{replicas: {max: 51}}",
        "9:26 replicas.max 51 is above the cluster's maxReplicas 50 | lower it; nothing can go above `limits.maxReplicas`",
    );
    check("{cooldown: 10m}", "{replicas: {min: 5, max: 4}}", "9:26 replicas.min 5 and max 4 leave no room");
    check(
        "{cooldown: 10m}",
        "{actionBudget: {max: 1, per: 25h}}",
        "9:30 actionBudget: `per` is 25h; it must be more than nothing and at most 24h",
    );
    check(
        "{cooldown: 10m}",
        "{actionBudget: {max: 0, per: 1h}}",
        "9:30 actionBudget: `max` is 0, so nothing could ever be done | to stop acting write `mode: disabled`, or press `flyball pause`",
    );
    check("{cooldown: 10m}", "{minConfidence: 2}", "9:31 minConfidence is 2; it is a probability, 0 to 1");
    check(
        "{cooldown: 10m}",
        "{cooldown: 25h}",
        "9:26 cooldown is 25h; it must be at most 24h | nothing is remembered for longer than a day; write such as `12h`",
    );
    check("guardrails: {cooldown: 10m}", "verify: {timeout: 0s}", "9:21 timeout must be more than nothing");
}

#[test]
fn guardrails_that_make_no_sense_are_refused() {
    check_guardrails(
        "  windows: [{deny: \"61 2 * * *\", for: 2h}]\n",
        "4:13 window `61 2 * * *`: value must be in range 0..=59; found 61 | …",
    );
    check_guardrails(
        "  windows: [{deny: \"0 2 * * *\", for: 2h, timezone: Mars/Olympus}]\n",
        "4:13 window `0 2 * * *`: failed to find timezone Mars/Olympus | …",
    );
    check_guardrails(
        "  windows: [{deny: \"0 2 * * *\", for: 0s}]\n",
        "4:13 window `0 2 * * *`: it lasts 0s; it must be more than nothing and at most a year | …",
    );
    check_guardrails(
        "  limits: {maxUnavailable: lots}\n",
        "4:28 `lots` is no share | write a percentage such as `40%`",
    );
    check_guardrails(
        "  limits: {breaker: {failures: 0, per: 30m, probeAfter: 10m}}\n",
        "4:21 a breaker needs at least one failure, within more than nothing and at most 24h, and probes after at most 24h",
    );
    check_guardrails(
        "  limits: {concurrency: {cluster: 0}}\n",
        "4:35 concurrency.cluster is 0, so everything would wait for ever | at least 1; to stop acting press `flyball pause`",
    );
    check_guardrails("  limits: {maxReplicas: 0}\n", "4:25 maxReplicas is 0; it is at least 1");
    check_guardrails(
        "  defaults: {cooldown: 30s, replicas: {max: 60}}\n",
        "4:24 cooldown 30s is shorter than the cluster's minCooldown 1m | raise it; nothing can go below `limits.minCooldown`\n4:39 replicas.max 60 is above the cluster's maxReplicas 50 | lower it; nothing can go above `limits.maxReplicas`",
    );
    check_guardrails(
        "  allow: {actions: [undo]}\n",
        "4:20 `undo` cannot be allowed or forbidden: a policy asks for it with `verify.onFailure`",
    );
    check_guardrails("  maxSignalAge: 8760h\n", "4:17 maxSignalAge is 8760h; it must be at most 24h");
    check_guardrails("  limits: {minCooldown: 25h}\n", "4:25 minCooldown is 25h; it must be at most 24h…");
    check_guardrails(
        "  limits: {breaker: {failures: 1, per: 30m, probeAfter: 25h}}\n",
        "4:21 a breaker needs at least one failure, within more than nothing and at most 24h, and probes after at most 24h",
    );
    check_guardrails(
        "  limits: {clusterBudget: {max: 5, per: 48h}}\n",
        "4:27 clusterBudget: `per` is 48h; it must be more than nothing and at most 24h",
    );
}

#[test]
fn what_is_no_yaml_is_refused() {
    check_text("hello", "1:1 a mapping is expected here");
    check_text("a: [1", "1:4 unclosed bracket '['");
    check_text("a: *nope", "1:4 reference to unknown value");
}
