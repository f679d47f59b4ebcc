//! One step after the other, as long as none helps: what waits after an end, when it is due, and what ends the row.

use flyball_core::action::{Action, ActionRequest, Cause, NextStep, OnFailure, Scale};
use flyball_core::deny::DenyReason;
use flyball_core::guardrail::{Verdict, judge, screen, tell};
use flyball_core::history::History;
use flyball_core::id::IntentId;
use flyball_core::intent::Event;
use flyball_core::limits::Guardrails;
use flyball_core::outcome::Outcome;
use flyball_core::plan::Edit;
use flyball_core::policy::Mode;
use flyball_core::record::{Deferral, Pause, PauseScope, Record, Release, Symptom, Topic, WaitKey};

use crate::build::{Ledger, admission, at, change, duration, request, restart, snapshot, workload};
use crate::tell::told;

/// Restart, after five minutes a rollback, at once a call for help.
fn first() -> ActionRequest {
    let mut request = restart("shop/cart", "10:00");
    let step = |after: &str, action| NextStep { after: duration(after), action };
    request.then = vec![step("5m", Action::Rollback { revision: None }), step("0s", Action::Escalate)];
    request
}

fn waits(history: &History) -> Option<ActionRequest> {
    let key = WaitKey { target: workload("shop/cart"), policy: "p".into() };
    history.waiter(&key).map(|it| it.deferral.request.clone())
}

fn ask(ledger: &Ledger, now: &str) -> String {
    let request = waits(&ledger.history).expect("somebody waits");
    told(screen(request, &ledger.history, &Guardrails::default(), at(now)))
}

/// The first step was admitted at 10:00 and ended at 10:02.
fn ended(outcome: Outcome) -> (Ledger, IntentId) {
    let mut ledger = Ledger::default();
    let id = ledger.done("10:00", "10:02", &first(), outcome);
    (ledger, id)
}

fn symptom(ledger: &mut Ledger, clock: &str, observed: &str, cleared: bool) {
    let symptom = Symptom { target: workload("shop/cart"), observed_at: at(observed), cleared };
    ledger.append(clock, Topic::Note, Record::Symptom(symptom));
}

#[test]
fn the_next_step_waits_from_the_end_of_what_did_not_help() {
    for outcome in [Outcome::NotRecovered, Outcome::Failed, Outcome::TimedOut, Outcome::RolledBack, Outcome::Rejected] {
        let (ledger, id) = ended(outcome);
        let next = waits(&ledger.history).unwrap_or_else(|| panic!("nothing after {outcome:?}"));
        assert_eq!((next.step, &next.cause, next.action.kind().as_str()), (1, &Cause::Step(id), "rollback"));
        assert_eq!(next.then.len(), 1);
        assert_eq!(ask(&ledger, "10:06:59"), "defer NotYet until=10:07:00Z", "{outcome:?}");
        assert_eq!(ask(&ledger, "10:07"), "pass", "{outcome:?}");
        // Its evidence is of the moment when it is due: it has as much time from there as a fresh signal.
        assert_eq!(ask(&ledger, "10:17"), "pass");
        assert_eq!(ask(&ledger, "10:17:01"), "deny SignalExpired age=PT10M1S limit=PT10M waited_for=NotYet");
    }
    // Nothing was sent, and nobody wanted that: its signal expired before, say.
    assert!(waits(&ended(Outcome::Cancelled).0.history).is_some());
    for outcome in [Outcome::Recovered, Outcome::RolledOut, Outcome::Superseded, Outcome::Escalated] {
        assert_eq!(waits(&ended(outcome).0.history), None, "{outcome:?}");
    }
}

#[test]
fn what_a_person_ended_and_an_undo_have_no_next_step() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &first());
    let (by, reason) = ("ann".to_owned(), "mine".to_owned());
    ledger.happen("10:01", id, Event::CancelAsked { by, reason });
    ledger.close("10:01", id, Outcome::Cancelled);
    assert_eq!(waits(&ledger.history), None);

    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &first());
    let change = ledger.intent(id).change().clone();
    ledger.happen("10:00", id, Event::Attempted { number: 1, change });
    let (by, reason) = ("ann".to_owned(), "seen".to_owned());
    ledger.happen("10:01", id, Event::Resolved { applied: true, fenced: true, by, reason });
    assert_eq!(waits(&ledger.history), None);

    let mut scale = request("shop/cart", Action::Scale(Scale::By(1)), "10:00");
    (scale.then, scale.verify.on_failure) = (first().then, OnFailure::Undo);
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &scale);
    ledger.land("10:00", id);
    let undo = flyball_core::follow_up::undo_of(ledger.intent(id)).unwrap();
    assert!(undo.then.is_empty(), "{undo:?}");
}

