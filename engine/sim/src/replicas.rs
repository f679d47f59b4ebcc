//! Signs of life, in memory: everybody who listens hears every beat made since.

use std::sync::{Arc, Mutex};

use flyball_core::ports::{Answer, Beat, Clock, PortError, Replicas};

use crate::wake::{Bell, Look, lock, wait};

/// Carries the beats of all replicas of a world.
#[derive(Default)]
pub struct Air(Mutex<Carried>);

#[derive(Default)]
struct Carried {
    beats: Vec<Beat>,
    deaf: bool,
    bell: Bell,
}

impl Air {
    /// An ear of its own for one replica.
    pub fn listen(self: &Arc<Self>, clock: Arc<dyn Clock>) -> Ear {
        let heard = lock(&self.0).beats.len();
        Ear { air: self.clone(), clock, heard: Mutex::new(heard) }
    }

    /// Nothing gets through while `deaf`: a beat is answered with an error and heard by nobody.
    pub fn set_deaf(&self, deaf: bool) {
        lock(&self.0).deaf = deaf;
    }
}

/// What one replica says and hears.
pub struct Ear {
    air: Arc<Air>,
    clock: Arc<dyn Clock>,
    heard: Mutex<usize>,
}

impl Replicas for Ear {
    fn beat(&self, beat: Beat) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async move {
            let mut carried = lock(&self.air.0);
            if carried.deaf {
                return Err(PortError::Unavailable("the bus cannot be reached".into()));
            }
            carried.beats.push(beat);
            carried.bell.ring();
            Ok(())
        })
    }

    fn hear(&self) -> Answer<'_, Beat> {
        wait(self.clock.clone(), |waker| {
            let (mut heard, mut carried) = (lock(&self.heard), lock(&self.air.0));
            if let Some(beat) = carried.beats.get(*heard).cloned() {
                *heard += 1;
                return Look::Found(beat);
            }
            carried.bell.listen(waker);
            Look::Nothing(None)
        })
    }
}
