//! Who is looked at when.

use std::collections::{BTreeMap, BTreeSet};

use flyball_core::id::IntentId;
use jiff::{SignedDuration, Timestamp};

/// Each intent that is looked at again has one time, and is known by the last one.
#[derive(Default)]
pub(super) struct Due {
    queue: BTreeSet<(Timestamp, IntentId)>,
    times: BTreeMap<IntentId, Times>,
}

#[derive(Clone, Copy, Default)]
struct Times {
    next: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Due {
    /// It is looked at at `at`, and not before.
    pub(super) fn set(&mut self, id: IntentId, at: Timestamp) {
        let times = self.times.entry(id).or_default();
        if let Some(before) = times.next.replace(at) {
            self.queue.remove(&(before, id));
        }
        self.queue.insert((at, id));
    }

    /// It is looked at now, or when so much time has gone since the last look; if it is to be looked at before, it stays at that.
    pub(super) fn no_later(&mut self, id: IntentId, now: Timestamp, after: SignedDuration) {
        let Times { next, last } = self.times.get(&id).copied().unwrap_or_default();
        // What comes at the moment of a look is seen by it.
        let earlier = last.filter(|it| *it < now);
        let at = earlier.and_then(|it| it.checked_add(after).ok()).map_or(now, |it| it.max(now));
        if next.is_none_or(|it| it > at) {
            self.set(id, at);
        }
    }

    /// It is over.
    pub(super) fn forget(&mut self, id: IntentId) {
        if let Some(next) = self.times.remove(&id).and_then(|it| it.next) {
            self.queue.remove(&(next, id));
        }
    }

    /// The next one that is due by `at`, and when it is.
    pub(super) fn pop(&mut self, at: Timestamp) -> Option<(Timestamp, IntentId)> {
        let (due, id) = self.queue.first().copied().filter(|(due, _)| *due <= at)?;
        self.queue.remove(&(due, id));
        self.times.insert(id, Times { next: None, last: Some(due) });
        Some((due, id))
    }
}
