//! What a policy's own expressions say, at the first look and on the fresh read.

use std::sync::Arc;

use flyball_core::action::ActionRequest;
use flyball_core::facts::Snapshot;
use flyball_core::guardrail::Verdict;
use flyball_core::guardrail::{judge, screen};
use flyball_core::id::SignalId;
use flyball_core::policy::{PolicySet, load};
use flyball_core::signal::{Anomaly, AnomalyKind, Signal, SignalKind, TraceContext};

use crate::build::{Ledger, at, restart, snapshot, workload};
use crate::tell::told;

const TARGET: &str = "shop/cart";

fn set(when: &str, deny: &str) -> PolicySet {
    let text = format!(
        "apiVersion: flyball.dev/v1alpha1\nkind: RemediationPolicy\nmetadata: {{name: p}}\nspec:\n  mode: enforce\n  \
         match: {{signal: anomaly, when: \"{when}\"}}\n  action: {{restart: {{}}}}\n  \
         guardrails: {{custom: [{{name: big, deny: \"{deny}\", message: too big}}]}}\n"
    );
    load(&[("p.yaml".to_owned(), text)]).unwrap_or_else(|faults| panic!("{faults}"))
}

fn asked() -> ActionRequest {
    let mut request = restart(TARGET, "10:00");
    request.evidence.signal = Some(Arc::new(Signal {
        id: SignalId("s".into()),
        kind: SignalKind::Anomaly(Anomaly { is_anomaly: true, score: 0.9, kind: AnomalyKind::Error }),
        subject: workload(TARGET),
        service: "cart".into(),
        pod: None,
        window_id: "w".into(),
        observed_at: at("10:00"),
        expires_at: None,
        trace: TraceContext::default(),
        sequence: 1,
    }));
    request
}

/// Both looks: the screen's answer if it objects, else the judge's.
fn both(set: &PolicySet, request: ActionRequest, seen: &Snapshot) -> String {
    let ledger = Ledger::default();
    match screen(request, &ledger.history, &set.guardrails, at("10:00")) {
        Verdict::Pass(cleared) => told(judge(cleared, "c", Some(seen), &ledger.history, &set.guardrails, at("10:00"))),
        other => format!("at once: {}", told(other)),
    }
}

#[test]
fn a_guard_that_asks_nothing_of_the_target_ends_it_at_once() {
    let said = both(&set("true", "signal.score > 0.8"), asked(), &snapshot(TARGET));
    assert_eq!(said, "at once: deny CustomGuard guard=big message=too big");
    assert_eq!(both(&set("true", "signal.score > 0.95"), asked(), &snapshot(TARGET)), "pass");
}

#[test]
fn a_guard_about_the_target_is_asked_of_the_fresh_read() {
    let set = set("true", "target.replicas.desired >= 3 && target.labels['tier'] == 'db'");
    let mut seen = snapshot(TARGET);
    seen.labels.insert("tier".into(), "web".into());
    assert_eq!(both(&set, asked(), &seen), "pass");
    seen.labels.insert("tier".into(), "db".into());
    assert_eq!(both(&set, asked(), &seen), "deny CustomGuard guard=big message=too big");
    // A guard that cannot tell denies.
    seen.labels.clear();
    let said = both(&set, asked(), &seen);
    assert!(said.starts_with("deny CustomGuard guard=big message=it could not be evaluated: "), "{said}");
}

#[test]
fn what_made_it_match_has_to_hold_of_the_fresh_read() {
    let set = set("target.replicas.desired < 4", "false");
    let mut seen = snapshot(TARGET);
    assert_eq!(both(&set, asked(), &seen), "pass");
    seen.rollout.desired = 4;
    let expected = "deny TargetChanged what=`target.replicas.desired < 4` does not hold of it any more";
    assert_eq!(both(&set, asked(), &seen), expected);
}

#[test]
fn a_policy_that_is_gone_cannot_be_asked() {
    let said = both(&PolicySet::default(), asked(), &snapshot(TARGET));
    assert!(said.starts_with("at once: deny CustomGuard guard=policy message=policy p,"), "{said}");
    // One without expressions needs none.
    assert_eq!(both(&PolicySet::default(), restart(TARGET, "10:00"), &snapshot(TARGET)), "pass");
}
