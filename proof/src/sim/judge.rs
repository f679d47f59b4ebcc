//! What must hold, by number, judged on the world's own history: the cluster's requests, the ledger's entries, the bus.

mod amnesia;
mod quarantine;
mod several;
mod verdict;

use std::collections::BTreeMap;

use flyball_core::facts::{STAMP_INTENT, Sighting};
use flyball_core::id::{IntentId, Revision};
use flyball_core::intent::Event;
use flyball_core::merge;
use flyball_core::outcome::Outcome;
use flyball_core::plan::Edit;
use flyball_core::ports::Write;
use flyball_core::record::{Record, Topic};
use flyball_sim::{Effect, Sent, World};
use jiff::Timestamp;

use super::acts::Published;
use super::chronicle::{Log, Loss, Violation, Who};
use super::fold::{Fold, Known, Try};
use super::stage::Stage;

/// One request of ours, as it reached the cluster.
struct Landing<'a> {
    effect: &'a Effect,
    sent: &'a Sent,
    id: IntentId,
    intent: Option<&'a Known>,
    /// Only what the ledger said before it forgot knows of it.
    forgotten: bool,
}

/// Everything that is judged.
struct Case<'a> {
    stage: &'a Stage,
    fold: &'a Fold,
    /// What the ledger said before it forgot; empty where it never did.
    lost: &'a Fold,
    loss: Option<Loss>,
    landings: Vec<Landing<'a>>,
    fences: Vec<Landing<'a>>,
}

type Rule = fn(&Case<'_>) -> Vec<Violation>;

/// What is asked at the end of a run; what the order of entries alone shows is asked in the fold.
const RULES: [Rule; 22] = [
    s1_one_effect,
    s2_intent_before_effect,
    s3_terminal_record,
    s4_right_uid,
    s5_no_stale_base,
    s6_epochs,
    s6_no_repeat_for_another,
    s6_fenced_off,
    s7_identical_resend,
    s9_nothing_after_the_end,
    s10_undo_of_our_own_change,
    g4_read_before_admission,
    amnesia::g6_no_action,
    amnesia::g6_the_stamp_remembers,
    b1_poison_is_kept,
    quarantine::b2_put_aside_in_time,
    quarantine::b2_nobody_with_it,
    b6_durable_before_acknowledged,
    several::g10_enough_of_them,
    several::g10_nobody_missed_them,
    l1_everything_ends,
    verdict::l4_verdict_in_time,
];

/// Judges a run.
pub(super) fn judge(stage: &Stage) {
    let amnesia = stage.chronicle.log().loss.clone();
    let mut lost = Fold::default();
    lost.follow(amnesia.as_ref().map_or(&[], |it| &it.entries));
    let witnesses = amnesia.as_ref().map(|it| it.witnesses.clone()).unwrap_or_default();
    let mut fold = Fold::after(&lost, witnesses);
    stage.world.ledger.read(|entries| fold.follow(entries));
    let effects = stage.world.effects();
    let landings = effects.iter().filter_map(|effect| {
        let (sent, id) = (effect.sent.as_ref()?, effect.intent?);
        let (intent, forgotten) = recorded(id, effect, [&fold, &lost]);
        Some(Landing { effect, sent, id, intent, forgotten })
    });
    let (fences, landings) = landings.partition(|it: &Landing<'_>| it.sent.fences);
    let case = Case { stage, fold: &fold, lost: &lost, loss: amnesia, landings, fences };
    let found: Vec<Violation> = RULES.iter().flat_map(|rule| rule(&case)).collect();
    let mut log = stage.chronicle.log();
    log.violations.extend(fold.violations.iter().chain(&lost.violations).cloned());
    log.violations.extend(found);
    log.violations.sort_by_key(|it| it.at.unwrap_or(Timestamp::MAX));
    if case.fences.iter().any(|it| it.effect.answer.starts_with("200")) {
        log.mark("fenced off");
    }
    for name in &fold.reached {
        log.mark(name.clone());
    }
    if log.put_aside.iter().any(|it| !log.killers.contains_key(&it.sequence)) {
        log.mark("put aside for others' deaths");
    }
    log.violations.dedup();
}

/// The intent that a request belongs to, on the ledger on which its attempt stood: one that has forgotten may count anew.
/// Also tells whether it is the one that was forgotten.
fn recorded<'a>(id: IntentId, effect: &Effect, folds: [&'a Fold; 2]) -> (Option<&'a Known>, bool) {
    let [now, lost] = folds.map(|it| it.intents.get(&id));
    let tried = |it: &Known, sent: &Sent| {
        let tried = it.attempts.get(&sent.number)?;
        Some((tried.at <= effect.at, version_of(sent) == Some(&*tried.change.resource_version)))
    };
    let fits = |it: Option<&Known>| effect.sent.as_ref().and_then(|sent| tried(it?, sent));
    // Without a loss there is nothing to choose from; otherwise what fits best.
    let forgotten = lost.is_some() && fits(lost) > fits(now);
    (if forgotten { lost } else { now }, forgotten)
}

