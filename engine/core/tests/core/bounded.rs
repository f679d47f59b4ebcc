//! What the fold holds does not grow, a snapshot of it is the fold, and a fold of what retention leaves is the same fold.

use std::collections::BTreeMap;

use flyball_core::action::{Action, ActionKind, Cause, NextStep, Scale};
use flyball_core::chain::Head;
use flyball_core::deny::DenyReason;
use flyball_core::history::{History, KEEP};
use flyball_core::id::{Revision, SignalId};
use flyball_core::intent::Event;
use flyball_core::outcome::Outcome;
use flyball_core::record::{
    Deferral, Entry, Folded, Part, Pause, PauseScope, Record, Release, Resume, Sighted, Sought, Symptom, Topic,
    Trusted, Verdict, WaitKey,
};
use flyball_core::signal::TraceContext;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::build::{admission, at, change, receipt, request, restart, workload};

/// A ledger over days, folded as it is written.
struct Days {
    history: History,
    entries: Vec<Entry>,
    heads: BTreeMap<Topic, Head>,
    now: Timestamp,
    demote_after: u32,
}

impl Days {
    fn new() -> Self {
        let (history, now) = (History::default(), at("00:00"));
        Self { history, entries: Vec::new(), heads: BTreeMap::new(), now, demote_after: 0 }
    }

    fn append(&mut self, topic: Topic, record: Record) {
        let before = self.heads.get(&topic).copied().filter(|_| topic != Topic::Note);
        let revision = Revision(self.entries.len() as u64 + 1);
        let entry = Entry::sealed(revision, self.now, topic, before, record).unwrap();
        self.history.apply(&entry).unwrap();
        self.heads.insert(topic, entry.head());
        self.entries.push(entry);
        let due = self.history.to_demote().next().cloned();
        if let Some(due) = due {
            self.append(Topic::Admit, Record::Demoted(due));
        }
    }

    fn happen(&mut self, id: flyball_core::id::IntentId, event: Event) {
        self.append(Topic::Intent(id), Record::Happened(event));
    }

    fn wait(&mut self, how_long: SignedDuration) {
        self.now += how_long;
    }

    /// Admits a scale on one of four targets, by a signal of its own.
    fn admit(&mut self, n: usize) -> flyball_core::id::IntentId {
        let mut request = request(&target(n), Action::Scale(Scale::By(1)), "00:00");
        request.limits.demote_after = self.demote_after;
        if n == 3 {
            request.then = vec![NextStep { after: SignedDuration::from_mins(5), action: Action::Restart }];
        }
        request.cause = Cause::Signal(SignalId(format!("s{}", self.entries.len()).into()));
        request.evidence.sequence = self.entries.len() as u64 + 1;
        let admission = admission(&request, change(&request), 1);
        self.append(Topic::Admit, Record::Admitted(vec![admission.clone()]));
        admission.id
    }

    /// Retention removes what is over: what lies before this.
    fn purge(&mut self) -> Revision {
        let before = left(self).first().map_or(Revision(1), |it| it.revision);
        let demoted: Vec<_> = self.history.demoted_before(before).cloned().collect();
        for it in demoted {
            self.append(Topic::Note, Record::Demoted(it));
        }
        self.append(Topic::Note, Record::Purged { before });
        before
    }

    fn size(&self) -> usize {
        serde_json::to_string(&self.history).unwrap().len()
    }
}

fn target(n: usize) -> String {
    format!("n{}/x{n}", n % 2)
}

