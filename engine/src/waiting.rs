//! The waiting room: requests whose every objection passes by itself are judged anew, by priority, when something has
//! moved. Twelve sick workloads with five slots are all helped, five at a time.

use std::cmp::Reverse;
use std::sync::Arc;

use flyball_core::deny::DenyReason;
use flyball_core::guardrail::Objections;
use flyball_core::history::Waiting;
use flyball_core::id::Revision;
use flyball_core::record::{Deferral, Record, Release, WaitKey};
use jiff::SignedDuration;

use crate::admit::Admittance;
use crate::changes;
use crate::pipeline::Engine;

/// How often the room is looked through when nothing seems to have moved: what a rollout outside of our doing ends is seen
/// within this.
const LOOK: SignedDuration = SignedDuration::from_secs(1);

/// Looks after the room until the process stops.
pub async fn attend(engine: Arc<Engine>) {
    let mut changes = engine.book.changes();
    loop {
        engine.demote().await;
        for key in waiters(&engine) {
            // With the cluster out of reach every look would wait for it in vain, one after the other.
            if engine.stopping.is_cancelled() || look_at(&engine, &key).await == Look::Blind {
                break;
            }
        }
        tokio::select! {
            biased;
            () = engine.stopping.cancelled() => return,
            () = engine.clock.sleep(LOOK) => {}
            () = slot_freed(&engine, &mut changes) => {}
        }
    }
}

/// Who waits: higher priority first, then who waits longest.
fn waiters(engine: &Engine) -> Vec<WaitKey> {
    let history = engine.book.history();
    let mut waiting: Vec<_> =
        history.waiting().map(|(key, it)| (Reverse(it.deferral.request.priority), it.since, key.clone())).collect();
    waiting.sort();
    waiting.into_iter().map(|(.., key)| key).collect()
}

/// Open intents and slots in use: what falls when somebody may go on.
fn in_use(engine: &Engine) -> usize {
    let history = engine.book.history();
    history.open_count() + usize::try_from(history.slots(None)).unwrap_or(0)
}

/// Returns when less is in use than before.
async fn slot_freed(engine: &Engine, changes: &mut changes::Receiver<Revision>) {
    let mut used = in_use(engine);
    loop {
        // The sender lives as long as the book.
        let _ = changes.changed().await;
        let now = in_use(engine);
        if now < used {
            return;
        }
        used = now;
    }
}

/// What a look at a waiter found.
#[derive(PartialEq, Eq)]
enum Look {
    /// Something, or nothing: go on with the next.
    Seen,
    /// The cluster cannot be read.
    Blind,
}

async fn look_at(engine: &Arc<Engine>, key: &WaitKey) -> Look {
    let Some(waiting) = engine.book.history().waiter(key).cloned() else { return Look::Seen };
    let mut request = waiting.deferral.request.clone();
    // Later signals that joined say that it is as bad as ever: their age counts, here and when it is sent.
    request.evidence.observed_at = waiting.refreshed_at;
    let began = engine.clock.now();
    let policies = engine.policies.load_full();
    match engine.consider(request, &policies).await.0 {
        Admittance::Recorded(id) => {
            engine.tell(id);
            let intent = engine.book.history().intent(id).map(|it| it.request().clone());
            if let Some(request) = intent {
                engine.telemetry.admitted_later(&request, id, began, engine.clock.now());
            }
            engine.start(id);
        }
        Admittance::Denied(objections) => release(engine, key, &waiting, objections).await,
        Admittance::Deferred(Objections { reasons, .. }) => {
            let blind = reasons.iter().any(|it| matches!(it, DenyReason::StateUnavailable { .. }));
            waits_for_other(engine, key, &waiting, reasons).await;
            return if blind { Look::Blind } else { Look::Seen };
        }
    }
    Look::Seen
}

/// The last objection is what people are shown, and what the end names if the signal expires.
async fn waits_for_other(engine: &Arc<Engine>, key: &WaitKey, waiting: &Waiting, objections: Vec<DenyReason>) {
    let label = |list: &[DenyReason]| list.first().map(DenyReason::label);
    if label(&objections) == label(&waiting.deferral.objections) {
        return;
    }
    let deferral = Deferral { request: waiting.deferral.request.clone(), objections };
    let same = |it: &Waiting| it.deferral.request.cause == deferral.request.cause;
    engine.admitter.write(|it| it.waiter(key).filter(|it| same(it)).map(|_| Record::Deferred(deferral.clone()))).await;
}

/// Ends the wait of the one that was looked at. A pause does not: who waits while people look goes on afterwards, if the
/// signal is still fresh.
async fn release(engine: &Arc<Engine>, key: &WaitKey, waiting: &Waiting, objections: Objections) {
    let only_paused =
        objections.reasons.iter().all(|it| matches!(it, DenyReason::Paused { .. }) || it.passes_by_itself());
    if only_paused {
        return;
    }
    let request = waiting.deferral.request.clone();
    let release = Release { key: key.clone(), request, reasons: objections.reasons };
    let same = |it: &Waiting| {
        it.refreshed_at == waiting.refreshed_at && it.deferral.request.cause == waiting.deferral.request.cause
    };
    let wrote =
        engine.admitter.write(|it| it.waiter(key).filter(|it| same(it)).map(|_| Record::Released(release.clone())));
    if wrote.await {
        engine.telemetry.released(&release);
        engine.tell_of_step(key).await;
    }
}
