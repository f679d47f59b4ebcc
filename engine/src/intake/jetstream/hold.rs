//! Keeps deliveries from coming again while they are worked on. A delivery may wait for the ledger, for a read of the
//! cluster, for its place in a queue: longer than the server waits. As long as this process lives and holds it, the server is
//! told so; when the process dies, the telling stops.
//!
//! On a link that is longer than the server waits, copies are on their way before the first telling arrives. One of what this
//! process has in hand says nothing new, and one of what it has just settled is no sign that anybody died of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::Subject;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Context};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::held::{Batch, Came, EVERY, Held, Place, Taken};
use crate::changes::until;

/// The deliveries of this process that are not settled, and those that were a moment ago.
pub(super) struct Holds {
    context: Context,
    held: Mutex<Held>,
    leaving: Mutex<Leaving>,
    bell: Notify,
    left: Notify,
}

/// Acknowledgements that are on their way out: they leave together.
#[derive(Default)]
struct Leaving {
    waiting: Vec<(Arc<Batch>, usize, Subject)>,
    sending: bool,
}

/// One delivery in hand. Dropping it leaves it to come again.
pub(super) struct Hold {
    holds: Arc<Holds>,
    place: Place,
    taken: Taken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Holds {
    pub(super) fn new(context: Context) -> Self {
        let (held, leaving) = (Mutex::default(), Mutex::default());
        Self { context, held, leaving, bell: Notify::new(), left: Notify::new() }
    }

    /// Holds deliveries that came together. Nothing for a copy of what is in hand: it is left to the delivery that is.
    pub(super) fn hold(self: &Arc<Self>, stream: &Arc<str>, came: Vec<Came>) -> Vec<Option<Hold>> {
        let places: Vec<Place> = came.iter().map(|it| it.place).collect();
        let taken = lock(&self.held).take(stream, came, Instant::now());
        let hold = |(place, taken)| Hold { holds: self.clone(), place, taken };
        places.into_iter().zip(taken).map(|(place, taken)| Some(hold((place, taken?)))).collect()
    }

    /// Returns when every acknowledgement has been handed to the server.
    pub(super) async fn all_left(&self) {
        let idle = || {
            let leaving = lock(&self.leaving);
            (leaving.waiting.is_empty() && !leaving.sending).then_some(())
        };
        until(&self.left, idle).await;
        if let Err(error) = self.context.client().flush().await {
            tracing::debug!(%error, "the last acknowledgements may be lost");
        }
    }
}

impl Hold {
    pub(super) fn context(&self) -> &Context {
        &self.holds.context
    }

    /// Of which stream.
    pub(super) fn stream(&self) -> &str {
        self.taken.batch.stream()
    }

    /// Of which message.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Whether this process settled another delivery of it a moment ago, and lives.
    pub(super) fn is_copy(&self) -> bool {
        self.taken.is_copy
    }

    /// Settles the delivery: its acknowledgement leaves together with others.
    pub(super) fn settle(self) {
        let Taken { batch, at, .. } = &self.taken;
        let Some(reply) = batch.leave(*at) else { return };
        let mut leaving = lock(&self.holds.leaving);
        leaving.waiting.push((batch.clone(), *at, reply));
        if leaving.waiting.len() == 1 {
            self.holds.bell.notify_one();
        }
    }

    /// Settles the delivery, and waits until the server has confirmed it.
    pub(super) async fn confirmed(self) -> Result<(), async_nats::Error> {
        let Taken { batch, at, .. } = &self.taken;
        let Some(reply) = batch.leave(*at) else { return Ok(()) };
        let confirmed = Acker::new(self.holds.context.clone(), Some(reply)).double_ack().await;
        batch.left(*at, confirmed.is_ok(), Instant::now());
        confirmed
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // It says nothing of one that is being acknowledged.
        self.taken.batch.give_up(self.taken.at, Instant::now());
    }
}

/// Sends acknowledgements, until it is dropped. One that is lost costs a redelivery, which the ledger recognises.
pub(super) async fn acknowledge(holds: Arc<Holds>) {
    let client = holds.context.client();
    loop {
        holds.bell.notified().await;
        let waiting = {
            let mut leaving = lock(&holds.leaving);
            leaving.sending = true;
            std::mem::take(&mut leaving.waiting)
        };
        for (batch, at, reply) in waiting {
            let sent = client.publish(reply, "".into()).await;
            if let Err(error) = &sent {
                tracing::debug!(%error, "an acknowledgement was not sent");
            }
            batch.left(at, sent.is_ok(), Instant::now());
        }
        lock(&holds.leaving).sending = false;
        holds.left.notify_waiters();
    }
}

/// Tells the server, until it is dropped.
pub(super) async fn extend(holds: Arc<Holds>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        let due = lock(&holds.held).due(now);
        for reply in due {
            let acker = Acker::new(holds.context.clone(), Some(reply));
            if let Err(error) = acker.ack_with(AckKind::Progress).await {
                tracing::debug!(%error, "deliveries cannot be held");
                break;
            }
        }
    }
}
