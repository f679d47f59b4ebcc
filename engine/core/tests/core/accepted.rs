//! What is accepted at the edge of what is refused: names, actions, limits and sizes, each to its last allowed value.

use flyball_core::action::{Action, Patch, PatchForm, Scale};
use flyball_core::limits::{Bounds, Breaker, Guardrails};
use flyball_core::policy::{Faults, MatchOn, Policy, PolicySet, load};
use flyball_core::window::FreezeWindow;
use serde_json::json;

use crate::build::{POLICY, duration};

fn read(text: &str) -> Result<PolicySet, Faults> {
    load(&[("p.yaml".to_owned(), text.to_owned())])
}

/// `POLICY` with one text replaced.
fn policy(from: &str, to: &str) -> Policy {
    assert!(POLICY.contains(from), "{from}");
    read(&POLICY.replacen(from, to, 1)).unwrap_or_else(|faults| panic!("{faults}")).policies()[0].clone()
}

fn guardrails(spec: &str) -> Guardrails {
    let text = format!("apiVersion: flyball.dev/v1alpha1\nkind: Guardrails\nspec:\n  {spec}\n");
    read(&text).unwrap_or_else(|faults| panic!("{faults}")).guardrails
}

/// How many faults there are in the guardrails, and what the first says.
fn faults(spec: &str) -> (usize, String) {
    let text = format!("apiVersion: flyball.dev/v1alpha1\nkind: Guardrails\nspec:\n  {spec}\n");
    let faults = read(&text).unwrap_err().0;
    (faults.len(), faults[0].message.clone())
}

#[test]
fn every_action_can_be_asked_for() {
    let merge = json!({"spec": {"minReadySeconds": 5}});
    let json = json!([{"op": "add", "path": "/spec/minReadySeconds", "value": 5}]);
    for (written, action) in [
        ("{scale: {by: -2}}", Action::Scale(Scale::By(-2))),
        ("{scale: {to: 0}}", Action::Scale(Scale::To(0))),
        ("{scale: {to: 4}}", Action::Scale(Scale::To(4))),
        ("{restart: {}}", Action::Restart),
        ("{rollback: {}}", Action::Rollback { revision: None }),
        ("{rollback: {revision: 1}}", Action::Rollback { revision: Some(1) }),
        ("{deletePod: {}}", Action::DeletePod { pod: None }),
        (
            "{patch: {strategic: {spec: {minReadySeconds: 5}}}}",
            Action::Patch(Patch { form: PatchForm::Strategic, body: merge.clone() }),
        ),
        (
            "{patch: {merge: {spec: {minReadySeconds: 5}}}}",
            Action::Patch(Patch { form: PatchForm::Merge, body: merge }),
        ),
        (
            "{patch: {json: [{op: add, path: /spec/minReadySeconds, value: 5}]}}",
            Action::Patch(Patch { form: PatchForm::Json, body: json }),
        ),
    ] {
        assert_eq!(policy("{restart: {}}", written).action, action);
    }
}

#[test]
fn names_have_253_characters_at_most() {
    for name in ["a", "0", "restart-2.b", &"x".repeat(253)] {
        assert_eq!(&*policy("name: leak", &format!("name: {name}")).name, name);
    }
    for name in ["a_b", "A", "ü", &"x".repeat(254), "\"\""] {
        assert!(read(&POLICY.replace("name: leak", &format!("name: {name}"))).is_err(), "{name}");
    }
}

#[test]
fn a_policys_limits_reach_to_their_ends() {
    let limits = |written: &str| policy("{cooldown: 10m}", written).limits;
    assert_eq!(limits("{cooldown: 1m}").cooldown, duration("1m"));
    assert_eq!(limits("{cooldown: 24h}").cooldown, duration("24h"));
    assert_eq!(limits("{replicas: {min: 0, max: 50}}").replicas, Bounds { min: 0, max: 50 });
    assert_eq!(limits("{replicas: {min: 3, max: 3}}").replicas, Bounds { min: 3, max: 3 });
    let budget = limits("{actionBudget: {max: 1, per: 24h}, scaleUp: {max: 0, per: 1s}}");
    assert_eq!((budget.action_budget.max, budget.action_budget.per), (1, duration("24h")));
    assert_eq!((budget.scale_up.max, budget.scale_up.per), (0, duration("1s")));
    for written in ["0.0", "0.9", "1.0"] {
        let least: f64 = written.parse().unwrap();
        assert_eq!(limits(&format!("{{minConfidence: {written}}}")).min_confidence.to_bits(), least.to_bits());
        let on = policy("causes: [leak]", &format!("minProbability: {written}")).matches.on;
        assert_eq!(on, MatchOn::Rca { causes: Vec::new(), min_probability: least });
    }
    let on = policy("rca, causes: [leak]", "anomaly, minScore: 0").matches.on;
    assert_eq!(on, MatchOn::Anomaly { types: Vec::new(), min_score: 0.0 });
    assert!(read(&POLICY.replace("{cooldown: 10m}", "{replicas: {min: -1}}")).is_err());
}

