//! Did it help? What is seen of a rollout, and when, to what is concluded.

use flyball_core::action::{Action, ActionRequest, OnFailure, RecoveredBy, Recovery, Scale};
use flyball_core::deny::NoAction;
use flyball_core::facts::{PodFacts, Rollout, Sighting};
use flyball_core::id::{IntentId, SignalId};
use flyball_core::intent::Event;
use flyball_core::outcome::Outcome;
use flyball_core::plan::plan;
use flyball_core::record::{Folded, Record, Symptom, Topic, Verdict};
use flyball_core::signal::TraceContext;
use flyball_core::verify::{Symptoms, Verification, verify};
use flyball_core::workload::WorkloadKind;
use jiff::Timestamp;
use serde_json::json;

use crate::build::{Ledger, admission, at, duration, request, rollout, sighting, snapshot, workload};

/// Three replicas become four at 10:00, as generation 2; five minutes to roll out, 30 s of stability.
struct Case {
    ledger: Ledger,
    id: IntentId,
    symptoms: Symptoms,
}

fn scale() -> ActionRequest {
    let mut request = request("shop/cart", Action::Scale(Scale::By(1)), "10:00");
    request.verify.timeout = duration("5m");
    request.verify.stable_for = duration("30s");
    request.verify.on_failure = OnFailure::Undo;
    request
}

fn recovering(by: RecoveredBy) -> ActionRequest {
    let mut request = scale();
    request.verify.recovered = Some(Recovery { by, within: duration("10m") });
    request
}

impl Case {
    fn applied(request: &ActionRequest) -> Self {
        let mut ledger = Ledger::default();
        let id = ledger.admit("10:00", request);
        ledger.land("10:00", id);
        Self { ledger, id, symptoms: Symptoms::default() }
    }

    fn rolled_out(request: &ActionRequest) -> Self {
        let mut case = Self::applied(request);
        case.ledger.happen("10:01", case.id, Event::RolledOut);
        case
    }

    fn symptoms(mut self, present: Option<&str>, cleared: Option<&str>) -> Self {
        self.symptoms = Symptoms { present_at: present.map(at), cleared_at: cleared.map(at) };
        self
    }

    fn check(&self, seen: Option<&Sighting>, since: Option<&str>, now: &str, expected: &str) {
        let told = verify(self.ledger.intent(self.id), seen, self.symptoms, since.map(at), at(now));
        let told = told.map_or_else(
            || "watch".to_owned(),
            |it| match it {
                Verification::RolledOut => "rolled out".to_owned(),
                Verification::Over(outcome, detail) => format!("{}: {detail}", outcome.label()),
            },
        );
        assert_eq!(told, expected, "at {now}");
    }
}

/// Four pods of generation 2, all well, changed as asked.
fn seen(change: impl FnOnce(&mut Rollout)) -> Sighting {
    let mut rollout = rollout(WorkloadKind::Deployment);
    (rollout.generation, rollout.observed_generation) = (2, 2);
    (rollout.desired, rollout.total, rollout.updated, rollout.ready, rollout.available) = (4, 4, 4, 4, 4);
    change(&mut rollout);
    let mut target = snapshot("shop/cart");
    target.spec["replicas"] = json!(4);
    sighting(rollout, &target, Timestamp::default())
}

#[test]
fn old_news_is_not_believed() {
    let case = Case::applied(&scale());
    // The previous rollout's success: its status says that all is well, of a generation before ours.
    case.check(Some(&seen(|it| it.observed_generation = 1)), None, "10:00:01", "watch");
    case.check(Some(&seen(|it| (it.generation, it.observed_generation) = (1, 1))), None, "10:00:01", "watch");
    // Somebody annotated it since: what is observed is older than what is wanted.
    case.check(Some(&seen(|it| it.generation = 3)), None, "10:00:01", "watch");
    case.check(
        Some(&seen(|it| it.observed_generation = 1)),
        None,
        "10:05",
        "TimedOut: 4 of 4 pods updated, 4 available after 5m",
    );
    case.check(Some(&seen(|_| ())), None, "10:00:01", "rolled out");
    case.check(Some(&seen(|it| (it.generation, it.observed_generation) = (3, 3))), None, "10:00:01", "rolled out");
}

