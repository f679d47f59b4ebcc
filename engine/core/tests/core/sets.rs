//! Whole sets: several documents and files, what loads, and what is refused before it costs anything.

use std::time::Duration;

use flyball_core::action::{Action, OnFailure, RecoveredBy, Recovery};
use flyball_core::limits::{Bounds, Guardrails};
use flyball_core::policy::{Faults, Mode, PolicySet, load};
use flyball_core::workload::WorkloadKind;
use jiff::SignedDuration;

use crate::build::{POLICY, duration};

const CONTRACT_POLICY: &str = r#"# yaml-language-server: $schema=https://flyball.dev/schemas/policy.v1alpha1.json
apiVersion: flyball.dev/v1alpha1
kind: RemediationPolicy
metadata:
  name: restart-on-memory-leak
  annotations: {flyball.dev/title: Restart a leaking workload, flyball.dev/severity: medium}
spec:
  mode: enforce              # disabled | shadow | approve | enforce; required
  priority: 100              # higher first; equal: by name. The first matching policy acts
  match:
    signal: rca              # anomaly | rca
    causes: [memory_leak]    # rca only: any ranked cause whose probability >= minProbability
    minProbability: 0.5      # rca only; anomalies have types: [latency, error, resource, other] and minScore: 0.9 instead
    namespaces: [shop, "erp-*"]
    services: ["erp-*"]
  target: {kind: Deployment} # default: what the signal names
  action: {restart: {}}
  guardrails: {cooldown: 10m}            # tightens or loosens the defaults for this policy, within the hard limits
  verify: {timeout: 5m, stableFor: 30s, recovered: {by: silence, within: 5m}, onFailure: undo}   # none | undo | escalate
"#;

const CONTRACT_GUARDRAILS: &str = r#"apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  defaults:
    cooldown: 5m
    actionBudget: {max: 6, per: 1h}
    replicas: {min: 1, max: 8}
    scaleUp: {max: 3, per: 15m}
    minConfidence: 0.5
  limits:
    clusterBudget: {max: 60, per: 1h}
    namespaceBudget: {max: 20, per: 1h}
    concurrency: {cluster: 5, namespace: 2}
    maxUnavailable: 40%
    minCooldown: 1m
    maxReplicas: 50
    breaker: {failures: 5, per: 30m, probeAfter: 10m}
  maxSignalAge: 10m
  windows: []
  protect: {namespaces: [kube-system, flyball], labels: {flyball.dev/protected: "true"}}
  allow: {namespaces: ["*"], actions: [scale, restart, patch, rollback, deletePod]}
"#;

fn files(files: &[(&str, &str)]) -> Result<PolicySet, Faults> {
    load(&files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect::<Vec<_>>())
}