/// The version that a request expects.
fn version_of(sent: &Sent) -> Option<&str> {
    sent.body.pointer("/metadata/resourceVersion").and_then(serde_json::Value::as_str)
}

fn breach(invariant: &'static str, at: Timestamp, evidence: String) -> Violation {
    Violation { invariant, evidence, at: Some(at) }
}

fn per_landing(
    case: &Case<'_>,
    invariant: &'static str,
    wrong: impl Fn(&Landing<'_>) -> Option<String>,
) -> Vec<Violation> {
    let found = |it: &Landing<'_>| wrong(it).map(|why| breach(invariant, it.effect.at, format!("{}: {why}", it.id)));
    case.landings.iter().filter_map(found).collect()
}

/// S1: one effect per intent.
fn s1_one_effect(case: &Case<'_>) -> Vec<Violation> {
    let mut count: BTreeMap<(IntentId, bool), u32> = BTreeMap::new();
    let mut found = Vec::new();
    for it in case.landings.iter().filter(|it| it.effect.accepted) {
        let count = count.entry((it.id, it.forgotten)).or_default();
        *count += 1;
        if *count > 1 {
            found.push(breach(
                "S1",
                it.effect.at,
                format!("{} had effect number {count} on {}", it.id, it.effect.target),
            ));
        }
    }
    found
}

/// S2: no request without an admitted intent and a recorded attempt.
fn s2_intent_before_effect(case: &Case<'_>) -> Vec<Violation> {
    per_landing(case, "S2", |it| {
        let Some(intent) = it.intent else { return Some("a request of an intent that nobody admitted".into()) };
        let attempt = intent.attempts.get(&it.sent.number);
        let before = attempt.is_some_and(|tried| tried.at <= it.effect.at);
        (!before).then(|| format!("attempt {} was sent and is not on the ledger", it.sent.number))
    })
}

/// S3: every valid signal that the bus took has something durable said of it.
fn s3_terminal_record(case: &Case<'_>) -> Vec<Violation> {
    let valid = case.stage.published.iter().filter(|it| it.id.is_some());
    let said = |sequence| case.fold.said.contains_key(&sequence) || quarantine::is_put_aside(case, sequence);
    let lost = valid.filter(|it| !said(it.sequence));
    lost.map(|it| Violation {
        invariant: "S3",
        evidence: format!("signal {} ({}) is nowhere on the ledger", it.sequence, it.what),
        at: None,
    })
    .collect()
}

/// S4: an effect hits the object, or the pod, that it was planned for.
fn s4_right_uid(case: &Case<'_>) -> Vec<Violation> {
    per_landing(case, "S4", |it| {
        let (found, change) = (it.sent.found.as_ref()?, &it.intent?.attempts.get(&it.sent.number)?.change);
        let wrong = it.effect.accepted && found.uid != change.uid;
        wrong.then(|| format!("planned for {} and landed on {}", change.uid, found.uid))
    })
}

/// S5: an effect lands on the very version that it was planned on.
fn s5_no_stale_base(case: &Case<'_>) -> Vec<Violation> {
    per_landing(case, "S5", |it| {
        let (found, change) = (it.sent.found.as_ref()?, &it.intent?.attempts.get(&it.sent.number)?.change);
        // An eviction whose stamp went first is finished on the version that the stamp made.
        let evicts = it.sent.evict.is_some();
        let wrong = it.effect.accepted && !evicts && *change.resource_version != *found.resource_version.to_string();
        wrong.then(|| format!("planned on version {}, landed on {}", change.resource_version, found.resource_version))
    })
}

/// S6: what an intent's line says after a take-over was not written by the one before.
fn s6_epochs(case: &Case<'_>) -> Vec<Violation> {
    let log = case.stage.chronicle.log();
    let mut drivers: BTreeMap<IntentId, Who> = BTreeMap::new();
    let mut found = Vec::new();
    case.stage.world.ledger.read(|entries| {
        for entry in entries {
            let Some(author) = log.authors.get(&entry.head()) else {
                // Nobody knows who: from here on neither does the judge.
                if let (Topic::Intent(id), Record::Happened(Event::TakenOver { .. })) = (entry.topic, &entry.record) {
                    drivers.remove(&id);
                }
                continue;
            };
            match (&entry.record, entry.topic) {
                (Record::Admitted(list), _) => drivers.extend(list.iter().map(|it| (it.id, *author))),
                (Record::Happened(Event::TakenOver { .. }), Topic::Intent(id)) => {
                    drivers.insert(id, *author);
                }
                (Record::Happened(event), Topic::Intent(id)) if is_drivers(event) => {
                    if let Some(driver) = drivers.get(&id).filter(|it| *it != author) {
                        let evidence =
                            format!("{id}: r{} wrote {event:?} while r{} drove", author.replica, driver.replica);
                        found.push(breach("S6", entry.at, evidence));
                    }
                }
                _ => {}
            }
        }
    });
    found
}

/// Events that only the driver of an intent may write.
fn is_drivers(event: &Event) -> bool {
    matches!(
        event,
        Event::Attempted { .. }
            | Event::Unanswered { .. }
            | Event::Missed { .. }
            | Event::Applied(_)
            | Event::RolledOut
            | Event::Undoing { .. }
            | Event::Closed { .. }
    )
}

/// S6: who took an intent over does not repeat what another process sent, but fences it off.
fn s6_no_repeat_for_another(case: &Case<'_>) -> Vec<Violation> {
    let log = case.stage.chronicle.log();
    let strange = log.departures.iter().filter_map(|it| {
        let tried = |fold: &'_ Fold| fold.intents.get(&it.intent)?.attempts.get(&it.number).cloned();
        let candidates: Vec<Try> = [case.fold, case.lost].into_iter().filter_map(tried).collect();
        let tried = candidates.first()?;
        // The second half of an eviction has the pod's uid as its token, which no fence can take.
        let fields = matches!(tried.change.edit, Edit::Fields { .. });
        let wrong = fields && candidates.iter().all(|tried| *tried.driver != *it.who.process());
        let evidence = format!("{}: {} sent attempt {} of {}", it.intent, it.who.process(), it.number, tried.driver);
        wrong.then(|| breach("S6", it.at, evidence))
    });
    strange.collect()
}

/// S6: once a fence has landed, what it fences off does not.
fn s6_fenced_off(case: &Case<'_>) -> Vec<Violation> {
    let fences = case.fences.iter().filter(|it| it.effect.answer.starts_with("200"));
    let walls: Vec<&Landing<'_>> = fences.collect();
    let version = |it: &Landing<'_>| version_of(it.sent).and_then(|it| it.parse::<u64>().ok());
    per_landing(case, "S6", |it| {
        let late = |fence: &&&Landing<'_>| {
            fence.id == it.id
                && it.sent.number <= fence.sent.number
                && it.effect.at > fence.effect.at
                // A ledger that has forgotten counts its attempts anew, each on a newer version.
                && version(it) <= version(fence)
        };
        let fence = walls.iter().find(late).filter(|_| it.effect.accepted)?;
        Some(format!("attempt {} landed after it was fenced off at {}", it.sent.number, fence.effect.at))
    })
}

