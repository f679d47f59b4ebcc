//! Taking back: an undo is an intent like any other, through the front door. Its parent stays open until it has ended, so
//! that a crash between the two loses nothing.

use std::sync::Arc;

use flyball_core::deny::DenyReason;
use flyball_core::follow_up::undo_of;
use flyball_core::intent::{Intent, Stage};
use flyball_core::outcome::Outcome;
use jiff::SignedDuration;

use super::Engine;
use super::drive::Step;
use crate::admit::Admittance;

/// How long to wait before a deferred undo is asked again.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

impl Engine {
    pub(super) async fn undo(self: Arc<Self>, parent: &Intent) -> Step {
        let Stage::Undoing { undo, verdict, detail } = parent.stage() else { return Step::On };
        let found = self.book.history().intent(*undo).map(|it| (it.is_open(), it.stage().clone()));
        match found {
            Some((false, Stage::Closed { outcome, detail: how, .. })) if outcome.is_success() => {
                self.close(parent, Outcome::RolledBack, format!("{detail}; undone: {how}")).await
            }
            Some((false, stage)) => {
                self.close(parent, Outcome::Failed, format!("{detail}; the undo ended {}", stage.label())).await
            }
            Some((true, _)) => {
                // Boxed, since a drive that drives its undo would otherwise contain itself.
                Box::pin(self.clone().drive(*undo)).await;
                if self.book.history().intent(*undo).is_some_and(Intent::is_open) { Step::Stop } else { Step::On }
            }
            None => self.ask_for_undo(parent, *verdict, detail).await,
        }
    }

    async fn ask_for_undo(&self, parent: &Intent, verdict: Outcome, detail: &str) -> Step {
        let Some(request) = undo_of(parent) else { return self.close(parent, verdict, detail.to_owned()).await };
        let policies = self.policies.load_full();
        match self.consider(request, &policies).await.0 {
            Admittance::Recorded(id) => {
                tracing::info!(intent = %id, parent = %parent.id(), "Undo recorded");
                Step::On
            }
            // A pause is no verdict: the change that failed is still there, and is taken back when people let us.
            Admittance::Denied(it) if it.reasons.iter().all(passes) => self.ask_later().await,
            Admittance::Denied(objections) => {
                let why = objections.reasons.first().map_or("denied", DenyReason::label);
                tracing::error!(intent = %parent.id(), why, "The undo was denied; a person should look");
                let outcome = if why == "TargetChanged" { Outcome::Superseded } else { Outcome::Failed };
                self.close(parent, outcome, format!("{} ({detail}); the undo was denied: {why}", verdict.label())).await
            }
            Admittance::Deferred(_) => self.ask_later().await,
        }
    }

    async fn ask_later(&self) -> Step {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Step::Stop,
            () = self.clock.sleep(ASK_AGAIN) => Step::On,
        }
    }
}

fn passes(reason: &DenyReason) -> bool {
    matches!(reason, DenyReason::Paused { .. }) || reason.passes_by_itself()
}
