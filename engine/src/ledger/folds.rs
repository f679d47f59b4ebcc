//! What is folded from the entries, as one: how it grows, how it is written as a checkpoint, and what a process begins with.

use std::collections::VecDeque;

use flyball_core::history::{Contradiction, History};
use flyball_core::id::Revision;
use flyball_core::ports::{Checkpoint, Ledger, PortError};
use flyball_core::record::{Entry, Record};
use flyball_core::wire;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::journal::Journal;

/// The version of the checkpoints that this build writes, and the only one that it begins with.
const VERSION: u32 = 3;
/// Entries are found by their age to within this.
const MILESTONE: SignedDuration = SignedDuration::from_hours(1);

/// The folds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Folds {
    pub(super) history: History,
    pub(super) journal: Journal,
    pub(super) milestones: Milestones,
}

/// The first entry of each hour that had one: what is older than so much is found without reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Milestones(VecDeque<(Timestamp, Revision)>);

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    /// The version of the entries that its writer reads. One that reads others may have folded what this build cannot read.
    records: u32,
    folds: &'a Folds,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
    /// Before it was written down there was one version only.
    #[serde(default = "first_version")]
    records: u32,
}

fn first_version() -> u32 {
    1
}

#[derive(Deserialize)]
struct Body {
    folds: Folds,
}

impl Milestones {
    pub(super) fn apply(&mut self, entry: &Entry) {
        let due = |last: &(Timestamp, Revision)| entry.at.duration_since(last.0) >= MILESTONE;
        if self.0.back().is_none_or(due) {
            self.0.push_back((entry.at, entry.revision));
        }
        if let Record::Purged { before } = entry.record {
            while self.0.front().is_some_and(|it| it.1 < before) {
                self.0.pop_front();
            }
        }
    }

    /// An entry before which everything is older than `at`: the newest that is known to be one.
    pub(super) fn older_than(&self, at: Timestamp) -> Revision {
        let young = self.0.partition_point(|it| it.0 <= at);
        young.checked_sub(1).and_then(|it| self.0.get(it)).map(|it| it.1).unwrap_or_default()
    }
}

impl Folds {
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), Contradiction> {
        self.history.apply(entry)?;
        self.journal.apply(entry);
        self.milestones.apply(entry);
        Ok(())
    }

    /// Written down.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint, String> {
        let body = serde_json::to_vec(&Written { v: VERSION, records: wire::VERSION, folds: self })
            .map_err(|error| error.to_string())?;
        Ok(Checkpoint { revision: self.history.revision(), body: body.into() })
    }

    fn of(checkpoint: &Checkpoint) -> Result<Self, String> {
        let Version { v, records } = serde_json::from_slice(&checkpoint.body).map_err(|error| error.to_string())?;
        if v != VERSION {
            return Err(format!("it has version {v}, and this build reads version {VERSION}"));
        }
        if records != wire::VERSION {
            let reads = wire::VERSION;
            return Err(format!("it folds entries of version {records}, and this build reads version {reads}"));
        }
        let Body { folds } = serde_json::from_slice(&checkpoint.body).map_err(|error| error.to_string())?;
        let (said, holds) = (checkpoint.revision, folds.history.revision());
        if said == holds { Ok(folds) } else { Err(format!("it says entry {said} and holds entry {holds}")) }
    }

    /// What to begin with on a ledger, and the oldest entry that is there: its newest checkpoint, or nothing at all. It never fails
    /// for a checkpoint's sake: the entries say the same.
    pub(super) async fn begin(ledger: &dyn Ledger) -> Result<(Self, Revision), PortError> {
        let Some(shelf) = ledger.shelf() else { return Ok((Self::default(), Revision(1))) };
        let first = shelf.first().await?;
        let checkpoint = shelf.read().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "The snapshots cannot be read; reading the entries");
            None
        });
        let Some(checkpoint) = checkpoint else { return Ok((Self::default(), first)) };
        let usable = match Self::of(&checkpoint) {
            Ok(folds) => folds.belongs(ledger, first).await?.map(|()| folds),
            Err(why) => Err(why),
        };
        let folds = usable.unwrap_or_else(|why| {
            tracing::warn!(revision = checkpoint.revision.0, why, "A snapshot cannot be used; reading the entries");
            Self::default()
        });
        Ok((folds, first))
    }

    /// Whether the newest entry of this fold is an entry of the ledger. A ledger that was restored from an older copy and
    /// written since has another one there.
    async fn belongs(&self, ledger: &dyn Ledger, first: Revision) -> Result<Result<(), String>, PortError> {
        let (head, newest) = (self.history.newest(), ledger.newest().await?);
        if head.revision < first || head.revision > newest {
            return Ok(Err(format!("the ledger has the entries {first} to {newest}")));
        }
        let entry = ledger.follow(Revision(head.revision.0.saturating_sub(1))).await?.next().await?;
        let same = entry.head() == head;
        Ok(if same { Ok(()) } else { Err(format!("entry {} is another one than it was", head.revision)) })
    }
}
