//! Keeps deliveries from coming again while they are worked on. A delivery may wait for the ledger, for a read of the
//! cluster, for its place in a queue: longer than the server waits. As long as this process lives and holds it, the server is
//! told so; when the process dies, the telling stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Context};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::streams::ACK_WAIT;

/// How often held deliveries are looked at. A delivery is told of first between one and two of these after it came, so four in
/// a wait leave half of it for a telling that is late.
const EVERY: Duration = Duration::from_millis(ACK_WAIT.as_secs() * 1_000 / 4);
/// No work on one delivery takes this long: reads and appends end within half a minute each. One that is held longer was
/// forgotten by its worker, and another replica may do better.
const LONGEST: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
struct Held {
    next: u64,
    deliveries: BTreeMap<u64, (Instant, Subject)>,
}

/// The deliveries of this process that are not settled.
pub(super) struct Holds {
    context: Context,
    held: Mutex<Held>,
}

/// One of them. Dropping it leaves the delivery to come again.
pub(super) struct Hold {
    holds: Arc<Holds>,
    key: u64,
    reply: Subject,
}

impl Holds {
    pub(super) fn new(context: Context) -> Self {
        Self { context, held: Mutex::default() }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Holds the delivery whose acknowledgement goes to `reply`.
    pub(super) fn hold(self: &Arc<Self>, reply: Subject) -> Hold {
        let mut held = self.held();
        let key = held.next;
        held.next += 1;
        held.deliveries.insert(key, (Instant::now(), reply.clone()));
        drop(held);
        Hold { holds: self.clone(), key, reply }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while it holds the deliveries")
    }

    /// Those that would come again soon. The ones held too long are forgotten here.
    fn due(&self, now: Instant) -> Vec<Subject> {
        let mut held = self.held();
        held.deliveries.retain(|_, (since, _)| now - *since < LONGEST);
        let due = held.deliveries.values().filter(|(since, _)| now - *since >= EVERY);
        due.map(|(_, reply)| reply.clone()).collect()
    }
}

impl Hold {
    /// Settles the delivery.
    pub(super) fn acker(&self) -> Acker {
        Acker::new(self.holds.context.clone(), Some(self.reply.clone()))
    }

    pub(super) fn context(&self) -> &Context {
        self.holds.context()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.held().deliveries.remove(&self.key);
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
