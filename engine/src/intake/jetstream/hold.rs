//! Keeps deliveries from coming again while they are worked on. A delivery may wait for the ledger, for a read of the
//! cluster, for its place in a queue: longer than the server waits. As long as this process lives and holds it, the server is
//! told so; when the process dies, the telling stops.
//!
//! On a link that is longer than the server waits, copies are on their way before the first telling arrives. One of what this
//! process has in hand says nothing new, and one of what it has just settled is no sign that anybody died of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Context};
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::streams::{ACK_WAIT, UNSETTLED};
use crate::nats;

/// How often held deliveries are looked at. A delivery is told of first between one and two of these after it came, so four in
/// a wait leave half of it for a telling that is late.
const EVERY: Duration = Duration::from_millis(ACK_WAIT.as_secs() * 1_000 / 4);
/// No work on one delivery takes this long: reads and appends end within half a minute each. One that is held longer was
/// forgotten by its worker, and another replica may do better.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// How long what was settled is known: the acknowledgement goes one way and the last copy came the other, and a link on which
/// that takes longer answers nothing in time.
const KNOWN: Duration = nats::ANSWER_TIMEOUT;

/// A message: which stream, which place in it, and when it was stored there. A stream that is made anew gives its places again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) stream: Arc<str>,
    pub(super) sequence: u64,
    pub(super) published_at: Timestamp,
}

struct InHand {
    number: u64,
    since: Instant,
    reply: Subject,
}

#[derive(Default)]
struct Held {
    next: u64,
    deliveries: BTreeMap<Place, InHand>,
    settled: Settled,
}

/// What was settled a moment ago, oldest first.
#[derive(Default)]
struct Settled {
    order: VecDeque<(Instant, Place)>,
    known: BTreeSet<Place>,
}

/// The deliveries of this process that are not settled.
pub(super) struct Holds {
    context: Context,
    held: Mutex<Held>,
}

/// One of them. Dropping it leaves the delivery to come again.
pub(super) struct Hold {
    holds: Arc<Holds>,
    place: Place,
    number: u64,
    reply: Subject,
    is_copy: bool,
}

impl Settled {
    fn insert(&mut self, place: Place, now: Instant) {
        if self.known.insert(place.clone()) {
            self.order.push_back((now, place));
        }
        self.forget(now);
    }

    /// All that servers may have unsettled at once is enough to know.
    fn forget(&mut self, now: Instant) {
        let most = usize::try_from(UNSETTLED).unwrap_or_default();
        while self.order.len() > most || self.order.front().is_some_and(|(at, _)| now - *at >= KNOWN) {
            let Some((_, place)) = self.order.pop_front() else { return };
            self.known.remove(&place);
        }
    }
}

impl Holds {
    pub(super) fn new(context: Context) -> Self {
        Self { context, held: Mutex::default() }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Holds the delivery of a message, whose acknowledgement goes to `reply`. Nothing for a copy of what is in hand: it is left
    /// to the delivery that is.
    pub(super) fn hold(self: &Arc<Self>, place: Place, reply: Subject) -> Option<Hold> {
        let mut held = self.held();
        if held.deliveries.contains_key(&place) {
            return None;
        }
        let (number, now) = (held.next, Instant::now());
        held.next += 1;
        held.settled.forget(now);
        let is_copy = held.settled.known.contains(&place);
        held.deliveries.insert(place.clone(), InHand { number, since: now, reply: reply.clone() });
        drop(held);
        Some(Hold { holds: self.clone(), place, number, reply, is_copy })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while it holds the deliveries")
    }

    /// Those that would come again soon. The ones held too long are forgotten here.
    fn due(&self, now: Instant) -> Vec<Subject> {
        let mut held = self.held();
        held.settled.forget(now);
        held.deliveries.retain(|_, it| now - it.since < LONGEST);
        let due = held.deliveries.values().filter(|it| now - it.since >= EVERY);
        due.map(|it| it.reply.clone()).collect()
    }
}

impl Hold {
    /// Settles the delivery on the server.
    pub(super) fn acker(&self) -> Acker {
        Acker::new(self.holds.context.clone(), Some(self.reply.clone()))
    }

    pub(super) fn context(&self) -> &Context {
        self.holds.context()
    }

    /// Of which message.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether this process settled another delivery of it a moment ago, and lives.
    pub(super) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Its end has been told to the server.
    pub(super) fn settled(self) {
        self.holds.held().settled.insert(self.place.clone(), Instant::now());
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.holds.held();
        // What was held too long was forgotten, and may be in hand again.
        if held.deliveries.get(&self.place).is_some_and(|it| it.number == self.number) {
            held.deliveries.remove(&self.place);
        }
    }
}

/// Tells the server, until it is dropped.
pub(super) async fn extend(holds: Arc<Holds>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        for reply in holds.due(now) {
            let acker = Acker::new(holds.context.clone(), Some(reply));
            if let Err(error) = acker.ack_with(AckKind::Progress).await {
                tracing::debug!(%error, "deliveries cannot be held");
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sequence: u64) -> Place {
        Place { stream: "S".into(), sequence, published_at: Timestamp::UNIX_EPOCH }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_settled_is_known_for_a_while_and_no_more_than_can_be_unsettled() {
        let mut settled = Settled::default();
        settled.insert(place(1), Instant::now());
        let nearly = KNOWN.mul_f32(0.9);
        tokio::time::advance(nearly).await;
        settled.insert(place(2), Instant::now());
        assert!(settled.known.contains(&place(1)));
        tokio::time::advance(KNOWN.saturating_sub(nearly)).await;
        settled.forget(Instant::now());
        assert!(!settled.known.contains(&place(1)) && settled.known.contains(&place(2)));
        let most = u64::try_from(UNSETTLED).unwrap();
        (3..most + 4).for_each(|it| settled.insert(place(it), Instant::now()));
        assert_eq!((settled.known.len(), settled.order.len()), (20_000, 20_000));
        assert!(!settled.known.contains(&place(3)) && settled.known.contains(&place(4)));
    }
}
