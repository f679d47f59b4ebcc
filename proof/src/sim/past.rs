//! What lies behind a storm: two days long ago of which the ledger still knows, so that there is something to remove.

use flyball_sim::Random;
use jiff::SignedDuration;

use super::stage::Stage;

/// How long after the first of the two days the second is, and how long after the second the storm: retention gives up what
/// is older than seven days, and finds it by the hour.
const GAPS: [SignedDuration; 2] = [SignedDuration::from_hours(24), SignedDuration::from_hours(8 * 24)];
/// How long a day lasts before its process is killed, whatever is open then.
const DAY: SignedDuration = SignedDuration::from_secs(25);

/// A signal of the past: which kind of trouble, about which target.
pub(super) type Old = (usize, usize);

/// The signals of each day.
#[derive(Clone, Debug)]
pub(super) struct Past(pub(super) [Vec<Old>; 2]);

impl Past {
    /// The past of a seed; most have none.
    pub(super) fn draw(seed: u64, troubles: usize, targets: usize) -> Option<Self> {
        let mut random = Random::new(seed, "past");
        let mut below = |limit: usize| usize::try_from(random.below(limit as u64)).unwrap_or(0);
        let mut day = || (0..2 + below(5)).map(|_| (below(troubles), below(targets))).collect();
        let days = [day(), day()];
        (below(4) == 0).then_some(Self(days))
    }
}

impl Stage {
    /// Lives through the past, if there is one. One process does, and none is left of it.
    pub(super) async fn remember(&mut self) {
        let Some(Past(days)) = self.plan.past.clone() else { return };
        for (day, (signals, gap)) in days.into_iter().zip(GAPS).enumerate() {
            self.boot(0);
            let pause = DAY / i32::try_from(signals.len() + 1).unwrap_or(1);
            for (trouble, target) in signals {
                self.wait(pause).await;
                // In windows that the storm has not: a signal that it repeats is none of these.
                self.signal(trouble, target, 1_000 + day as u64);
            }
            self.wait(pause).await;
            for replica in &mut self.replicas {
                if let Some(process) = replica.process.take() {
                    process.kill("with the day");
                }
            }
            self.clear_agenda();
            self.clock.sleep(gap).await;
        }
    }
}
