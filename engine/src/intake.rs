//! Bytes to signals, and signals to their end. What memory alone can tell is told at once, a batch at a time; what has to wait for
//! the cluster or the ledger goes to a lane of its target. Signals about one workload are decided in order and never concurrently
//! inside one process.

mod inbox;
mod jetstream;
mod lanes;
mod reader;
mod trial;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use flyball_core::history::History;
use flyball_core::policy::PolicySet;
use flyball_core::ports::{Delivery, Message, Signals};
use flyball_core::record::Symptom;
use flyball_core::signal::{Signal, SignalKind};
use flyball_core::workload::Workload;
use flyball_signals::Refusal;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

pub use inbox::Inbox;
pub use jetstream::{ForeignStream, JetStreamSignals};
pub use lanes::most_undecided;
pub use reader::Reader;
pub use trial::{KILLS_ITS_READER, Marks, Observer, SUSPECT, TRIALS, Trials};

use crate::notes::{Notes, Pending};
use crate::pipeline::{Decision, Engine, OnPanic};
use crate::recent::Recent;
use crate::telemetry::{Tally, Way};
use lanes::Lanes;

/// Takes deliveries to their end.
pub struct Intake {
    engine: Arc<Engine>,
    reader: Reader,
    notes: Notes,
    recent: Arc<Recent>,
    lanes: Lanes,
    /// The durable consumer, as traces name it.
    consumer: String,
    workers: TaskTracker,
}

/// What there is no room for yet.
enum HeldOut {
    /// A signal whose lane is full.
    Signal(Box<(Signal, Delivery)>),
    /// A message that cannot be used.
    Refused(Box<(Refusal, Delivery)>),
}

/// A batch that is being decided.
struct Taking<'a> {
    intake: &'a Arc<Intake>,
    policies: &'a PolicySet,
    /// The ledger's time, of the whole batch.
    now: Timestamp,
    /// The local clock, when the signal before was done with.
    clock: Timestamp,
    tally: Tally,
}

impl Taking<'_> {
    fn one(&mut self, delivery: Delivery, history: &History, pending: &mut Pending) -> Result<(), HeldOut> {
        let Intake { engine, reader, recent, lanes, consumer, .. } = &**self.intake;
        let mut signal = match reader.read(&delivery.message) {
            Ok(signal) => signal,
            Err(refusal) => return self.intake.put_aside(refusal, delivery),
        };
        recent.push(&signal);
        if lanes.is_busy(&signal.subject) {
            return self.intake.line_up(signal, delivery);
        }
        let publisher = signal.trace;
        signal.trace = engine.telemetry.tracer.within(&publisher);
        let looked = engine.decide_at_once(&signal, history, self.policies, (self.clock, self.now));
        let Ok(mut decided) = looked else {
            signal.trace = publisher;
            return self.intake.line_up(signal, delivery);
        };
        self.clock = engine.clock.now();
        decided.times.ended(self.clock);
        let bus = delivery.message.subject.as_deref().map(|subject| (subject, consumer.as_str()));
        engine.telemetry.decided(&signal, &decided, Way { publisher, bus }, self.now, &mut self.tally);
        pending.hear(&signal, decided, delivery.receipt);
        Ok(())
    }
}

impl Intake {
    /// An intake for an engine.
    pub fn new(engine: Arc<Engine>, reader: Reader, notes: Notes, recent: Arc<Recent>) -> Arc<Self> {
        let consumer = format!("flyball-{}", engine.cluster_name);
        let (lanes, workers) = (Lanes::default(), TaskTracker::new());
        Arc::new(Self { engine, reader, notes, recent, lanes, consumer, workers })
    }

    /// Runs until the bus ends or the process stops; what was taken up is decided before it returns.
    pub async fn run(self: Arc<Self>, signals: Arc<dyn Signals>) {
        let _alarm = OnPanic(self.engine.stopping.clone());
        let stopping = self.engine.stopping.clone();
        stopping.run_until_cancelled(self.read(&*signals)).await;
        self.workers.close();
        self.workers.wait().await;
    }

    async fn read(self: &Arc<Self>, signals: &dyn Signals) {
        while let Some(batch) = signals.next().await {
            let mut batch = batch.into_iter();
            while let Some(held) = self.take(&mut batch) {
                self.make_room(held).await;
            }
            self.notes.room().await;
            // A bus that always has more must not keep a single thread to itself.
            tokio::task::yield_now().await;
        }
    }

