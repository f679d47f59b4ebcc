//! The others, on whichever bus they are by now: a ledger that moves to NATS may have more than one process from then on.

use std::sync::Arc;

use flyball_core::ports::{Answer, Beat, PortError, Replicas};
use tokio::sync::watch;

/// The way to the others that is in use.
pub struct Switch(watch::Sender<Arc<dyn Replicas>>);

impl Switch {
    /// Begins with `first`.
    pub fn new(first: Arc<dyn Replicas>) -> Self {
        Self(watch::Sender::new(first))
    }

    /// Goes on with `next`.
    pub fn exchange(&self, next: Arc<dyn Replicas>) {
        self.0.send_replace(next);
    }
}

impl Replicas for Switch {
    fn beat(&self, beat: Beat) -> Answer<'_, Result<(), PortError>> {
        let current = self.0.borrow().clone();
        Box::pin(async move { current.beat(beat).await })
    }

    fn hear(&self) -> Answer<'_, Beat> {
        let mut changes = self.0.subscribe();
        Box::pin(async move {
            loop {
                let current = changes.borrow_and_update().clone();
                tokio::select! {
                    biased;
                    // Without a sender there are no others to come.
                    Ok(()) = changes.changed() => {}
                    beat = current.hear() => return beat,
                }
            }
        })
    }
}
