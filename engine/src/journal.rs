//! What people ask for: the newest decisions, as a bounded fold of the ledger.

use std::collections::VecDeque;

use flyball_core::deny::DenyReason;
use flyball_core::id::IntentId;
use flyball_core::record::{Deferral, Entry, Folded, Pause, Record, Release, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Decisions kept for `flyball get decisions`: about a megabyte, and more than anybody scrolls. Older ones are in the ledger.
const KEPT: usize = 5_000;
/// Ranges of sequences in all of them: of signals that come mixed, a note has one for each.
const RANGES: usize = 200_000;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its id: the intent's, or one made of its position in the ledger.
    pub id: String,
    /// The ledger's time.
    pub at: Timestamp,
    /// What was decided.
    pub decision: Decided,
}

impl Line {
    fn ranges(&self) -> usize {
        if let Decided::Folded(note) = &self.decision { note.sequences.len() } else { 0 }
    }
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decided {
    /// An intent: where it stands is in the history.
    Intent(IntentId),
    /// Signals that led to nothing.
    Folded(Folded),
    /// A request that began to wait.
    Deferred(Deferral),
    /// A request that waited in vain.
    Released(Release),
}

/// The newest lines, oldest first. At most `KEPT`, and fewer when their notes have many ranges of sequences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    lines: VecDeque<Line>,
    ranges: usize,
    paused: Vec<(Timestamp, Pause, u64)>,
}

impl Journal {
    /// Folds an entry in.
    pub fn apply(&mut self, entry: &Entry) {
        let at = entry.at;
        let place = entry.revision;
        match &entry.record {
            Record::Admitted(admissions) => {
                for it in admissions {
                    self.push(it.id.to_string(), at, Decided::Intent(it.id));
                }
            }
            Record::Folded(notes) => {
                for (index, note) in notes.iter().enumerate() {
                    self.count_suppressed(note);
                    self.push(format!("n{place}-{index}"), at, Decided::Folded(note.clone()));
                }
            }
            Record::Deferred(it) => self.push(format!("w{place}"), at, Decided::Deferred(it.clone())),
            Record::Released(it) => self.push(format!("r{place}"), at, Decided::Released(it.clone())),
            Record::Paused(pause) => {
                self.paused.retain(|(_, it, _)| it.id != pause.id && it.until.is_none_or(|until| at < until));
                self.paused.push((at, pause.clone(), 0));
            }
            Record::Resumed(resume) => self.paused.retain(|(_, pause, _)| pause.id != resume.id),
            Record::Happened(_)
            | Record::Symptom(_)
            | Record::Sighted(_)
            | Record::Trusted(_)
            | Record::Demoted(_)
            | Record::Started(_)
            | Record::Accepted(_)
            | Record::Purged { .. }
            | Record::Fence => {}
        }
    }

    fn count_suppressed(&mut self, note: &Folded) {
        let Verdict::Denied(reasons) = &note.verdict else { return };
        for reason in reasons {
            if let DenyReason::Paused { pause: id, .. } = reason {
                for (_, pause, suppressed) in &mut self.paused {
                    if *pause.id == **id {
                        *suppressed += note.count;
                    }
                }
            }
        }
    }

    fn push(&mut self, id: String, at: Timestamp, decision: Decided) {
        let line = Line { id, at, decision };
        self.ranges += line.ranges();
        self.lines.push_back(line);
        while self.lines.len() > KEPT || self.ranges > RANGES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.ranges -= oldest.ranges();
        }
    }

    /// The newest lines first.
    pub fn newest(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().rev()
    }

    /// One line.
    pub fn line(&self, id: &str) -> Option<&Line> {
        self.lines.iter().rev().find(|line| line.id == id)
    }

    /// Pauses that were not released, with how many signals each has suppressed.
    pub fn pauses(&self) -> &[(Timestamp, Pause, u64)] {
        &self.paused
    }
}
