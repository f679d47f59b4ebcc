//! Every guardrail that works on memory: its refusal with its numbers and its release, then its pass.

use flyball_core::action::{Action, Cause, Scale};
use flyball_core::deny::DenyReason;
use flyball_core::guardrail::{screen, screen_shadow};
use flyball_core::id::SignalId;
use flyball_core::intent::Event;
use flyball_core::limits::{Budget, Guardrails};
use flyball_core::outcome::Outcome;
use flyball_core::record::{Deferral, Folded, Pause, PauseScope, Record, Resume, Topic, Verdict as Noted, WaitKey};
use flyball_core::signal::TraceContext;
use flyball_core::window::FreezeWindow;

use crate::build::{Ledger, admission, at, change, duration, request, restart, workload};
use crate::tell::{reasons, told};

fn ask(ledger: &Ledger, rules: &Guardrails, observed: &str, now: &str) -> String {
    told(screen(restart("shop/cart", observed), &ledger.history, rules, at(now)))
}

fn check(ledger: &Ledger, now: &str, expected: &str) {
    assert_eq!(ask(ledger, &Guardrails::default(), now, now), expected, "at {now}");
}

#[test]
fn paused() {
    let mut ledger = Ledger::default();
    let pause = |id: &str, scope, until: Option<&str>| {
        let until = until.map(at);
        Record::Paused(Pause { id: id.into(), scope, reason: "release".into(), by: "ann".into(), until })
    };
    ledger.append("10:00", Topic::Admit, pause("1", PauseScope::Namespace("shop".into()), Some("10:30")));
    check(&ledger, "10:29", "deny Paused because=release until=10:30:00Z");
    check(&ledger, "10:30", "pass");
    ledger.append("10:31", Topic::Admit, pause("2", PauseScope::Target(workload("shop/other")), None));
    check(&ledger, "10:31", "pass");
    ledger.append("10:32", Topic::Admit, pause("3", PauseScope::All, None));
    check(&ledger, "10:32", "deny Paused because=release");
    ledger.append("10:33", Topic::Admit, Record::Resumed(Resume { id: "3".into(), by: "ann".into() }));
    check(&ledger, "10:33", "pass");
}

#[test]
fn in_scope() {
    let check = |rules: &Guardrails, target: &str, action: Action, expected: &str| {
        let request = request(target, action, "10:00");
        assert_eq!(told(screen(request, &Ledger::default().history, rules, at("10:00"))), expected);
    };
    let mut rules = Guardrails::default();
    check(&rules, "kube-system/dns", Action::Restart, "deny Protected by=namespace kube-system");
    check(&rules, "shop/ds/agent", Action::Scale(Scale::By(1)), "deny ActionNotAllowed what=scale of a DaemonSet");
    check(&rules, "shop/ds/agent", Action::Restart, "pass");
    rules.allow.namespaces = vec!["erp-*".into()];
    check(&rules, "shop/cart", Action::Restart, "deny ActionNotAllowed what=namespace shop");
    check(&rules, "erp-eu/cart", Action::Restart, "pass");
    rules.allow.actions.retain(|it| it.as_str() != "restart");
    check(&rules, "erp-eu/cart", Action::Restart, "deny ActionNotAllowed what=action restart");
    rules.protect.namespaces = vec!["erp-*".into()];
    check(&rules, "erp-eu/cart", Action::Scale(Scale::By(1)), "deny Protected by=namespace erp-*");
}

#[test]
fn fresh() {
    let (ledger, rules) = (Ledger::default(), Guardrails::default());
    assert_eq!(ask(&ledger, &rules, "10:00", "10:10:01"), "deny SignalExpired age=PT10M1S limit=PT10M");
    assert_eq!(ask(&ledger, &rules, "10:00", "10:10"), "pass");
    let mut expires = restart("shop/cart", "10:00");
    expires.evidence.expires_at = Some(at("10:05"));
    let ask = |now| told(screen(expires.clone(), &ledger.history, &rules, at(now)));
    assert_eq!(ask("10:05"), "deny SignalExpired age=PT5M limit=PT10M");
    assert_eq!(ask("10:04:59"), "pass");
}