#[test]
fn a_rollout_has_its_time() {
    let case = Case::applied(&scale());
    let half = seen(|it| (it.updated, it.available) = (2, 1));
    case.check(Some(&half), None, "10:04:59", "watch");
    case.check(Some(&half), None, "10:05", "TimedOut: 2 of 4 pods updated, 1 available after 5m");
    case.check(Some(&seen(|it| it.total = 5)), None, "10:01", "watch");
    case.check(Some(&seen(|it| it.available = 3)), None, "10:01", "watch");
}

#[test]
fn a_progress_deadline_counts_from_our_change() {
    let mut patient = scale();
    patient.verify.timeout = duration("30m");
    let case = Case::applied(&patient);
    let stuck = |change: fn(&mut Rollout)| {
        let mut seen = seen(|it| {
            (it.available, it.deadline_exceeded) = (3, true);
            change(it);
        });
        seen.spec["progressDeadlineSeconds"] = json!(60);
        seen
    };
    // Exceeded before we came: the controller has not seen any progress yet that would take it back.
    case.check(Some(&stuck(|_| ())), None, "10:00:59", "watch");
    case.check(Some(&stuck(|it| it.observed_generation = 1)), None, "10:01", "watch");
    case.check(Some(&stuck(|_| ())), None, "10:01", "Failed: the rollout exceeded its progress deadline");
    let mut default = stuck(|_| ());
    default.spec.as_object_mut().unwrap().remove("progressDeadlineSeconds");
    case.check(Some(&default), None, "10:09:59", "watch");
    case.check(Some(&default), None, "10:10", "Failed: the rollout exceeded its progress deadline");
    let case = Case::applied(&scale());
    case.check(Some(&default), None, "10:05", "TimedOut: 4 of 4 pods updated, 3 available after 5m");
}

/// A stale API server shows the object as it was: whole, healthy and without our change.
#[test]
fn what_was_there_before_our_change_is_not_somebody_elses() {
    let mut before = seen(|it| (it.generation, it.observed_generation) = (1, 1));
    before.spec["replicas"] = json!(3);
    for case in [Case::applied(&scale()), Case::rolled_out(&scale())] {
        case.check(Some(&before), None, "10:01", "watch");
        case.check(Some(&before), Some("10:00"), "10:02", "watch");
    }
}

#[test]
fn somebody_elses_change_ends_it() {
    for case in [Case::applied(&scale()), Case::rolled_out(&scale())] {
        let gone = "Superseded: the target is gone, or another object took its name";
        case.check(None, None, "10:01", gone);
        case.check(Some(&seen(|it| it.uid = "uid-2".into())), None, "10:01", gone);
        let mut edited = seen(|_| ());
        edited.spec["replicas"] = json!(6);
        case.check(Some(&edited), None, "10:01", "Superseded: somebody else changed what we had changed");
        edited.spec["replicas"] = json!(4);
        edited.spec["minReadySeconds"] = json!(9);
        edited.rollout.available = 3;
        case.check(Some(&edited), None, "10:01", "watch");
    }
}

#[test]
fn the_stamp_of_an_intent_that_the_ledger_forgot_ends_it() {
    let case = Case::applied(&scale());
    let mut stamped = seen(|it| it.available = 3);
    stamped.stamp = Some(request("shop/cart", Action::Restart, "10:00").id("c"));
    case.check(Some(&stamped), None, "10:01", "watch");
    stamped.rollout.generation += 1;
    case.check(Some(&stamped), None, "10:01", "Superseded: somebody else changed what we had changed");
    stamped.stamp = Some(case.id);
    case.check(Some(&stamped), None, "10:01", "watch");
}

