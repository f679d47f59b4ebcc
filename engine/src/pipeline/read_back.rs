//! A send without a settling answer: what happened is found by reading, never guessed from the error.

use flyball_core::facts::Snapshot;
use flyball_core::guardrail::Verdict;
use flyball_core::intent::{Event, Execution, Intent, Receipt, Stage};
use flyball_core::outcome::Outcome;
use flyball_core::plan::Edit;

use super::Engine;
use super::drive::Step;

/// What a read tells about an unsettled send.
enum Found {
    /// Our stamp is there.
    Landed(Receipt),
    /// Nothing moved: a copy may still be on its way, and the same bytes can win only once.
    SendAgain,
    /// The version moved and the spec did not: no copy can win any more.
    Missed,
    /// Somebody changed the spec, or the object is another one.
    Superseded(&'static str),
}

impl Engine {
    pub(super) async fn read_back(&self, intent: &Intent) -> Step {
        let mut wait = Self::first_wait();
        loop {
            match self.cluster.snapshot(intent.request()).await {
                Ok(seen) => {
                    return match found(intent, seen.as_ref()) {
                        Found::Landed(receipt) => self.write(intent, Event::Applied(receipt)).await,
                        Found::Missed => {
                            let detail = "another write came first".to_owned();
                            self.write(intent, Event::Missed { detail }).await
                        }
                        Found::Superseded(why) => self.close(intent, Outcome::Superseded, why.to_owned()).await,
                        Found::SendAgain => self.send_again(intent).await,
                    };
                }
                Err(error) => match self.wait_to_read(intent, &error.to_string(), wait).await {
                    Some(longer) => wait = longer,
                    None => return Step::Stop,
                },
            }
        }
    }

    /// The same bytes again: the ledger knows of this attempt already.
    async fn send_again(&self, intent: &Intent) -> Step {
        let gate = self.gate.read().await;
        if matches!(self.held(intent), Verdict::Defer(_)) {
            drop(gate);
            return self.hold(intent).await.unwrap_or(Step::On);
        }
        let Some(attempt) = intent.attempt() else { return Step::On };
        let number = attempt.number();
        let execution = self.telemetry.executing(intent, number, self.cluster.execute(attempt)).await;
        drop(gate);
        match execution {
            // Throttled, not authorised, no answer: only time and reading help, and neither at once.
            Execution::Conflict(detail) | Execution::Unknown(detail) => {
                if self.wait_to_read(intent, &detail, Self::first_wait() * 5).await.is_none() {
                    return Step::Stop;
                }
                self.unanswered_once(intent, detail).await
            }
            settled => self.settle(intent, settled).await,
        }
    }

    async fn unanswered_once(&self, intent: &Intent, detail: String) -> Step {
        match intent.stage() {
            Stage::Unknown { .. } => Step::On,
            _ => self.write(intent, Event::Unanswered { detail }).await,
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
        Edit::Evict { uid, .. } if stamped && seen.pod.as_ref().is_some_and(|pod| pod.uid == *uid) => Found::SendAgain,
        _ if stamped => {
            let receipt =
                Receipt { generation: seen.rollout.generation, resource_version: seen.resource_version.clone() };
            Found::Landed(receipt)
        }
        _ if seen.resource_version == change.resource_version => Found::SendAgain,
        // One generation more with the same spec is the controller's or a person's annotation. Two may be our change and
        // somebody taking it back: never act on that cause again.
        _ if seen.spec_digest() == change.base && seen.rollout.generation <= change.generation + 1 => Found::Missed,
        _ => Found::Superseded("somebody else changed the target"),
    }
}
