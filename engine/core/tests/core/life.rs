//! The life of an intent: which event may follow which stage, what a send carries, which slot it holds.

use flyball_core::action::{Action, ActionKind, ActionRequest, Cause, OnFailure, Scale};
use flyball_core::deny::DenyReason;
use flyball_core::follow_up::follow_up;
use flyball_core::guardrail::{Verdict, screen};
use flyball_core::id::{IntentId, Revision};
use flyball_core::intent::{Event, Stage, Writer, advance};
use flyball_core::limits::Guardrails;
use flyball_core::outcome::Outcome;
use flyball_core::record::{Record, Topic};
use serde_json::json;

use crate::build::{Ledger, at, change, receipt, request, restart};

fn stages() -> Vec<Stage> {
    let change = change(&restart("shop/cart", "10:00"));
    let undo = restart("shop/cart", "10:00").id("c");
    vec![
        Stage::Recorded,
        Stage::Sending { number: 1, change: change.clone() },
        Stage::Unknown { number: 1, change, detail: "timeout".into() },
        Stage::Applied { receipt: receipt(2), at: at("10:01") },
        Stage::RolledOut { receipt: receipt(2), at: at("10:01"), complete_at: at("10:02") },
        Stage::Undoing { undo, verdict: Outcome::Failed, detail: String::new() },
        Stage::Closed { outcome: Outcome::Recovered, detail: String::new(), at: at("10:03") },
    ]
}

fn events() -> Vec<(String, Event)> {
    let detail = String::new;
    let change = change(&restart("shop/cart", "10:00"));
    let undo = restart("shop/cart", "10:00").id("c");
    let by = Writer { replica: "b".into(), process: "2".into(), epoch: 1 };
    let mut events = vec![
        ("Attempted".to_owned(), Event::Attempted { number: 2, change }),
        ("Unanswered".to_owned(), Event::Unanswered { detail: detail() }),
        ("Missed".to_owned(), Event::Missed { detail: detail() }),
        ("Applied".to_owned(), Event::Applied(receipt(3))),
        ("RolledOut".to_owned(), Event::RolledOut),
        ("Undoing".to_owned(), Event::Undoing { undo, verdict: Outcome::TimedOut, detail: detail() }),
        ("TakenOver".to_owned(), Event::TakenOver { by }),
    ];
    let closed =
        |outcome: Outcome| (format!("Closed {}", outcome.label()), Event::Closed { outcome, detail: detail() });
    events.extend(Outcome::ALL.map(closed));
    events
}

/// Everything that is not listed here is illegal.
fn expected(stage: &Stage, event: &str) -> Option<String> {
    let open = !matches!(stage, Stage::Closed { .. });
    let next = match (stage, event) {
        (Stage::Recorded, "Attempted") => "Sending",
        (Stage::Sending { .. }, "Unanswered") => "Unknown",
        (Stage::Sending { .. } | Stage::Unknown { .. }, "Missed") => "Recorded",
        (Stage::Sending { .. } | Stage::Unknown { .. }, "Applied") => "Applied",
        (Stage::Applied { .. }, "RolledOut") => "RolledOut",
        (Stage::Applied { .. } | Stage::RolledOut { .. }, "Undoing") => "Undoing",
        (stage, "TakenOver") if open => stage.label(),
        (Stage::Sending { .. } | Stage::Unknown { .. }, "Closed Superseded") => "Superseded",
        (Stage::Sending { .. } | Stage::Unknown { .. }, "Closed Rejected") => "Rejected",
        (Stage::Sending { .. } | Stage::Unknown { .. }, _) => return None,
        (_, closed) if open => closed.strip_prefix("Closed ")?,
        _ => return None,
    };
    Some(next.to_owned())
}

#[test]
fn every_stage_and_every_event() {
    for stage in stages() {
        for (name, event) in events() {
            let told = advance(stage.clone(), &event, at("10:05"));
            if let Some(next) = expected(&stage, &name) {
                assert_eq!(told.unwrap().label(), next, "{} {name}", stage.label());
                continue;
            }
            let error = told.expect_err(&format!("{} {name}", stage.label())).to_string();
            let closed = matches!(stage, Stage::Closed { .. }) && name == "TakenOver";
            let from = if closed { "Closed" } else { stage.label() };
            assert_eq!(error, format!("{} cannot follow {from}", name.split(' ').next().unwrap()));
        }
    }
}

