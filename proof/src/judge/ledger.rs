//! The ledger by itself: that it is lawful, that each intent is admitted once, and that each signal came to one end.

use std::collections::{BTreeMap, BTreeSet};

use flyball_core::action::Cause;
use flyball_core::history::History;
use flyball_core::id::IntentId;
use flyball_core::intent::Event;
use flyball_core::record::{Admission, Entry, Record, Topic, Verdict};
use jiff::Timestamp;

use super::{Violation, violation};

/// An intent as its entries tell it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) admission: Admission,
    pub(super) events: Vec<(Timestamp, Event)>,
}

impl Life {
    /// When it was closed, and how.
    pub(super) fn end(&self) -> Option<(Timestamp, &Event)> {
        self.events
            .iter()
            .find(|(_, it)| matches!(it, Event::Closed { .. } | Event::Resolved { .. }))
            .map(|(at, it)| (*at, it))
    }
}

/// All intents by their ids, and what is wrong with the ledger as such.
pub(super) fn lives(entries: &[Entry]) -> (BTreeMap<IntentId, Life>, Vec<Violation>) {
    let mut lives = BTreeMap::new();
    let mut found = Vec::new();
    let mut history = History::default();
    for entry in entries {
        if let Err(error) = history.apply(entry) {
            found.push(violation("ledger", format!("entry {} is not lawful: {error}", entry.revision)));
        }
        match (&entry.record, entry.topic) {
            (Record::Admitted(admissions), _) => {
                for admission in admissions {
                    let life = Life { admission: admission.clone(), events: Vec::new() };
                    if lives.insert(admission.id, life).is_some() {
                        found.push(violation("G5", format!("{} was admitted twice", admission.id)));
                    }
                }
            }
            (Record::Happened(event), Topic::Intent(id)) => match lives.get_mut(&id) {
                Some(life) => found.extend(happened(id, life, entry.at, event)),
                None => found.push(violation("S2", format!("{id} has a history and was never admitted"))),
            },
            _ => {}
        }
    }
    found.extend(undoes(&lives));
    (lives, found)
}

fn happened(id: IntentId, life: &mut Life, at: Timestamp, event: &Event) -> Option<Violation> {
    let wrong = match (life.end(), event) {
        (Some(_), event) => Some(violation("S9", format!("{id} was closed, and then {event:?}"))),
        (None, Event::TakenOver { by }) => {
            let taken = |it: &(Timestamp, Event)| matches!(it.1, Event::TakenOver { .. });
            let epoch = u32::try_from(life.events.iter().filter(|it| taken(it)).count()).unwrap_or(u32::MAX);
            let next = life.admission.writer.epoch + epoch + 1;
            (by.epoch != next).then(|| violation("S6", format!("{id} came into epoch {} instead of {next}", by.epoch)))
        }
        _ => None,
    };
    life.events.push((at, event.clone()));
    wrong
}

/// At most one undo for an intent, and none for an undo.
fn undoes(lives: &BTreeMap<IntentId, Life>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut undone = BTreeSet::new();
    for (id, life) in lives {
        let Cause::Undo(parent) = &life.admission.request.cause else { continue };
        if !undone.insert(*parent) {
            found.push(violation("S10", format!("{parent} was undone twice")));
        }
        let parent = lives.get(parent).map(|it| &it.admission.request.cause);
        if matches!(parent, Some(Cause::Undo(_))) {
            found.push(violation("S10", format!("{id} undoes an undo")));
        }
    }
    found
}

/// What is open, waiting or holds a slot.
pub(super) fn open_ends(entries: &[Entry]) -> Vec<Violation> {
    let mut history = History::default();
    for entry in entries {
        // What is not lawful was told already.
        let _ = history.apply(entry);
    }
    let open = history.open().map(|it| violation("L1", format!("{} is still {}", it.id(), it.stage().label())));
    let mut found: Vec<Violation> = open.collect();
    found.extend(history.waiting().map(|(key, _)| violation("L1", format!("{} still waits", key.target))));
    let slots = history.slots(None);
    if slots > 0 {
        found.push(violation("L1", format!("{slots} slots are still taken")));
    }
    found
}

/// Each signal has one end: an intent, a denial, or that nothing was to be done.
pub(super) fn signals(entries: &[Entry], published: &[u64]) -> Vec<Violation> {
    let mut ends: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let mut end = |sequence: u64, what: String| ends.entry(sequence).or_default().insert(what);
    for entry in entries {
        match &entry.record {
            Record::Admitted(all) => {
                for it in all.iter().filter(|it| matches!(it.request.cause, Cause::Signal(_))) {
                    end(it.request.evidence.sequence, format!("intent {}", it.id));
                }
            }
            Record::Released(it) => {
                end(it.request.evidence.sequence, "released".to_owned());
            }
            Record::Folded(notes) => {
                for note in notes {
                    let what = match &note.verdict {
                        Verdict::Denied(_) => "denied",
                        Verdict::Joined(_) => "joined a waiter",
                        Verdict::NoAction(_) => "no action",
                        Verdict::Shadow(_) => continue,
                    };
                    let all = note.sequences.iter().flat_map(|(first, last)| *first..=*last);
                    all.for_each(|sequence| {
                        end(sequence, what.to_owned());
                    });
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for sequence in published {
        match ends.get(sequence).map(BTreeSet::len) {
            Some(1) => {}
            None => found.push(violation("S3", format!("signal {sequence} is lost"))),
            Some(_) => found.push(violation("S3", format!("signal {sequence} has ends: {:?}", ends[sequence]))),
        }
    }
    found
}
