//! The waiting room: requests whose every objection passes by itself are judged anew, by priority, when something has
//! moved. Twelve sick workloads with five slots are all helped, five at a time.

use std::cmp::Reverse;
use std::sync::Arc;

use flyball_core::deny::DenyReason;
use flyball_core::guardrail::{Objections, Verdict, screen};
use flyball_core::record::{Record, Release, WaitKey};
use jiff::SignedDuration;

use crate::admit::Admittance;
use crate::pipeline::Engine;

/// How often the room is looked through when nothing seems to have moved: what a rollout outside of our doing ends is seen
/// within this.
const LOOK: SignedDuration = SignedDuration::from_secs(1);

/// Looks after the room until the process stops.
pub async fn attend(engine: Arc<Engine>) {
    let mut changes = engine.book.changes();
    loop {
        for key in waiters(&engine) {
            if engine.stopping.is_cancelled() {
                return;
            }
            look_at(&engine, &key).await;
        }
        tokio::select! {
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

/// Returns when fewer slots are in use than before.
async fn slot_freed(engine: &Engine, changes: &mut tokio::sync::watch::Receiver<flyball_core::id::Revision>) {
    let mut used =
        engine.book.history().open().count() + usize::try_from(engine.book.history().slots(None)).unwrap_or(0);
    loop {
        // The sender lives as long as the book.
        let _ = changes.changed().await;
        let now =
            engine.book.history().open().count() + usize::try_from(engine.book.history().slots(None)).unwrap_or(0);
        if now < used {
            return;
        }
        used = now;
    }
}

async fn look_at(engine: &Arc<Engine>, key: &WaitKey) {
    let Some(request) = engine.book.history().waiter(key).map(|it| it.deferral.request.clone()) else { return };
    let began = engine.clock.now();
    let policies = engine.policies.load_full();
    let verdict = screen(request, &engine.book.history(), &policies.guardrails, engine.book.now());
    let admittance = match verdict {
        Verdict::Pass(cleared) => match engine.inspect(cleared, &policies).await {
            Verdict::Pass(admitted) => engine.admitter.admit(admitted, policies).await,
            Verdict::Defer(objections) => Admittance::Deferred(objections),
            Verdict::Deny(objections) => Admittance::Denied(objections),
        },
        Verdict::Defer(objections) => Admittance::Deferred(objections),
        Verdict::Deny(objections) => Admittance::Denied(objections),
    };
    match admittance {
        Admittance::Recorded(id) => {
            engine.tell(id);
            let intent = engine.book.history().intent(id).map(|it| it.request().clone());
            if let Some(request) = intent {
                engine.telemetry.admitted_later(&request, id, began, engine.clock.now());
            }
            engine.start(id);
        }
        Admittance::Deferred(_) => {}
        Admittance::Denied(objections) => release(engine, key, objections).await,
    }
}

/// Ends the wait. A pause does not: who waits while people look goes on afterwards, if the signal is still fresh.
async fn release(engine: &Arc<Engine>, key: &WaitKey, objections: Objections) {
    let only_paused =
        objections.reasons.iter().all(|it| matches!(it, DenyReason::Paused { .. }) || it.passes_by_itself());
    if only_paused {
        return;
    }
    let release = Release { key: key.clone(), request: objections.request, reasons: objections.reasons };
    engine.telemetry.released(&release);
    engine.admitter.write(|history| history.waiter(key).map(|_| Record::Released(release.clone()))).await;
}
