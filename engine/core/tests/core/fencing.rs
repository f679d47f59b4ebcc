//! A send without an answer: what fences it off, who has to, what may follow, and what a person's word ends.

use flyball_core::action::{Action, ActionKind, Cause, Scale};
use flyball_core::facts::{STAMP_FENCE, STAMP_INTENT, STAMP_LAST_ACTION};
use flyball_core::follow_up::undo_of;
use flyball_core::id::IntentId;
use flyball_core::intent::{Event, Writer};
use flyball_core::outcome::Outcome;
use flyball_core::record::{Record, Topic};
use serde_json::json;

use crate::build::{Ledger, at, change, receipt, request, restart, snapshot};

fn taken_over(epoch: u32) -> Event {
    Event::TakenOver { by: Writer { replica: "b".into(), process: "2".into(), epoch } }
}

fn unanswered() -> Event {
    Event::Unanswered { detail: "reset".into() }
}

/// Sent once, declared missed, and sent again.
fn sent_twice(ledger: &mut Ledger) -> IntentId {
    let id = ledger.admit("10:00", &restart("shop/cart", "10:00"));
    let change = ledger.intent(id).change().clone();
    ledger.happen("10:01", id, Event::Attempted { number: 1, change: change.clone() });
    ledger.happen("10:02", id, Event::Missed { detail: String::new() });
    ledger.happen("10:03", id, Event::Attempted { number: 2, change });
    id
}

#[test]
fn only_what_may_still_land_is_fenced_off_with_its_own_token() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &restart("shop/cart", "10:00"));
    assert_eq!(ledger.intent(id).fence(), None, "nothing was sent");
    let mut ledger = Ledger::default();
    let id = sent_twice(&mut ledger);
    let fence = ledger.intent(id).fence().unwrap();
    assert_eq!((fence.intent(), fence.number(), fence.target().to_string()), (id, 2, "shop/Deployment/cart".into()));
    let annotations = json!({"flyball.dev/fence": format!("{id} 2")});
    assert_eq!(
        fence.body(),
        &json!({"metadata": {"resourceVersion": "7", "uid": "uid-1", "annotations": annotations}})
    );
    ledger.happen("10:04", id, unanswered());
    assert_eq!(ledger.intent(id).fence(), Some(fence));
    ledger.happen("10:05", id, Event::Applied(receipt(2)));
    assert_eq!(ledger.intent(id).fence(), None, "it has landed");
}

#[test]
fn a_fence_is_read_back_from_the_target() {
    let id = restart("shop/cart", "10:00").id("c");
    let read = |text: &str| {
        let mut seen = snapshot("shop/cart");
        seen.annotations.insert(STAMP_FENCE.into(), text.into());
        seen.fence()
    };
    assert_eq!(read(&format!("{id} 3")), Some((id, 3)));
    for nonsense in ["", "3", "x 3", &format!("{id}"), &format!("{id} x")] {
        assert_eq!(read(nonsense), None, "{nonsense}");
    }
    assert_eq!(snapshot("shop/cart").fence(), None);
}

#[test]
fn a_send_of_an_earlier_process_is_somebody_elses() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &restart("shop/cart", "10:00"));
    let change = ledger.intent(id).change().clone();
    ledger.happen("10:01", id, Event::Attempted { number: 1, change: change.clone() });
    assert!(!ledger.intent(id).sent_by_another());
    ledger.happen("10:02", id, taken_over(1));
    assert!(ledger.intent(id).sent_by_another());
    ledger.happen("10:03", id, Event::Missed { detail: String::new() });
    ledger.happen("10:04", id, Event::Attempted { number: 2, change });
    assert!(!ledger.intent(id).sent_by_another(), "the heir has sent it itself");
}

