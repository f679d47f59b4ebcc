//! Every guardrail that works on a fresh read: its refusal with its numbers, then its pass.

use flyball_core::action::{Action, Patch, PatchForm, Scale};
use flyball_core::deny::DenyReason;
use flyball_core::facts::{OPT_OUT, PodFacts, STAMP_INTENT, STAMP_LAST_ACTION, Snapshot, TemplateRevision};
use flyball_core::follow_up::undo_of;
use flyball_core::guardrail::{Admitted, Scene, Verdict, forbidden, judge, screen, screen_again, unreadable};
use flyball_core::limits::{Budget, Guardrails};
use flyball_core::outcome::Outcome;
use flyball_core::record::{Pause, PauseScope, Record, Topic};
use serde_json::json;

use crate::build::{Ledger, at, duration, request, restart, snapshot, workload};
use crate::tell::told;

const TARGET: &str = "shop/cart";

fn ask(action: Action, seen: &Snapshot) -> Verdict<Admitted> {
    let ledger = Ledger::default();
    let rules = Guardrails::default();
    let request = request(TARGET, action, "10:00");
    let Verdict::Pass(cleared) = screen(request, &ledger.history, &rules, at("10:00")) else { panic!("not cleared") };
    judge(cleared, "c", Some(seen), &ledger.history, &rules, at("10:00"))
}

fn check(action: Action, change: impl FnOnce(&mut Snapshot), expected: &str) {
    let mut seen = snapshot(TARGET);
    change(&mut seen);
    assert_eq!(told(ask(action.clone(), &seen)), expected, "{action}");
}

fn by(by: i32) -> Action {
    Action::Scale(Scale::By(by))
}

fn image() -> Action {
    let body = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}}});
    Action::Patch(Patch { form: PatchForm::Strategic, body })
}

#[test]
fn the_target_must_be_there_and_readable() {
    let ledger = Ledger::default();
    let rules = Guardrails::default();
    let cleared = || match screen(restart(TARGET, "10:00"), &ledger.history, &rules, at("10:00")) {
        Verdict::Pass(cleared) => cleared,
        other => panic!("{other:?}"),
    };
    let gone = judge(cleared(), "c", None, &ledger.history, &rules, at("10:00"));
    assert_eq!(told(gone), "deny TargetNotFound what=shop/Deployment/cart");
    assert_eq!(told(unreadable(cleared(), "timeout".into())), "defer StateUnavailable detail=timeout");
    assert_eq!(told(forbidden(cleared(), "no get".into())), "deny Forbidden detail=no get");
    assert_eq!(told(ask(Action::Restart, &snapshot(TARGET))), "pass");
}

#[test]
fn people_come_first() {
    check(Action::Restart, |it| it.namespace_opted_out = true, "deny OptedOut on=namespace shop");
    let opt_out = |it: &mut Snapshot| {
        it.annotations.insert(OPT_OUT.into(), "true".into());
    };
    check(Action::Restart, opt_out, "deny OptedOut on=shop/Deployment/cart");
    let label = |it: &mut Snapshot, value: &str| it.labels.insert("flyball.dev/protected".into(), value.into());
    check(Action::Restart, |it| drop(label(it, "true")), "deny Protected by=label flyball.dev/protected=true");
    check(Action::Restart, |it| drop(label(it, "false")), "pass");
    check(Action::Restart, |it| it.deleting = true, "deny TargetPaused state=deleting");
    check(Action::Restart, |it| it.spec["paused"] = json!(true), "deny TargetPaused state=paused");
}

#[test]
fn what_others_own_is_theirs() {
    let autoscaled = |it: &mut Snapshot| it.managers.autoscaler = Some("hpa cart".into());
    check(by(1), autoscaled, "deny ManagedElsewhere owner=hpa cart");
    check(Action::Restart, autoscaled, "pass");
    let gitops = |it: &mut Snapshot| it.managers.gitops = Some("Argo CD".into());
    check(image(), gitops, "deny ManagedElsewhere owner=Argo CD");
    check(by(1), gitops, "pass");
    check(Action::Restart, gitops, "pass");
    let replicas_too = |it: &mut Snapshot| {
        gitops(it);
        it.managers.gitops_owns_replicas = true;
    };
    check(by(1), replicas_too, "deny ManagedElsewhere owner=Argo CD");
}

