//! What is copied and moved, and how two ledgers are compared.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use flyball::clock::TokioClock;
use flyball::ledger::dump::{Lines, export};
use flyball::ledger::stored::{Draft, Store};
use flyball::ledger::{FileLedger, JetStreamLedger, JetStreamOptions, StreamDraft};
use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::mark::Mark;
use flyball_core::ports::{Ledger, Tail, Write};
use flyball_core::record::{Record, Resume, Topic};
use flyball_devcluster::wait_until;
use flyball_proof::rig::{SOON, shared_nats};
use futures::future::try_join_all;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Several batches of every sort: a copy keeps 2,000 at once, a move 1,000, and 256 are on their way to a server.
pub(crate) const ENTRIES: usize = ROUNDS as usize * (NOTES + COMPARED) as usize;
const ROUNDS: u32 = 30;
const NOTES: u32 = 72;
const COMPARED: u32 = 8;
/// Entries that were removed at the front, of those that have such a beginning.
pub(crate) const REMOVED: usize = 7;

/// Everything asynchronous here.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Every test does it; the first one wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Runtime::new().expect("a runtime")
    })
}

/// A ledger in a file, of which every case gets a copy.
pub(crate) struct Source {
    ledger: FileLedger,
    bytes: Vec<u8>,
    pub(crate) told: Vec<String>,
    _folder: TempDir,
}

impl Source {
    /// Notes and compared entries, with texts that a careless copy would change. `removed` takes the oldest away again.
    pub(crate) fn new(removed: bool) -> Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("source");
        runtime().block_on(async {
            let ledger = FileLedger::open(&path, Arc::new(TokioClock::real()))?;
            write_some(&ledger).await?;
            if removed {
                ledger.shelf().context("it keeps snapshots")?.purge(Revision(REMOVED as u64 + 1)).await?;
            }
            anyhow::Ok(())
        })?;
        let (ledger, bytes) = (open(&path)?, fs::read(&path)?);
        let told = runtime().block_on(told(&ledger))?;
        Ok(Self { ledger, bytes, told, _folder: folder })
    }

    /// A copy of the file.
    pub(crate) fn copy(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, &self.bytes)?)
    }

    /// Its lines, as `export` writes them for this cluster.
    pub(crate) fn lines(&self, cluster: &str) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        runtime().block_on(export(&self.ledger, cluster, &mut text, &mut |_, _| ()))?;
        Ok(text)
    }

    /// A stream with the same entries.
    pub(crate) fn stream(&self, cluster: &str) -> Result<()> {
        let text = self.lines(cluster)?;
        runtime().block_on(async {
            let mut lines = Lines::begin(&*text)?;
            let (client, options) = (client().await?, JetStreamOptions::default());
            let first = lines.header().first;
            let mut draft = StreamDraft::begin(client, cluster, options, "import of a test", first).await?;
            let mut batch = Vec::new();
            while let Some(stored) = lines.entry()? {
                batch.push(stored);
            }
            draft.put(batch).await?;
            Ok(draft.finish().await?)
        })
    }

    /// What a mark says of its end, if it is called `ledger`.
    pub(crate) fn mark(&self, ledger: Arc<str>) -> Result<Mark> {
        let newest =
            runtime().block_on(async { flyball::anchor::head_at(&self.ledger, self.ledger.newest().await?).await })?;
        Ok(Mark { ledger, newest })
    }

    pub(crate) fn identity(&self) -> Arc<str> {
        self.ledger.identity()
    }
}

async fn write_some(ledger: &dyn Ledger) -> Result<()> {
    let record = |text: String| Record::Resumed(Resume { id: text.into(), by: "test".to_owned() });
    let mut admit = Head::default();
    for round in 0..ROUNDS {
        let note = |number: u32| {
            let text = format!("note {round}-{number} \u{e9}\u{2028}\"\\ 1.10 1e3");
            ledger.append(Write { topic: Topic::Note, expect: None, record: record(text) })
        };
        try_join_all((0..NOTES).map(note)).await?;
        for number in 0..COMPARED {
            let record = record(format!("admit {round}-{number}"));
            admit = ledger.append(Write { topic: Topic::Admit, expect: Some(admit), record }).await?;
        }
    }
    Ok(())
}

pub(crate) async fn client() -> Result<async_nats::Client> {
    Ok(flyball::nats::connect(&shared_nats().url(), "flyball-test").await?)
}

/// A file, whatever became of it. The process that had it may still be closing it.
pub(crate) fn open(path: &Path) -> Result<FileLedger> {
    wait_until("the file", SOON, || {
        runtime().block_on(async { Ok(FileLedger::reading(path, Arc::new(TokioClock::real()))?) })
    })
}

/// A stream, whatever became of it.
pub(crate) fn stream(cluster: &str) -> Result<JetStreamLedger> {
    runtime().block_on(async {
        let found = JetStreamLedger::reading(client().await?, cluster, JetStreamOptions::default()).await?;
        found.context("a ledger in a stream")
    })
}

/// The lines without the sums, which the first line goes into, and without the first and the last one.
pub(crate) async fn told(ledger: &dyn Store) -> Result<Vec<String>> {
    let mut text = Vec::new();
    export(ledger, "any", &mut text, &mut |_, _| ()).await?;
    let text = String::from_utf8(text)?;
    let cut = |line: &str| line.rsplit_once(r#","sum":"#).map(|it| it.0.to_owned()).context("a line with its sum");
    let mut all = text.lines().skip(1).map(cut).collect::<Result<Vec<String>>>()?;
    all.pop();
    Ok(all)
}

/// The two have the same entries, byte for byte.
pub(crate) fn same(ledger: &dyn Store, wanted: &[String], what: &str) -> Result<()> {
    let found = runtime().block_on(told(ledger))?;
    let differs = found.iter().zip(wanted).position(|(one, other)| one != other);
    ensure!(
        found == wanted,
        "{what}: {} lines instead of {}, the first other one is {differs:?}",
        found.len(),
        wanted.len()
    );
    Ok(())
}

/// The reasons of all pauses in a ledger.
pub(crate) fn pauses(ledger: &dyn Ledger) -> Result<Vec<String>> {
    runtime().block_on(async {
        let newest = ledger.newest().await?;
        let mut tail: Box<dyn Tail> = ledger.follow(Revision::default()).await?;
        let mut found = Vec::new();
        loop {
            let entry = tail.next().await?;
            let last = entry.revision >= newest;
            if let Record::Paused(pause) = entry.record {
                found.push(pause.reason);
            }
            if last {
                return Ok(found);
            }
        }
    })
}

/// Every confirmed pause is there, and none twice.
pub(crate) fn holds(ledger: &dyn Ledger, confirmed: &[String]) -> Result<()> {
    let mut there = pauses(ledger)?;
    let count = there.len();
    there.sort_unstable();
    there.dedup();
    ensure!(there.len() == count, "{} pauses are there twice", count - there.len());
    let lost: Vec<_> = confirmed.iter().filter(|it| there.binary_search(it).is_err()).collect();
    ensure!(lost.is_empty(), "of {} confirmed pauses these are lost: {lost:?}", confirmed.len());
    Ok(())
}
