//! Signals that policies count, or look for beside others: by policy, part and target the newest ones, as many as it takes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::id::SignalId;
use crate::record::{Part, Sighted, Sought};
use crate::signal::Signal;

/// So many sightings are remembered at once: beyond that the oldest is forgotten.
pub const MOST: usize = 20_000;

type Seen = (Timestamp, SignalId);
/// With the fold's time of each.
type Noted = BTreeMap<Seen, Timestamp>;

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "List", into = "List")]
pub(super) struct Sightings {
    seen: BTreeMap<Sought, Noted>,
    order: BTreeSet<(Timestamp, Sought, Seen)>,
}

/// What is no text is no key in JSON.
type List = Vec<(Timestamp, Sought, Seen)>;

impl From<List> for Sightings {
    fn from(list: List) -> Self {
        let mut all = Self::default();
        for (at, sought, seen) in list {
            all.insert(sought, seen, at);
        }
        all
    }
}

impl From<Sightings> for List {
    fn from(all: Sightings) -> Self {
        all.order.into_iter().collect()
    }
}

impl Sightings {
    /// `at`: the fold's time.
    pub(super) fn record(&mut self, it: &Sighted, at: Timestamp) {
        let own = (it.observed_at, it.signal.clone());
        // The same signal, said again: it is one, of the newest time.
        let before = self.seen.get(&it.sought).and_then(|all| all.keys().find(|(_, id)| *id == own.1)).cloned();
        match before {
            Some(before) if before >= own => return,
            Some(before) => self.remove(&it.sought, &before),
            None => {}
        }
        self.insert(it.sought.clone(), own.clone(), at);
        while let Some(oldest) = self.seen.get(&it.sought).filter(|all| all.len() > it.keep as usize) {
            let Some(oldest) = oldest.keys().next().cloned() else { break };
            self.remove(&it.sought, &oldest);
        }
        while self.order.len() > MOST {
            // What has just been written down is what is about to be decided on.
            let oldest = self.order.iter().find(|(_, sought, seen)| (sought, seen) != (&it.sought, &own)).cloned();
            let Some((_, sought, seen)) = oldest else { break };
            self.remove(&sought, &seen);
        }
    }

    fn insert(&mut self, sought: Sought, seen: Seen, at: Timestamp) {
        self.seen.entry(sought.clone()).or_default().insert(seen.clone(), at);
        self.order.insert((at, sought, seen));
    }

    fn remove(&mut self, sought: &Sought, seen: &Seen) {
        let Some(all) = self.seen.get_mut(sought) else { return };
        if let Some(at) = all.remove(seen) {
            self.order.remove(&(at, sought.clone(), seen.clone()));
        }
        if all.is_empty() {
            self.seen.remove(sought);
        }
    }

    pub(super) fn prune(&mut self, before: Timestamp) {
        while let Some((_, sought, seen)) = self.order.first().filter(|(at, ..)| *at < before).cloned() {
            self.remove(&sought, &seen);
        }
    }

    pub(super) fn of(&self, sought: &Sought) -> Sight<'_> {
        Sight(self.seen.get(sought))
    }

    /// Whether a sighting would change what is decided. What comes all the time is written down often enough that nothing is missed
    /// by more than an eighth of the time that it may take, and no more often.
    pub(super) fn lack(&self, it: &Sighted) -> bool {
        let Some(seen) = self.seen.get(&it.sought) else { return true };
        let own = (it.observed_at, it.signal.clone());
        if it.sought.part == Part::Absent {
            // Only the newest counts, and it has to be the newest.
            return seen.keys().next_back().is_none_or(|newest| newest.0 < own.0);
        }
        // Older than all that are kept, it would be the first to go.
        if seen.len() >= it.keep as usize && seen.keys().next().is_some_and(|oldest| own < *oldest) {
            return false;
        }
        let known = seen.keys().any(|seen| seen.1 == own.1 && *seen >= own);
        let near = seen.keys().filter(|(at, _)| at.duration_since(own.0).abs() <= it.within / 8).count();
        near < it.keep as usize && !known
    }
}

/// What was seen of one thing that is sought.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a>(Option<&'a Noted>);

impl Sight<'_> {
    /// When the newest was observed.
    pub fn newest(&self) -> Option<Timestamp> {
        self.0?.last_key_value().map(|((at, _), _)| *at)
    }

    /// Whether another signal was seen no further away than `within`.
    pub fn any_near(&self, signal: &Signal, within: SignedDuration) -> bool {
        let near = |(at, id): &&Seen| *id != signal.id && at.duration_since(signal.observed_at).abs() <= within;
        self.0.is_some_and(|it| it.keys().any(|it| near(&it)))
    }

    /// Whether, with the signal itself, `count` lie within some time of that length that it lies in. In whatever order they came.
    pub fn reach(&self, signal: &Signal, count: usize, within: SignedDuration) -> bool {
        let own = (signal.observed_at, signal.id.clone());
        let mut all: Vec<&Seen> = self.0.into_iter().flat_map(BTreeMap::keys).filter(|it| it.1 != own.1).collect();
        all.push(&own);
        all.sort();
        let fits = |run: &[&Seen]| run.contains(&&own) && run[count - 1].0.duration_since(run[0].0) <= within;
        all.windows(count).any(fits)
    }
}