#[test]
fn the_stamp_is_a_second_witness_of_the_cooldown() {
    let stamped = |text: &'static str| {
        move |it: &mut Snapshot| {
            it.annotations.insert(STAMP_INTENT.into(), restart("a/b", "09:00").id("c").to_string());
            it.annotations.insert(STAMP_LAST_ACTION.into(), text.into());
        }
    };
    check(Action::Restart, stamped("2026-01-10T09:56:00Z restart"), "deny CooldownActive until=10:01:00Z");
    check(Action::Restart, stamped("2026-01-10T09:55:00Z restart"), "pass");
    check(Action::Restart, stamped("2026-01-10T09:59:00Z scale"), "pass");
    check(Action::Restart, stamped("nonsense"), "pass");
    check(Action::Restart, stamped("2026-01-10T09:56:00Z undo restart"), "deny CooldownActive until=10:01:00Z");
    check(Action::Restart, stamped("2026-01-10T09:56:00Z undo scale"), "pass");
}

#[test]
fn the_stamp_is_a_second_witness_of_what_has_been_done() {
    let own = request(TARGET, Action::Restart, "10:00").id("c").to_string();
    let stamped = |it: &mut Snapshot| {
        it.annotations.insert(STAMP_INTENT.into(), own.clone());
    };
    check(Action::Restart, stamped, "deny DuplicateSignal");
    check(by(1), stamped, "pass");
}

#[test]
fn a_rollout_in_progress_is_waited_for() {
    let rolling = |it: &mut Snapshot| (it.rollout.updated, it.rollout.total) = (1, 4);
    check(Action::Restart, rolling, "defer RolloutInProgress desired=3 updated=1");
    let old = |it: &mut Snapshot| {
        rolling(it);
        it.revisions = vec![TemplateRevision { revision: 1, uid: "r".into(), template: json!({"spec": {"a": 1}}) }];
    };
    check(Action::Rollback { revision: None }, old, "pass");
    let stuck = |it: &mut Snapshot| {
        rolling(it);
        it.rollout.deadline_exceeded = true;
    };
    check(Action::Restart, stuck, "pass");
}

#[test]
fn a_pod_goes_only_if_its_budget_lets_it() {
    let evict = Action::DeletePod { pod: Some("cart-1".into()) };
    let pod = |blocked: Option<&'static str>| {
        move |it: &mut Snapshot| {
            it.pod =
                Some(PodFacts { name: "cart-1".into(), uid: "pod-1".into(), blocked_by: blocked.map(str::to_owned) });
        }
    };
    check(evict.clone(), |_| (), "deny TargetNotFound what=pod cart-1");
    check(evict.clone(), pod(Some("cart-pdb")), "defer DisruptionBudget budget=cart-pdb");
    check(evict, pod(None), "pass");
    check(Action::DeletePod { pod: None }, pod(None), "deny TargetNotFound what=a pod: the signal names none");
}

#[test]
fn the_blast_radius_is_a_share_and_one_is_always_allowed() {
    let down = |total: u32, names: &'static [&str]| {
        move |it: &mut Snapshot| {
            it.neighbours.total = total;
            it.neighbours.unhealthy = names.iter().map(|name| workload(&format!("shop/{name}"))).collect();
        }
    };
    // 40 % of ten are four: the target and three others.
    check(Action::Restart, down(10, &["a", "b", "c", "d"]), "deny BlastRadiusExceeded affected=5 allowed=4 total=10");
    check(Action::Restart, down(10, &["a", "b", "c", "cart"]), "pass");
    check(Action::Restart, down(9, &["a", "b", "c"]), "deny BlastRadiusExceeded affected=4 allowed=3 total=9");
    check(Action::Restart, down(2, &["cart"]), "pass");
    check(Action::Restart, down(2, &["a"]), "deny BlastRadiusExceeded affected=2 allowed=1 total=2");
    check(Action::Restart, down(0, &[]), "pass");
}

