//! A bus in memory: at least once, in any order after a redelivery, as the real one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use flyball_core::ports::{Answer, Clock, Delivery, Message, PortError, Receipted, Signals};
use jiff::{SignedDuration, Timestamp};

use crate::script::Script;
use crate::wake::{Bell, Look, lock, wait};
use crate::world::Shared;

/// So many deliveries at once: enough that a storm costs few wake-ups, few enough that a batch is soon done.
const BATCH: usize = 256;
/// A delivery that nobody settles for so long is delivered again.
const ACK_WAIT: SignedDuration = SignedDuration::from_secs(30);

/// A message that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The message, as it came.
    pub message: Message,
    /// Why, in a fixed word.
    pub reason: String,
    /// Why, for people.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The message's sequence.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Whether the engine waited for the bus to confirm it.
    pub durable: bool,
}

/// The bus.
pub struct MemorySignals {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    stored: BTreeMap<u64, Message>,
    queue: VecDeque<u64>,
    /// Delivered and not settled, by the time at which patience ends.
    waiting: BTreeSet<(Timestamp, u64)>,
    due: BTreeMap<u64, Timestamp>,
    deliveries: BTreeMap<u64, u32>,
    acknowledged: Vec<Acknowledged>,
    refused: Vec<Refused>,
    newest: u64,
    ack_wait: SignedDuration,
    closed: bool,
    /// `true` loses the acknowledgement.
    script: Script<bool>,
    bell: Bell,
}

impl MemorySignals {
    pub(crate) fn new(shared: &Shared) -> Self {
        let state = State {
            stored: BTreeMap::new(),
            queue: VecDeque::new(),
            waiting: BTreeSet::new(),
            due: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            acknowledged: Vec::new(),
            refused: Vec::new(),
            newest: 0,
            ack_wait: ACK_WAIT,
            closed: false,
            script: Script::new(shared.seed, "signals"),
            bell: Bell::default(),
        };
        Self { inner: Arc::new(Inner { clock: shared.clock.clone(), state: Mutex::new(state) }) }
    }

    /// Stores a message, which is delivered from now on. Its sequence and time are the bus's; the sequence is returned.
    pub fn publish(&self, message: Message) -> u64 {
        let mut state = self.inner.advanced();
        state.newest += 1;
        let sequence = state.newest;
        let published_at = self.inner.clock.now();
        state.stored.insert(sequence, Message { sequence, published_at, ..message });
        state.queue.push_back(sequence);
        state.bell.ring();
        sequence
    }

    /// No more will be published: `next` ends once all is settled.
    pub fn close(&self) {
        let mut state = self.inner.advanced();
        state.closed = true;
        state.bell.ring();
    }

    /// How long a delivery may stay unsettled.
    pub fn set_ack_wait(&self, ack_wait: SignedDuration) {
        self.inner.advanced().ack_wait = ack_wait;
    }

    /// Delivers a message that is not settled once more, at once.
    pub fn redeliver(&self, sequence: u64) {
        let mut state = self.inner.advanced();
        state.queue.push_back(sequence);
        state.bell.ring();
    }

    /// The next `count` acknowledgements are lost on their way.
    pub fn lose_acknowledgements(&self, count: u32) {
        let mut state = self.inner.advanced();
        (0..count).for_each(|_| state.script.push(true));
    }

    /// Of 1,000 acknowledgements so many are lost, drawn from the seed.
    pub fn chaos(&self, lost_acknowledgements: u32) {
        self.inner.advanced().script.set_odds(vec![(lost_acknowledgements, true)]);
    }

    /// Nothing is delivered, settled or kept with the dead letters for so long.
    pub fn outage(&self, duration: SignedDuration) {
        let until = self.inner.clock.now().saturating_add(duration).unwrap_or(Timestamp::MAX);
        let mut state = self.inner.advanced();
        state.script.set_down(until);
        // Who waits has to learn of the time at which it is over.
        state.bell.ring();
    }

    /// Faults that were asked for and did not happen yet never will, and an outage ends.
    pub fn calm(&self) {
        let mut state = self.inner.advanced();
        state.script.calm();
        state.bell.ring();
    }

