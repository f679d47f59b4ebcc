//! The words that people, the API and metrics read: each thing has one, and it stays.

use flyball_core::action::{Action, Patch, PatchForm, Scale};
use flyball_core::deny::DenyReason;
use flyball_core::id::Revision;
use flyball_core::outcome::Outcome;
use flyball_core::plan::Edit;
use flyball_core::policy::Mode;
use flyball_core::ports::Checkpoint;
use flyball_core::record::PauseScope;
use flyball_core::signal::{Anomaly, AnomalyKind, Rca, SignalKind};
use flyball_core::workload::WorkloadKind;
use jiff::Timestamp;
use serde_json::json;

use crate::build::{at, duration, restart, workload};

#[test]
fn actions_are_told_with_their_numbers() {
    let patch = Action::Patch(Patch { form: PatchForm::Merge, body: json!({}) });
    for (action, told) in [
        (Action::Scale(Scale::By(2)), "scale by +2"),
        (Action::Scale(Scale::By(-1)), "scale by -1"),
        (Action::Scale(Scale::To(4)), "scale to 4"),
        (Action::Restart, "restart"),
        (patch, "patch"),
        (Action::Rollback { revision: None }, "rollback"),
        (Action::Rollback { revision: Some(3) }, "rollback to revision 3"),
        (Action::DeletePod { pod: None }, "deletePod"),
        (Action::DeletePod { pod: Some("cart-1".into()) }, "delete pod cart-1"),
    ] {
        assert_eq!(action.to_string(), told);
    }
}

#[test]
fn edits_are_told_in_a_few_words() {
    let fields = Edit::Fields { summary: "replicas 3 -> 4".into(), apply: json!({}), revert: None };
    let evict = Edit::Evict { pod: "cart-1".into(), uid: "u".into() };
    assert_eq!((fields.summary(), evict.summary()), ("replicas 3 -> 4".into(), "evict pod cart-1".into()));
}

#[test]
fn every_kind_has_a_rest_path_and_every_mode_and_signal_a_word() {
    assert_eq!(WorkloadKind::ALL.map(WorkloadKind::plural), ["deployments", "statefulsets", "daemonsets"]);
    assert_eq!([Mode::Disabled, Mode::Shadow, Mode::Enforce].map(Mode::as_str), ["disabled", "shadow", "enforce"]);
    let anomaly = SignalKind::Anomaly(Anomaly { is_anomaly: true, score: 1.0, kind: AnomalyKind::Error });
    let rca = SignalKind::Rca(Rca { causes: Vec::new(), confidence: 1.0 });
    assert_eq!((anomaly.as_str(), rca.as_str()), ("anomaly", "rca"));
}

#[test]
fn pauses_say_what_they_stop() {
    for (scope, told) in [
        (PauseScope::All, "all"),
        (PauseScope::Namespace("shop".into()), "namespace shop"),
        (PauseScope::Target(workload("shop/cart")), "shop/Deployment/cart"),
    ] {
        assert_eq!(scope.to_string(), told);
    }
}

#[test]
fn a_checkpoint_is_told_without_its_bytes() {
    let checkpoint = Checkpoint { revision: Revision(9), body: [1, 2, 3].into() };
    assert_eq!(format!("{checkpoint:?}"), "Checkpoint of entry 9 in 3 bytes");
}

#[test]
fn every_outcome_has_a_status_for_the_orchestrator() {
    for outcome in Outcome::ALL {
        let expected = match outcome {
            Outcome::Recovered | Outcome::RolledOut => "SUCCESS",
            Outcome::TimedOut => "TIMED_OUT",
            _ => "FAILED",
        };
        assert_eq!(outcome.verification_status(), expected, "{}", outcome.label());
    }
}

#[test]
fn a_reason_says_when_it_ends_where_that_is_known() {
    let last = restart("shop/cart", "10:00").id("c");
    let until = at("10:30");
    let budget = |until: Timestamp| {
        let (scope, per) = ("cluster".into(), duration("1h"));
        DenyReason::ActionBudgetExhausted { scope, used: 6, max: 6, per, until }
    };
    let growth = |until| DenyReason::ScaleVelocityExceeded { added: 1, asked: 1, max: 1, per: duration("1h"), until };
    for (reason, ends) in [
        (DenyReason::OutsideWindow { until }, Some(until)),
        (budget(until), Some(until)),
        (DenyReason::CooldownActive { last, until: Some(until) }, Some(until)),
        (DenyReason::CooldownActive { last, until: None }, None),
        (DenyReason::Paused { pause: "1".into(), because: String::new(), until: Some(until) }, Some(until)),
        (growth(Some(until)), Some(until)),
        (growth(None), None),
        (DenyReason::BreakerOpen { failures: 5, max: 5, until: Some(until) }, Some(until)),
        (DenyReason::TargetBusy { intent: last }, None),
        (DenyReason::ApprovalRequired, None),
    ] {
        assert_eq!(reason.allowed_at(), ends, "{reason:?}");
    }
}
