//! The story in words: the ledger's entries, one line each.

use comfy_table::{Table, presets};
use flyball_core::deny::DenyReason;
use flyball_core::history::History;
use flyball_core::intent::Event;
use flyball_core::record::{Entry, Folded, Record, Topic, Verdict};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::SceneResult;

/// One line of the timeline.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The ledger's time.
    pub at: Timestamp,
    /// What happened, in one word.
    pub what: &'static str,
    /// The particulars.
    pub detail: String,
}

/// Tells what happens as it happens.
pub(super) struct Told {
    aloud: bool,
    start: Timestamp,
    lines: Vec<Line>,
}

impl Told {
    pub(super) fn new(aloud: bool, start: Timestamp) -> Self {
        Self { aloud, start, lines: Vec::new() }
    }

    pub(super) fn title(&self, number: usize, title: &str) {
        if self.aloud {
            println!("\n{number}. {title}");
        }
    }

    pub(super) fn line(&mut self, at: Timestamp, what: &'static str, detail: String) {
        if self.aloud {
            println!("   {}  {what:<10} {detail}", elapsed(at.duration_since(self.start)));
        }
        self.lines.push(Line { at, what, detail });
    }

    pub(super) fn take(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// Tells an entry, if it says anything to people.
    pub(super) fn entry(&mut self, entry: &Entry, history: &History) {
        match &entry.record {
            Record::Admitted(admissions) => {
                for it in admissions {
                    let request = &it.request;
                    let what = format!("{} asks for {} of {}", request.policy.name, request.action, request.target);
                    self.line(entry.at, "admitted", format!("{what}  ({})", it.change.edit.summary()));
                }
            }
            Record::Happened(event) => self.event(entry, event, history),
            Record::Folded(notes) => notes.iter().for_each(|note| self.note(entry.at, note)),
            Record::Deferred(it) => {
                let waits = it.objections.iter().map(DenyReason::label).collect::<Vec<_>>().join(", ");
                self.line(entry.at, "waits", format!("{} of {} for {waits}", it.request.action, it.request.target));
            }
            _ => {}
        }
    }

    fn event(&mut self, entry: &Entry, event: &Event, history: &History) {
        let Topic::Intent(id) = entry.topic else { return };
        let target = history.intent(id).map(|it| it.request().target.to_string()).unwrap_or_default();
        let (what, detail) = match event {
            Event::Attempted { change, .. } => ("sent", format!("{} to {target}", change.edit.summary())),
            Event::Applied(receipt) => ("applied", format!("{target} is at generation {}", receipt.generation)),
            Event::RolledOut => ("rolled out", format!("{target} is complete")),
            Event::Undoing { verdict, detail, .. } => ("failed", format!("{}: {detail}; undoing", verdict.label())),
            Event::Closed { outcome, detail } if outcome.is_success() => {
                ("verified", format!("{}: {detail}", outcome.label()))
            }
            Event::Closed { outcome, detail } => ("ended", format!("{}: {detail}", outcome.label())),
            Event::Unanswered { detail } | Event::Missed { detail } => ("read back", detail.clone()),
            Event::TakenOver { by } => ("taken over", by.replica.to_string()),
            Event::CancelAsked { by, reason } | Event::Resolved { by, reason, .. } => {
                ("decided by hand", format!("{by}: {reason}"))
            }
        };
        self.line(entry.at, what, detail);
    }

    fn note(&mut self, at: Timestamp, note: &Folded) {
        let times = if note.count > 1 { format!("{} signals: ", note.count) } else { String::new() };
        let (what, detail) = match &note.verdict {
            Verdict::Denied(reasons) => {
                ("denied", reasons.iter().map(|it| explain(it, self.start)).collect::<Vec<_>>().join("; "))
            }
            Verdict::Joined(reasons) => {
                ("joined", reasons.iter().map(DenyReason::label).collect::<Vec<_>>().join(", "))
            }
            Verdict::Shadow(_) => {
                ("shadow", format!("{} would have acted", note.policy.as_deref().unwrap_or_default()))
            }
            Verdict::NoAction(why) => ("no action", why.label().to_owned()),
        };
        self.line(at, what, format!("{times}{detail}"));
    }
}

fn explain(reason: &DenyReason, start: Timestamp) -> String {
    let until = reason.allowed_at().map(|at| format!(", allowed again at {}", elapsed(at.duration_since(start))));
    format!("{}{}", reason.label(), until.unwrap_or_default())
}

fn elapsed(since: SignedDuration) -> String {
    let seconds = since.as_secs();
    format!("+{:02}:{:02}:{:02}.{:01}", seconds / 3600, seconds / 60 % 60, seconds % 60, since.subsec_millis() / 100)
}

/// The table at the end.
pub(super) fn table(results: &[SceneResult]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "SCENE", "HAPPENED", "SIGNALS", "CHANGES", "TOOK"]);
    for it in results {
        let mark = if it.passed { "✔" } else { "✗" };
        let row = [mark, it.scene, &it.happened, &it.signals.to_string(), &it.effects.to_string(), &it.took];
        table.add_row(row);
    }
    println!("\n{table}\n");
    let passed = results.iter().filter(|it| it.passed).count();
    println!("{passed} of {} scenes ended as told; the time is virtual, the engine is the real one.", results.len());
}