    /// The acknowledgements that arrived, in order.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.inner.advanced().acknowledged.clone()
    }

    /// The dead letters.
    pub fn refused(&self) -> Vec<Refused> {
        self.inner.advanced().refused.clone()
    }

    /// How often a message was delivered.
    pub fn deliveries(&self, sequence: u64) -> u32 {
        self.inner.advanced().deliveries.get(&sequence).copied().unwrap_or(0)
    }

    /// Messages that are not settled.
    pub fn unsettled(&self) -> usize {
        self.inner.advanced().stored.len()
    }

    /// Who holds a delivery says that it is still worked on: it is not delivered again before another wait is over.
    pub fn extend(&self, sequence: u64) {
        let mut state = self.inner.advanced();
        let now = self.inner.clock.now();
        if state.script.down(now).is_none() && state.due.contains_key(&sequence) {
            let due = now.saturating_add(state.ack_wait).unwrap_or(Timestamp::MAX);
            state.patient(sequence, Some(due));
        }
    }

    /// The next deliveries, each with the how-manieth of its message it is.
    pub fn next_counted(&self) -> Answer<'_, Option<Vec<(Delivery, u64)>>> {
        wait(self.inner.clock.clone(), |waker| self.inner.look(waker))
    }
}

impl Inner {
    /// The state as of now: what was not settled in time waits to be delivered again.
    fn advanced(&self) -> MutexGuard<'_, State> {
        let (mut state, now) = (lock(&self.state), self.clock.now());
        while let Some((_, sequence)) = state.waiting.first().copied().filter(|(due, _)| *due <= now) {
            state.patient(sequence, None);
            state.queue.push_back(sequence);
            // Whoever slept for this may be gone; the others have to look, too.
            state.bell.ring();
        }
        state
    }

    fn look(self: &Arc<Self>, waker: &Waker) -> Look<Option<Vec<(Delivery, u64)>>> {
        let (mut state, now) = (self.advanced(), self.clock.now());
        if let Some(until) = state.script.down(now) {
            state.bell.listen(waker);
            return Look::Nothing(Some(until));
        }
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(sequence) = state.queue.pop_front() else { break };
            // Settled meanwhile, by a late acknowledgement.
            let Some(message) = state.stored.get(&sequence).cloned() else { continue };
            let due = now.saturating_add(state.ack_wait).unwrap_or(Timestamp::MAX);
            state.patient(sequence, Some(due));
            let time = state.deliveries.entry(sequence).or_default();
            *time += 1;
            let (time, receipt) = (u64::from(*time), Box::new(MemoryReceipt { inner: self.clone(), sequence }));
            batch.push((Delivery { message, receipt }, time));
        }
        if !batch.is_empty() {
            return Look::Found(Some(batch));
        }
        if state.closed && state.stored.is_empty() {
            return Look::Found(None);
        }
        state.bell.listen(waker);
        Look::Nothing(state.waiting.first().map(|(due, _)| *due))
    }
}

impl State {
    /// Sets until when a delivery may stay unsettled.
    fn patient(&mut self, sequence: u64, until: Option<Timestamp>) {
        let before = match until {
            Some(until) => self.due.insert(sequence, until),
            None => self.due.remove(&sequence),
        };
        if let Some(before) = before {
            self.waiting.remove(&(before, sequence));
        }
        self.waiting.extend(until.map(|until| (until, sequence)));
    }

    fn settle(&mut self, sequence: u64) -> Option<Message> {
        self.patient(sequence, None);
        let message = self.stored.remove(&sequence);
        if self.closed {
            self.bell.ring();
        }
        message
    }
}

impl Signals for MemorySignals {
    fn next(&self) -> Answer<'_, Option<Vec<Delivery>>> {
        let counted = self.next_counted();
        Box::pin(async move { counted.await.map(|batch| batch.into_iter().map(|(it, _)| it).collect()) })
    }

    fn ready(&self) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move {
            match self.inner.advanced().script.down(self.inner.clock.now()) {
                Some(_) => Err(PortError::Unavailable("the bus cannot be reached".into())),
                None => Ok(()),
            }
        })
    }
}

struct MemoryReceipt {
    inner: Arc<Inner>,
    sequence: u64,
}

impl Receipted for MemoryReceipt {
    fn acknowledge(self: Box<Self>, durable: bool) -> Answer<'static, ()> {
        Box::pin(async move {
            let (mut state, at) = (self.inner.advanced(), self.inner.clock.now());
            let lost = state.script.down(at).is_some() || state.script.take().unwrap_or(false);
            if !lost {
                state.acknowledged.push(Acknowledged { sequence: self.sequence, at, durable });
                state.settle(self.sequence);
            }
        })
    }

    fn refuse(self: Box<Self>, reason: &str, detail: &str) -> Answer<'static, Result<(), PortError>> {
        let (reason, detail) = (reason.to_owned(), detail.to_owned());
        Box::pin(async move {
            let (mut state, at) = (self.inner.advanced(), self.inner.clock.now());
            if state.script.down(at).is_some() {
                return Err(PortError::Unavailable("the bus cannot be reached".into()));
            }
            // A second refusal of the same message finds it settled.
            if let Some(message) = state.settle(self.sequence) {
                state.refused.push(Refused { message, reason, detail, at });
            }
            Ok(())
        })
    }
}