#[test]
fn what_a_stage_knows_moves_on_with_it() {
    let sending = Stage::Sending { number: 3, change: change(&restart("shop/cart", "10:00")) };
    let unanswered = Event::Unanswered { detail: "reset".into() };
    let unknown = advance(sending.clone(), &unanswered, at("10:01")).unwrap();
    let Stage::Unknown { number: 3, detail, .. } = &unknown else { panic!("{unknown:?}") };
    assert_eq!(detail, "reset");
    let applied = advance(unknown, &Event::Applied(receipt(4)), at("10:02")).unwrap();
    assert_eq!(applied, Stage::Applied { receipt: receipt(4), at: at("10:02") });
    let rolled_out = advance(applied, &Event::RolledOut, at("10:03")).unwrap();
    assert_eq!(rolled_out, Stage::RolledOut { receipt: receipt(4), at: at("10:02"), complete_at: at("10:03") });
}

#[test]
fn only_a_recorded_attempt_can_be_sent() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &restart("shop/cart", "10:00"));
    assert_eq!(ledger.intent(id).attempt(), None, "admitted, not attempted");
    let change = ledger.intent(id).change().clone();
    ledger.happen("10:01", id, Event::Attempted { number: 1, change: change.clone() });
    let attempt = ledger.intent(id).attempt().unwrap();
    assert_eq!((attempt.intent(), attempt.number(), attempt.change()), (id, 1, &change));
    ledger.happen("10:02", id, Event::Unanswered { detail: String::new() });
    assert_eq!(ledger.intent(id).attempt().unwrap().body(), attempt.body(), "a resend is the same bytes");
    ledger.happen("10:03", id, Event::Missed { detail: String::new() });
    assert_eq!(ledger.intent(id).attempt(), None);
    ledger.happen("10:04", id, Event::Attempted { number: 2, change });
    ledger.happen("10:05", id, Event::Applied(receipt(2)));
    assert_eq!(ledger.intent(id).attempt(), None);
    assert_eq!(ledger.intent(id).attempts(), 2);
}

#[test]
fn what_is_sent_carries_token_uid_stamp_and_fields() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &request("shop/cart", Action::Scale(Scale::By(1)), "10:00"));
    let change = ledger.intent(id).change().clone();
    ledger.happen("10:01", id, Event::Attempted { number: 1, change });
    let body = ledger.intent(id).attempt().unwrap().body();
    let annotations =
        json!({"flyball.dev/intent": id.to_string(), "flyball.dev/last-action": "2026-01-10T10:00:00Z scale"});
    let metadata = json!({"resourceVersion": "7", "uid": "uid-1", "annotations": annotations});
    assert_eq!(body, json!({"metadata": metadata, "spec": {"replicas": 4}}));
}

#[test]
fn a_patch_of_annotations_keeps_the_stamp() {
    use flyball_core::action::{Patch, PatchForm};
    let body = json!({"metadata": {"annotations": {"team": "a"}}});
    let mut ledger = Ledger::default();
    let id =
        ledger.admit("10:00", &request("shop/cart", Action::Patch(Patch { form: PatchForm::Merge, body }), "10:00"));
    let change = ledger.intent(id).change().clone();
    ledger.happen("10:01", id, Event::Attempted { number: 1, change });
    let body = ledger.intent(id).attempt().unwrap().body();
    assert_eq!(body["metadata"]["annotations"]["flyball.dev/intent"], json!(id.to_string()));
    assert_eq!(body["metadata"]["annotations"]["team"], json!("a"));
}

/// An action whose verification failed after its slot was given back, and the request of its undo.
fn failed_after_its_slot(ledger: &mut Ledger) -> (IntentId, ActionRequest) {
    let request = request("shop/cart", Action::Scale(Scale::By(1)), "10:00");
    let id = ledger.admit("10:00", &request);
    ledger.land("10:01", id);
    ledger.happen("10:02", id, Event::RolledOut);
    let undo = ActionRequest { cause: Cause::Undo(id), ..request };
    let undoing = Event::Undoing { undo: undo.id("c"), verdict: Outcome::NotRecovered, detail: String::new() };
    ledger.happen("10:03", id, undoing);
    (id, undo)
}

