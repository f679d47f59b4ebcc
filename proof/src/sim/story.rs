//! A run as people read it: one line an event, in the order of time.

use flyball_core::intent::Event;
use flyball_core::record::{Entry, Record, Topic, Verdict};
use jiff::Timestamp;

use super::stage::Stage;

/// The lines of a run; empty if nobody asked for them.
pub(super) fn told(stage: &Stage) -> Vec<String> {
    let mut lines = stage.chronicle.story();
    if lines.is_empty() {
        return Vec::new();
    }
    let lost = stage.chronicle.log().loss.clone();
    stage.world.ledger.read(|entries| {
        let forgotten = lost.iter().flat_map(|it| &it.entries).filter(|it| !entries.contains(it));
        lines.extend(forgotten.map(|it| (it.at, format!("{} (forgotten)", entry(it)))));
        lines.extend(entries.iter().map(|it| (it.at, entry(it))));
    });
    for it in stage.world.effects() {
        let whose = it.intent.map_or("somebody".to_owned(), |id| short(&id.to_string()));
        let number =
            it.sent.as_ref().filter(|it| !it.fences).map_or(String::new(), |it| format!(" attempt {}", it.number));
        let mark = if it.accepted { "EFFECT" } else { "no effect" };
        lines.push((it.at, format!("  cluster: {whose}{number} {} {}: {} ({mark})", it.target, it.summary, it.answer)));
    }
    for it in stage.world.signals.acknowledged() {
        lines.push((it.at, format!("  bus: {} settled", it.sequence)));
    }
    for it in &stage.chronicle.log().departures {
        let line = format!("  r{} sends {} attempt {}", it.who.replica, short(&it.intent.to_string()), it.number);
        lines.push((it.at, line));
    }
    for it in &stage.chronicle.log().violations {
        lines.push((it.at.unwrap_or(Timestamp::MAX), format!("*** {}: {}", it.invariant, it.evidence)));
    }
    lines.sort_by_key(|(at, _)| *at);
    let clock = |at: Timestamp| {
        if at == Timestamp::MAX { "     end".to_owned() } else { format!("{:8.3}", stage.since(at).as_secs_f64()) }
    };
    lines.into_iter().map(|(at, line)| format!("{} {line}", clock(at))).collect()
}

/// Enough of an id to tell it from others.
fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

fn entry(it: &Entry) -> String {
    let place = it.revision;
    match (&it.record, it.topic) {
        (Record::Admitted(list), _) => {
            let all: Vec<String> = list
                .iter()
                .map(|it| {
                    let (request, id) = (&it.request, short(&it.id.to_string()));
                    format!(
                        "{id} {} {} [{}] by {}",
                        request.action,
                        request.target,
                        it.change.edit.summary(),
                        it.writer.replica
                    )
                })
                .collect();
            format!("  ledger {place}: Admitted {}", all.join("; "))
        }
        (Record::Happened(event), Topic::Intent(id)) => {
            let what = match event {
                Event::Attempted { number, change } => {
                    format!("Attempted {number} on version {}", change.resource_version)
                }
                Event::TakenOver { by } => format!("TakenOver by {}, epoch {}", by.replica, by.epoch),
                other => format!("{other:?}"),
            };
            format!("  ledger {place}: {} {what}", short(&id.to_string()))
        }
        (Record::Folded(notes), _) => {
            let all: Vec<String> = notes
                .iter()
                .map(|it| {
                    let why = match &it.verdict {
                        Verdict::Denied(list) => format!(
                            "denied {:?}",
                            list.iter().map(flyball_core::deny::DenyReason::label).collect::<Vec<_>>()
                        ),
                        other => format!("{other:?}"),
                    };
                    format!("{} {:?} {why}", it.target, it.sequences)
                })
                .collect();
            format!("  ledger {place}: Folded {}", all.join("; "))
        }
        (Record::Deferred(it), _) => {
            let why: Vec<&str> = it.objections.iter().map(flyball_core::deny::DenyReason::label).collect();
            format!("  ledger {place}: Deferred {} {} for {why:?}", it.request.action, it.request.target)
        }
        (Record::Released(it), _) => {
            let why: Vec<&str> = it.reasons.iter().map(flyball_core::deny::DenyReason::label).collect();
            format!("  ledger {place}: Released {} for {why:?}", it.key.target)
        }
        (Record::Started(it), _) => format!("  ledger {place}: Started {}", it.replica),
        (other, topic) => format!("  ledger {place}: {topic:?} {other:?}"),
    }
}

/// The history as one text, for the hash of the trace. A process's nonce is left out where chance draws it.
pub(super) fn history(stage: &Stage) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    stage.world.ledger.read(|entries| {
        for it in entries {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{} {} {}", it.revision, it.at, entry(it));
        }
    });
    for it in stage.world.effects() {
        let _ = writeln!(text, "{} {:?} {} {} {}", it.at, it.intent, it.target, it.accepted, it.answer);
    }
    text
}