#[test]
fn how_success_is_judged_reaches_to_its_ends() {
    let verify = policy("guardrails: {cooldown: 10m}", "verify: {timeout: 24h, stableFor: 0s}").verify;
    assert_eq!((verify.timeout, verify.stable_for), (duration("24h"), duration("0s")));
    assert!(read(&POLICY.replace("guardrails: {cooldown: 10m}", "verify: {stableFor: -1s}")).is_err());
}

#[test]
fn the_clusters_limits_reach_to_their_ends() {
    let limits = |written: &str| guardrails(&format!("limits: {{{written}}}")).limits;
    assert_eq!(limits("maxReplicas: 1").max_replicas, 1);
    assert_eq!(limits("minCooldown: 0s").min_cooldown, duration("0s"));
    assert_eq!(limits("minCooldown: 5m").min_cooldown, duration("5m"));
    for (written, percent) in [("0%", 0), ("100%", 100)] {
        assert_eq!(limits(&format!("maxUnavailable: {written}")).max_unavailable_percent, percent);
    }
    assert_eq!(faults("limits: {maxUnavailable: 101%}"), (1, "`101%` is no share".into()));
    let slots = limits("concurrency: {cluster: 7, namespace: 1}");
    assert_eq!((slots.concurrency_cluster, slots.concurrency_namespace), (7, 1));
    assert_eq!(guardrails("maxSignalAge: 24h").max_signal_age, duration("24h"));
}

#[test]
fn a_breaker_needs_a_failure_a_time_and_a_probe() {
    let limits =
        |per: &str, probe: &str| format!("limits: {{breaker: {{failures: 1, per: {per}, probeAfter: {probe}}}}}");
    for (per, probe_after) in [("24h", "24h"), ("1s", "0s")] {
        let expected = Breaker { failures: 1, per: duration(per), probe_after: duration(probe_after) };
        assert_eq!(guardrails(&limits(per, probe_after)).limits.breaker, expected);
    }
    for (per, probe_after) in [("0s", "10m"), ("-1s", "10m"), ("25h", "10m"), ("30m", "-1s"), ("30m", "25h")] {
        let (count, told) = faults(&limits(per, probe_after));
        assert!(count == 1 && told.starts_with("a breaker needs"), "{per} {probe_after}: {told}");
    }
}

#[test]
fn freeze_windows_are_read() {
    let rules = guardrails(
        "windows: [{deny: \"0 2 * * *\", for: 2h, timezone: Europe/Berlin}, {deny: \"0 9 * * 1\", for: 1h}]",
    );
    let window = |cron, zone, length| FreezeWindow::new(cron, zone, duration(length)).unwrap();
    assert_eq!(rules.windows, [window("0 2 * * *", "Europe/Berlin", "2h"), window("0 9 * * 1", "UTC", "1h")]);
}

#[test]
fn what_may_be_done_is_as_written() {
    let allow = guardrails("allow: {namespaces: [\"erp-*\"], actions: [restart]}").allow;
    assert_eq!((&*allow.namespaces[0], allow.actions[0].as_str()), ("erp-*", "restart"));
    assert_eq!((allow.namespaces.len(), allow.actions.len()), (1, 1));
    let built_in = Guardrails::default().allow;
    assert_eq!(guardrails("allow: {namespaces: [shop]}").allow.actions, built_in.actions);
    assert_eq!(guardrails("allow: {actions: [scale]}").allow.namespaces, built_in.namespaces);
}

#[test]
fn what_is_protected_by_a_label_can_only_grow() {
    let labels = guardrails("protect: {labels: {tier: gold, flyball.dev/protected: \"true\"}}").protect.labels;
    let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(labels, [("flyball.dev/protected", "true"), ("tier", "gold")]);
}

#[test]
fn a_file_of_a_mebibyte_is_read() {
    let filled = |bytes: usize| format!("{POLICY}#{}", "x".repeat(bytes - POLICY.len() - 1));
    assert_eq!(read(&filled(1 << 20)).unwrap().policies().len(), 1);
    assert!(read(&filled((1 << 20) + 1)).is_err());
}
