//! The fold: the same entry twice counts once, time never goes backwards, and what is asked later is what was written.

use flyball_core::action::{Action, ActionRequest, Cause, Scale};
use flyball_core::chain::Head;
use flyball_core::deny::DenyReason;
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::intent::Event;
use flyball_core::outcome::Outcome;
use flyball_core::record::{Deferral, Entry, Record, Release, Topic, WaitKey};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::build::{Ledger, admission, at, change, duration, receipt, request, restart, workload};

#[test]
fn an_admission_twice_takes_one_place() {
    let mut ledger = Ledger::default();
    let request = request("shop/cart", Action::Scale(Scale::By(2)), "10:00");
    let id = ledger.admit_adding("10:00", &request, 2);
    ledger.land("10:01", id);
    assert_eq!(ledger.admit_adding("10:02", &request, 2), id);
    let hour = duration("1h");
    let (history, now) = (&ledger.history, at("10:03"));
    assert_eq!(history.on_target(&request.target, request.action.kind()).used(hour, now), 1);
    assert_eq!(history.in_namespace("shop").used(hour, now), 1);
    assert_eq!(history.in_cluster().used(hour, now), 1);
    assert_eq!(history.added_to(&request.target).used(hour, now), 2);
    assert_eq!(history.open_on(&request.target), [id]);
    assert_eq!((ledger.intent(id).admitted_at(), ledger.intent(id).stage().label()), (at("10:00"), "Applied"));
}

#[test]
fn windows_are_open_at_their_far_end() {
    let mut ledger = Ledger::default();
    for (clock, adds) in [("10:00", 1), ("10:10", 2), ("10:20", 3)] {
        let request = request("shop/cart", Action::Scale(Scale::By(1)), clock);
        ledger.admit_adding(clock, &request, adds);
    }
    let (growth, cluster) = (ledger.history.added_to(&workload("shop/cart")), ledger.history.in_cluster());
    let half = duration("30m");
    for (now, added, count) in [("10:20", 6, 3), ("10:29:59", 6, 3), ("10:30", 5, 2), ("10:40", 3, 1), ("10:50", 0, 0)]
    {
        assert_eq!((growth.used(half, at(now)), cluster.used(half, at(now))), (added, count), "{now}");
    }
    for (room, until) in [(6, "10:25"), (5, "10:30"), (4, "10:40"), (3, "10:40"), (2, "10:50"), (0, "10:50")] {
        assert_eq!(growth.allows_at(room, half, at("10:25")), at(until), "{room}");
    }
}

#[test]
fn a_place_is_held_until_the_admission_is_known() {
    let mut history = History::default();
    let request = restart("shop/cart", "10:00");
    let pending = admission(&request, change(&request), 0);
    history.reserve(pending.clone());
    history.reserve(pending.clone());
    assert_eq!((history.reserved().count(), history.slots(Some("shop")), history.slots(Some("bank"))), (1, 1, 0));
    assert_eq!(history.led_to(&request.cause), Some(pending.id));
    assert_eq!(history.last(&request.target, request.action.kind()), Some((pending.id, None)));
    assert_eq!(history.under_remediation("shop").count(), 1);
    history.unreserve(pending.id);
    assert_eq!((history.reserved().count(), history.slots(None), history.led_to(&request.cause)), (0, 0, None));
    history.reserve(pending.clone());
    let record = Record::Admitted(vec![pending]);
    history.apply(&Entry::sealed(Revision(1), at("10:00"), Topic::Admit, None, record).unwrap()).unwrap();
    assert_eq!((history.reserved().count(), history.slots(None)), (0, 1));
}

#[test]
fn time_never_goes_backwards() {
    let mut ledger = Ledger::default();
    ledger.admit("10:10", &restart("shop/a", "10:10"));
    let late = ledger.admit("10:09", &restart("shop/b", "10:09"));
    assert_eq!((ledger.history.at(), ledger.intent(late).admitted_at()), (at("10:10"), at("10:10")));
    let window = ledger.history.in_cluster();
    assert_eq!(window.used(duration("30m"), at("10:39:59")), 2);
    assert_eq!(window.used(duration("30m"), at("10:40")), 0);
}

