//! What people may do to an action that is under way: cancel it before it lands, or say what became of a send that nobody
//! can read back.

use std::sync::Arc;

use flyball_core::id::IntentId;
use flyball_core::intent::{Event, Execution, Intent, Stage};
use flyball_core::outcome::Outcome;

use super::Engine;

/// Who says so, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Why a person's word is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is not open any more, or nothing of it is unsettled.
    #[error("it is {0}: {1}")]
    Past(&'static str, &'static str),
    /// The cluster answers, so nobody has to be believed.
    #[error(
        "the target can be read, so what became of the send is read and not said: `flyball why` shows it within seconds"
    )]
    Readable,
    /// The cluster says otherwise.
    #[error(
        "the API server has just taken a fence on the version that the send was made for, so it has not landed and never can"
    )]
    Absent,
}

/// What has landed is not cancelled.
const LANDED: &str = "what has landed is not cancelled; pause its target and change it back";
/// Only a send without an answer has an open end.
const SETTLED: &str = "only a send without an answer is resolved by hand";

impl Engine {
    /// Asks whoever drives it to end it before it has an effect, and returns when it has ended. What is on its way is
    /// fenced first, so that it cannot land later.
    ///
    /// # Errors
    /// It had landed, or was over.
    pub async fn cancel(self: &Arc<Self>, id: IntentId, word: Word) -> Result<(), NotTaken> {
        let mut changes = self.book.changes();
        let mut asked = false;
        while let Some(stage) = self.stage(id) {
            match &stage {
                Stage::Closed { outcome: Outcome::Cancelled, .. } => return Ok(()),
                Stage::Recorded | Stage::Sending { .. } | Stage::Unknown { .. } if !asked => {
                    let event = Event::CancelAsked { by: word.by.clone(), reason: word.reason.clone() };
                    asked = self.book.happened(id, event).await;
                }
                Stage::Recorded | Stage::Sending { .. } | Stage::Unknown { .. } => {
                    tokio::select! {
                        biased;
                        () = self.stopping.cancelled() => break,
                        _ = changes.changed() => {}
                    }
                }
                landed => return Err(NotTaken::Past(landed.label(), LANDED)),
            }
        }
        Err(NotTaken::Past("not known any more", LANDED))
    }

    /// Ends an unsettled send by a person's word, where the cluster cannot tell. A fence is tried all the same: where it is
    /// answered, no copy can land later, and where it contradicts the word, the word is not taken.
    ///
    /// # Errors
    /// Nothing is unsettled, or the cluster can tell.
    pub async fn resolve(self: &Arc<Self>, id: IntentId, applied: bool, word: Word) -> Result<(), NotTaken> {
        let Some(intent) = self.book.history().intent(id).cloned() else {
            return Err(NotTaken::Past("not known any more", SETTLED));
        };
        let Some(fence) = intent.fence() else { return Err(NotTaken::Past(intent.stage().label(), SETTLED)) };
        if self.cluster.snapshot(intent.request()).await.is_ok() {
            return Err(NotTaken::Readable);
        }
        let fenced = match self.cluster.fence(fence).await {
            Execution::Applied(_) if applied => return Err(NotTaken::Absent),
            // Taken, or taken by another write: the version that the send was made for is gone.
            Execution::Applied(_) | Execution::Conflict(_) => true,
            Execution::Rejected(_) | Execution::Unknown(_) => false,
        };
        let event = Event::Resolved { applied, fenced, by: word.by, reason: word.reason };
        if !self.book.happened(id, event).await {
            let stage = self.stage(id).map_or("not known any more", |it| it.label());
            return Err(NotTaken::Past(stage, SETTLED));
        }
        if let Some(ended) = self.book.history().intent(id)
            && let Stage::Closed { outcome, .. } = ended.stage()
        {
            self.telemetry.ended(ended, *outcome, self.book.now());
        }
        Ok(())
    }

    fn stage(&self, id: IntentId) -> Option<Stage> {
        self.book.history().intent(id).map(Intent::stage).cloned()
    }
}
