//! What several policies share: profiles, and targets that are chosen by their labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_core::action::OnFailure;
use flyball_core::expr::TargetView;
use flyball_core::history::History;
use flyball_core::mapper::propose;
use flyball_core::policy::{Policy, PolicySet, load};

use crate::build::{POLICY, at, duration, workload};
use crate::faults::{check, check_text};
use crate::propose::{read, set};

const PROFILES: &str = "\
apiVersion: flyball.dev/v1alpha1
kind: Guardrails
spec:
  defaults: {cooldown: 7m, minConfidence: 0.6}
  profiles:
    web:
      guardrails: {cooldown: 20m, replicas: {max: 6}}
      verify: {timeout: 9m, recovered: {within: 4m}, onFailure: undo}
";

fn with(spec: &str) -> Policy {
    let text = format!("{PROFILES}---\n{}", POLICY.replacen("  guardrails: {cooldown: 10m}\n", spec, 1));
    load(&[("p.yaml".to_owned(), text)]).unwrap_or_else(|faults| panic!("{faults}")).policies()[0].clone()
}

#[test]
fn a_policy_is_laid_over_its_profile_and_that_over_the_defaults() {
    let plain = with("");
    assert_eq!((plain.profile, plain.limits.cooldown), (None, duration("7m")));
    let web = with("  profile: web\n");
    assert_eq!(web.profile.as_deref(), Some("web"));
    let limits = web.limits;
    assert_eq!((limits.cooldown, limits.replicas.max, limits.replicas.min), (duration("20m"), 6, 1));
    assert!((limits.min_confidence - 0.6).abs() < f64::EPSILON, "the default, through the profile");
    assert_eq!((web.verify.timeout, web.verify.on_failure), (duration("9m"), OnFailure::Undo));
    assert_eq!(web.verify.recovered.map(|it| it.within), Some(duration("4m")));
    let own = with("  profile: web\n  guardrails: {cooldown: 30m}\n  verify: {timeout: 2m, recovered: {within: 1m}}\n");
    assert_eq!((own.limits.cooldown, own.limits.replicas.max), (duration("30m"), 6));
    assert_eq!((own.verify.timeout, own.verify.on_failure), (duration("2m"), OnFailure::Undo));
    assert_eq!(own.verify.recovered.map(|it| it.within), Some(duration("1m")));
}

#[test]
fn what_is_wrong_with_a_profile_is_told_where_it_is() {
    check(
        "mode: enforce",
        "mode: enforce\n  profile: web",
        "7:12 there is no profile `web` | write it into `profiles` of the `Guardrails` document",
    );
    let named = POLICY.replacen("mode: enforce", "mode: enforce\n  profile: wbe", 1);
    check_text(&format!("{PROFILES}---\n{named}"), "16:12 there is no profile `wbe` | did you mean `web`?");
    let short = PROFILES.replace("cooldown: 20m", "cooldown: 5s");
    check_text(&short, "7:30 cooldown 5s is shorter than the cluster's minCooldown 1m…");
    let custom = PROFILES.replace("cooldown: 20m", "custom: [{name: x, deny: 'true'}]");
    check_text(&custom, "7:36 `custom` guards belong to a policy…");
    let unknown = PROFILES.replace("verify:", "verifies:");
    check_text(&unknown, "8:7 unknown field `verifies` | did you mean `verify`?");
}

fn view(labels: &[(&str, &str)]) -> TargetView {
    let labels: BTreeMap<String, String> = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    TargetView {
        workload: workload("shop/cart"),
        desired: 3,
        updated: 3,
        ready: 3,
        available: 3,
        labels: Arc::new(labels),
    }
}

fn acts(policies: &PolicySet, target: Option<&TargetView>) -> bool {
    let proposal =
        propose(policies, &read("rca 0.8 shop/cart leak 0.9"), |_| target.cloned(), &History::default(), at("10:00"));
    assert!(proposal.unevaluated.is_empty(), "a label that is not there is no error");
    proposal.act.is_ok()
}

#[test]
fn a_target_is_chosen_by_its_labels() {
    let spec = "target: {labels: {tier: web, team.example.org/owner: shop}}; action: {restart: {}}";
    let chosen = set(&format!("leak enforce 0 {{signal: rca, causes: [leak]}} | {spec}"));
    let (tier, owner) = (("tier", "web"), ("team.example.org/owner", "shop"));
    assert!(acts(&chosen, Some(&view(&[tier, owner, ("other", "x")]))));
    for labels in [&[tier][..], &[owner], &[("tier", "db"), owner], &[]] {
        assert!(!acts(&chosen, Some(&view(labels))), "{labels:?}");
    }
    assert!(!acts(&chosen, None), "nothing is known of it");
    let narrowed = set(&format!(
        "leak enforce 0 {{signal: rca, causes: [leak], when: 'target.replicas.ready < 3 || signal.confidence > 0.9'}} | {spec}"
    ));
    assert!(!acts(&narrowed, Some(&view(&[tier, owner]))), "its own condition is asked besides");
    assert!(acts(&narrowed, Some(&TargetView { ready: 2, ..view(&[tier, owner]) })));
    assert!(!acts(&narrowed, Some(&TargetView { ready: 2, ..view(&[tier]) })), "and never instead");
}

#[test]
fn what_is_no_label_is_refused() {
    for labels in ["{}", "{tier: \"it's\"}", "{'a b': c}"] {
        let to = format!("mode: enforce\n  target: {{labels: {labels}}}");
        check("mode: enforce", &to, "7:20 these are no labels | write such as `labels: {tier: web}`…");
    }
}