#[test]
fn what_is_open_is_counted_and_keeps_its_target_busy() {
    let mut ledger = Ledger::default();
    let busy =
        |ledger: &Ledger| ["shop/a", "bank/b", "shop/c"].map(|it| ledger.history.first_on(&workload(it)).is_some());
    assert_eq!((ledger.history.open_count(), busy(&ledger)), (0, [false; 3]));
    let first = ledger.admit("10:00", &restart("shop/a", "10:00"));
    ledger.admit("10:00", &restart("bank/b", "10:00"));
    assert_eq!((ledger.history.open_count(), busy(&ledger)), (2, [true, true, false]));
    ledger.close("10:01", first, Outcome::Recovered);
    assert_eq!((ledger.history.open_count(), busy(&ledger)), (1, [false, true, false]));
    // What is on its way to the ledger is not open yet, but its target is taken.
    let coming = restart("shop/c", "10:01");
    ledger.history.reserve(admission(&coming, change(&coming), 0));
    assert_eq!((ledger.history.open_count(), busy(&ledger)), (1, [false, true, true]));
}

#[test]
fn revisions_are_kept_per_topic() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &restart("shop/a", "10:00"));
    let change = ledger.intent(id).change().clone();
    ledger.happen("10:00", id, Event::Attempted { number: 1, change });
    ledger.append("10:00", Topic::Note, Record::Folded(Vec::new()));
    let history = &ledger.history;
    assert_eq!(
        (history.revision(), history.admit_head().revision, ledger.intent(id).head().revision),
        (Revision(3), Revision(1), Revision(2))
    );
}

#[test]
fn one_waiter_per_target_and_policy() {
    let mut ledger = Ledger::default();
    let first = restart("shop/cart", "10:00");
    let key = WaitKey::of(&first);
    let deferred = |request: &ActionRequest, updated| {
        let objections = vec![DenyReason::RolloutInProgress { updated, desired: 3 }];
        Record::Deferred(Deferral { request: request.clone(), objections })
    };
    ledger.append("10:00", Topic::Admit, deferred(&first, 1));
    ledger.append("10:01", Topic::Admit, deferred(&restart("shop/cart", "10:01"), 2));
    let waiter = ledger.history.waiter(&key).unwrap();
    assert_eq!((waiter.since, &waiter.deferral.request), (at("10:00"), &first));
    assert_eq!(ledger.history.objections(&key), Some(&[DenyReason::RolloutInProgress { updated: 2, desired: 3 }][..]));
    // An undo of the same policy on the same target is not what it waits for.
    let mut undo = restart("shop/cart", "10:02");
    undo.cause = Cause::Undo(restart("shop/cart", "09:00").id("c"));
    ledger.admit("10:02", &undo);
    assert_eq!(ledger.history.waiting().count(), 1);
    ledger.admit("10:03", &first);
    assert_eq!(ledger.history.waiting().count(), 0);
    ledger.append("10:04", Topic::Admit, deferred(&first, 1));
    let release = Release { key, request: first, reasons: vec![DenyReason::ApprovalRequired] };
    ledger.append("10:05", Topic::Admit, Record::Released(release));
    assert_eq!(ledger.history.waiting().count(), 0);
}

#[test]
fn an_event_of_an_intent_that_was_purged_says_nothing() {
    let mut ledger = Ledger::default();
    ledger.happen("10:00", restart("shop/a", "09:00").id("c"), Event::RolledOut);
    assert_eq!(ledger.history.intents().count(), 0);
}

/// What may happen to one of four targets, a minute apart.
#[derive(Clone, Debug)]
enum Step {
    Admit(usize, i32),
    Land(usize),
    Close(usize, Outcome),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcomes = prop::sample::select(Outcome::ALL.to_vec());
    let step = prop_oneof![
        (0..4usize, 1..3i32).prop_map(|(target, by)| Step::Admit(target, by)),
        (0..4usize).prop_map(Step::Land),
        (0..4usize, outcomes).prop_map(|(target, outcome)| Step::Close(target, outcome)),
    ];
    prop::collection::vec(step, 0..40)
}