fn fold<'a>(mut history: History, entries: impl IntoIterator<Item = &'a Entry>) -> History {
    entries.into_iter().for_each(|entry| history.apply(entry).unwrap());
    history
}

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Admit(usize),
    Land(usize),
    Close(usize, Outcome),
    Undo(usize),
    Defer(usize),
    Join(usize),
    Release(usize),
    Press(u8, Option<i64>),
    Resume(u8),
    Shadow(usize),
    See(usize, bool),
    Sight(usize, i64),
    Trust,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcomes = prop::sample::select(Outcome::ALL.to_vec());
    let step = prop_oneof![
        4 => (1..900i64).prop_map(Step::Wait),
        3 => (0..4usize).prop_map(Step::Admit),
        2 => (0..4usize).prop_map(Step::Land),
        3 => (0..4usize, outcomes).prop_map(|(n, outcome)| Step::Close(n, outcome)),
        1 => (0..4usize).prop_map(Step::Undo),
        1 => (0..4usize).prop_map(Step::Defer),
        1 => (0..4usize).prop_map(Step::Join),
        1 => (0..4usize).prop_map(Step::Release),
        1 => (0..3u8, prop::option::of(1..4000i64)).prop_map(|(n, until)| Step::Press(n, until)),
        1 => (0..3u8).prop_map(Step::Resume),
        1 => (0..4usize).prop_map(Step::Shadow),
        1 => (0..4usize, any::<bool>()).prop_map(|(n, cleared)| Step::See(n, cleared)),
        2 => (0..4usize, 0..900i64).prop_map(|(n, age)| Step::Sight(n, age)),
        1 => Just(Step::Trust),
    ];
    prop::collection::vec(step, 0..120)
}

fn note(days: &Days, n: usize, verdict: Verdict) -> Record {
    Record::Folded(vec![Folded {
        target: workload(&target(n)),
        policy: Some("p".into()),
        action: Some(ActionKind::Scale),
        verdict,
        count: 1,
        sequences: Vec::new(),
        signal: SignalId("s".into()),
        observed_at: days.now,
        trace: TraceContext::default(),
        summary: "".into(),
    }])
}

/// Of one thing that the policy counts.
fn sight(days: &mut Days, n: usize, age: i64) {
    let sighted = Sighted {
        sought: Sought { policy: "p".into(), part: Part::Itself, rule: "r".into(), target: workload(&target(n)) },
        signal: SignalId(format!("s{}", days.entries.len()).into()),
        observed_at: days.now - SignedDuration::from_mins(age),
        keep: 3,
        within: SignedDuration::from_hours(1),
    };
    days.append(Topic::Admit, Record::Sighted(vec![sighted]));
}

fn take(days: &mut Days, step: &Step) {
    let open = |days: &Days, n: usize| {
        let ids = days.history.open_on(&workload(&target(n)));
        ids.first().and_then(|id| days.history.intent(*id)).cloned()
    };
    let waits = |n: usize| request(&target(n), Action::Scale(Scale::By(1)), "00:00");
    match step {
        Step::Wait(minutes) => days.wait(SignedDuration::from_mins(*minutes)),
        // A target is never busy twice.
        Step::Admit(n) if open(days, *n).is_some() => {}
        Step::Admit(n) => drop(days.admit(*n)),
        Step::Land(n) => {
            if let Some(intent) = open(days, *n).filter(|it| it.stage().label() == "Recorded") {
                let (number, change) = (intent.attempts() + 1, intent.change().clone());
                days.happen(intent.id(), Event::Attempted { number, change });
                days.happen(intent.id(), Event::Applied(receipt(2)));
            }
        }
        Step::Close(n, outcome) => {
            // An undo ends before its parent.
            let newest = days.history.open_on(&workload(&target(*n))).last().copied();
            if let Some(intent) = newest.and_then(|id| days.history.intent(id)).cloned() {
                days.happen(intent.id(), Event::Closed { outcome: *outcome, detail: String::new() });
            }
        }
        Step::Undo(n) => {
            if let Some(parent) = open(days, *n).filter(|it| it.stage().label() == "Applied") {
                let mut undo = restart(&target(*n), "00:00");
                undo.cause = Cause::Undo(parent.id());
                let admission = admission(&undo, change(&undo), 0);
                let event = Event::Undoing { undo: admission.id, verdict: Outcome::Failed, detail: String::new() };
                days.happen(parent.id(), event);
                days.append(Topic::Admit, Record::Admitted(vec![admission]));
            }
        }
        Step::Join(n) => {
            let record = note(days, *n, Verdict::Joined(Vec::new()));
            days.append(Topic::Note, record);
        }
        Step::Release(n) => {
            let request = waits(*n);
            let release = Release { key: WaitKey::of(&request), request, reasons: Vec::new() };
            days.append(Topic::Admit, Record::Released(release));
        }
        Step::Press(n, minutes) => {
            let until = minutes.map(|it| days.now + SignedDuration::from_mins(it));
            let (id, scope) = (format!("p-{n}").into(), PauseScope::All);
            let pause = Pause { id, scope, reason: String::new(), by: String::new(), until };
            days.append(Topic::Admit, Record::Paused(pause));
        }
        Step::Resume(n) => {
            let resume = Resume { id: format!("p-{n}").into(), by: String::new() };
            days.append(Topic::Admit, Record::Resumed(resume));
        }
        Step::Shadow(n) => {
            let record = note(days, *n, Verdict::Shadow(Vec::new()));
            days.append(Topic::Note, record);
        }
        Step::See(n, cleared) => {
            let symptom = Symptom { target: workload(&target(*n)), observed_at: days.now, cleared: *cleared };
            days.append(Topic::Note, Record::Symptom(symptom));
        }
        Step::Sight(n, age) => sight(days, *n, *age),
        Step::Trust => {
            let trusted = Trusted { policy: "p".into(), by: String::new(), reason: String::new() };
            days.append(Topic::Admit, Record::Trusted(trusted));
        }
        Step::Defer(n) => {
            let deferral = Deferral { request: waits(*n), objections: vec![DenyReason::ApprovalRequired] };
            days.append(Topic::Admit, Record::Deferred(deferral));
        }
    }
}