#[test]
fn what_could_not_follow_is_known_before_it_is_written() {
    let mut ledger = Ledger::default();
    let request = restart("shop/cart", "10:00");
    let id = ledger.admit("10:00", &request);
    let attempted = |number| Event::Attempted { number, change: change(&request) };
    let intent = ledger.intent(id);
    assert_eq!(intent.can_follow(&attempted(1), at("10:01")), Ok(()));
    for (event, why) in [
        (attempted(2), "send 2 cannot follow send 0"),
        (taken_over(3), "epoch 3 cannot follow epoch 0"),
        (Event::RolledOut, "RolledOut cannot follow Recorded"),
    ] {
        assert_eq!(intent.can_follow(&event, at("10:01")).unwrap_err().to_string(), why);
    }
}

#[test]
fn a_cancel_is_remembered_until_something_has_landed() {
    let cancel = || Event::CancelAsked { by: "ann".into(), reason: "wrong shop".into() };
    let mut ledger = Ledger::default();
    let id = sent_twice(&mut ledger);
    assert_eq!(ledger.intent(id).cancelled(), None);
    ledger.happen("10:04", id, cancel());
    assert_eq!(
        (ledger.intent(id).cancelled(), ledger.intent(id).stage().label()),
        (Some("cancelled by ann: wrong shop"), "Sending")
    );
    ledger.happen("10:05", id, Event::Applied(receipt(2)));
    let refused = ledger.try_append("10:06", Topic::Intent(id), Record::Happened(cancel())).unwrap_err();
    assert!(refused.to_string().ends_with("CancelAsked cannot follow Applied"), "{refused}");
    let told = ledger.intent(id).events().iter().map(|(at, _)| *at).collect::<Vec<_>>();
    assert_eq!(told, ["10:01", "10:02", "10:03", "10:04", "10:05"].map(at), "what was refused is no event");
}

#[test]
fn a_persons_word_ends_a_send_as_neither_success_nor_failure() {
    for (applied, fenced, outcome, detail) in [
        (true, false, Outcome::Superseded, "resolved as applied by ann: I looked (not fenced)"),
        (false, true, Outcome::Cancelled, "resolved as absent by ann: I looked (fenced)"),
    ] {
        let mut ledger = Ledger::default();
        let id = sent_twice(&mut ledger);
        let resolved = Event::Resolved { applied, fenced, by: "ann".into(), reason: "I looked".into() };
        ledger.happen("10:04", id, resolved);
        let end = flyball_core::intent::Stage::Closed { outcome, detail: detail.into(), at: at("10:04") };
        assert_eq!(ledger.intent(id).stage(), &end);
    }
}

#[test]
fn the_stamp_of_an_undo_names_what_it_took_back() {
    let mut ledger = Ledger::default();
    let parent = ledger.admit("10:00", &request("shop/cart", Action::Scale(Scale::By(1)), "10:00"));
    ledger.land("10:01", parent);
    let mut undo = undo_of(ledger.intent(parent)).unwrap();
    assert_eq!(undo.cause, Cause::Undo(parent));
    // Planned on the target as it is before the parent, which is all that a stamp needs.
    undo.action = Action::Undo {
        of: ActionKind::Scale,
        revert: json!({"spec": {"replicas": 4}}),
        applied: json!({"spec": {"replicas": 3}}),
    };
    let id = ledger.admit("10:02", &undo);
    let change = ledger.intent(id).change().clone();
    ledger.happen("10:03", id, Event::Attempted { number: 1, change });
    let stamp = ledger.intent(id).attempt().unwrap().stamp();
    let last = "2026-01-10T10:02:00Z undo scale".to_owned();
    assert_eq!(stamp, [(STAMP_INTENT, id.to_string()), (STAMP_LAST_ACTION, last)]);
}

#[test]
fn an_attempt_bears_the_number_of_its_send() {
    let mut ledger = Ledger::default();
    let id = sent_twice(&mut ledger);
    assert_eq!((ledger.intent(id).attempt().unwrap().number(), ledger.intent(id).attempts()), (2, 2));
}
