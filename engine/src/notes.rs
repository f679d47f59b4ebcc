//! What came to nothing is written down, folded: a storm of signals may not become a storm of writes. A delivery is
//! acknowledged when its note is durable.

mod pending;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flyball_core::deny::DenyReason;
use flyball_core::ports::Clock;
use flyball_core::record::{Folded, Record, Verdict};
use jiff::SignedDuration;
use tokio::sync::{Notify, mpsc};

pub use pending::Pending;
use pending::SYMPTOM_EVERY;

use crate::changes::until;
use crate::ledger::Book;
use crate::pipeline::SIGHTINGS;

/// A flush waits this long for more, or for this many: whichever comes first.
const FLUSH: (SignedDuration, usize) = (SignedDuration::from_millis(50), 8_192);
/// Folded notes in one entry: some 700 bytes each, so an entry stays below a message's 1 MiB.
const PER_ENTRY: usize = 500;
/// Ranges of sequences in one entry, of some 24 bytes each: of signals that come mixed, each is one.
const RANGES_PER_ENTRY: usize = 20_000;
/// Notes of one flush that are told in the log: a screenful, of which there are ten a second in a storm.
const TOLD: usize = 20;
/// Signals that may wait for a flush. Beyond it intake waits, and with it the bus.
const QUEUE: usize = 32_768;

/// Where decisions without an intent are handed in.
#[derive(Clone)]
pub struct Notes {
    shared: Arc<Shared>,
    /// Says that there is something to write. When the last handle is gone, so is the bell.
    bell: mpsc::Sender<()>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    taken: Notify,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// Opens the box. The returned future writes what is handed in until every handle is dropped.
    pub fn open(book: Arc<Book>, clock: Arc<dyn Clock>) -> (Self, impl Future<Output = ()> + Send) {
        let (bell, rung) = mpsc::channel(1);
        let shared = Arc::<Shared>::default();
        (Self { shared: shared.clone(), bell }, Writer { book, clock, shared }.run(rung))
    }

    /// The box, to hand in decisions: held for a moment only, and never over an await. `ring` afterwards.
    pub fn pending(&self) -> MutexGuard<'_, Pending> {
        self.shared.pending()
    }

    /// Says that something was handed in.
    pub fn ring(&self) {
        let waiting = self.pending().waiting();
        if waiting > 0 {
            // One that waits already is enough.
            let _ = self.bell.try_send(());
        }
    }

    /// Returns when there is room for another batch.
    pub async fn room(&self) {
        until(&self.shared.taken, || (self.pending().waiting() < QUEUE).then_some(())).await;
    }
}

struct Writer {
    book: Arc<Book>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
}

impl Writer {
    async fn run(self, mut bell: mpsc::Receiver<()>) {
        loop {
            let symptoms = self.shared.pending().holds_symptoms();
            let more = if symptoms {
                // A symptom held back for its second is written even if nothing else comes.
                tokio::select! {
                    biased;
                    more = bell.recv() => more,
                    () = self.clock.sleep(SYMPTOM_EVERY) => Some(()),
                }
            } else {
                bell.recv().await
            };
            if more.is_none() {
                break;
            }
            let mut full = self.clock.sleep(FLUSH.0);
            while self.shared.pending().waiting() < FLUSH.1 {
                tokio::select! {
                    biased;
                    more = bell.recv() => if more.is_none() { break },
                    () = &mut full => break,
                }
            }
            self.flush(false).await;
        }
        self.flush(true).await;
    }

    /// `all`: symptoms are not held back for their second, since there is no later flush.
    async fn flush(&self, all: bool) {
        let (mut notes, receipts, symptoms, heard) = {
            let now = self.book.now();
            let mut pending = self.shared.pending();
            let (notes, receipts) = pending.take();
            (notes, receipts, pending.due(now, all), pending.heard())
        };
        self.shared.taken.notify_waiters();
        tell_all(&notes);
        while !notes.is_empty() {
            let rest = notes.split_off(entry_of(&notes));
            self.book.note(Record::Folded(std::mem::replace(&mut notes, rest))).await;
        }
        for symptom in symptoms {
            self.book.note(Record::Symptom(symptom)).await;
        }
        for part in heard.chunks(SIGHTINGS) {
            self.book.note(Record::Sighted(part.to_vec())).await;
        }
        for receipt in receipts {
            if let Some(settled) = receipt.settle() {
                settled.await;
            }
        }
    }
}

/// How many notes go into one entry.
fn entry_of(notes: &[Folded]) -> usize {
    let mut ranges = 0;
    let fits = notes.iter().take(PER_ENTRY).take_while(|it| {
        ranges += it.sequences.len();
        ranges <= RANGES_PER_ENTRY
    });
    fits.count().max(1)
}

/// Says in the log why nothing was done, of a screenful. That nobody asked for anything is for those who look for it.
fn tell_all(notes: &[Folded]) {
    let (quiet, mut said): (Vec<&Folded>, Vec<&Folded>) =
        notes.iter().partition(|it| matches!(it.verdict, Verdict::NoAction(_)));
    let more = said.split_off(said.len().min(TOLD)).len();
    quiet.into_iter().chain(said).for_each(tell);
    if more > 0 {
        tracing::info!(more, "More came to nothing, of as many kinds; `flyball get decisions` shows them");
    }
}

/// Says in the log why nothing is done: once for all signals of a flush that ended alike.
fn tell(note: &Folded) {
    let Folded { target, count, .. } = note;
    let policy = note.policy.as_deref().unwrap_or_default();
    let trace_id = || note.trace.trace_hex();
    match &note.verdict {
        Verdict::Denied(reasons) => {
            if tracing::enabled!(tracing::Level::INFO) {
                let (reasons, trace_id) = (labels(reasons).join(", "), trace_id());
                tracing::info!(%target, policy, reasons, count, trace_id, "Denied");
            }
        }
        Verdict::Joined(reasons) => {
            let (reasons, trace_id) = (labels(reasons).join(", "), trace_id());
            tracing::info!(%target, policy, reasons, count, trace_id, "Joined one that waits");
        }
        Verdict::Shadow(_) => {
            tracing::info!(%target, policy, count, trace_id = trace_id(), "Would have acted, but is in shadow");
        }
        Verdict::NoAction(why) => {
            tracing::debug!(%target, why = why.label(), count, trace_id = trace_id(), "No action");
        }
    }
}

fn labels(reasons: &[DenyReason]) -> Vec<&'static str> {
    reasons.iter().map(DenyReason::label).collect()
}
