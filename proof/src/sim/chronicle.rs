//! What happened in a run, beside what bus, ledger and cluster remember by themselves: who called whom, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flyball_core::chain::Head;
use flyball_core::facts::Sighting;
use flyball_core::id::{IntentId, Revision};
use flyball_core::record::Entry;
use flyball_core::workload::Workload;
use jiff::Timestamp;

use super::process::Way;
use super::suspects::Tried;

/// Before a call leaves the process, or after it was carried out and before its answer is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Before,
    After,
}

/// One process: which replica, and which of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) replica: usize,
    pub(super) life: u32,
}

impl Who {
    /// The name that no other process has.
    pub(super) fn process(self) -> String {
        format!("r{}-{:03}", self.replica, self.life)
    }
}

/// A breach of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its number, as in the ledger's protocol.
    pub(super) invariant: &'static str,
    /// What was seen.
    pub(super) evidence: String,
    /// When, where that is one moment.
    pub(super) at: Option<Timestamp>,
}

/// An acknowledgement as it reached the bus.
#[derive(Clone, Debug)]
pub(super) struct Ack {
    pub(super) at: Timestamp,
    pub(super) sequence: u64,
    /// The ledger's newest entry at that moment.
    pub(super) ledger: Revision,
}

/// A send as it left its process.
#[derive(Clone, Debug)]
pub(super) struct Departure {
    pub(super) at: Timestamp,
    pub(super) who: Who,
    pub(super) intent: IntentId,
    pub(super) number: u32,
}

/// What keeps a process from its work, or from being told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It is stopped.
    Frozen,
    /// It does not get through to a server, or is not answered as it should be.
    Out(Way),
    /// Its watches bring nothing. It has to do without.
    Stalled,
}

/// A time in which something is wrong, with one replica or with all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) replica: Option<usize>,
    pub(super) what: What,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Trouble {
    /// Whether it is wrong with that replica within a time.
    pub(super) fn hits(&self, replica: usize, from: Timestamp, until: Timestamp) -> bool {
        self.replica.is_none_or(|it| it == replica) && self.from <= until && from <= self.until
    }
}

/// A message that was put aside as one that kills its reader, and the trials that spoke against it.
#[derive(Clone, Debug)]
pub(super) struct PutAside {
    pub(super) at: Timestamp,
    pub(super) sequence: u64,
    pub(super) tried: Vec<Tried>,
}

/// What the ledger has forgotten.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) at: Timestamp,
    /// Everything that it said until then.
    pub(super) entries: Vec<Entry>,
    /// Processes that lived then: they know more than the ledger.
    pub(super) witnesses: BTreeSet<String>,
    /// Whether its mark told so, whatever becomes of the processes that know.
    pub(super) marked: bool,
    /// When people accepted what was left.
    pub(super) accepted: Option<Timestamp>,
}

/// Marks of coverage, by name.
pub(super) type Marks = BTreeMap<String, u64>;

/// The log of one run.
#[derive(Default)]
pub(super) struct Log {
    hash: u64,
    pub(super) calls: u64,
    pub(super) marks: Marks,
    pub(super) acks: Vec<Ack>,
    pub(super) departures: Vec<Departure>,
    /// Who wrote an entry, where the answer told.
    pub(super) authors: BTreeMap<Head, Who>,
    /// Versions that a process has read.
    pub(super) reads: BTreeSet<(Who, Workload, u64)>,
    /// What a process saw last of a target's rollout.
    pub(super) sights: BTreeMap<(Who, Workload), Option<Sighting>>,
    /// Intents whose send is not settled, as far as the answers told.
    pub(super) unsettled: BTreeSet<IntentId>,
    pub(super) loss: Option<Loss>,
    pub(super) troubles: Vec<Trouble>,
    /// Processes that have ended, and when.
    pub(super) ended: BTreeMap<Who, Timestamp>,
    /// Messages that kill their reader, with those who died of each.
    pub(super) killers: BTreeMap<u64, Vec<Who>>,
    pub(super) put_aside: Vec<PutAside>,
    /// Processes that have begun to read messages.
    pub(super) readers: BTreeSet<Who>,
    /// What a message is about, by its place in the stream: those of one number are decided one after the other.
    pub(super) subjects: BTreeMap<u64, u64>,
    pub(super) violations: Vec<Violation>,
    story: Vec<(Timestamp, String)>,
    told: bool,
}

impl Log {
    /// Mixes a number into the trace.
    pub(super) fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }

    fn mix_text(&mut self, text: &str) {
        for chunk in text.as_bytes().chunks(8) {
            let number = chunk.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
            self.mix(number);
        }
    }

    /// Notes a call at a door.
    pub(super) fn call(&mut self, at: Timestamp, who: Who, point: &str, phase: Phase) {
        self.calls += 1;
        self.mix(at.as_microsecond().cast_unsigned());
        self.mix((who.replica as u64) << 32 | u64::from(who.life) << 1 | u64::from(phase == Phase::After));
        self.mix_text(point);
    }

    /// Counts a mark.
    pub(super) fn mark(&mut self, name: impl Into<String>) {
        *self.marks.entry(name.into()).or_default() += 1;
    }

    /// A breach.
    pub(super) fn breach(&mut self, invariant: &'static str, at: Option<Timestamp>, evidence: String) {
        self.violations.push(Violation { invariant, evidence, at });
    }

    /// A line of the story, if somebody wants to read it.
    pub(super) fn tell(&mut self, at: Timestamp, line: impl FnOnce() -> String) {
        if self.told {
            self.story.push((at, line()));
        }
    }
}

/// The log, shared by all doors.
#[derive(Default)]
pub(super) struct Chronicle(Mutex<Log>);

impl Chronicle {
    /// An empty log; `told` keeps the story, too.
    pub(super) fn new(told: bool) -> Self {
        Self(Mutex::new(Log { told, ..Log::default() }))
    }

    /// The log. Held for a moment only.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the calls and the texts of the history hash to.
    pub(super) fn hash(&self, history: &str) -> u64 {
        let mut log = self.log();
        log.mix_text(history);
        log.hash
    }

    /// The lines of the story.
    pub(super) fn story(&self) -> Vec<(Timestamp, String)> {
        self.log().story.clone()
    }
}
