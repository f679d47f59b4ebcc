//! L4: a stalled watch delays a verdict by one poll at most. Asked of every verdict whose driver had nothing else against it.

use std::collections::BTreeMap;

use flyball::pipeline::POLL;
use flyball_core::facts::Rollout;
use flyball_core::id::IntentId;
use flyball_core::intent::Event;
use flyball_core::plan::Edit;
use flyball_core::record::{Record, Topic};
use jiff::{SignedDuration, Timestamp};

use super::super::chronicle::{Log, Trouble, Violation, What, Who};
use super::super::fold::Known;
use super::super::process::Way;
use super::{Case, breach};

/// A read, the append and what is folded in between: some tens of milliseconds each, twice where somebody else wrote first.
const DELAYS: SignedDuration = SignedDuration::from_millis(500);
/// What went wrong so long before may have somebody wait still: a call that a cut way has swallowed takes that long.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(3);

/// How an intent's verification went, by its entries.
#[derive(Default)]
struct Course {
    /// When it was applied, at which generation, by whom.
    applied: Option<(Timestamp, i64, Who)>,
    rolled_out: Option<(Timestamp, Who)>,
    /// Its verdict: it closed, or asked for its undo.
    verdict: Option<(Timestamp, Who)>,
    /// Another took it over meanwhile, or it is not known who wrote.
    unclear: bool,
}

/// A verdict that was due at a time.
struct Due {
    from: Timestamp,
    by: Timestamp,
    came: Timestamp,
    why: &'static str,
}

/// L4: from the moment on at which there is a verdict to be found, it is found within one poll.
pub(super) fn l4_verdict_in_time(case: &Case<'_>) -> Vec<Violation> {
    let (plan, log) = (&case.stage.plan, &mut *case.stage.chronicle.log());
    // Where every call may be slow, or any append astray, nobody can tell what a verdict waited for.
    if plan.slow > 0 || !plan.odds.ledger.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (id, course) in courses(case, log) {
        let Some(known) = case.fold.intents.get(&id).filter(|_| !course.unclear) else { continue };
        let Some((_, _, who)) = course.applied else { continue };
        for due in dues(case, known, &course) {
            let troubled = |it: &Trouble| {
                !matches!(it.what, What::Stalled | What::Out(Way::Bus))
                    && it.hits(who.replica, due.from - AFTERMATH, due.came)
            };
            if log.troubles.iter().any(troubled) {
                continue;
            }
            let stalled = |it: &Trouble| it.what == What::Stalled && it.hits(who.replica, due.from, due.came);
            if log.troubles.iter().any(stalled) {
                log.mark("a verdict under a stalled watch");
            }
            if due.came > due.by {
                let late = due.came.duration_since(due.from);
                found.push(breach("L4", due.came, format!("{id}: a verdict came {late:#} after {}", due.why)));
            }
        }
    }
    found
}

fn courses(case: &Case<'_>, log: &Log) -> BTreeMap<IntentId, Course> {
    let mut courses: BTreeMap<IntentId, Course> = BTreeMap::new();
    case.stage.world.ledger.read(|entries| {
        for entry in entries {
            let (Topic::Intent(id), Record::Happened(event)) = (entry.topic, &entry.record) else { continue };
            let course = courses.entry(id).or_default();
            let author = log.authors.get(&entry.head()).copied();
            match (event, author) {
                (Event::TakenOver { .. }, _) => course.unclear |= course.applied.is_some(),
                (Event::Applied(receipt), Some(who)) => course.applied = Some((entry.at, receipt.generation, who)),
                (Event::RolledOut, Some(who)) => course.rolled_out = Some((entry.at, who)),
                (Event::Undoing { .. } | Event::Closed { .. }, Some(who)) => {
                    course.verdict.get_or_insert((entry.at, who));
                }
                (Event::Applied(_) | Event::RolledOut | Event::Undoing { .. } | Event::Closed { .. }, None) => {
                    course.unclear = true;
                }
                _ => {}
            }
        }
    });
    courses
}

/// What was due of an intent's verification, by its policy and what its target really was.
fn dues(case: &Case<'_>, known: &Known, course: &Course) -> Vec<Due> {
    let (Some((applied, generation, who)), spec) = (course.applied, &known.admission.request.verify) else {
        return Vec::new();
    };
    let ours = |it: &Option<(Timestamp, Who)>| it.filter(|(_, by)| *by == who).map(|(at, _)| at);
    let (rolled_out, verdict) = (ours(&course.rolled_out), ours(&course.verdict));
    let Some(first) = rolled_out.or(verdict) else { return Vec::new() };
    let change = &known.admission.change;
    let past = case.stage.world.cluster.past(&known.admission.request.target);
    let complete = |it: &Option<Rollout>| {
        it.as_ref().is_some_and(|it| it.uid == change.uid && it.observed_generation >= generation && it.complete())
    };
    let patience = |from: Timestamp, wait: SignedDuration, came: Timestamp, why: &'static str| {
        let by = from.saturating_add(wait + POLL + DELAYS).unwrap_or(Timestamp::MAX);
        Due { from, by, came, why }
    };
    let mut dues = vec![patience(applied, spec.timeout, first, "the change, which the policy gives less time")];
    // A pod that is gone is no part of what is known of the past.
    let fields = matches!(change.edit, Edit::Fields { .. });
    if let Some(since) = since(&past, first, complete).filter(|_| fields) {
        dues.push(patience(since.max(applied), SignedDuration::ZERO, first, "the rollout was complete"));
    }
    if let (Some(done), Some(verdict)) = (rolled_out, verdict)
        && since(&past, verdict, complete).is_some_and(|since| since <= done)
    {
        let rest = spec.recovered.map_or(spec.stable_for, |it| it.within.max(spec.stable_for));
        dues.push(patience(done, rest, verdict, "the rollout was seen to be complete, and stayed so"));
    }
    dues
}

/// Since when something has been true that is so at a time.
fn since(
    past: &[(Timestamp, Option<Rollout>)],
    at: Timestamp,
    holds: impl Fn(&Option<Rollout>) -> bool,
) -> Option<Timestamp> {
    let before = past.iter().rev().filter(|(from, _)| *from <= at);
    before.take_while(|(_, it)| holds(it)).last().map(|(from, _)| *from)
}
