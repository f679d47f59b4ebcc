//! Which policies may be about a signal. A policy stands under the words that it names exactly, as many of them as possible: looking
//! them up costs the same for ten policies and for a hundred thousand. Whoever is found is still asked whether it matches.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{Correlation, Match, MatchOn, Mode, Policy};
use crate::record::Part;
use crate::signal::{Signal, SignalKind};
use crate::workload::Workload;

/// One policy stands in so many places at most; one that names more stands under fewer words.
const MAX_PLACES: usize = 64;

/// By hash. It is only looked up, never walked, so its order decides nothing.
#[expect(clippy::disallowed_types, reason = "only looked up")]
type Places = std::collections::HashMap<u64, Vec<u32>>;

/// The words that policies of one shape name exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shape {
    rca: bool,
    /// The cause, or the type of an anomaly; the namespace; the name.
    named: [bool; 3],
}

impl Shape {
    fn key(self, word: &str, target: &Workload) -> u64 {
        let mut hash = DefaultHasher::new();
        for (word, _) in [word, &target.namespace, &target.name].iter().zip(self.named).filter(|(_, named)| *named) {
            word.hash(&mut hash);
        }
        hash.finish()
    }
}

/// The index of a set. Policies are named by their places in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    shapes: Vec<(Shape, Places)>,
    /// Policies that name nothing exactly, of either kind of signal: they are asked every time.
    scanned: [Vec<u32>; 2],
}

impl Index {
    pub(super) fn of(policies: &[Policy]) -> Self {
        Self::posted(policies.iter().map(Named::of))
    }

    fn posted<'a>(all: impl Iterator<Item = Named<'a>>) -> Self {
        let mut index = Self::default();
        for (place, named) in (0..).zip(all) {
            index.post(place, &named);
        }
        index.shapes.sort_by_key(|(shape, _)| *shape);
        index
    }

    fn post(&mut self, place: u32, named: &Named<'_>) {
        let shape = named.shape();
        if shape.named == [false; 3] {
            return self.scanned[usize::from(shape.rca)].push(place);
        }
        let at = self.shapes.iter().position(|(it, _)| *it == shape).unwrap_or_else(|| {
            self.shapes.push((shape, Places::default()));
            self.shapes.len() - 1
        });
        for key in named.keys(shape) {
            let places = self.shapes[at].1.entry(key).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
    }

    /// Places of policies that are asked about every signal of their kind.
    pub(super) fn scanned(&self) -> impl Iterator<Item = usize> {
        self.scanned.iter().flatten().map(|it| *it as usize)
    }

    /// The places of all policies that may be about the signal, in the order of the set.
    pub(super) fn candidates(&self, signal: &Signal) -> Vec<u32> {
        let mut found = Vec::new();
        let subject = &signal.subject;
        match &signal.kind {
            SignalKind::Anomaly(it) => self.look(false, it.kind.as_str(), subject, &mut found),
            SignalKind::Rca(it) => {
                for cause in &it.causes {
                    self.look(true, &cause.cause, &cause.target, &mut found);
                }
                // Without `causes` a policy is about what the signal itself is about.
                self.look(true, "", subject, &mut found);
            }
        }
        found.extend(&self.scanned[usize::from(matches!(signal.kind, SignalKind::Rca(_)))]);
        found.sort_unstable();
        found.dedup();
        found
    }

    fn look(&self, rca: bool, word: &str, target: &Workload, found: &mut Vec<u32>) {
        for (shape, places) in self.shapes.iter().filter(|(shape, _)| shape.rca == rca) {
            if let Some(places) = places.get(&shape.key(word, target)) {
                found.extend(places);
            }
        }
    }
}

/// Who looks for signals beside those that he acts on: by the policy's place, and the part of it that looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Listeners {
    index: Index,
    all: Vec<(u32, Part)>,
}