#[test]
fn a_step_ends_the_wait_and_leads_to_the_next() {
    let (mut ledger, first) = ended(Outcome::NotRecovered);
    let next = waits(&ledger.history).unwrap();
    // A rollback needs an older revision to be planned: what is planned is not asked here.
    let change = change(&restart("shop/cart", "10:00"));
    let admission = admission(&next, change, 0);
    ledger.append("10:07", Topic::Admit, Record::Admitted(vec![admission.clone()]));
    assert_eq!(waits(&ledger.history), None);
    ledger.close("10:09", admission.id, Outcome::Failed);
    let last = waits(&ledger.history).unwrap();
    assert_eq!((last.step, &last.cause), (2, &Cause::Step(admission.id)));
    assert!(last.only_tells() && last.then.is_empty());
    assert_ne!(admission.id, first);
    assert_eq!(ask(&ledger, "10:09"), "pass");
}

#[test]
fn a_step_that_is_denied_makes_room_for_the_next() {
    let (mut ledger, _) = ended(Outcome::NotRecovered);
    let denied = waits(&ledger.history).unwrap();
    let key = WaitKey::of(&denied);
    let release = Release { key, request: denied.clone(), reasons: Vec::new() };
    ledger.append("10:08", Topic::Admit, Record::Released(release));
    let next = waits(&ledger.history).unwrap();
    assert_eq!((next.step, &next.cause, next.action), (2, &denied.cause, Action::Escalate));
    assert_ne!(next.hold.unwrap().until, denied.hold.unwrap().until);

    let (mut ledger, _) = ended(Outcome::NotRecovered);
    let denied = waits(&ledger.history).unwrap();
    let reasons = vec![DenyReason::Contradicted { at: at("10:03") }];
    let release = Release { key: WaitKey::of(&denied), request: denied, reasons };
    ledger.append("10:04", Topic::Admit, Record::Released(release));
    assert_eq!(waits(&ledger.history), None, "what has gone away needs no help");

    // What waited for its first step has done nothing, so there is nothing that did not help.
    let mut ledger = Ledger::default();
    let request = first();
    ledger.append(
        "10:00",
        Topic::Admit,
        Record::Deferred(Deferral { request: request.clone(), objections: Vec::new() }),
    );
    ledger.append(
        "10:08",
        Topic::Admit,
        Record::Released(Release { key: WaitKey::of(&request), request, reasons: Vec::new() }),
    );
    assert_eq!(waits(&ledger.history), None);
}

#[test]
fn a_symptom_that_clears_while_a_step_waits_ends_the_row() {
    let (mut ledger, _) = ended(Outcome::NotRecovered);
    symptom(&mut ledger, "10:03", "10:01:59", true);
    assert_eq!(ask(&ledger, "10:07"), "pass", "that was before it was found not to have helped");
    symptom(&mut ledger, "10:04", "10:03:59", true);
    assert_eq!(ask(&ledger, "10:04"), "deny Contradicted at=10:03:59Z");
    symptom(&mut ledger, "10:05", "10:04:59", false);
    assert_eq!(ask(&ledger, "10:07"), "pass", "it is back");
    symptom(&mut ledger, "10:06", "10:04:59", true);
    assert_eq!(ask(&ledger, "10:07"), "deny Contradicted at=10:04:59Z");
}

/// A failed rollout has not asked after the symptom: what was heard since the step began counts.
#[test]
fn a_symptom_that_cleared_during_a_failed_rollout_ends_the_row() {
    for (outcome, expected) in [(Outcome::TimedOut, "deny Contradicted at=10:01:00Z"), (Outcome::NotRecovered, "pass")]
    {
        let mut ledger = Ledger::default();
        let id = ledger.admit("10:00", &first());
        symptom(&mut ledger, "10:01", "10:01", true);
        ledger.close("10:02", id, outcome);
        assert_eq!(ask(&ledger, "10:07"), expected, "{outcome:?}");
    }
}