/// The entries of the steps that can happen.
fn entries(steps: &[Step]) -> Vec<Entry> {
    let mut history = History::default();
    let mut entries: Vec<Entry> = Vec::new();
    for (minute, step) in steps.iter().enumerate() {
        let now = at(&format!("{:02}:{:02}", 10 + minute / 60, minute % 60));
        let target = |n: usize| format!("n{}/x{n}", n % 2);
        let open =
            |n: usize| history.open_on(&workload(&target(n))).first().and_then(|id| history.intent(*id)).cloned();
        let mut written: Vec<(Topic, Record)> = Vec::new();
        match step {
            Step::Admit(n, by) => {
                let mut request = request(&target(*n), Action::Scale(Scale::By(*by)), "10:00");
                request.step = u32::try_from(minute).unwrap();
                let admission = admission(&request, change(&request), by.unsigned_abs());
                written.push((Topic::Admit, Record::Admitted(vec![admission])));
            }
            Step::Land(n) => {
                if let Some(intent) = open(*n).filter(|it| it.stage().label() == "Recorded") {
                    let topic = Topic::Intent(intent.id());
                    let change = intent.change().clone();
                    written.push((topic, Record::Happened(Event::Attempted { number: 1, change })));
                    written.push((topic, Record::Happened(Event::Applied(receipt(2)))));
                }
            }
            Step::Close(n, outcome) => {
                if let Some(intent) = open(*n) {
                    let closed = Event::Closed { outcome: *outcome, detail: String::new() };
                    written.push((Topic::Intent(intent.id()), Record::Happened(closed)));
                }
            }
        }
        for (topic, record) in written {
            let before = entries.iter().rev().find(|it| it.topic == topic).map(Entry::head);
            let entry = Entry::sealed(Revision(entries.len() as u64 + 1), now, topic, before, record).unwrap();
            history.apply(&entry).unwrap();
            entries.push(entry);
        }
    }
    entries
}

/// All that the guardrails count, at a moment after the last entry.
fn counted(history: &History) -> Vec<u32> {
    let (hour, now) = (duration("1h"), at("10:45"));
    let mut counts = vec![history.in_cluster().used(hour, now), history.slots(None)];
    for n in 0..4 {
        let target = workload(&format!("n{}/x{n}", n % 2));
        counts.push(history.on_target(&target, flyball_core::action::ActionKind::Scale).used(hour, now));
        counts.push(history.added_to(&target).used(hour, now));
        counts.push(u32::try_from(history.open_on(&target).len()).unwrap());
    }
    counts.extend(["n0", "n1"].map(|namespace| history.in_namespace(namespace).used(hour, now)));
    counts.push(u32::try_from(history.failures().count()).unwrap());
    counts.push(u32::try_from(history.successes().count()).unwrap());
    counts
}

proptest! {
    #[test]
    fn what_is_admitted_twice_counts_once(steps in steps()) {
        let (mut once, mut twice) = (History::default(), History::default());
        for entry in entries(&steps) {
            once.apply(&entry).unwrap();
            let repeats = if entry.topic == Topic::Admit { 2 } else { 1 };
            for _ in 0..repeats {
                let before = if entry.topic == Topic::Admit { Some(twice.admit_head()) } else { None };
                let before = before.unwrap_or(Head { sum: entry.prev, ..Head::default() });
                let again = Entry::sealed(entry.revision, entry.at, entry.topic, Some(before), entry.record.clone());
                twice.apply(&again.unwrap()).unwrap();
            }
        }
        prop_assert_eq!(counted(&once), counted(&twice));
    }

    #[test]
    fn a_place_that_is_held_and_given_back_changes_nothing(steps in steps()) {
        let (mut plain, mut held) = (History::default(), History::default());
        for entry in entries(&steps) {
            if let Record::Admitted(admissions) = &entry.record {
                let other = admission(&restart("n0/other", "10:00"), change(&restart("n0/other", "10:00")), 1);
                held.reserve(admissions[0].clone());
                held.reserve(other.clone());
                held.unreserve(other.id);
            }
            plain.apply(&entry).unwrap();
            held.apply(&entry).unwrap();
        }
        prop_assert_eq!(counted(&plain), counted(&held));
        prop_assert_eq!(held.reserved().count(), 0);
    }

    #[test]
    fn a_window_counts_what_lies_within_it(minutes in prop::collection::vec(0..1300u32, 0..30), now in 0..1400i64, per in 1..1440i64) {
        let mut minutes = minutes;
        minutes.sort_unstable();
        let mut ledger = Ledger::default();
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        for (step, minute) in minutes.iter().enumerate() {
            let mut request = restart("shop/cart", "10:00");
            request.step = u32::try_from(step).unwrap();
            ledger.admit(&clock(*minute), &request);
        }
        let start: Timestamp = at("00:00");
        let now_at = start + duration(&format!("{now}m"));
        let expected = minutes.iter().filter(|it| i64::from(**it) > now - per).count();
        let used = ledger.history.in_cluster().used(duration(&format!("{per}m")), now_at);
        prop_assert_eq!(used as usize, expected);
    }
}
