//! What goes wrong, and when: next, by chance, or for a while.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::random::Random;

/// The faults of one door.
pub(crate) struct Script<F> {
    next: VecDeque<F>,
    odds: Vec<(u32, F)>,
    random: Random,
    down_until: Timestamp,
}

impl<F: Clone> Script<F> {
    pub(crate) fn new(seed: u64, door: &str) -> Self {
        Self { next: VecDeque::new(), odds: Vec::new(), random: Random::new(seed, door), down_until: Timestamp::MIN }
    }

    /// One more for the queue: each call takes one.
    pub(crate) fn push(&mut self, fault: F) {
        self.next.push_back(fault);
    }

    /// Of 1,000 calls so many suffer the fault. Replaces the odds before.
    pub(crate) fn set_odds(&mut self, odds: Vec<(u32, F)>) {
        self.odds = odds;
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.next.clear();
        self.odds.clear();
        self.down_until = Timestamp::MIN;
    }

    /// What this call suffers.
    pub(crate) fn take(&mut self) -> Option<F> {
        if let Some(fault) = self.next.pop_front() {
            return Some(fault);
        }
        // Without odds nothing is drawn: faults that end leave no trace in what follows.
        if self.odds.is_empty() {
            return None;
        }
        let mut left = self.random.below(1_000);
        for (odds, fault) in &self.odds {
            match left.checked_sub(u64::from(*odds)) {
                None => return Some(fault.clone()),
                Some(rest) => left = rest,
            }
        }
        None
    }

    /// A delay for one call.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Nothing gets through before `until`.
    pub(crate) fn set_down(&mut self, until: Timestamp) {
        self.down_until = until;
    }

    /// Until when nothing gets through, if that is so now.
    pub(crate) fn down(&self, now: Timestamp) -> Option<Timestamp> {
        (now < self.down_until).then_some(self.down_until)
    }
}