/// What is not due is not denied by what may have passed until then.
#[test]
fn what_is_not_due_waits_whatever_else_speaks_against_it() {
    let mut request = first();
    request.then[0].action = Action::Restart;
    let mut ledger = Ledger::default();
    ledger.done("10:00", "10:02", &request, Outcome::NotRecovered);
    assert_eq!(
        ask(&ledger, "10:02"),
        "defer NotYet until=10:07:00Z",
        "the first restart is in its cooldown until then"
    );
    assert_eq!(ask(&ledger, "10:07"), "pass");
    let pause = Pause { id: "1".into(), scope: PauseScope::All, reason: "r".into(), by: "ann".into(), until: None };
    ledger.append("10:03", Topic::Admit, Record::Paused(pause));
    assert_eq!(ask(&ledger, "10:04"), "defer NotYet until=10:07:00Z");
    assert_eq!(ask(&ledger, "10:07"), "deny Paused because=r");
}

/// A signal for which a row is under way does not begin another.
#[test]
fn a_signal_joins_the_row_that_is_under_way() {
    let (ledger, _) = ended(Outcome::NotRecovered);
    let rules = Guardrails::default();
    let ask = |observed: &str| told(screen(restart("shop/cart", observed), &ledger.history, &rules, at(observed)));
    assert_eq!(ask("10:06:59"), "deny CooldownActive until=10:07:00Z; TargetBusy");
    assert_eq!(ask("10:07"), "defer TargetBusy");
    let mut other = restart("shop/cart", "10:07");
    other.policy.name = "other".into();
    assert_eq!(told(screen(other, &ledger.history, &rules, at("10:07"))), "pass", "another policy has its own");
}

/// A replica that slept while its step was denied, and the next was taken, wakes up with a step that is over.
#[test]
fn a_step_that_is_over_is_not_taken_any_more() {
    let (mut ledger, _) = ended(Outcome::NotRecovered);
    let mine = waits(&ledger.history).unwrap();
    let asked = |ledger: &Ledger| told(screen(mine.clone(), &ledger.history, &Guardrails::default(), at("10:08")));
    assert_eq!(asked(&ledger), "pass");
    let release = Release { key: WaitKey::of(&mine), request: mine.clone(), reasons: Vec::new() };
    ledger.append("10:08", Topic::Admit, Record::Released(release));
    assert_eq!(asked(&ledger), "deny DuplicateSignal", "the next one waits in its place");
    let next = waits(&ledger.history).unwrap();
    ledger.done("10:08", "10:08", &next, Outcome::Escalated);
    assert_eq!(asked(&ledger), "deny DuplicateSignal", "and nobody does any more");
    assert_eq!(told(screen(next, &ledger.history, &Guardrails::default(), at("10:08"))), "deny DuplicateSignal");
}

/// A policy that was changed while its step waited is asked whether it may act still.
#[test]
fn a_step_acts_for_a_policy_that_is_in_force() {
    let (ledger, _) = ended(Outcome::NotRecovered);
    let step = waits(&ledger.history).unwrap();
    let judged = |modes: Option<&[(&str, Mode)]>| {
        let modes = modes.map(|list| list.iter().map(|(name, mode)| ((*name).into(), *mode)).collect());
        let rules = Guardrails { modes, ..Guardrails::default() };
        let mut request = step.clone();
        request.action = Action::Restart;
        let Verdict::Pass(cleared) = screen(request, &ledger.history, &rules, at("10:07")) else {
            panic!("not cleared")
        };
        let seen = snapshot("shop/cart");
        told(judge(cleared, "c", Some(&seen), &ledger.history, &rules, at("10:07")))
    };
    assert_eq!(judged(None), "pass");
    assert_eq!(judged(Some(&[("p", Mode::Enforce)])), "pass");
    let denied = |what: &str| format!("deny CustomGuard guard=policy message=p is {what}");
    assert_eq!(judged(Some(&[("p", Mode::Disabled)])), denied("disabled by now"));
    assert_eq!(judged(Some(&[("p", Mode::Shadow)])), denied("shadow by now"));
    assert_eq!(judged(Some(&[("q", Mode::Enforce)])), denied("not in force any more"));
}

