//! What came to nothing is written down, folded: a storm of signals may not become a storm of writes. A delivery is
//! acknowledged when its note is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_core::deny::DenyReason;
use flyball_core::ports::{Clock, Receipted};
use flyball_core::record::{Folded, Record, Symptom, Verdict};
use flyball_core::signal::Signal;
use flyball_core::workload::Workload;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::ledger::Book;
use crate::pipeline::{Decided, Decision};

/// A flush waits this long for more, or for this many: whichever comes first.
const FLUSH: (SignedDuration, usize) = (SignedDuration::from_millis(50), 8_192);
/// Folded notes in one entry: some 700 bytes each, so an entry stays below a message's 1 MiB.
const PER_ENTRY: usize = 500;
/// Signals that may wait for a flush. Beyond it the workers wait, and with them the bus.
const QUEUE: usize = 32_768;
/// A target's symptoms are written down at most this often: verification needs the newest only.
const SYMPTOM_EVERY: SignedDuration = SignedDuration::from_secs(1);

enum Heard {
    Signal(Vec<Folded>, Option<Box<dyn Receipted>>),
    Symptom(Symptom),
}

/// Where decisions without an intent are handed in.
#[derive(Clone)]
pub struct Notes(mpsc::Sender<Heard>);

/// The notes that a decision leaves: its own, if it came to nothing, and one for each shadow.
pub struct Unheard(Vec<Folded>);

impl Unheard {
    /// What has to be written down of a decision.
    pub fn of(signal: &Signal, decided: &Decided) -> Self {
        let note = |verdict: Verdict, request: Option<&flyball_core::action::ActionRequest>| Folded {
            target: request.map_or_else(|| signal.subject.clone(), |it| it.target.clone()),
            policy: request.map(|it| it.policy.name.clone()),
            action: request.map(|it| it.action.kind()),
            verdict,
            count: 1,
            sequences: vec![(signal.sequence, signal.sequence)],
            signal: signal.id.clone(),
            observed_at: signal.observed_at,
            trace: signal.trace,
            summary: request.map_or_else(|| signal.kind.as_str().into(), |it| it.evidence.summary.clone()),
        };
        let request = decided.request.as_ref();
        let mut notes = Vec::new();
        match &decided.decision {
            Decision::Nothing(why) => notes.push(note(Verdict::NoAction(*why), None)),
            Decision::Denied(it) => notes.push(note(Verdict::Denied(it.reasons.clone()), request)),
            Decision::Joined(it) => notes.push(note(Verdict::Joined(it.reasons.clone()), request)),
            Decision::Deferred(_) | Decision::Recorded(_) | Decision::Known => {}
        }
        if decided.decision != Decision::Known {
            notes.extend(decided.shadows.iter().map(|it| note(Verdict::Shadow(it.reasons.clone()), Some(&it.request))));
        }
        Self(notes)
    }
}

impl Notes {
    /// Opens the box. The returned future writes what is handed in until every handle is dropped.
    pub fn open(book: Arc<Book>, clock: Arc<dyn Clock>) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, heard) = mpsc::channel(QUEUE);
        (Self(sender), Writer { book, clock, pending: Pending::default() }.run(heard))
    }

    /// Hands in a decision. The delivery is acknowledged when it is durable.
    pub async fn hear(&self, unheard: Unheard, receipt: Option<Box<dyn Receipted>>) {
        if !unheard.0.is_empty() || receipt.is_some() {
            // The writer outlives every handle.
            let _ = self.0.send(Heard::Signal(unheard.0, receipt)).await;
        }
    }

    /// Hands in a symptom.
    pub async fn symptom(&self, symptom: Symptom) {
        // The writer outlives every handle.
        let _ = self.0.send(Heard::Symptom(symptom)).await;
    }
}

/// A target, and whether it is the clearing of its symptom: one must not hide the other.
type Seen = (Workload, bool);
type Key = (Workload, Option<Arc<str>>, &'static str, Vec<&'static str>);

#[derive(Default)]
struct Pending {
    folded: BTreeMap<Key, Folded>,
    receipts: Vec<Box<dyn Receipted>>,
    symptoms: BTreeMap<Seen, Symptom>,
    written: BTreeMap<Seen, Timestamp>,
}

struct Writer {
    book: Arc<Book>,
    clock: Arc<dyn Clock>,
    pending: Pending,
}

