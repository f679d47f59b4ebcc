//! What is on its way to the ledger counts like what is there: places, budgets, probes and slots, each in its own scope.

use flyball_core::action::{Action, ActionKind, ActionRequest, Cause, Scale};
use flyball_core::guardrail::{breaker_is_open, screen};
use flyball_core::intent::Event;
use flyball_core::limits::{Budget, Guardrails};
use flyball_core::outcome::Outcome;

use crate::build::{Ledger, admission, at, change, duration, request, restart, workload};
use crate::tell::told;

fn reserve(ledger: &mut Ledger, request: &ActionRequest) {
    ledger.history.reserve(admission(request, change(request), 0));
}

fn undo_of(parent: &ActionRequest) -> ActionRequest {
    ActionRequest { cause: Cause::Undo(parent.id("c")), ..parent.clone() }
}

fn scale(target: &str) -> ActionRequest {
    request(target, Action::Scale(Scale::By(1)), "10:00")
}

#[test]
fn a_budget_counts_what_is_on_its_way_in_its_own_scope() {
    let spent = |scope: &str| format!("ActionBudgetExhausted max=1 per=PT1H scope={scope} until=10:00:00Z used=1");
    let limit = Budget { max: 1, per: duration("1h") };
    let mut ledger = Ledger::default();
    reserve(&mut ledger, &restart("shop/cart", "10:00"));
    let ask = |asked: &ActionRequest, rules: &Guardrails| {
        let mut asked = asked.clone();
        (asked.limits.action_budget, asked.limits.cooldown) = (limit, duration("0s"));
        told(screen(asked, &ledger.history, rules, at("10:00")))
    };
    let mut rules = Guardrails::default();
    let again = restart("shop/cart", "09:59");
    assert_eq!(ask(&again, &rules), format!("deny CooldownActive; {}; TargetBusy", spent("workload")));
    assert_eq!(ask(&scale("shop/cart"), &rules), "defer TargetBusy", "another action");
    assert_eq!(ask(&restart("shop/front", "10:00"), &rules), "pass", "another target");
    rules.limits.namespace_budget = limit;
    assert_eq!(ask(&restart("shop/front", "10:00"), &rules), format!("deny {}", spent("namespace")));
    assert_eq!(ask(&restart("bank/front", "10:00"), &rules), "pass", "another namespace");
    rules.limits.cluster_budget = limit;
    assert_eq!(ask(&restart("bank/front", "10:00"), &rules), format!("deny {}", spent("cluster")));
}

#[test]
fn an_undo_on_its_way_uses_up_no_budget() {
    let mut rules = Guardrails::default();
    rules.limits.cluster_budget = Budget { max: 2, per: duration("1h") };
    let mut ledger = Ledger::default();
    let parent = scale("shop/cart");
    ledger.admit("10:00", &parent);
    reserve(&mut ledger, &undo_of(&parent));
    let other = || restart("bank/front", "10:01");
    assert_eq!(told(screen(other(), &ledger.history, &rules, at("10:01"))), "pass");
}

#[test]
fn what_is_on_its_way_is_the_last_of_its_kind_on_its_target_only() {
    let mut ledger = Ledger::default();
    let pending = restart("shop/cart", "10:00");
    reserve(&mut ledger, &pending);
    let last = |target: &str, kind| ledger.history.last(&workload(target), kind);
    assert_eq!(last("shop/cart", ActionKind::Restart), Some((pending.id("c"), None)));
    assert_eq!(last("shop/cart", ActionKind::Scale), None);
    assert_eq!(last("shop/front", ActionKind::Restart), None);
    assert_eq!(ledger.history.led_to(&restart("shop/front", "10:00").cause), None);
    assert!(ledger.history.open_on(&workload("shop/front")).is_empty());
}

