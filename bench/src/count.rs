//! What became of the signals, counted from the ledger and from nothing else.

use std::collections::HashSet;

use anyhow::{Context, Result};
use flyball::ledger::{JetStreamLedger, JetStreamOptions};
use flyball_core::action::Cause;
use flyball_core::deny::DenyReason;
use flyball_core::id::Revision;
use flyball_core::ports::Ledger;
use flyball_core::record::{Record, Verdict};

use crate::load::CLUSTER;

/// The ends of the signals, each counted once however often it was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Intents.
    pub(crate) admitted: u64,
    /// Denied, the cooldown among the reasons.
    pub(crate) cooled: u64,
    /// Anything else.
    pub(crate) other: u64,
    /// Ends beyond the first of a signal: it was delivered again, and decided again.
    pub(crate) again: u64,
    /// Entries of the ledger.
    pub(crate) entries: u64,
    seen: HashSet<u64>,
}

impl Ends {
    /// Reads them.
    pub(crate) async fn read(nats: &str) -> Result<Self> {
        let client = async_nats::connect(nats).await?;
        let ledger = JetStreamLedger::find(client, CLUSTER, JetStreamOptions::default()).await?;
        let ledger = ledger.context("there is no ledger")?;
        let (newest, mut ends) = (ledger.newest().await?, Self::default());
        let mut tail = ledger.follow(Revision(0)).await?;
        let mut read = Revision(0);
        while read < newest {
            let entry = tail.next().await?;
            read = entry.revision;
            ends.take(&entry.record);
        }
        ends.seen = HashSet::new();
        Ok(ends)
    }

    fn take(&mut self, record: &Record) {
        self.entries += 1;
        match record {
            Record::Admitted(admissions) => {
                for it in admissions.iter().filter(|it| matches!(it.request.cause, Cause::Signal(_))) {
                    self.admitted += 1;
                    self.seen.insert(it.request.evidence.sequence);
                }
            }
            Record::Folded(notes) => {
                for note in notes {
                    let cooled = |it: &DenyReason| matches!(it, DenyReason::CooldownActive { .. });
                    let fresh = note.sequences.iter().flat_map(|(first, last)| *first..=*last);
                    let fresh = fresh.filter(|it| self.seen.insert(*it)).count() as u64;
                    self.again += note.count - fresh.min(note.count);
                    match &note.verdict {
                        Verdict::Denied(reasons) if reasons.iter().any(cooled) => self.cooled += fresh,
                        _ => self.other += fresh,
                    }
                }
            }
            Record::Deferred(_) => self.other += 1,
            _ => {}
        }
    }

    /// Whether each of `signals` has come to the end that it has to: one admission for each workload, and nothing lost or twice.
    pub(crate) fn are_exact(&self, signals: u64, workloads: u64) -> bool {
        self.admitted == workloads && self.cooled == signals - workloads && self.other == 0
    }
}
