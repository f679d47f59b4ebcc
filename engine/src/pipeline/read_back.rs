//! A send without a settling answer: what happened is found by reading, never guessed from the error.

use flyball_core::facts::Snapshot;
use flyball_core::guardrail::Verdict;
use flyball_core::intent::{Event, Execution, Intent, Receipt, Stage};
use flyball_core::outcome::Outcome;
use flyball_core::plan::Edit;

use super::Engine;
use super::drive::{Patience, Step};

/// What a read tells about an unsettled send.
enum Found {
    /// Our stamp is there.
    Landed(Receipt),
    /// Nothing moved: a copy may still be on its way, and the same bytes can win only once.
    Outstanding,
    /// The stamp of an eviction is there and its pod is alive. The pod's uid is the only token: it cannot be fenced.
    HalfDone,
    /// No copy can win any more.
    Missed(&'static str),
    /// Somebody changed the spec, or the object is another one.
    Superseded(&'static str),
}

impl Engine {
    pub(super) async fn read_back(&self, intent: &Intent, patience: &mut Patience) -> Step {
        let seen = match self.cluster.snapshot(intent.request()).await {
            Ok(seen) => seen,
            Err(error) => return self.look_later(intent, &error.to_string(), patience).await,
        };
        match found(intent, seen.as_ref()) {
            Found::Landed(receipt) => self.write(intent, Event::Applied(receipt)).await,
            Found::Missed(why) => self.write(intent, Event::Missed { detail: why.to_owned() }).await,
            Found::Superseded(why) => self.close(intent, Outcome::Superseded, why.to_owned()).await,
            Found::Outstanding if self.must_fence(intent) => self.fence(intent, patience).await,
            Found::HalfDone if self.is_paused(intent) => self.look_later(intent, "paused", patience).await,
            Found::Outstanding | Found::HalfDone => self.send_again(intent, patience).await,
        }
    }

    /// A send that is not ours to repeat: it was made by a process before us, a person cancelled it, or a pause holds it.
    fn must_fence(&self, intent: &Intent) -> bool {
        intent.sent_by_another() || intent.cancelled().is_some() || !matches!(self.held(intent), Verdict::Pass(()))
    }

    fn is_paused(&self, intent: &Intent) -> bool {
        matches!(self.held(intent), Verdict::Defer(_))
    }

    /// Takes the token of the outstanding send. Whether it or the send was faster is known when the fence has landed, or
    /// by the next read.
    async fn fence(&self, intent: &Intent, patience: &mut Patience) -> Step {
        let Some(fence) = intent.fence() else { return Step::On };
        match self.cluster.fence(fence).await {
            Execution::Applied(_) => {
                let detail = "fenced: no copy of it can land any more".to_owned();
                self.write(intent, Event::Missed { detail }).await
            }
            Execution::Rejected(reason) => self.look_later(intent, reason.label(), patience).await,
            Execution::Conflict(why) | Execution::Unknown(why) => self.look_later(intent, &why, patience).await,
        }
    }

    /// The same bytes again: the ledger knows of this attempt already.
    async fn send_again(&self, intent: &Intent, patience: &mut Patience) -> Step {
        let Some(attempt) = intent.attempt() else { return Step::On };
        let number = attempt.number();
        let execution = self.telemetry.executing(intent, number, self.cluster.execute(attempt)).await;
        match execution {
            // Throttled, not authorised, no answer: only time and reading help, and neither at once.
            Execution::Conflict(detail) | Execution::Unknown(detail) => {
                if matches!(intent.stage(), Stage::Sending { .. }) {
                    self.write(intent, Event::Unanswered { detail: detail.clone() }).await;
                }
                self.look_later(intent, &detail, patience).await
            }
            // The answer is about this copy alone: one that was sent before may still be held somewhere, and land.
            Execution::Rejected(reason) => {
                tracing::warn!(intent = %intent.id(), target = %intent.request().target, reason = reason.label(), "A repeated send was rejected; fencing off the one before");
                self.fence(intent, patience).await
            }
            settled @ Execution::Applied(_) => self.settle(intent, settled).await,
        }
    }
}

fn found(intent: &Intent, seen: Option<&Snapshot>) -> Found {
    let change = intent.change();
    let Some(seen) = seen.filter(|seen| seen.uid == change.uid) else {
        return Found::Superseded("the target is gone, or another object took its name");
    };
    let stamped = seen.stamp() == Some(intent.id());
    match &change.edit {
        // The stamp goes first and the eviction second: only the pod itself tells whether the second happened.
        Edit::Evict { uid, .. } if stamped && seen.pod.as_ref().is_some_and(|pod| pod.uid == *uid) => Found::HalfDone,
        _ if stamped => {
            let receipt =
                Receipt { generation: seen.rollout.generation, resource_version: seen.resource_version.clone() };
            Found::Landed(receipt)
        }
        _ if seen.fence() == Some((intent.id(), intent.attempts())) => {
            Found::Missed("fenced: no copy of it can land any more")
        }
        _ if seen.resource_version == change.resource_version => Found::Outstanding,
        // One generation more with the same spec is the controller's or a person's annotation. Two may be our change and
        // somebody taking it back: never act on that cause again.
        _ if seen.spec_digest() == change.base && seen.rollout.generation <= change.generation + 1 => {
            Found::Missed("another write came first")
        }
        _ => Found::Superseded("somebody else changed the target"),
    }
}
