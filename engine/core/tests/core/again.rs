//! What is admitted is more than a yes: its change, the replicas that it adds, and what is asked of it once more.

use flyball_core::action::{Action, ActionRequest, Patch, PatchForm, Scale};
use flyball_core::facts::{OPT_OUT, PodFacts, STAMP_INTENT, STAMP_LAST_ACTION, Snapshot};
use flyball_core::follow_up::undo_of;
use flyball_core::guardrail::{Admitted, Scene, Sight, Verdict, inspect_again, judge, screen};
use flyball_core::history::History;
use flyball_core::limits::Guardrails;
use serde_json::json;

use crate::build::{Ledger, at, change, request, snapshot};
use crate::tell::{reasons, told};

const TARGET: &str = "shop/cart";

fn judged(request: ActionRequest, seen: &Snapshot, history: &History) -> Verdict<Admitted> {
    let rules = Guardrails::default();
    let Verdict::Pass(cleared) = screen(request, history, &rules, at("10:00")) else { panic!("not cleared") };
    judge(cleared, "c", Some(seen), history, &rules, at("10:00"))
}

fn admitted(action: Action) -> Admitted {
    let request = request(TARGET, action, "10:00");
    match judged(request.clone(), &snapshot(TARGET), &History::default()) {
        Verdict::Pass(admitted) => {
            assert_eq!((admitted.request(), admitted.change()), (&request, &change(&request)));
            admitted
        }
        other => panic!("{}", told(other)),
    }
}

#[test]
fn only_a_growing_scale_adds_replicas() {
    for (action, adds) in [
        (Action::Scale(Scale::By(2)), 2),
        (Action::Scale(Scale::To(6)), 3),
        (Action::Scale(Scale::By(-2)), 0),
        (Action::Restart, 0),
    ] {
        assert_eq!(admitted(action.clone()).adds(), adds, "{action}");
    }
}

/// What a change that was admitted meets when it is planned anew.
fn check(change: impl FnOnce(&mut Snapshot), expected: &str) {
    let (request, rules, history) =
        (request(TARGET, Action::Restart, "10:00"), Guardrails::default(), History::default());
    let mut seen = snapshot(TARGET);
    change(&mut seen);
    let scene = Scene { request: &request, history: &history, rules: &rules, now: at("10:00") };
    let found = inspect_again(&Sight { scene, seen: &seen, id: request.id("c") });
    assert_eq!(reasons(&found.into_iter().collect::<Vec<_>>()), expected);
}

#[test]
fn people_and_owners_are_asked_again_before_a_change_is_planned_anew() {
    check(|_| (), "");
    check(|it| drop(it.annotations.insert(OPT_OUT.into(), "true".into())), "OptedOut on=shop/Deployment/cart");
    check(|it| drop(it.annotations.insert(OPT_OUT.into(), "false".into())), "");
    let label = |it: &mut Snapshot| drop(it.labels.insert("flyball.dev/protected".into(), "true".into()));
    check(label, "Protected by=label flyball.dev/protected=true");
    check(|it| it.deleting = true, "TargetPaused state=deleting");
    let blocked = PodFacts { name: "a".into(), uid: "u".into(), blocked_by: Some("pdb".into()) };
    check(|it| it.pod = Some(blocked), "DisruptionBudget budget=pdb");
    check(|it| it.rollout.updated = 1, "");
}

/// A ledger that was cut knows of an action only that it had begun. What the target says of it, and of its undo, is not done again.
#[test]
fn what_the_targets_stamp_says_is_not_sent_once_more() {
    let own = request(TARGET, Action::Restart, "10:00").id("c").to_string();
    let other = request(TARGET, Action::Restart, "09:00").id("c").to_string();
    let stamp = |intent: &str, last: &str| {
        let stamps = [(STAMP_INTENT, intent.to_owned()), (STAMP_LAST_ACTION, format!("2026-01-10T09:58:00Z {last}"))];
        move |it: &mut Snapshot| it.annotations.extend(stamps.map(|(key, value)| (key.into(), value)))
    };
    check(stamp(&other, "restart"), "CooldownActive until=10:03:00Z");
    check(stamp(&other, "undo restart"), "CooldownActive until=10:03:00Z");
    check(stamp(&other, "scale"), "");
    check(stamp(&own, "restart"), "");
}

/// The undo of an action that landed, its target as that left it and then changed.
fn undo(action: Action, change: impl FnOnce(&mut Snapshot)) -> String {
    let mut ledger = Ledger::default();
    let parent = ledger.admit("10:00", &request(TARGET, action, "10:00"));
    ledger.land("10:00", parent);
    let mut seen = snapshot(TARGET);
    change(&mut seen);
    told(judged(undo_of(ledger.intent(parent)).unwrap(), &seen, &ledger.history))
}

#[test]
fn an_undo_competes_with_gitops_for_what_gitops_keeps() {
    let body = json!({"spec": {"minReadySeconds": 5}});
    let patch = || Action::Patch(Patch { form: PatchForm::Merge, body: body.clone() });
    let ready = |it: &mut Snapshot| it.spec["minReadySeconds"] = json!(5);
    let gitops = |it: &mut Snapshot, replicas| {
        it.managers.gitops = Some("Flux".into());
        it.managers.gitops_owns_replicas = replicas;
    };
    assert_eq!(undo(patch(), ready), "pass");
    let kept = |it: &mut Snapshot| {
        ready(it);
        gitops(it, false);
    };
    assert_eq!(undo(patch(), kept), "deny ManagedElsewhere owner=Flux");
    let scaled = |replicas| {
        move |it: &mut Snapshot| {
            it.spec["replicas"] = json!(4);
            gitops(it, replicas);
        }
    };
    assert_eq!(undo(Action::Scale(Scale::By(1)), scaled(false)), "pass");
    assert_eq!(undo(Action::Scale(Scale::By(1)), scaled(true)), "deny ManagedElsewhere owner=Flux");
}