#[test]
fn what_waits_under_the_same_name_joins_the_step() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &first());
    let other = ActionRequest { cause: Cause::Api("k".into()), ..first() };
    ledger.append("10:01", Topic::Admit, Record::Deferred(Deferral { request: other, objections: Vec::new() }));
    ledger.close("10:02", id, Outcome::NotRecovered);
    let key = WaitKey { target: workload("shop/cart"), policy: "p".into() };
    let waiting = ledger.history.waiter(&key).unwrap();
    assert_eq!((waiting.joined, &waiting.deferral.request.cause), (1, &Cause::Step(id)));
}

#[test]
fn a_step_needs_the_admission_before_it() {
    let (mut ledger, _) = ended(Outcome::NotRecovered);
    for _ in 0..3 {
        ledger.append("10:03", Topic::Note, Record::Folded(Vec::new()));
    }
    assert_eq!(ledger.history.needed_from().0, 1);
}

#[test]
fn telling_takes_nothing_and_is_held_up_by_little() {
    let request = request("shop/cart", Action::Escalate, "10:00");
    let rules = Guardrails::default();
    let cleared = |ledger: &Ledger, now: &str| {
        let mut request = request.clone();
        (request.cause, request.evidence.observed_at) = (Cause::Api(now.into()), at(now));
        screen(request, &ledger.history, &rules, at(now))
    };
    let mut ledger = Ledger::default();
    let Verdict::Pass(it) = cleared(&ledger, "10:00") else { panic!("not cleared") };
    // Nobody has read the target: it may be gone, or out of reach.
    let admitted = tell(&it).unwrap();
    assert!(matches!(admitted.still_clear(&ledger.history, &rules, at("10:00")), Verdict::Pass(())));
    let admission = admission(admitted.request(), admitted.change().clone(), 0);
    ledger.append("10:00", Topic::Admit, Record::Admitted(vec![admission.clone()]));
    assert_eq!((&admission.change.edit, ledger.history.slots(None)), (&Edit::Tell, 0));
    assert_eq!(ledger.history.in_cluster().used(duration("1h"), at("10:01")), 0);
    assert_eq!(told(screen(restart("shop/cart", "10:01"), &ledger.history, &rules, at("10:01"))), "pass");
    ledger.close("10:00", admission.id, Outcome::Escalated);
    assert_eq!(told(cleared(&ledger, "10:04")), "deny CooldownActive until=10:05:00Z");
    assert_eq!(told(cleared(&ledger, "10:05")), "pass");
    // Neither a busy target nor a pause keeps people from hearing.
    ledger.admit("10:05", &restart("shop/cart", "10:05"));
    let pause = Pause { id: "1".into(), scope: PauseScope::All, reason: "r".into(), by: "ann".into(), until: None };
    ledger.append("10:06", Topic::Admit, Record::Paused(pause));
    assert_eq!(told(cleared(&ledger, "10:06")), "pass");
    assert!(matches!(screen(restart("shop/cart", "10:06"), &ledger.history, &rules, at("10:06")), Verdict::Deny(_)));
    let Verdict::Pass(it) = screen(restart("shop/other", "10:00"), &History::default(), &rules, at("10:00")) else {
        panic!("not cleared")
    };
    assert!(tell(&it).is_none(), "what changes something is judged on its target");
}

/// The last step is what is left: it comes however often people were told before.
#[test]
fn the_step_that_tells_always_comes() {
    let mut told_before = request("shop/cart", Action::Escalate, "10:00");
    told_before.policy.name = "other".into();
    let (mut ledger, _) = ended(Outcome::NotRecovered);
    let denied = waits(&ledger.history).unwrap();
    ledger.append(
        "10:08",
        Topic::Admit,
        Record::Released(Release { key: WaitKey::of(&denied), request: denied, reasons: Vec::new() }),
    );
    ledger.done("10:08", "10:08", &told_before, Outcome::Escalated);
    assert_eq!(ask(&ledger, "10:08"), "pass");
    assert_eq!(ask(&ledger, "11:08"), "pass", "and however late");
}