#[test]
fn a_probe_on_its_way_is_the_one_probe() {
    let mut ledger = Ledger::default();
    for n in 0..5 {
        ledger.done("10:00", "10:01", &restart(&format!("n{n}/x"), "10:00"), Outcome::Failed);
    }
    let ask = |ledger: &Ledger, now: &str| {
        told(screen(restart("shop/cart", now), &ledger.history, &Guardrails::default(), at(now)))
    };
    let open = |ledger: &Ledger, now: &str| breaker_is_open(&ledger.history, &Guardrails::default(), at(now));
    assert_eq!((ask(&ledger, "10:11"), open(&ledger, "10:11")), ("pass".into(), true), "half-open is open");
    reserve(&mut ledger, &restart("n9/x", "10:11"));
    assert_eq!(ask(&ledger, "10:11"), "deny BreakerOpen failures=5 max=5");
    assert!(!open(&Ledger::default(), "10:11"));
    assert!(!open(&ledger, "10:31"), "the failures have left the window");
}

#[test]
fn a_slot_that_is_claimed_is_claimed_in_its_namespace() {
    let mut ledger = Ledger::default();
    let request = scale("shop/cart");
    let id = ledger.admit("10:00", &request);
    ledger.land("10:01", id);
    ledger.happen("10:02", id, Event::RolledOut);
    let history = &ledger.history;
    assert_eq!([None, Some("shop")].map(|it| history.slots_claimed(it)), [0, 0], "it is whole so far");
    let undo = undo_of(&request);
    let undoing = Event::Undoing { undo: undo.id("c"), verdict: Outcome::NotRecovered, detail: String::new() };
    ledger.happen("10:03", id, undoing);
    let history = &ledger.history;
    assert_eq!([None, Some("shop"), Some("bank")].map(|it| history.slots_claimed(it)), [1, 1, 0]);
}

#[test]
fn slots_in_use_are_held_or_on_their_way() {
    let mut ledger = Ledger::default();
    for target in ["shop/a", "shop/b", "bank/a"] {
        ledger.admit("10:00", &restart(target, "10:00"));
    }
    for target in ["shop/c", "shop/d", "bank/b"] {
        reserve(&mut ledger, &restart(target, "10:00"));
    }
    let history = &ledger.history;
    assert_eq!([None, Some("shop"), Some("bank"), Some("erp")].map(|it| history.slots(it)), [6, 4, 2, 0]);
}

#[test]
fn an_undo_on_its_way_takes_no_second_slot() {
    let mut ledger = Ledger::default();
    let parent = scale("shop/cart");
    let id = ledger.admit("10:00", &parent);
    reserve(&mut ledger, &undo_of(&parent));
    assert_eq!((ledger.history.slots(None), ledger.history.has_slot(&undo_of(&parent))), (1, true));
    ledger.land("10:01", id);
    ledger.happen("10:02", id, Event::RolledOut);
    assert_eq!((ledger.history.slots(None), ledger.history.has_slot(&undo_of(&parent))), (1, false));
}

#[test]
fn the_last_of_its_kind_is_the_newest_whatever_ends_later() {
    let mut ledger = Ledger::default();
    let first = ledger.admit("10:00", &restart("shop/cart", "10:00"));
    let second = ledger.admit("10:01", &restart("shop/cart", "10:01"));
    let last = |ledger: &Ledger| ledger.history.last(&workload("shop/cart"), ActionKind::Restart);
    ledger.close("10:02", first, Outcome::Recovered);
    assert_eq!(last(&ledger), Some((second, None)));
    assert_eq!(ledger.history.open_on(&workload("shop/cart")), [second]);
    ledger.close("10:03", second, Outcome::Recovered);
    assert_eq!(last(&ledger), Some((second, Some(at("10:03")))));
}

#[test]
fn a_cause_is_known_by_its_own_delivery() {
    let mut ledger = Ledger::default();
    let mut request = restart("shop/cart", "10:00");
    request.evidence.sequence = 41;
    ledger.admit("10:00", &request);
    assert_eq!(ledger.history.delivered_by(&request.cause), Some(41));
    assert_eq!(ledger.history.delivered_by(&restart("shop/front", "10:00").cause), None);
}