fn one(text: &str) -> PolicySet {
    files(&[("p.yaml", text)]).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Places of all faults, in the order in which they are told.
fn places(faults: &Faults) -> Vec<String> {
    faults.0.iter().map(|it| format!("{}:{}:{}", it.file, it.line, it.column)).collect()
}

#[test]
fn a_policy_is_found_by_its_name() {
    let set = crate::propose::set("a enforce 9 {signal: rca}\nb shadow 5 {signal: rca}");
    assert_eq!(set.policy("b").map(|it| &*it.name), Some("b"));
    assert_eq!(set.policy("c"), None);
}

#[test]
fn what_would_act_if_it_were_let_is_the_shadows() {
    let policies = "a enforce 9 {signal: rca}\nb shadow 5 {signal: rca}\nc disabled 1 {signal: rca}";
    let modes: Vec<_> = crate::propose::set(policies).enforced().policies().iter().map(|it| it.mode).collect();
    assert_eq!(modes, [Mode::Enforce, Mode::Enforce, Mode::Disabled]);
}

#[test]
fn a_fault_is_drawn_with_its_line() {
    let text = POLICY.replace("mode: enforce", "mode: enforce\n  prioritty: 5");
    let told = files(&[("policies/p.yaml", &text)]).unwrap_err().to_string();
    let expected = "\
error: unknown field `prioritty`
 --> policies/p.yaml:7:3
  |
7 |   prioritty: 5
  |   ^
  = hint: did you mean `priority`?

1 fault in the policies; nothing was loaded";
    assert_eq!(told, expected);
}

#[test]
fn a_tab_does_not_move_the_caret() {
    let told = files(&[("p.yaml", &POLICY.replace("  mode: enforce", "\tmode: enforce"))]).unwrap_err().to_string();
    assert!(told.contains("6 | \tmode: enforce\n  | \t^"), "{told}");
}

#[test]
fn columns_count_characters() {
    let text = POLICY.replace("{signal: rca, causes: [leak]}", "{signal: rca, causes: [\"größe\"], foo: 1}");
    let told = files(&[("p.yaml", &text)]).unwrap_err().to_string();
    assert!(told.contains("p.yaml:7:43"), "{told}");
    let (line, caret) = (told.lines().nth(3).unwrap(), told.lines().nth(4).unwrap());
    let at = caret.chars().position(|c| c == '^').unwrap();
    assert_eq!(line.chars().skip(at).take(3).collect::<String>(), "foo", "{told}");
}

#[test]
fn faults_of_several_files_documents_and_places_are_told_together() {
    let many = "\
mode: approve
  match: {signal: anomaly, causes: [leak], minScore: -1}
  action: {scale: {by: 0}}
  guardrails: {cooldown: 30s, replicas: {max: 99}}
  verify: {timeout: -1s}
";
    let start = POLICY.find("mode: enforce").unwrap();
    let many = format!("{}{many}", &POLICY[..start]);
    let faults = files(&[
        ("b.yaml", &format!("{}---\n# only a comment\n---\n{many}", POLICY.replace("leak\n", "first\n"))),
        ("a.yaml", "kind: Guardrails\n"),
        ("c.yaml", &POLICY.replace("leak\n", "fine\n")),
    ])
    .unwrap_err();
    let expected = [
        "a.yaml:1:1",
        "b.yaml:18:9",
        "b.yaml:19:36",
        "b.yaml:19:54",
        "b.yaml:20:11",
        "b.yaml:21:26",
        "b.yaml:21:41",
        "b.yaml:22:21",
    ];
    assert_eq!(places(&faults), expected, "{faults}");
}

#[test]
fn a_name_or_guardrails_twice_are_refused_wherever_they_are() {
    let faults = files(&[("a.yaml", POLICY), ("b.yaml", POLICY)]).unwrap_err();
    assert_eq!(places(&faults), ["b.yaml:4:9"]);
    assert_eq!(faults.0[0].message, "a second policy named `leak`");
    assert_eq!(faults.0[0].hint.as_deref(), Some("the first is at a.yaml:4"));
    let faults = files(&[("a.yaml", CONTRACT_GUARDRAILS), ("b.yaml", CONTRACT_GUARDRAILS)]).unwrap_err();
    assert_eq!(places(&faults), ["b.yaml:2:7"]);
}

#[test]
fn what_follows_the_dashes_is_read() {
    let faults = files(&[("p.yaml", "--- {kind: Guardrail}\n--- # a comment\nkind: 3\n")]).unwrap_err();
    assert_eq!(places(&faults), ["p.yaml:1:1", "p.yaml:3:1"], "{faults}");
}

#[test]
fn what_says_nothing_after_the_dashes_is_passed_over() {
    let other = POLICY.replace("leak\n", "other\n");
    for rest in ["", " ", "\t", " # a comment", "\t# a comment", " \t # a comment"] {
        assert_eq!(one(&format!("{POLICY}---{rest}\n{other}")).policies().len(), 2, "{rest:?}");
    }
}

#[test]
fn a_bomb_and_a_huge_file_are_refused_fast() {
    let started = elapsed();
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (before, name) in "abcdefgh".chars().zip("bcdefghi".chars()) {
        bomb.extend([format!("{name}: &{name} ["), vec![format!("*{before}"); 9].join(", "), "]\n".to_owned()]);
    }
    let faults = files(&[("bomb.yaml", &format!("{bomb}{POLICY}"))]).unwrap_err();
    assert!(faults.0[0].message.contains("too large or too complex"), "{faults}");
    let huge = "x".repeat(100 << 20);
    let faults = files(&[("huge.yaml", &huge)]).unwrap_err();
    assert_eq!(faults.0[0].message, "the file has 104857600 bytes, more than the 1048576 allowed");
    // Generous: what is refused late takes minutes.
    assert!(started() < Duration::from_secs(20));
}

/// The core bans clocks; a test may look at one.
#[allow(clippy::disallowed_methods)]
fn elapsed() -> impl Fn() -> Duration {
    let started = std::time::Instant::now();
    move || started.elapsed()
}

#[test]
fn the_contracts_policy_loads() {
    let set = one(CONTRACT_POLICY);
    let policy = &set.policies()[0];
    assert_eq!((&*policy.name, policy.mode, policy.priority), ("restart-on-memory-leak", Mode::Enforce, 100));
    assert_eq!((policy.action.clone(), policy.target_kind), (Action::Restart, Some(WorkloadKind::Deployment)));
    assert_eq!(policy.limits.cooldown, duration("10m"));
    assert_eq!(policy.limits.action_budget, Guardrails::default().defaults.action_budget);
    assert_eq!((policy.verify.timeout, policy.verify.stable_for), (duration("5m"), duration("30s")));
    assert_eq!(policy.verify.recovered, Some(Recovery { by: RecoveredBy::Silence, within: duration("5m") }));
    assert_eq!((policy.verify.on_failure, policy.source.as_str()), (OnFailure::Undo, "p.yaml:5"));
}

#[test]
fn the_contracts_guardrails_are_the_built_in_ones() {
    assert_eq!(one(CONTRACT_GUARDRAILS).guardrails, Guardrails::default());
    assert_eq!(one("apiVersion: flyball.dev/v1alpha1\nkind: Guardrails\nspec: {}\n").guardrails, Guardrails::default());
    assert_eq!(files(&[]).unwrap().guardrails, Guardrails::default());
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_accepted() {
    assert_eq!(one(&format!("\u{feff}{POLICY}")).policies().len(), 1);
    let two = format!("{POLICY}---\n{}", POLICY.replace("leak\n", "other\n"));
    assert_eq!(one(&two.replace('\n', "\r\n")).policies().len(), 2);
}

#[test]
fn what_is_inherited_is_brought_within_the_limits() {
    let text =
        "apiVersion: flyball.dev/v1alpha1\nkind: Guardrails\nspec:\n  limits: {minCooldown: 20m, maxReplicas: 4}\n";
    let policy = POLICY.replace("guardrails: {cooldown: 10m}", "priority: 1");
    let set = files(&[("g.yaml", text), ("p.yaml", &policy)]).unwrap();
    for limits in [set.guardrails.defaults, set.policies()[0].limits] {
        assert_eq!((limits.cooldown, limits.replicas), (SignedDuration::from_mins(20), Bounds { min: 1, max: 4 }));
    }
}

#[test]
fn protection_can_only_grow() {
    let text = "apiVersion: flyball.dev/v1alpha1\nkind: Guardrails\nspec: {protect: {namespaces: [bank, flyball]}}\n";
    let protect = one(text).guardrails.protect;
    assert_eq!(protect.namespaces.iter().map(|it| &**it).collect::<Vec<_>>(), ["kube-system", "flyball", "bank"]);
    assert_eq!(protect.labels, Guardrails::default().protect.labels);
}

#[test]
fn the_digest_names_the_content_and_not_the_order_of_the_files() {
    let other = POLICY.replace("leak\n", "other\n");
    let digest = |list: &[(&str, &str)]| files(list).unwrap().digest;
    let both = digest(&[("a.yaml", POLICY), ("b.yaml", &other)]);
    assert_eq!(both, digest(&[("b.yaml", &other), ("a.yaml", POLICY)]));
    assert_ne!(both, digest(&[("a.yaml", POLICY)]));
    assert_ne!(both, digest(&[("a.yaml", POLICY), ("b.yaml", &format!("{other}\n"))]));
}
