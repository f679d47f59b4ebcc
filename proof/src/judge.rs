//! The judge: the API server's audit log and a dump of the ledger, held against the invariants by their numbers in
//! `docs/reliability.md`. It asks no engine anything.

mod effects;
mod ledger;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;
use flyball_core::id::IntentId;
use flyball_core::record::Entry;
use flyball_devcluster::AuditEntry;

use crate::rig::Rig;

/// What somebody who was not asked saw.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The whole ledger, in order.
    pub entries: Vec<Entry>,
    /// What engines asked of the API server that would change something, in the order of the answers.
    pub requests: Vec<AuditEntry>,
    /// Sequences of the signals that were published, confirmed, and have to reach a terminal record.
    pub signals: Vec<u64>,
    /// Intents whose stamps a watch has shown, where there was one. A request whose sender died is an error to the audit log, and may
    /// have been stored all the same.
    pub stamped: BTreeSet<IntentId>,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number, for example `S1`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

fn violation(invariant: &'static str, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

/// Requests of a Flyball, by its user agent. The tests themselves use another.
pub fn is_ours(entry: &AuditEntry) -> bool {
    entry.user_agent.starts_with("flyball/")
}

impl Evidence {
    /// Collects it for a rig: `namespaces` beside the rig's own, and the signals that have to have come to an end.
    ///
    /// # Errors
    /// The audit log or the ledger cannot be read.
    pub fn of(rig: &Rig, namespaces: &[String], signals: &[u64]) -> Result<Self> {
        let here = |it: &AuditEntry| it.namespace == rig.namespace || namespaces.contains(&it.namespace);
        let requests = rig.audit.find(|it| is_ours(it) && here(it))?;
        Ok(Self { entries: rig.read_entries()?, requests, signals: signals.to_vec(), stamped: BTreeSet::new() })
    }

    /// How many effects of each intent the API server accepted.
    pub fn effects(&self) -> BTreeMap<IntentId, usize> {
        effects::accepted(&self.requests)
    }

    /// Everything that does not hold while work may still be open: safety.
    pub fn judge(&self) -> Vec<Violation> {
        let (lives, mut found) = ledger::lives(&self.entries);
        found.extend(effects::judge(&lives, &self.requests, &self.stamped));
        found
    }

    /// The same, and that everything has come to its end: for the time after the last fault, when all had time to settle.
    pub fn judge_at_rest(&self) -> Vec<Violation> {
        let mut found = self.judge();
        found.extend(ledger::open_ends(&self.entries));
        found.extend(ledger::signals(&self.entries, &self.signals));
        found
    }
}