#[test]
fn a_slot_is_held_to_the_rollouts_verdict_and_again_by_an_undo() {
    let mut ledger = Ledger::default();
    let (id, undo) = failed_after_its_slot(&mut ledger);
    let slots = |ledger: &Ledger| (ledger.history.slots(None), ledger.history.slots_claimed(None));
    assert_eq!((slots(&ledger), ledger.history.open_on(&undo.target).len()), ((0, 1), 1));
    let undo_id = ledger.admit("10:03", &undo);
    assert_eq!(slots(&ledger), (1, 0), "the undo rolls out in its parent's slot");
    ledger.close("10:04", undo_id, Outcome::RolledOut);
    assert_eq!(slots(&ledger), (1, 0));
    ledger.close("10:04", id, Outcome::RolledBack);
    assert_eq!((slots(&ledger), ledger.history.open().count()), ((0, 0), 0));
    assert!(!ledger.intent(id).is_open() && !ledger.intent(undo_id).is_open());
}

#[test]
fn an_undo_that_comes_late_is_the_next_to_get_a_slot_and_never_one_too_many() {
    let (mut ledger, mut rules) = (Ledger::default(), Guardrails::default());
    rules.limits.concurrency_cluster = 1;
    let (_, undo) = failed_after_its_slot(&mut ledger);
    let other = restart("shop/front", "10:03");
    let limits = |ledger: &Ledger, request: &ActionRequest| {
        let screened = screen(request.clone(), &ledger.history, &rules, at("10:03"));
        match screened {
            Verdict::Pass(_) => Vec::new(),
            Verdict::Defer(it) | Verdict::Deny(it) => it.reasons,
        }
    };
    let full = DenyReason::ConcurrencyLimit { scope: "cluster".to_owned(), used: 1, max: 1 };
    assert_eq!(
        (limits(&ledger, &undo), limits(&ledger, &other)),
        (vec![], vec![full.clone()]),
        "it is kept for the undo"
    );
    let taken = ledger.admit("10:03", &other);
    assert_eq!(limits(&ledger, &undo), [full], "who was faster keeps it");
    ledger.close("10:04", taken, Outcome::RolledOut);
    ledger.admit("10:04", &undo);
    assert_eq!(ledger.history.slots(None), 1);
}

#[test]
fn only_a_failure_of_what_has_an_inverse_is_undone_and_only_once() {
    let mut scale = request("shop/cart", Action::Scale(Scale::By(1)), "10:00");
    let mut again = restart("shop/front", "10:00");
    let asked = |request: &flyball_core::action::ActionRequest, verdict| {
        let mut ledger = Ledger::default();
        let id = ledger.admit("10:00", request);
        follow_up(ledger.intent(id), verdict)
    };
    assert_eq!(asked(&scale, Outcome::Failed), None, "nobody asked for it");
    (scale.verify.on_failure, again.verify.on_failure) = (OnFailure::Undo, OnFailure::Undo);
    assert_eq!(asked(&again, Outcome::Failed), None, "a restart has no inverse");
    for outcome in Outcome::ALL {
        let failed = matches!(outcome, Outcome::Failed | Outcome::TimedOut | Outcome::NotRecovered);
        assert_eq!(asked(&scale, outcome).is_some(), failed, "{}", outcome.label());
    }
    let undo = asked(&scale, Outcome::Failed).unwrap();
    assert_eq!((undo.undoes(), undo.verify.on_failure), (Some(scale.id("c")), OnFailure::Escalate));
    let (revert, applied) = (json!({"spec": {"replicas": 3}}), json!({"spec": {"replicas": 4}}));
    assert_eq!(undo.action, Action::Undo { of: ActionKind::Scale, revert, applied });
    scale.cause = Cause::Undo(again.id("c"));
    assert_eq!(asked(&scale, Outcome::Failed), None, "an undo is not undone");
}

#[test]
fn an_illegal_event_or_a_fence() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &restart("shop/cart", "10:00"));
    let refused = ledger.try_append("10:01", Topic::Intent(id), Record::Happened(Event::RolledOut)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("entry 2 of intent.{id} says what cannot be: RolledOut cannot follow Recorded")
    );
    assert_eq!(ledger.intent(id).head().revision, Revision(0));
    ledger.append("10:01", Topic::Intent(id), Record::Fence);
    assert_eq!((ledger.intent(id).head().revision, ledger.intent(id).stage()), (Revision(2), &Stage::Recorded));
}