impl Listeners {
    pub(super) fn of(policies: &[Policy]) -> Self {
        let looking = (0..).zip(policies).filter(|(_, it)| it.mode != Mode::Disabled);
        let each = looking.flat_map(|(place, policy)| {
            let beside = policy.matches.correlation.iter().flat_map(Correlation::beside);
            beside.map(move |(part, it)| ((place, part), Named::plain(&it.on, &policy.matches)))
        });
        let (all, named): (Vec<(u32, Part)>, Vec<Named<'_>>) = each.unzip();
        Self { index: Index::posted(named.into_iter()), all }
    }

    pub(super) fn candidates(&self, signal: &Signal) -> Vec<(u32, Part)> {
        if self.all.is_empty() {
            return Vec::new();
        }
        self.index.candidates(signal).into_iter().filter_map(|it| self.all.get(it as usize).copied()).collect()
    }
}

/// What a policy names exactly.
struct Named<'a> {
    rca: bool,
    words: Vec<&'a str>,
    namespaces: Vec<&'a str>,
    names: Vec<&'a str>,
}

impl<'a> Named<'a> {
    /// By the words of its lists alone.
    fn plain(on: &'a MatchOn, it: &'a Match) -> Self {
        let mut named = Self::listed(on, it);
        named.narrow();
        named
    }

    fn listed(on: &'a MatchOn, it: &'a Match) -> Self {
        let exact = |list: &'a [Arc<str>]| -> Vec<&'a str> {
            let all = list.iter().all(|it| !it.contains('*'));
            if all { list.iter().map(|it| &**it).collect() } else { Vec::new() }
        };
        let (rca, words) = match on {
            MatchOn::Anomaly { types, .. } => (false, types.iter().map(|it| it.as_str()).collect()),
            MatchOn::Rca { causes, .. } => (true, causes.iter().map(|it| &**it).collect()),
        };
        Self { rca, words, namespaces: exact(&it.namespaces), names: exact(&it.services) }
    }

    /// By its condition, too.
    fn of(policy: &'a Policy) -> Self {
        let Self { rca, words, namespaces, names } = Self::listed(&policy.matches.on, &policy.matches);
        let it = if rca { "cause" } else { "signal" };
        // Without causes an rca has no `cause` that its condition could ask about.
        let when = policy.matches.when.as_ref().filter(|_| !rca || !words.is_empty());
        let pinned =
            |field: &str, named: Vec<&'a str>| match when.and_then(|when| when.pinned(&format!("{it}.{field}"))) {
                Some(pinned) if named.is_empty() => pinned,
                Some(pinned) => named.into_iter().filter(|it| pinned.contains(it)).collect(),
                None => named,
            };
        let mut named = Self {
            rca,
            words: pinned(if rca { "cause" } else { "type" }, words),
            namespaces: pinned("namespace", namespaces),
            names: pinned("name", names),
        };
        named.narrow();
        named
    }

    /// Leaves out the words of which there are most, until there are few enough combinations.
    fn narrow(&mut self) {
        while self.count() > MAX_PLACES {
            let longest = self.words.len().max(self.namespaces.len()).max(self.names.len());
            let lists = [&mut self.words, &mut self.namespaces, &mut self.names];
            if let Some(list) = lists.into_iter().find(|it| it.len() == longest) {
                list.clear();
            }
        }
    }

    fn count(&self) -> usize {
        [&self.words, &self.namespaces, &self.names].into_iter().map(|it| it.len().max(1)).product()
    }

    fn shape(&self) -> Shape {
        Shape { rca: self.rca, named: [&self.words, &self.namespaces, &self.names].map(|it| !it.is_empty()) }
    }

    fn keys(&self, shape: Shape) -> Vec<u64> {
        let each = |list: &[&'a str]| if list.is_empty() { vec![""] } else { list.to_vec() };
        let mut keys = Vec::with_capacity(self.count());
        for namespace in each(&self.namespaces) {
            for name in each(&self.names) {
                let target = Workload::new(crate::workload::WorkloadKind::Deployment, namespace, name);
                keys.extend(each(&self.words).iter().map(|word| shape.key(word, &target)));
            }
        }
        keys
    }
}