fn days(steps: &[Step]) -> Days {
    let mut days = Days { demote_after: 2, ..Days::new() };
    for step in steps {
        take(&mut days, step);
    }
    days
}

/// What retention would leave: nothing that is needed, and nothing younger than what is remembered, is purged.
fn left(days: &Days) -> &[Entry] {
    let (young, needed) = (days.history.at() - KEEP, days.history.needed_from());
    let old = days.entries.iter().take_while(|it| it.revision < needed && it.at < young).count();
    &days.entries[old..]
}

proptest! {
    #[test]
    fn a_snapshot_at_any_point_and_the_rest_is_the_same_fold(steps in steps(), cut in 0..200usize) {
        let days = days(&steps);
        let (before, rest) = days.entries.split_at(cut.min(days.entries.len()));
        let kept = serde_json::to_vec(&fold(History::default(), before)).unwrap();
        let restored: History = serde_json::from_slice(&kept).unwrap();
        prop_assert!(fold(restored, rest) == days.history);
        // Whatever process takes it, it is the same text.
        let again = serde_json::to_vec(&fold(History::default(), before)).unwrap();
        prop_assert!(kept == again);
    }

    #[test]
    fn a_fold_of_what_retention_leaves_is_the_same_fold(steps in steps()) {
        let mut days = days(&steps);
        let before = days.purge();
        let rest = days.entries.iter().filter(|it| it.revision >= before);
        prop_assert!(fold(History::default(), rest) == days.history);
    }
}

#[test]
fn retention_takes_what_is_over_and_leaves_what_is_not() {
    let mut days = Days::new();
    let open = days.admit(0);
    let over = days.admit(1);
    days.happen(over, Event::Closed { outcome: Outcome::Cancelled, detail: String::new() });
    days.wait(KEEP * 2);
    days.admit(2);
    assert_eq!((days.history.needed_from(), left(&days).len()), (Revision(1), 4));
    days.happen(open, Event::Closed { outcome: Outcome::Cancelled, detail: String::new() });
    days.wait(KEEP * 2);
    let pause = Pause { id: "p".into(), scope: PauseScope::All, reason: String::new(), by: String::new(), until: None };
    days.append(Topic::Admit, Record::Paused(pause));
    assert_eq!((days.history.needed_from(), left(&days).len()), (Revision(4), 3));
}