#[test]
fn who_is_under_remediation_counts_anew_at_the_ledger() {
    let mut rules = Guardrails::default();
    rules.limits.concurrency_namespace = 9;
    let mut seen = snapshot(TARGET);
    seen.neighbours.total = 5;
    let Verdict::Pass(admitted) = ask(Action::Restart, &seen) else { panic!("not admitted") };
    let mut ledger = Ledger::default();
    let still = |ledger: &Ledger| told(admitted.still_clear(&ledger.history, &rules, at("10:00")));
    ledger.admit("10:00", &restart("shop/a", "10:00"));
    assert_eq!(still(&ledger), "pass");
    ledger.admit("10:00", &restart("bank/b", "10:00"));
    assert_eq!(still(&ledger), "pass");
    ledger.admit("10:00", &restart("shop/b", "10:00"));
    assert_eq!(still(&ledger), "deny BlastRadiusExceeded affected=3 allowed=2 total=5");
}

#[test]
fn replicas_stay_within_bounds() {
    let from = |replicas: i32| move |it: &mut Snapshot| it.spec["replicas"] = json!(replicas);
    check(Action::Scale(Scale::To(9)), from(8), "deny ReplicaBounds max=8 min=1 to=9");
    check(by(1), from(7), "pass");
    check(by(-1), from(1), "deny ReplicaBounds max=8 min=1 to=0");
    check(by(i32::MIN), from(3), "deny ReplicaBounds max=8 min=1 to=-2147483645");
    check(Action::Scale(Scale::To(i32::MIN)), from(3), "deny ReplicaBounds max=8 min=1 to=-2147483648");
    check(Action::Scale(Scale::To(3)), from(3), "deny NothingToDo what=3 replicas already");
}

#[test]
fn growth_has_a_speed() {
    check(by(4), |_| (), "deny ScaleVelocityExceeded added=0 asked=4 max=3 per=PT15M");
    let rules = Guardrails::default();
    let mut ledger = Ledger::default();
    for (clock, adds) in [("09:30", 1), ("09:40", 1)] {
        let id = ledger.admit_adding(clock, &request(TARGET, by(1), clock), adds);
        ledger.close(clock, id, Outcome::Recovered);
    }
    let ask = |by: i32, now: &str| {
        let mut seen = snapshot(TARGET);
        seen.spec["replicas"] = json!(2);
        let mut request = request(TARGET, Action::Scale(Scale::By(by)), now);
        request.limits.scale_up = Budget { max: 3, per: duration("15m") };
        let Verdict::Pass(cleared) = screen(request, &ledger.history, &rules, at(now)) else { panic!("not cleared") };
        told(judge(cleared, "c", Some(&seen), &ledger.history, &rules, at(now)))
    };
    // One has left the window at 09:45, the other leaves it at 09:55.
    assert_eq!(ask(3, "09:46"), "deny ScaleVelocityExceeded added=1 asked=3 max=3 per=PT15M until=09:55:00Z");
    assert_eq!(ask(3, "09:54:59"), "deny ScaleVelocityExceeded added=1 asked=3 max=3 per=PT15M until=09:55:00Z");
    assert_eq!(ask(3, "09:55"), "pass");
    assert_eq!(ask(2, "09:46"), "pass");
    assert_eq!(ask(-1, "09:46"), "pass");
}