/// S7: every send of an attempt carries the bytes that its entry names.
fn s7_identical_resend(case: &Case<'_>) -> Vec<Violation> {
    per_landing(case, "S7", |it| {
        let change = &it.intent?.attempts.get(&it.sent.number)?.change;
        let at = |path: &str| it.sent.body.pointer(path).and_then(serde_json::Value::as_str);
        let stamp = it.sent.body.pointer("/metadata/annotations").and_then(|all| all.get(STAMP_INTENT));
        let guarded = at("/metadata/resourceVersion") == Some(&*change.resource_version)
            && at("/metadata/uid") == Some(&*change.uid)
            && stamp.and_then(serde_json::Value::as_str) == Some(it.id.to_string().as_str());
        let same = match &change.edit {
            Edit::Fields { apply, .. } => apply.get("spec") == it.sent.body.get("spec"),
            Edit::Evict { pod, uid } => it.sent.evict == Some((pod.clone(), uid.clone())),
            // Nothing is ever sent.
            Edit::Tell => false,
        };
        (!guarded || !same)
            .then(|| format!("attempt {} is not the one on the ledger: {}", it.sent.number, it.sent.body))
    })
}

/// S9: no effect after a terminal record, and none of what is said to have had none.
fn s9_nothing_after_the_end(case: &Case<'_>) -> Vec<Violation> {
    per_landing(case, "S9", |it| {
        let (closed, outcome) = it.intent?.closed?;
        let late = it.effect.accepted && it.effect.at > closed;
        let denied = it.effect.accepted && matches!(outcome, Outcome::Rejected | Outcome::Cancelled);
        let word = if late { "after it was" } else { "and was" };
        let told = || format!("it had an effect on {} {word} closed as {}", it.effect.target, outcome.label());
        (late || denied).then(told)
    })
}