#[test]
fn stability_starts_anew_after_a_dip() {
    let case = Case::rolled_out(&scale());
    let stable = "RolledOut: complete and stable for 30s";
    let (well, dip) = (seen(|_| ()), seen(|it| it.available = 3));
    case.check(Some(&well), Some("10:01"), "10:01:29", "watch");
    case.check(Some(&well), Some("10:01"), "10:01:30", stable);
    // A heir has not seen what was before.
    case.check(Some(&well), None, "10:03", "watch");
    case.check(Some(&dip), None, "10:02", "watch");
    case.check(Some(&well), Some("10:02:10"), "10:02:39", "watch");
    case.check(Some(&well), Some("10:02:10"), "10:02:40", stable);
    case.check(Some(&dip), None, "10:04:59", "watch");
    case.check(Some(&dip), None, "10:05", "Failed: pods became unavailable again after the rollout");
}

#[test]
fn a_status_that_stays_old_is_a_timeout_and_no_dip() {
    let case = Case::rolled_out(&scale());
    let unobserved = seen(|it| it.generation = 3);
    case.check(Some(&unobserved), None, "10:04:59", "watch");
    case.check(Some(&unobserved), None, "10:05", "TimedOut: 4 of 4 pods updated, 4 available after 5m");
}

#[test]
fn a_dip_while_silence_is_awaited_is_borne_as_long_as_that() {
    let case = Case::rolled_out(&recovering(RecoveredBy::Silence));
    let dip = seen(|it| it.available = 3);
    // The time for the rollout is over, the one for recovery is not: a drained node is no failure.
    case.check(Some(&dip), None, "10:10:59", "watch");
    case.check(Some(&dip), None, "10:11", "Failed: pods became unavailable again after the rollout");
    case.check(Some(&seen(|_| ())), Some("10:08"), "10:17:59", "watch");
    case.check(Some(&seen(|_| ())), Some("10:08"), "10:18", "Recovered: no signal for 10m after the rollout");
}

#[test]
fn recovered_by_silence() {
    let well = seen(|_| ());
    let case = |present| Case::rolled_out(&recovering(RecoveredBy::Silence)).symptoms(present, None);
    case(Some("10:01:01")).check(
        Some(&well),
        Some("10:01"),
        "10:02",
        "NotRecovered: the signal came again after the rollout",
    );
    case(Some("10:01")).check(Some(&well), Some("10:01"), "10:10:59", "watch");
    case(Some("10:01")).check(Some(&well), Some("10:01"), "10:11", "Recovered: no signal for 10m after the rollout");
    case(None).check(Some(&well), Some("10:01"), "10:11", "Recovered: no signal for 10m after the rollout");
}

#[test]
fn recovered_by_clearing() {
    let well = seen(|_| ());
    let case = |present, cleared| Case::rolled_out(&recovering(RecoveredBy::Clear)).symptoms(present, cleared);
    let late = "NotRecovered: the signal did not clear in time";
    case(None, None).check(Some(&well), Some("10:01"), "10:11", late);
    case(None, Some("10:00")).check(Some(&well), Some("10:01"), "10:11", late);
    case(Some("10:03"), Some("10:02")).check(Some(&well), Some("10:01"), "10:11", late);
    case(Some("10:02"), Some("10:02")).check(Some(&well), Some("10:01"), "10:11", late);
    case(None, None).check(Some(&well), Some("10:01"), "10:10:59", "watch");
    case(None, Some("10:01:10")).check(Some(&well), Some("10:01"), "10:01:29", "watch");
    case(Some("10:01:05"), Some("10:01:10")).check(
        Some(&well),
        Some("10:01"),
        "10:01:30",
        "Recovered: the signal cleared",
    );
    // Cleared in time, stable only later.
    let mut slow = recovering(RecoveredBy::Clear);
    slow.verify.stable_for = duration("20m");
    let slow = Case::rolled_out(&slow).symptoms(None, Some("10:02"));
    slow.check(Some(&well), Some("10:01"), "10:12", "watch");
    slow.check(Some(&well), Some("10:01"), "10:21", "Recovered: the signal cleared");
}

