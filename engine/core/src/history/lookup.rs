//! A map that is asked for every signal: by a hash, not by comparing names one after the other. Only ever looked up; whoever wants
//! all of it gets it sorted, so that its order says nothing of the hash.

#![allow(clippy::disallowed_types, reason = "its order cannot be seen: there is no way to iterate but `sorted`")]

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The keys of its hash are fixed: the core draws nothing by chance.
type Fixed = BuildHasherDefault<DefaultHasher>;

/// The map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lookup<K: Eq + Hash, V>(HashMap<K, V, Fixed>);

impl<K: Eq + Hash, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Eq + Hash + Ord, V> Lookup<K, V> {
    pub(super) fn get<Q: ?Sized + Hash + Eq>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        // Most of the time there is nothing at all, and then nothing needs a hash.
        if self.0.is_empty() { None } else { self.0.get(key) }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }

    /// What is there, or what is put there for it.
    pub(super) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.0.entry(key).or_default()
    }

    /// A sum over all of it, which no order changes.
    pub(super) fn total(&self, of: impl Fn(&V) -> usize) -> usize {
        self.0.values().map(of).sum()
    }

    /// All of it, in the order of the keys. It costs a sort.
    pub(super) fn sorted(&self) -> Vec<(&K, &V)> {
        let mut all: Vec<(&K, &V)> = self.0.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

impl<K: Eq + Hash + Ord + Serialize, V: Serialize> Serialize for Lookup<K, V> {
    /// As a list of pairs: JSON has no keys but texts.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.sorted())
    }
}

impl<'de, K: Eq + Hash + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Lookup<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Vec::<(K, V)>::deserialize(from)?.into_iter().collect()))
    }
}
