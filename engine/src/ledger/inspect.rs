//! A walk over every entry: sums, chains, gaps, what cannot follow what, and the high-water mark. It writes nothing, and
//! goes on past what is wrong, to say where that ends.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use flyball_core::chain::Head;
use flyball_core::history::History;
use flyball_core::id::Revision;
use flyball_core::mark::Mark;
use flyball_core::ports::{Ledger, PortError};
use flyball_core::record::{Entry, Record, Topic};
use serde::Serialize;

use crate::anchor::{Quarantine, agrees};

/// Findings after which the walk ends: by then the ledger is lost, and each costs a reader of its own.
const MOST: usize = 50;
/// Progress is told each time so many entries were read.
const STEP: u64 = 1_000;

/// What a walk found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Which ledger.
    pub ledger: Option<Arc<str>>,
    /// The oldest entry that is there; 0 for none.
    pub oldest: u64,
    /// The newest entry that was given.
    pub newest: u64,
    /// Entries that were read and are whole.
    pub whole: u64,
    /// The high-water mark.
    pub mark: Option<Mark>,
    /// What is wrong, in the ledger's order; empty for a ledger that can be trusted.
    pub wrong: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// At which entry; none for the ledger as a whole.
    pub entry: Option<u64>,
    /// What.
    pub what: String,
}

impl Report {
    /// The report on a ledger that could not be opened.
    pub fn unread(what: String) -> Self {
        Self { wrong: vec![Finding { entry: None, what }], ..Self::default() }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = match &self.ledger {
            Some(ledger) => writeln!(
                text,
                "{ledger}: {} entries, {} to {}, were read and are whole",
                self.whole, self.oldest, self.newest
            ),
            None => Ok(()),
        };
        let _ = match &self.mark {
            Some(mark) => writeln!(text, "mark: {} had reached entry {}", mark.ledger, mark.newest.revision),
            None => writeln!(text, "mark: none"),
        };
        for finding in &self.wrong {
            let _ = writeln!(text, "wrong: {}", finding.what);
        }
        if self.wrong.is_empty() {
            text.push_str("Nothing is wrong.\n");
        }
        text
    }

    fn found(&mut self, entry: Option<Revision>, what: String) {
        self.wrong.push(Finding { entry: entry.map(|it| it.0), what });
    }
}

/// Walks. `tell` hears how many entries were read of how many.
///
/// # Errors
/// The ledger cannot be reached.
pub async fn inspect(
    ledger: &dyn Ledger,
    mark: Option<&Mark>,
    tell: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Report, PortError> {
    let newest = ledger.newest().await?;
    let identity = ledger.identity();
    let mut report =
        Report { ledger: Some(identity.clone()), newest: newest.0, mark: mark.cloned(), ..Report::default() };
    // What cannot be read is told by the walk.
    if let Some(mark) = mark
        && let Err(Quarantine::Distrust(distrust)) = agrees(mark, ledger).await
    {
        report.found(None, distrust.to_string());
    }
    let mut walk = Walk { history: Some(History::default()), ..Walk::default() };
    let mut tail = ledger.follow(walk.at).await?;
    while walk.at < newest && report.wrong.len() < MOST {
        match tail.next().await {
            Ok(entry) => walk.entry(&entry, &mut report),
            Err(PortError::Unusable(what)) => {
                walk.at = Revision(walk.at.0 + 1);
                report.found(Some(walk.at), what);
                // What was not read may have been anything.
                walk.heads.clear();
                walk.history = None;
                tail = ledger.follow(walk.at).await?;
            }
            Err(error) => return Err(error),
        }
        if walk.at.0.is_multiple_of(STEP) || walk.at == newest {
            tell(walk.at.0, newest.0);
        }
    }
    if let Some(shelf) = ledger.shelf() {
        // A server that has dropped a damaged entry at the front goes on saying that it begins there.
        walk.front(shelf.first().await?.max(Revision(report.oldest)), &mut report);
    }
    Ok(report)
}

#[derive(Default)]
struct Walk {
    /// The fold, for as long as nothing was wrong: what cannot follow is told only of a whole past.
    history: Option<History>,
    heads: BTreeMap<Topic, Head>,
    at: Revision,
    /// What the newest note about a removal of ours says was left.
    purged: Revision,
}

impl Walk {
    /// What is missing at the front was given up by us, behind a note, or by somebody else.
    fn front(&self, first: Revision, report: &mut Report) {
        if let Err(why) = History::whole_from(self.purged, first) {
            report.wrong.insert(0, Finding { entry: None, what: why });
        }
    }

    fn entry(&mut self, entry: &Entry, report: &mut Report) {
        if report.oldest == 0 {
            report.oldest = entry.revision.0;
        }
        self.at = entry.revision;
        report.whole += 1;
        if let Record::Purged { before } = entry.record {
            self.purged = self.purged.max(before);
        }
        let before = (entry.topic != Topic::Note).then(|| self.heads.insert(entry.topic, entry.head())).flatten();
        if let Some(before) = before.filter(|it| it.sum != entry.prev) {
            report.found(
                Some(entry.revision),
                format!(
                    "entry {} of {} does not follow entry {}: it names the sum {}, and that one has {}",
                    entry.revision, entry.topic, before.revision, entry.prev, before.sum
                ),
            );
            self.history = None;
        }
        if let Some(history) = &mut self.history
            && let Err(contradiction) = history.apply(entry)
        {
            report.found(Some(entry.revision), contradiction.to_string());
            self.history = None;
        }
    }
}