/// S10: an undo takes back only what is still as we left it.
fn s10_undo_of_our_own_change(case: &Case<'_>) -> Vec<Violation> {
    per_landing(case, "S10", |it| {
        let parent = it.intent?.admission.request.undoes()?;
        let Edit::Fields { apply, .. } = &case.fold.intents.get(&parent)?.admission.change.edit else { return None };
        let (found, fields) = (it.sent.found.as_ref()?, apply.get("spec")?);
        let wrong = it.effect.accepted && !merge::holds(&found.spec, fields);
        wrong.then(|| format!("undoes {parent} on {}, which somebody else has changed since", it.effect.target))
    })
}

/// G4: who cannot read does not admit.
fn g4_read_before_admission(case: &Case<'_>) -> Vec<Violation> {
    let log = case.stage.chronicle.log();
    let unread = |(id, it): (&IntentId, &Known)| {
        let author = log.authors.get(&it.head)?;
        let version = it.admission.change.resource_version.parse().ok()?;
        let target = it.admission.request.target.clone();
        // Who only tells reads nothing.
        let reads = !it.admission.request.only_tells();
        (reads && !log.reads.contains(&(*author, target.clone(), version))).then(|| {
            breach("G4", it.at, format!("{id} was planned on version {version} of {target}, which nobody read"))
        })
    };
    case.fold.intents.iter().filter_map(unread).collect()
}

/// B1: what cannot be used is with the dead letters, and nothing else is.
fn b1_poison_is_kept(case: &Case<'_>) -> Vec<Violation> {
    let refused = case.stage.world.signals.refused();
    let kept = |sequence: u64| refused.iter().any(|it| it.message.sequence == sequence);
    let may_be = |it: &Published| it.id.is_some() && quarantine::is_put_aside(case, it.sequence);
    let wrong = case.stage.published.iter().filter(|it| it.id.is_none() != kept(it.sequence) && !may_be(it));
    wrong
        .map(|it| Violation {
            invariant: "B1",
            evidence: format!(
                "message {} ({}) is {} the dead letters",
                it.sequence,
                it.what,
                if it.id.is_none() { "not with" } else { "with" }
            ),
            at: None,
        })
        .collect()
}