#[test]
fn a_direct_call_is_bound_by_the_allow_list_too() {
    let privileged = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "securityContext": {"privileged": true}}]}}}});
    let whole = json!({"spec": {"template": {"spec": {"containers": [{"name": "evil", "image": "evil"}]}}}});
    for (form, body, path) in [
        (PatchForm::Strategic, privileged, "containers/*/securityContext/privileged"),
        (PatchForm::Merge, whole, "containers"),
    ] {
        let expected = format!("deny ActionNotAllowed what=a policy may not patch `/spec/template/spec/{path}`");
        check(Action::Patch(Patch { form, body }), |_| (), &expected);
    }
    check(image(), |_| (), "pass");
}

/// An undo of a scale from 3 to 4, its parent at the front door again.
fn undo(change: impl FnOnce(&mut Ledger, &mut Snapshot)) -> String {
    let mut ledger = Ledger::default();
    let parent = ledger.admit("10:00", &request(TARGET, by(1), "10:00"));
    ledger.land("10:00", parent);
    let mut seen = snapshot(TARGET);
    seen.spec["replicas"] = json!(4);
    change(&mut ledger, &mut seen);
    let request = undo_of(ledger.intent(parent)).unwrap();
    let mut rules = Guardrails::default();
    // No budget, slot, window or age binds an undo.
    rules.limits.cluster_budget.max = 0;
    rules.limits.concurrency_cluster = 0;
    rules.allow.actions.clear();
    match screen(request, &ledger.history, &rules, at("12:00")) {
        Verdict::Pass(cleared) => told(judge(cleared, "c", Some(&seen), &ledger.history, &rules, at("12:00"))),
        other => told(other),
    }
}

#[test]
fn an_undo_is_bound_by_people_owners_and_what_it_takes_back() {
    let pause = |ledger: &mut Ledger, _: &mut Snapshot| {
        let pause =
            Pause { id: "1".into(), scope: PauseScope::All, reason: "stop".into(), by: "ann".into(), until: None };
        ledger.append("10:01", Topic::Admit, Record::Paused(pause));
    };
    assert_eq!(undo(pause), "deny Paused because=stop");
    assert_eq!(undo(|_, it| it.uid = "uid-2".into()), "deny TargetChanged what=another object took its name");
    assert_eq!(
        undo(|_, it| it.spec["replicas"] = json!(6)),
        "deny TargetChanged what=somebody changed what we had changed"
    );
    assert_eq!(
        undo(|_, it| it.spec["replicas"] = json!(3)),
        "deny NothingToDo what=what would be undone is undone already"
    );
    assert_eq!(undo(|_, it| it.namespace_opted_out = true), "deny OptedOut on=namespace shop");
    assert_eq!(undo(|_, it| it.managers.autoscaler = Some("hpa".into())), "deny ManagedElsewhere owner=hpa");
    assert_eq!(undo(|_, it| it.managers.gitops = Some("Flux".into())), "pass");
    assert_eq!(undo(|_, it| it.rollout.updated = 1), "pass");
}

#[test]
fn what_is_admitted_is_held_by_a_pause_and_ends_with_its_signal() {
    let mut ledger = Ledger::default();
    let (request, rules) = (restart(TARGET, "10:00"), Guardrails::default());
    let ask = |ledger: &Ledger, now| {
        told(screen_again(&Scene { request: &request, history: &ledger.history, rules: &rules, now: at(now) }))
    };
    assert_eq!(ask(&ledger, "10:11"), "deny SignalExpired age=PT11M limit=PT10M");
    assert_eq!(ask(&ledger, "10:10"), "pass");
    let pause = Pause { id: "1".into(), scope: PauseScope::All, reason: "stop".into(), by: "ann".into(), until: None };
    ledger.append("10:01", Topic::Admit, Record::Paused(pause));
    assert_eq!(ask(&ledger, "10:11"), "defer Paused because=stop");
}

#[test]
fn the_reasons_that_wait_are_these() {
    assert!(DenyReason::TargetBusy { intent: restart("a/b", "10:00").id("c") }.passes_by_itself());
    assert!(!DenyReason::ApprovalRequired.passes_by_itself());
}
