//! Bytes to signals, and signals to their end. Signals about one workload are decided in order and never concurrently
//! inside one process.

mod inbox;
mod jetstream;
mod reader;
mod trial;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flyball_core::ports::{Delivery, Message, Signals};
use flyball_core::record::Symptom;
use flyball_core::signal::{Signal, SignalKind};
use flyball_signals::Refusal;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

pub use inbox::Inbox;
pub use jetstream::{ForeignStream, JetStreamSignals};
pub use reader::Reader;
pub use trial::{KILLS_ITS_READER, Marks, Observer, SUSPECT, TRIALS, Trials};

use crate::notes::{Notes, Unheard};
use crate::pipeline::{Engine, OnPanic};
use crate::recent::Recent;
use crate::telemetry::Way;

/// Decisions at once. A decision that acts waits for the API server and the ledger, so there are more of them than cores.
const WORKERS: usize = 64;
/// Signals queued per worker: enough that a batch from the bus does not stall on one busy target.
const QUEUE: usize = 256;

type Work = (Result<Signal, Refusal>, Delivery);

/// What one process has taken up and not decided at most, of signals about so many workloads: more wait with the bus. Signals about
/// one workload share a worker, which has one in hand beside those in its queue; the last one is what the intake holds out to it.
pub const fn most_undecided(workloads: usize) -> usize {
    let workers = if workloads < WORKERS { workloads } else { WORKERS };
    workers * (QUEUE + 1) + 1
}

/// Takes deliveries to their end.
pub struct Intake {
    engine: Arc<Engine>,
    reader: Reader,
    notes: Notes,
    recent: Arc<Recent>,
}

impl Intake {
    /// An intake for an engine.
    pub fn new(engine: Arc<Engine>, reader: Reader, notes: Notes, recent: Arc<Recent>) -> Arc<Self> {
        Arc::new(Self { engine, reader, notes, recent })
    }

    /// Runs until the bus ends or the process stops; what was taken up is decided before it returns.
    pub async fn run(self: Arc<Self>, signals: Arc<dyn Signals>) {
        let workers = TaskTracker::new();
        let queues: Vec<mpsc::Sender<Work>> = (0..WORKERS)
            .map(|_| {
                let (queue, work) = mpsc::channel(QUEUE);
                workers.spawn(self.clone().worker(work));
                queue
            })
            .collect();
        loop {
            let batch = tokio::select! {
                biased;
                () = self.engine.stopping.cancelled() => break,
                batch = signals.next() => batch,
            };
            let Some(batch) = batch else { break };
            for delivery in batch {
                self.take(delivery, &queues).await;
            }
        }
        drop(queues);
        workers.close();
        workers.wait().await;
    }

    async fn take(&self, delivery: Delivery, queues: &[mpsc::Sender<Work>]) {
        let read = self.reader.read(&delivery.message);
        let mut hash = DefaultHasher::new();
        match &read {
            Ok(signal) => {
                self.recent.push(signal);
                signal.subject.hash(&mut hash);
            }
            // What cannot be used is kept by a worker, too: a slow stream of dead letters must not hold up the others.
            Err(_) => delivery.message.sequence.hash(&mut hash),
        }
        let shard = usize::try_from(hash.finish() % queues.len() as u64).unwrap_or_default();
        self.engine.undecided.fetch_add(1, Ordering::Relaxed);
        // A worker ends before its queue only by a panic, and that stops the process.
        let _ = queues[shard].send((read, delivery)).await;
    }

    async fn worker(self: Arc<Self>, mut work: mpsc::Receiver<Work>) {
        let _alarm = OnPanic(self.engine.stopping.clone());
        while let Some((read, delivery)) = work.recv().await {
            match read {
                // Not acknowledged, so it is delivered again: nothing new is begun while the process stops.
                _ if self.engine.stopping.is_cancelled() => {}
                Ok(signal) => self.decide(signal, delivery).await,
                Err(refusal) => self.refuse(&refusal, delivery).await,
            }
            self.engine.undecided.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn refuse(&self, refusal: &Refusal, delivery: Delivery) {
        self.engine.telemetry.refused(kind_of(&delivery.message));
        let sequence = delivery.message.sequence;
        tracing::warn!(reason = refusal.reason.as_str(), sequence, "Refused a signal: {refusal}");
        if let Err(error) = delivery.receipt.refuse(refusal.reason.as_str(), &refusal.to_string()).await {
            tracing::error!(%error, sequence, "A refused signal could not be kept; it is not acknowledged");
        }
    }

    async fn decide(&self, mut signal: Signal, delivery: Delivery) {
        let telemetry = &self.engine.telemetry;
        // Everything of ours hangs under the root span of this process, whose id the intent keeps.
        let publisher = signal.trace;
        signal.trace = telemetry.tracer.within(&publisher);
        let decided = self.engine.decide(&signal).await;
        let consumer = format!("flyball-{}", self.engine.cluster_name);
        let bus = delivery.message.subject.as_deref().map(|subject| (subject, consumer.as_str()));
        telemetry.decided(&signal, &decided, Way { publisher, bus }, self.engine.book.now());
        self.symptom(&signal, decided.request.as_ref().map(|it| &it.target)).await;
        let unheard = Unheard::of(&signal, &decided);
        // Acknowledged with the next flush: the decision is durable by then, and so are its shadows and symptoms.
        self.notes.hear(unheard, Some(delivery.receipt)).await;
    }

    /// Chance decides which replica sees that a symptom is still there, or gone; the ledger tells the one that verifies.
    async fn symptom(&self, signal: &Signal, target: Option<&flyball_core::workload::Workload>) {
        let target = target.unwrap_or(&signal.subject);
        if self.engine.book.history().open_on(target).is_empty() {
            return;
        }
        let cleared = matches!(&signal.kind, SignalKind::Anomaly(it) if !it.is_anomaly);
        self.notes.symptom(Symptom { target: target.clone(), observed_at: signal.observed_at, cleared }).await;
    }
}

/// The kind that the way it came names, for the counter.
fn kind_of(message: &Message) -> Option<&str> {
    let subject = message.subject.as_deref();
    message.kind.as_deref().or_else(|| subject.and_then(|it| it.split('.').nth(3)))
}