#[test]
fn a_waiter_is_as_young_as_the_last_signal_that_joined_it() {
    let (mut ledger, rules) = (Ledger::default(), Guardrails::default());
    let waiting = restart("shop/cart", "10:00");
    let objections = vec![DenyReason::RolloutInProgress { updated: 1, desired: 3 }];
    ledger.append(
        "10:00",
        Topic::Admit,
        Record::Deferred(Deferral { request: waiting.clone(), objections: objections.clone() }),
    );
    assert_eq!(
        ask(&ledger, &rules, "10:00", "10:11"),
        "deny SignalExpired age=PT11M limit=PT10M waited_for=RolloutInProgress"
    );
    let note = |observed| Folded {
        target: waiting.target.clone(),
        policy: Some("p".into()),
        action: None,
        verdict: Noted::Joined(objections.clone()),
        count: 2,
        sequences: Vec::new(),
        signal: SignalId("s2".into()),
        observed_at: at(observed),
        trace: TraceContext::default(),
        summary: "".into(),
    };
    ledger.append("10:09", Topic::Note, Record::Folded(vec![note("10:08")]));
    ledger.append("10:09", Topic::Note, Record::Folded(vec![note("10:07")]));
    assert_eq!(ask(&ledger, &rules, "10:00", "10:11"), "pass");
    assert_eq!(
        ask(&ledger, &rules, "10:00", "10:18:01"),
        "deny SignalExpired age=PT10M1S limit=PT10M waited_for=RolloutInProgress"
    );
    let waiter = ledger.history.waiter(&WaitKey::of(&waiting)).unwrap();
    assert_eq!((waiter.joined, waiter.since, waiter.refreshed_at), (4, at("10:00"), at("10:08")));
}

#[test]
fn confident() {
    let ask = |confidence| {
        let mut request = restart("shop/cart", "10:00");
        request.evidence.confidence = confidence;
        told(screen(request, &Ledger::default().history, &Guardrails::default(), at("10:00")))
    };
    assert_eq!(ask(Some(0.49)), "deny ConfidenceTooLow confidence=0.49 required=0.5");
    assert_eq!(ask(Some(f64::NAN)), "deny ConfidenceTooLow required=0.5");
    assert_eq!(ask(Some(0.5)), "pass");
    assert_eq!(ask(None), "pass");
}

#[test]
fn not_twice_for_one_cause() {
    let mut ledger = Ledger::default();
    let mut call = request("shop/cart", Action::Scale(Scale::By(1)), "10:00");
    call.cause = Cause::Api("key".into());
    for request in [restart("shop/cart", "10:00"), call] {
        ledger.done("10:00", "10:01", &request, Outcome::Recovered);
        let again = screen(request.clone(), &ledger.history, &Guardrails::default(), at("10:09"));
        assert_eq!(told(again), "deny DuplicateSignal", "{}", request.cause);
    }
    check(&ledger, "10:09", "pass");
}

#[test]
fn in_window() {
    let window = FreezeWindow::new("0 10 * * *", "UTC", duration("30m")).unwrap();
    let longer = FreezeWindow::new("0 9 * * *", "UTC", duration("2h")).unwrap();
    let rules = Guardrails { windows: vec![window, longer], ..Guardrails::default() };
    let ask = |now| ask(&Ledger::default(), &rules, now, now);
    assert_eq!(ask("10:29"), "deny OutsideWindow until=11:00:00Z");
    assert_eq!(ask("11:00"), "pass");
}

#[test]
fn cooled_down() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &restart("shop/cart", "10:00"));
    check(&ledger, "10:01", "deny CooldownActive; TargetBusy");
    ledger.close("10:04", id, Outcome::Recovered);
    // From the end, not from the start.
    check(&ledger, "10:08:59", "deny CooldownActive until=10:09:00Z");
    check(&ledger, "10:09", "pass");
    let ask = |request, rules: &Guardrails| told(screen(request, &ledger.history, rules, at("10:05")));
    let rules = Guardrails::default();
    assert_eq!(ask(request("shop/cart", Action::Scale(Scale::By(1)), "10:05"), &rules), "pass", "another action");
    assert_eq!(ask(restart("shop/other", "10:05"), &rules), "pass", "another target");
    let mut short = restart("shop/cart", "10:05");
    short.limits.cooldown = duration("1s");
    assert_eq!(ask(short.clone(), &rules), "pass");
    let mut strict = Guardrails::default();
    strict.limits.min_cooldown = duration("2m");
    assert_eq!(ask(short, &strict), "deny CooldownActive until=10:06:00Z", "no request goes below the floor");
}

#[test]
fn a_shadow_has_a_cooldown_of_its_own_and_no_budget() {
    let (mut ledger, mut rules) = (Ledger::default(), Guardrails::default());
    rules.limits.cluster_budget.max = 0;
    let shadow = restart("shop/cart", "10:00");
    ledger.admit("09:59", &restart("shop/cart", "09:59"));
    let ask = |ledger: &Ledger, now| reasons(&screen_shadow(&shadow, &ledger.history, &rules, at(now)));
    assert_eq!(ask(&ledger, "10:00"), "");
    let note = Folded {
        target: shadow.target.clone(),
        policy: Some("p".into()),
        action: Some(shadow.action.kind()),
        verdict: Noted::Shadow(Vec::new()),
        count: 1,
        sequences: Vec::new(),
        signal: SignalId("s".into()),
        observed_at: at("10:00"),
        trace: TraceContext::default(),
        summary: "".into(),
    };
    ledger.append("10:00", Topic::Note, Record::Folded(vec![note.clone()]));
    assert_eq!(ask(&ledger, "10:04:59"), "CooldownActive until=10:05:00Z");
    let denied = Folded { verdict: Noted::Shadow(vec![DenyReason::ApprovalRequired]), ..note };
    ledger.append("10:02", Topic::Note, Record::Folded(vec![denied]));
    assert_eq!(ask(&ledger, "10:05"), "", "what would have been denied starts no cooldown");
}

