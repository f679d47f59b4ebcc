//! What a rig reads from the ledger's stream, with a client of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use flyball::clock::TokioClock;
use flyball::ledger::{FileLedger, JetStreamLedger, JetStreamOptions};
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::intent::{Intent, Stage};
use flyball_core::outcome::Outcome;
use flyball_core::ports::Ledger;
use flyball_core::record::{Entry, Record, Verdict};
use flyball_core::workload::Workload as Target;

use flyball_devcluster::wait_until;

use super::{Rig, SOON};

impl Rig {
    /// All entries of the ledger, in order.
    ///
    /// # Panics
    /// They cannot be read.
    pub fn entries(&self) -> Vec<Entry> {
        self.read_entries().expect("the ledger")
    }

    /// All entries of the ledger, in order.
    ///
    /// # Errors
    /// NATS does not answer, or the stream cannot be read.
    pub fn read_entries(&self) -> Result<Vec<Entry>> {
        if let Some(path) = self.replicas.first().and_then(|it| it.ledger()) {
            // A copy that is taken in the midst of a transaction is torn, and says so.
            return wait_until("a copy of the ledger's file", SOON, || self.copied_entries(Path::new(&path)));
        }
        self.runtime.block_on(async {
            let client = async_nats::connect(&self.nats_url).await?;
            // Found, never made: a rig must not bring back what a row has taken away.
            let ledger = JetStreamLedger::find(client, &self.name, JetStreamOptions::default()).await?;
            let ledger = ledger.context("there is no ledger")?;
            all(&ledger).await
        })
    }

    fn copied_entries(&self, path: &Path) -> Result<Vec<Entry>> {
        let copy = tempfile::NamedTempFile::new_in(self.folder())?;
        std::fs::copy(path, copy.path())?;
        self.runtime.block_on(async {
            let clock = Arc::new(TokioClock::real());
            all(&FileLedger::open_unwritten(copy.path(), clock)?).await
        })
    }

    /// The fold of the ledger.
    ///
    /// # Panics
    /// It cannot be read, or is not lawful.
    pub fn history(&self) -> History {
        let mut history = History::default();
        self.entries().iter().for_each(|entry| history.apply(entry).expect("a lawful ledger"));
        history
    }

    /// Waits until `count` intents on the target have ended, undoes included, and returns them in the order of admission.
    pub fn ended(&self, target: &Target, count: usize) -> Vec<Intent> {
        self.eventually(&format!("{count} intents on {target} to end"), || {
            let history = self.history();
            let mut found: Vec<Intent> =
                history.intents().filter(|it| it.request().target == *target).cloned().collect();
            found.sort_by_key(Intent::admitted_at);
            let stages: Vec<&str> = found.iter().map(|it| it.stage().label()).collect();
            let enough = found.len() >= count && found.iter().all(|it| !it.is_open());
            ensure!(
                enough,
                "intents {stages:?}, denials {:?}, waiting {}",
                self.denials(target),
                history.waiting().count()
            );
            Ok(found)
        })
    }

    /// Waits until a denial with this reason is on the ledger, and returns how many signals it stands for.
    pub fn denied(&self, target: &Target, reason: &str) -> u64 {
        self.eventually(&format!("{target} to be denied {reason}"), || {
            let count = self.denials(target).into_iter().filter(|(it, _)| it == reason).map(|(_, count)| count).sum();
            ensure!(count > 0, "denials so far: {:?}", self.denials(target));
            Ok(count)
        })
    }

    /// Reasons and how many signals each denied.
    pub fn denials(&self, target: &Target) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for entry in self.entries() {
            match entry.record {
                Record::Folded(notes) => {
                    for note in notes.into_iter().filter(|it| it.target == *target) {
                        if let Verdict::Denied(reasons) = note.verdict {
                            found.extend(reasons.iter().map(|it| (it.label().to_owned(), note.count)));
                        }
                    }
                }
                Record::Released(it) if it.key.target == *target => {
                    found.extend(it.reasons.iter().map(|it| (it.label().to_owned(), 1)));
                }
                _ => {}
            }
        }
        found
    }
}

async fn all(ledger: &dyn Ledger) -> Result<Vec<Entry>> {
    let newest = ledger.newest().await?;
    let mut tail = ledger.follow(Revision::default()).await?;
    let mut entries: Vec<Entry> = Vec::new();
    while entries.last().map_or(Revision::default(), |it| it.revision) < newest {
        entries.push(tail.next().await?);
    }
    Ok(entries)
}

/// The outcome of a closed intent.
///
/// # Panics
/// It is open.
pub fn outcome(intent: &Intent) -> Outcome {
    match intent.stage() {
        Stage::Closed { outcome, .. } => *outcome,
        open => panic!("{open:?} is not closed"),
    }
}