    /// Decides what can be decided at once, until there is no room for something. All of that is decided on the same fold and at the
    /// same ledger's time.
    fn take(self: &Arc<Self>, batch: &mut std::vec::IntoIter<Delivery>) -> Option<HeldOut> {
        let engine = &self.engine;
        let policies = engine.policies.load();
        let mut taking = Taking {
            intake: self,
            policies: &policies,
            now: engine.book.now(),
            clock: engine.clock.now(),
            tally: Tally::default(),
        };
        let held = {
            let history = engine.book.history();
            let mut pending = self.notes.pending();
            batch.find_map(|delivery| taking.one(delivery, &history, &mut pending).err())
        };
        engine.telemetry.counted(taking.tally);
        self.notes.ring();
        held
    }

    async fn make_room(self: &Arc<Self>, held: HeldOut) {
        let mut held = Err(held);
        while let Err(it) = held {
            held = match it {
                HeldOut::Signal(it) => {
                    self.lanes.room(Some(&it.0.subject)).await;
                    self.line_up(it.0, it.1)
                }
                HeldOut::Refused(it) => {
                    self.lanes.room(None).await;
                    self.put_aside(it.0, it.1)
                }
            };
        }
    }

    /// Keeps a message that cannot be used.
    fn put_aside(self: &Arc<Self>, refusal: Refusal, delivery: Delivery) -> Result<(), HeldOut> {
        if !self.lanes.aside() {
            return Err(HeldOut::Refused(Box::new((refusal, delivery))));
        }
        let intake = self.clone();
        self.engine.undecided.fetch_add(1, Ordering::Relaxed);
        self.workers.spawn(async move {
            let _alarm = OnPanic(intake.engine.stopping.clone());
            // Not acknowledged, so it is delivered again: nothing new is begun while the process stops.
            if !intake.engine.stopping.is_cancelled() {
                intake.refuse(&refusal, delivery).await;
            }
            intake.engine.undecided.fetch_sub(1, Ordering::Relaxed);
            intake.lanes.done_aside();
        });
        Ok(())
    }

    /// Puts a signal at the end of its target's lane.
    fn line_up(self: &Arc<Self>, signal: Signal, delivery: Delivery) -> Result<(), HeldOut> {
        let target = signal.subject.clone();
        let alone = self.lanes.queue(signal, delivery).map_err(HeldOut::Signal)?;
        self.engine.undecided.fetch_add(1, Ordering::Relaxed);
        if alone {
            let intake = self.clone();
            self.workers.spawn(async move { intake.attend(&target).await });
        }
        Ok(())
    }

    /// Works on a lane until it is empty.
    async fn attend(&self, target: &Workload) {
        let _alarm = OnPanic(self.engine.stopping.clone());
        let _slot = self.lanes.slot().await;
        while let Some((signal, delivery)) = self.lanes.next(target) {
            // Not acknowledged, so it is delivered again: nothing new is begun while the process stops.
            if !self.engine.stopping.is_cancelled() {
                self.decide(signal, delivery).await;
            }
            self.engine.undecided.fetch_sub(1, Ordering::Relaxed);
            self.lanes.done();
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
        let bus = delivery.message.subject.as_deref().map(|subject| (subject, self.consumer.as_str()));
        let mut tally = Tally::default();
        telemetry.decided(&signal, &decided, Way { publisher, bus }, self.engine.book.now(), &mut tally);
        telemetry.counted(tally);
        // Asks the fold, so before the notes are held: who holds both takes the fold first.
        let symptom = self.symptom(&signal, &decided.decision);
        self.notes.room().await;
        {
            let mut pending = self.notes.pending();
            if let Some(symptom) = symptom {
                pending.symptom(symptom);
            }
            // Acknowledged with the next flush: the decision is durable by then, and so are its shadows and symptoms.
            pending.hear(&signal, decided, delivery.receipt);
        }
        self.notes.ring();
    }

    /// Chance decides which replica sees that a symptom is still there, or gone; the ledger tells the one that verifies. A note
    /// says so by itself; what waits has none.
    fn symptom(&self, signal: &Signal, decision: &Decision) -> Option<Symptom> {
        let target = match decision {
            Decision::Deferred(it) => &it.request.target,
            Decision::Known => &signal.subject,
            _ => return None,
        };
        if !self.engine.book.history().awaits_symptoms(target) {
            return None;
        }
        let cleared = matches!(&signal.kind, SignalKind::Anomaly(it) if !it.is_anomaly);
        Some(Symptom { target: target.clone(), observed_at: signal.observed_at, cleared })
    }
}

/// The kind that the way it came names, for the counter.
fn kind_of(message: &Message) -> Option<&str> {
    let subject = message.subject.as_deref();
    message.kind.as_deref().or_else(|| subject.and_then(|it| it.split('.').nth(3)))
}