#[test]
fn budgets() {
    let limit = Budget { max: 2, per: duration("1h") };
    let (mut rules, mut ledger) = (Guardrails::default(), Ledger::default());
    ledger.done("10:00", "10:01", &restart("shop/cart", "10:00"), Outcome::Superseded);
    ledger.done("10:20", "10:21", &restart("shop/cart", "10:20"), Outcome::Superseded);
    let ask = |rules: &Guardrails, target: &str, now: &str| {
        let mut request = restart(target, now);
        request.limits.action_budget = limit;
        told(screen(request, &ledger.history, rules, at(now)))
    };
    let spent = |scope| format!("deny ActionBudgetExhausted max=2 per=PT1H scope={scope} until=11:00:00Z used=2");
    assert_eq!(ask(&rules, "shop/cart", "10:59:59"), spent("workload"));
    assert_eq!(ask(&rules, "shop/cart", "11:00"), "pass", "the first one leaves the window at this very moment");
    assert_eq!(ask(&rules, "shop/other", "10:59"), "pass");
    rules.limits.namespace_budget = limit;
    assert_eq!(ask(&rules, "shop/other", "10:59"), spent("namespace"));
    assert_eq!(ask(&rules, "bank/cart", "10:59"), "pass");
    rules.limits.cluster_budget = limit;
    assert_eq!(ask(&rules, "bank/cart", "10:59"), spent("cluster"));
    assert_eq!(ask(&rules, "bank/cart", "11:00"), "pass");
}

#[test]
fn what_is_on_its_way_to_the_ledger_counts() {
    let (mut ledger, mut rules) = (Ledger::default(), Guardrails::default());
    rules.limits.namespace_budget = Budget { max: 1, per: duration("1h") };
    let pending = restart("shop/cart", "10:00");
    let pending = admission(&pending, change(&pending), 0);
    ledger.history.reserve(pending.clone());
    check(&ledger, "10:00", "deny DuplicateSignal; CooldownActive; TargetBusy");
    let other = || told(screen(restart("shop/other", "10:00"), &ledger.history, &rules, at("10:00")));
    assert_eq!(other(), "deny ActionBudgetExhausted max=1 per=PT1H scope=namespace until=10:00:00Z used=1");
    ledger.history.unreserve(pending.id);
    check(&ledger, "10:00", "pass");
}

#[test]
fn slots_and_busy_targets_make_it_wait() {
    let (mut ledger, mut rules) = (Ledger::default(), Guardrails::default());
    let first = ledger.admit("10:00", &request("shop/cart", Action::Scale(Scale::By(1)), "10:00"));
    check(&ledger, "10:00", "defer TargetBusy");
    ledger.admit("10:00", &restart("shop/front", "10:00"));
    check(&ledger, "10:00", "defer TargetBusy; ConcurrencyLimit max=2 scope=namespace used=2");
    rules.limits.concurrency_namespace = 3;
    rules.limits.concurrency_cluster = 2;
    let other = |ledger: &Ledger| told(screen(restart("bank/x", "10:01"), &ledger.history, &rules, at("10:01")));
    assert_eq!(other(&ledger), "defer ConcurrencyLimit max=2 scope=cluster used=2");
    // A slot is free at the rollout's verdict; the target stays busy until the end.
    ledger.land("10:01", first);
    ledger.happen("10:01", first, Event::RolledOut);
    assert_eq!(other(&ledger), "pass");
    check(&ledger, "10:01", "defer TargetBusy");
    ledger.close("10:02", first, Outcome::Recovered);
    check(&ledger, "10:02", "pass");
}

#[test]
fn it_waits_only_if_all_that_objects_passes_by_itself() {
    let mut ledger = Ledger::default();
    ledger.admit("10:00", &request("shop/cart", Action::Scale(Scale::By(1)), "10:00"));
    assert_eq!(ask(&ledger, &Guardrails::default(), "10:00", "10:05"), "defer TargetBusy");
    assert_eq!(
        ask(&ledger, &Guardrails::default(), "10:00", "10:15"),
        "deny SignalExpired age=PT15M limit=PT10M; TargetBusy"
    );
}
