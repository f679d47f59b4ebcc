//! Verification, level-triggered: a watch is a hint, a periodic read is the truth.

use flyball_core::facts::Sighting;
use flyball_core::follow_up::follow_up;
use flyball_core::intent::{Event, Intent, Stage};
use flyball_core::verify::{Verification, complete, verify};
use jiff::{SignedDuration, Timestamp};

use super::Engine;
use super::drive::Step;

/// How often a rollout is read without any hint: a stalled watch delays a verdict by no more than this.
pub const POLL: SignedDuration = SignedDuration::from_secs(3);
/// Never read faster than this, however many hints come.
const SETTLE: SignedDuration = SignedDuration::from_millis(20);
/// Nor faster than this because of symptoms: they come with every signal about the target.
const SYMPTOMS: SignedDuration = SignedDuration::from_secs(1);

impl Engine {
    pub(super) async fn watch(&self, intent: &Intent) -> Step {
        let target = &intent.request().target;
        let evicted = intent.change().edit.evicted().map(|(pod, uid)| (&**pod, &**uid));
        let began = self.clock.now();
        let mut complete_since: Option<Timestamp> = None;
        loop {
            // The hint is asked for before the read, so that a change right after the read is not slept through.
            let hint = self.cluster.changed(target);
            let symptom = self.symptom_comes(intent);
            match self.cluster.sight(target, evicted).await {
                Ok(seen) => {
                    let now = self.book.now();
                    complete_since = Self::since(intent, seen.as_ref(), complete_since, now);
                    let symptoms = self.book.history().symptoms(target);
                    if let Some(verdict) = verify(intent, seen.as_ref(), symptoms, complete_since, now) {
                        return self.conclude(intent, verdict, began).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(intent = %intent.id(), %target, %error, "The rollout cannot be read; trying again");
                }
            }
            let wait = self.next_look(intent, complete_since);
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Step::Stop,
                () = self.clock.sleep(wait) => {}
                () = hint => self.clock.sleep(SETTLE).await,
                () = symptom => {}
            }
        }
    }

    /// Since when every read found the rollout complete.
    fn since(intent: &Intent, seen: Option<&Sighting>, since: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let (Stage::Applied { receipt, .. } | Stage::RolledOut { receipt, .. }) = intent.stage() else { return None };
        seen.filter(|seen| complete(receipt, seen)).map(|_| since.unwrap_or(now))
    }

    /// The next moment at which the passing of time alone can change the verdict, or the next poll.
    fn next_look(&self, intent: &Intent, since: Option<Timestamp>) -> SignedDuration {
        let spec = &intent.request().verify;
        let (Stage::Applied { at, .. } | Stage::RolledOut { at, .. }) = intent.stage() else { return POLL };
        let recovery = spec.recovered.map(|it| it.within);
        let edges = [Some((*at, spec.timeout)), since.map(|at| (at, spec.stable_for)), since.zip(recovery)];
        let now = self.book.now();
        let ahead = edges.into_iter().flatten().filter_map(|(from, length)| from.checked_add(length).ok());
        let next = ahead.filter(|edge| *edge > now).map(|edge| edge.duration_since(now)).min();
        next.map_or(POLL, |next| next.min(POLL)).max(SETTLE)
    }

    /// Returns when something new was heard of the target's symptoms; never, where nobody asks for them. From the call on
    /// nothing is missed.
    fn symptom_comes(&self, intent: &Intent) -> impl Future<Output = ()> + Send + use<'_> {
        let asked = intent.request().verify.recovered.is_some();
        let heard = asked.then(|| self.book.symptoms());
        let target = intent.request().target.clone();
        let before = asked.then(|| self.book.history().symptoms(&target));
        async move {
            let Some((mut heard, before)) = heard.zip(before) else { return std::future::pending().await };
            self.clock.sleep(SYMPTOMS).await;
            while self.book.history().symptoms(&target) == before {
                // The sender lives as long as the book.
                let _ = heard.changed().await;
            }
        }
    }

    async fn conclude(&self, intent: &Intent, verdict: Verification, began: Timestamp) -> Step {
        let (outcome, detail) = match verdict {
            Verification::RolledOut => return self.write(intent, Event::RolledOut).await,
            Verification::Over(outcome, detail) => (outcome, detail),
        };
        self.telemetry.verified(intent, outcome, &detail, began, self.clock.now());
        if let Some(request) = follow_up(intent, outcome) {
            let undo = request.id(&self.cluster_name);
            tracing::warn!(intent = %intent.id(), target = %request.target, outcome = outcome.label(), detail, "Verification failed; undoing");
            return self.write(intent, Event::Undoing { undo, verdict: outcome, detail }).await;
        }
        if outcome.is_success() {
            tracing::info!(intent = %intent.id(), target = %intent.request().target, outcome = outcome.label(), detail, "Verified");
        } else {
            tracing::error!(intent = %intent.id(), target = %intent.request().target, outcome = outcome.label(), detail, "Not verified; a person should look");
        }
        self.close(intent, outcome, detail).await
    }
}