/// B6: acknowledged only after something durable was said.
fn b6_durable_before_acknowledged(case: &Case<'_>) -> Vec<Violation> {
    let log = case.stage.chronicle.log();
    let early = log.acks.iter().filter(|it| {
        let loss = case.loss.as_ref().map(|loss| loss.at);
        let fold = if loss.is_some_and(|at| it.at <= at) { case.lost } else { case.fold };
        // At the very moment of the loss the position is that of what is left.
        let there = |at: &Revision| *at <= it.ledger || loss == Some(it.at);
        !fold.said.get(&it.sequence).is_some_and(|all| all.iter().any(there))
    });
    early
        .map(|it| {
            breach("B6", it.at, format!("signal {} was acknowledged at ledger position {}", it.sequence, it.ledger))
        })
        .collect()
}

/// L1: once the faults have stopped everything closes.
fn l1_everything_ends(case: &Case<'_>) -> Vec<Violation> {
    let say = |evidence: String| Violation { invariant: "L1", evidence, at: None };
    let open = case.fold.open().map(|(id, it)| say(format!("{id} on {} is still open", it.admission.request.target)));
    let waiting = case.fold.waiting.keys().map(|it| say(format!("{} of {} still waits", it.target, it.policy)));
    let unsettled = case.stage.world.signals.unsettled();
    let demoted = case.fold.due.iter().map(|it| say(format!("{it} has failed too often, and nobody has said so")));
    let left = (unsettled > 0).then(|| say(format!("{unsettled} messages are not settled")));
    open.chain(waiting).chain(demoted).chain(left).collect()
}

/// S8, asked when a success is about to be written: the process has seen our generation, complete and in place.
pub(super) fn truthful(log: &mut Log, who: Who, at: Timestamp, write: &Write, world: &World) {
    let (Topic::Intent(id), Record::Happened(Event::Closed { outcome, .. })) = (write.topic, &write.record) else {
        return;
    };
    if !matches!(outcome, Outcome::Recovered | Outcome::RolledOut) {
        return;
    }
    let found = world.ledger.read(|entries| promised(entries, id));
    let found = found.or_else(|| log.loss.as_ref().and_then(|it| promised(&it.entries, id)));
    let Some((admission, generation)) = found else {
        return log.breach("S8", Some(at), format!("{id} is called {} and was never applied", outcome.label()));
    };
    let seen = log.sights.get(&(who, admission.request.target.clone())).cloned().flatten();
    let holds = seen.is_some_and(|it| is_done(&it, generation, &admission.change.edit));
    if !holds {
        log.breach("S8", Some(at), format!("{id} is called {}, which nobody saw", outcome.label()));
    }
}

/// What was admitted, and the generation that its effect returned.
fn promised(entries: &[flyball_core::record::Entry], id: IntentId) -> Option<(flyball_core::record::Admission, i64)> {
    let admission = entries.iter().find_map(|it| match &it.record {
        Record::Admitted(list) => list.iter().find(|it| it.id == id),
        _ => None,
    })?;
    let generation = entries.iter().find_map(|it| match &it.record {
        Record::Happened(Event::Applied(receipt)) if it.topic == Topic::Intent(id) => Some(receipt.generation),
        _ => None,
    })?;
    Some((admission.clone(), generation))
}

/// kubectl's rules for a rollout that is done, written down a second time.
fn is_done(seen: &Sighting, generation: i64, edit: &Edit) -> bool {
    let it = &seen.rollout;
    let observed = it.observed_generation >= generation && it.observed_generation >= it.generation;
    let whole =
        it.updated >= it.desired - it.partition && it.available >= it.desired && it.total - it.updated <= it.partition;
    let ours = match edit {
        Edit::Fields { apply, .. } => apply.get("spec").is_none_or(|fields| merge::holds(&seen.spec, fields)),
        Edit::Evict { .. } => !seen.pod_still_there,
        Edit::Tell => true,
    };
    observed && whole && ours
}