#[test]
fn an_evicted_pod_must_be_gone() {
    let mut target = snapshot("shop/cart");
    target.pod = Some(PodFacts { name: "cart-1".into(), uid: "pod-1".into(), blocked_by: None });
    let request = request("shop/cart", Action::DeletePod { pod: Some("cart-1".into()) }, "10:00");
    let change = plan(&request.action, &target, at("10:00")).unwrap();
    let mut ledger = Ledger::default();
    let admission = admission(&request, change, 0);
    ledger.append("10:00", Topic::Admit, Record::Admitted(vec![admission.clone()]));
    ledger.land("10:00", admission.id);
    let case = Case { ledger, id: admission.id, symptoms: Symptoms::default() };
    let mut still_there = seen(|_| ());
    still_there.pod_still_there = true;
    case.check(Some(&still_there), None, "10:01", "watch");
    case.check(Some(&seen(|_| ())), None, "10:01", "rolled out");
}

#[test]
fn nothing_is_concluded_of_what_is_not_applied() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &scale());
    let case = Case { ledger, id, symptoms: Symptoms::default() };
    case.check(Some(&seen(|_| ())), None, "11:00", "watch");
}

#[test]
fn symptoms_are_remembered_while_an_intent_is_open() {
    let mut case = Case::applied(&scale());
    let target = workload("shop/cart");
    let symptom = |observed: &str, cleared| {
        Record::Symptom(Symptom { target: target.clone(), observed_at: at(observed), cleared })
    };
    case.ledger.append("10:02", Topic::Note, symptom("10:02", false));
    case.ledger.append("10:03", Topic::Note, symptom("10:01", false));
    case.ledger.append("10:03", Topic::Note, symptom("10:03", true));
    let seen = Symptoms { present_at: Some(at("10:02")), cleared_at: Some(at("10:03")) };
    assert_eq!(case.ledger.history.symptoms(&target), seen);
    case.ledger.close("10:04", case.id, Outcome::Recovered);
    assert_eq!(case.ledger.history.symptoms(&target), Symptoms::default());
    case.ledger.append("10:05", Topic::Note, symptom("10:05", false));
    assert_eq!(case.ledger.history.symptoms(&target), Symptoms::default(), "nothing is open");
}

#[test]
fn what_a_note_tells_of_is_a_symptom_unless_a_shadow_saw_it() {
    let (present, cleared) = (|at| (Some(at), None), |at| (None, Some(at)));
    for (verdict, expected) in [
        (Verdict::Joined(Vec::new()), present(at("10:02"))),
        (Verdict::Denied(Vec::new()), present(at("10:02"))),
        (Verdict::NoAction(NoAction::NoPolicyMatched), present(at("10:02"))),
        (Verdict::NoAction(NoAction::NotAnomalous), cleared(at("10:02"))),
        (Verdict::Shadow(Vec::new()), (None, None)),
    ] {
        let mut case = Case::applied(&scale());
        let note = Folded {
            target: workload("shop/cart"),
            policy: None,
            action: None,
            verdict: verdict.clone(),
            count: 1,
            sequences: Vec::new(),
            signal: SignalId("s".into()),
            observed_at: at("10:02"),
            trace: TraceContext::default(),
            summary: "".into(),
        };
        case.ledger.append("10:03", Topic::Note, Record::Folded(vec![note]));
        let seen = case.ledger.history.symptoms(&workload("shop/cart"));
        assert_eq!((seen.present_at, seen.cleared_at), expected, "{verdict:?}");
    }
}
