//! How long what is over is remembered, to the second, and which of the ledger's entries may be missing.

use flyball_core::action::{Action, ActionKind, Scale};
use flyball_core::history::{History, KEEP};
use flyball_core::id::{Revision, SignalId};
use flyball_core::outcome::Outcome;
use flyball_core::record::{Folded, Pause, PauseScope, Record, Topic, Verdict};
use flyball_core::signal::TraceContext;
use jiff::{SignedDuration, Timestamp};

use crate::build::{Ledger, at, duration, request, restart, workload};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The fold at a later moment: a note that says nothing moves its time.
fn fold_at(ledger: &Ledger, now: Timestamp) -> History {
    let mut history = ledger.history.clone();
    let revision = Revision(history.revision().0 + 1);
    let note = flyball_core::record::Entry::sealed(revision, now, Topic::Note, None, Record::Folded(Vec::new()));
    history.apply(&note.unwrap()).unwrap();
    history
}

/// What `count` finds in the fold at the last moment of what it is about, and just after.
fn check<T: PartialEq + std::fmt::Debug>(ledger: &Ledger, from: &str, count: impl Fn(&History) -> T, then: (T, T)) {
    let last = at(from) + KEEP;
    assert_eq!((count(&fold_at(ledger, last)), count(&fold_at(ledger, last + SECOND))), then);
}

#[test]
fn what_is_over_is_remembered_to_the_end() {
    let mut ledger = Ledger::default();
    ledger.done("10:00", "10:01", &restart("shop/a", "10:00"), Outcome::Recovered);
    ledger.done("10:02", "10:03", &restart("shop/b", "10:02"), Outcome::Failed);
    let long = KEEP * 2;
    check(&ledger, "10:00", |it| it.successes().count(), (1, 0));
    check(&ledger, "10:03", |it| it.failures().count(), (1, 0));
    check(&ledger, "10:00", |it| it.in_cluster().used(long, it.at()), (2, 1));
    check(&ledger, "10:01", |it| it.last(&workload("shop/a"), ActionKind::Restart).is_some(), (true, false));
}

#[test]
fn a_shadow_is_remembered_to_the_end_of_its_newest() {
    let mut ledger = Ledger::default();
    let target = workload("shop/cart");
    let note = Folded {
        target: target.clone(),
        policy: Some("p".into()),
        action: Some(ActionKind::Restart),
        verdict: Verdict::Shadow(Vec::new()),
        count: 1,
        sequences: Vec::new(),
        signal: SignalId("s".into()),
        observed_at: at("10:00"),
        trace: TraceContext::default(),
        summary: "".into(),
    };
    for clock in ["10:00", "11:00"] {
        ledger.append(clock, Topic::Note, Record::Folded(vec![note.clone()]));
    }
    let last = |history: &History| history.last_shadow(&"p".into(), &target, ActionKind::Restart);
    check(&ledger, "10:00", last, (Some(at("11:00")), Some(at("11:00"))));
    check(&ledger, "11:00", last, (Some(at("11:00")), None));
}

#[test]
fn a_pause_is_needed_until_the_moment_at_which_it_ends() {
    let mut ledger = Ledger::default();
    ledger.admit("09:00", &restart("shop/a", "09:00"));
    ledger.close("09:01", restart("shop/a", "09:00").id("c"), Outcome::Recovered);
    let until = Some(at("10:00") + KEEP * 2);
    let pause = Pause { id: "1".into(), scope: PauseScope::All, reason: String::new(), by: String::new(), until };
    ledger.append("09:02", Topic::Admit, Record::Paused(pause.clone()));
    ledger.append("09:03", Topic::Admit, Record::Paused(Pause { id: "2".into(), ..pause }));
    let needed =
        |seconds: i64| fold_at(&ledger, at("10:00") + KEEP * 2 + SignedDuration::from_secs(seconds)).needed_from();
    // The newest admission's entry is needed in any case: it is entry 4.
    assert_eq!((needed(-1), needed(0)), (Revision(3), Revision(4)));
}

#[test]
fn what_adds_no_replicas_takes_none_away_when_it_is_forgotten() {
    let mut ledger = Ledger::default();
    let scale = |clock: &str| request("shop/cart", Action::Scale(Scale::By(2)), clock);
    ledger.admit_adding("10:00", &restart("shop/cart", "10:00"), 0);
    ledger.admit_adding("11:00", &scale("11:00"), 2);
    let added = |history: &History| history.added_to(&workload("shop/cart")).used(KEEP * 2, history.at());
    check(&ledger, "10:00", added, (2, 2));
    check(&ledger, "11:00", added, (2, 0));
    let mut restarted = Ledger::default();
    restarted.done("10:00", "10:01", &restart("shop/cart", "10:00"), Outcome::Recovered);
    let left = serde_json::to_string(&fold_at(&restarted, at("10:01") + KEEP + SECOND)).unwrap();
    assert!(!left.contains("shop"), "{left}");
}

#[test]
fn only_what_we_gave_up_ourselves_may_be_missing() {
    let mut ledger = Ledger::default();
    assert_eq!((ledger.history.purged(), ledger.history.has_from(Revision(1))), (Revision(0), Ok(())));
    let why = |history: &History, first| history.has_from(Revision(first)).unwrap_err();
    assert_eq!(why(&ledger.history, 3), "entries 1 to 2 are missing, and it was not us who removed them");
    ledger.append("10:00", Topic::Note, Record::Purged { before: Revision(5) });
    // A late note of another replica takes nothing back.
    ledger.append("10:01", Topic::Note, Record::Purged { before: Revision(4) });
    assert_eq!((ledger.history.purged(), ledger.history.has_from(Revision(5))), (Revision(5), Ok(())));
    assert_eq!(why(&ledger.history, 6), "entries 5 to 5 are missing, and it was not us who removed them");
    assert_eq!(History::whole_from(Revision(0), Revision(0)), Ok(()));
}

#[test]
fn a_snapshot_says_where_it_ends() {
    let mut ledger = Ledger::default();
    let id = ledger.admit("10:00", &restart("shop/a", "10:00"));
    assert_eq!((ledger.history.newest(), ledger.history.at()), (ledger.history.admit_head(), at("10:00")));
    ledger.close("10:01", id, Outcome::Recovered);
    assert_eq!(ledger.history.newest(), ledger.intent(id).head());
    assert_eq!(ledger.history.newest().revision, Revision(2));
    let window = ledger.history.in_cluster();
    assert_eq!(window.used(duration("1h"), at("10:30")), 1);
}