impl Writer {
    async fn run(mut self, mut heard: mpsc::Receiver<Heard>) {
        loop {
            let first = if self.pending.symptoms.is_empty() {
                heard.recv().await
            } else {
                // A symptom held back for its second is written even if nothing else comes.
                tokio::select! {
                    biased;
                    first = heard.recv() => first,
                    () = self.clock.sleep(SYMPTOM_EVERY) => { self.flush(false).await; continue }
                }
            };
            let Some(first) = first else { break };
            self.pending.take(first);
            let mut full = self.clock.sleep(FLUSH.0);
            while self.pending.receipts.len() < FLUSH.1 {
                tokio::select! {
                    biased;
                    more = heard.recv() => match more {
                        Some(more) => self.pending.take(more),
                        None => break,
                    },
                    () = &mut full => break,
                }
            }
            self.flush(false).await;
        }
        self.flush(true).await;
    }

    /// `all`: symptoms are not held back for their second, since there is no later flush.
    async fn flush(&mut self, all: bool) {
        let mut notes: Vec<Folded> = std::mem::take(&mut self.pending.folded).into_values().collect();
        notes.iter().for_each(tell);
        while !notes.is_empty() {
            let rest = notes.split_off(notes.len().min(PER_ENTRY));
            self.book.note(Record::Folded(std::mem::replace(&mut notes, rest))).await;
        }
        let now = self.book.now();
        for symptom in self.pending.due(now, all) {
            self.book.note(Record::Symptom(symptom)).await;
        }
        for receipt in self.pending.receipts.drain(..) {
            receipt.acknowledge(false).await;
        }
    }
}

/// Says in the log why nothing is done: once for all signals of a flush that ended alike.
fn tell(note: &Folded) {
    let Folded { target, count, .. } = note;
    let (policy, trace_id) = (note.policy.as_deref().unwrap_or_default(), note.trace.trace_hex());
    match &note.verdict {
        Verdict::Denied(reasons) => {
            let reasons = labels(reasons).join(", ");
            tracing::info!(%target, policy, reasons, count, trace_id, "Denied");
        }
        Verdict::Joined(reasons) => {
            let reasons = labels(reasons).join(", ");
            tracing::info!(%target, policy, reasons, count, trace_id, "Joined one that waits");
        }
        Verdict::Shadow(_) => tracing::info!(%target, policy, count, trace_id, "Would have acted, but is in shadow"),
        Verdict::NoAction(why) => tracing::debug!(%target, why = why.label(), count, trace_id, "No action"),
    }
}

fn labels(reasons: &[DenyReason]) -> Vec<&'static str> {
    reasons.iter().map(DenyReason::label).collect()
}

impl Pending {
    fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Signal(notes, receipt) => {
                for note in notes {
                    self.fold(note);
                }
                self.receipts.extend(receipt);
            }
            Heard::Symptom(symptom) => {
                let seen = (symptom.target.clone(), symptom.cleared);
                let newest = self.symptoms.entry(seen).or_insert_with(|| symptom.clone());
                if symptom.observed_at >= newest.observed_at {
                    *newest = symptom;
                }
            }
        }
    }

    fn fold(&mut self, note: Folded) {
        let (kind, reasons) = match &note.verdict {
            Verdict::Denied(reasons) => ("denied", reasons.as_slice()),
            Verdict::Joined(reasons) => ("joined", reasons.as_slice()),
            Verdict::Shadow(reasons) => ("shadow", reasons.as_slice()),
            Verdict::NoAction(why) => (why.label(), [].as_slice()),
        };
        let key = (note.target.clone(), note.policy.clone(), kind, labels(reasons));
        let Some(known) = self.folded.get_mut(&key) else {
            self.folded.insert(key, note);
            return;
        };
        known.count += note.count;
        known.verdict = note.verdict;
        known.observed_at = known.observed_at.max(note.observed_at);
        for (first, last) in note.sequences {
            match known.sequences.last_mut() {
                Some(range) if range.1 + 1 == first => range.1 = last,
                _ => known.sequences.push((first, last)),
            }
        }
    }

    fn due(&mut self, now: Timestamp, all: bool) -> Vec<Symptom> {
        self.written.retain(|_, at| now.duration_since(*at) < SYMPTOM_EVERY);
        let written = &self.written;
        let due: Vec<Seen> = self.symptoms.keys().filter(|it| all || !written.contains_key(it)).cloned().collect();
        let take = |seen: Seen| {
            self.written.insert(seen.clone(), now);
            self.symptoms.remove(&seen)
        };
        due.into_iter().filter_map(take).collect()
    }
}