#[test]
fn what_is_closed_is_whole_for_a_while_then_known_then_forgotten() {
    let mut days = Days::new();
    let first = days.admit(0);
    let cause = days.history.intent(first).unwrap().request().cause.clone();
    days.happen(first, Event::Closed { outcome: Outcome::Cancelled, detail: String::new() });
    let ended = days.now;
    for _ in 0..2_000 {
        assert!(days.history.intent(first).is_some());
        days.wait(SignedDuration::from_secs(1));
        let id = days.admit(1);
        days.happen(id, Event::Closed { outcome: Outcome::Recovered, detail: String::new() });
    }
    let scaled = (workload(&target(0)), ActionKind::Scale);
    assert_eq!((days.history.intent(first), days.history.intents().count()), (None, 2_000));
    assert!(days.history.knows(first));
    assert_eq!((days.history.led_to(&cause), days.history.delivered_by(&cause)), (Some(first), Some(1)));
    assert_eq!(days.history.last(&scaled.0, scaled.1), Some((first, Some(ended))));
    // Admitted once more it is the same admission.
    let used = days.history.on_target(&scaled.0, scaled.1).used(KEEP, days.now);
    days.append(days.entries[0].topic, days.entries[0].record.clone());
    assert_eq!(days.history.on_target(&scaled.0, scaled.1).used(KEEP, days.now), used);
    assert_eq!(days.history.open().count(), 0);

    days.now = ended + KEEP;
    days.append(Topic::Note, Record::Folded(Vec::new()));
    assert!(days.history.knows(first));
    days.now += SignedDuration::from_secs(1);
    days.append(Topic::Note, Record::Folded(Vec::new()));
    assert!(!days.history.knows(first));
    assert_eq!((days.history.led_to(&cause), days.history.last(&scaled.0, scaled.1)), (None, None));
    days.wait(KEEP);
    days.append(Topic::Note, Record::Folded(Vec::new()));
    days.purge();
    assert_eq!(days.history.intents().count(), 0);
    assert!(days.size() < 600, "{}", serde_json::to_string(&days.history).unwrap());
}

/// A publisher may use a window's name again after days.
#[test]
fn an_id_that_is_admitted_again_goes_on_where_its_topic_ended() {
    let mut days = Days::new();
    let id = days.admit(0);
    days.happen(id, Event::Closed { outcome: Outcome::Cancelled, detail: String::new() });
    let ended = days.heads[&Topic::Intent(id)];
    days.wait(KEEP * 2);
    days.append(Topic::Note, Record::Folded(Vec::new()));
    days.append(days.entries[0].topic, days.entries[0].record.clone());
    let again = days.history.intent(id).unwrap();
    assert_eq!((again.is_open(), again.head()), (true, ended));
    days.happen(id, Event::Closed { outcome: Outcome::Cancelled, detail: String::new() });
    days.wait(KEEP * 2);
    // Removed, its topic is empty again.
    days.append(Topic::Admit, Record::Admitted(Vec::new()));
    days.purge();
    days.append(days.entries[0].topic, days.entries[0].record.clone());
    assert_eq!(days.history.intent(id).unwrap().head(), Head::default());
}

#[test]
fn an_undo_is_whole_until_its_parent_has_learned_how_it_ended() {
    let mut days = Days::new();
    let undone = |days: &mut Days, n: usize| {
        let parent = days.admit(n);
        take(days, &Step::Land(n));
        take(days, &Step::Undo(n));
        let undo = days.history.open_on(&workload(&target(n)))[1];
        days.happen(undo, Event::Closed { outcome: Outcome::RolledOut, detail: String::new() });
        (parent, undo)
    };
    let (parent, undo) = undone(&mut days, 0);
    let (learned, over) = undone(&mut days, 2);
    days.happen(learned, Event::Closed { outcome: Outcome::RolledBack, detail: String::new() });
    for _ in 0..2_100 {
        let id = days.admit(1);
        days.happen(id, Event::Closed { outcome: Outcome::Recovered, detail: String::new() });
    }
    days.wait(KEEP * 2);
    days.append(Topic::Note, Record::Folded(Vec::new()));
    assert!(days.history.intent(undo).is_some() && days.history.intent(over).is_none());
    days.happen(parent, Event::Closed { outcome: Outcome::RolledBack, detail: String::new() });
    assert!(days.history.intent(undo).is_none() && days.history.intent(parent).is_some());
}

#[test]
fn a_steady_life_has_a_steady_size() {
    let mut days = Days::new();
    let live = |days: &mut Days, hours: u32| {
        for hour in 0..hours * 10 {
            let id = days.admit(usize::try_from(hour % 4).unwrap());
            days.wait(SignedDuration::from_mins(3));
            days.happen(id, Event::Closed { outcome: Outcome::ALL[hour as usize % 5], detail: String::new() });
            take(days, &Step::Shadow(usize::try_from(hour % 4).unwrap()));
            days.wait(SignedDuration::from_mins(3));
            if hour % 20 == 0 {
                days.purge();
            }
        }
        days.size()
    };
    let (short, long) = (live(&mut days, 72), live(&mut days, 720));
    assert!(long < short + short / 50, "{short} bytes after three days, {long} after a month");
}
