//! One process with a ledger of its own: it hears itself and nobody else.

use flyball_core::ports::{Answer, Beat, PortError, Replicas};
use tokio::sync::{Mutex, mpsc};

/// Beats that may wait to be heard: one a second, heard at once.
const QUEUE: usize = 16;

/// Nobody else.
pub struct Alone {
    said: mpsc::Sender<Beat>,
    heard: Mutex<mpsc::Receiver<Beat>>,
}

impl Default for Alone {
    fn default() -> Self {
        let (said, heard) = mpsc::channel(QUEUE);
        Self { said, heard: Mutex::new(heard) }
    }
}

impl Replicas for Alone {
    fn beat(&self, beat: Beat) -> Answer<'_, Result<(), PortError>> {
        // A full queue drops a beat, which is what a bus would do.
        let _ = self.said.try_send(beat);
        Box::pin(async { Ok(()) })
    }

    fn hear(&self) -> Answer<'_, Beat> {
        Box::pin(async move { self.heard.lock().await.recv().await.expect("the sender lives as long as the receiver") })
    }
}
