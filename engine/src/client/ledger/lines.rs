//! `flyball ledger export` and `import`: a ledger as lines of JSON, and back.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flyball_core::id::Revision;
use flyball_core::ports::Clock;
use flyball_core::record::Entry;

use super::{place, unusable};
use crate::cli::ledger::{Export, Import};
use crate::client::progress::Progress;
use crate::client::{Answer, Trouble};
use crate::clock::TokioClock;
use crate::ledger::NotADraft;
use crate::ledger::dump::{self, Damage, ExportError, Header, Lines};
use crate::ledger::stored::{Draft, Store, Stored};

/// Entries that are kept at once: one transaction of a file, a few windows of a stream.
const BATCH: usize = 2_000;

pub(in crate::client) async fn export(args: Export) -> Result<Answer, Trouble> {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::real());
    let place = place(&args.kept).await?;
    let found = place.read(&args.kept.cluster, &clock).await.map_err(|error| unusable(format!("{error:#}")))?;
    let ledger = found.ok_or_else(|| Trouble::Negative("there is no ledger".to_owned()))?;
    let header = if args.file == Path::new("-") {
        let header = write(&*ledger, &args.kept.cluster, &mut BufWriter::new(std::io::stdout())).await?;
        return Ok(Answer::default().beside(format!("exported {}\n", told(&header))));
    } else {
        into_file(&*ledger, &args).await?
    };
    Ok(Answer { result: format!("{}: exported {}\n", args.file.display(), told(&header)), ..Answer::default() })
}

/// Under another name first: a file that has the name is whole. One that is there already is never replaced: it may be the
/// ledger itself.
async fn into_file(ledger: &dyn Store, args: &Export) -> Result<Header, Trouble> {
    let named = |error: std::io::Error| unusable(format!("{}: {error}", args.file.display()));
    if args.file.exists() {
        return Err(unusable(format!("{} is there already", args.file.display())));
    }
    let folder = args.file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".flyball-export-").tempfile_in(folder).map_err(named)?;
    let header = write(ledger, &args.kept.cluster, &mut BufWriter::new(draft.as_file())).await?;
    draft.as_file().sync_all().map_err(named)?;
    draft.persist_noclobber(&args.file).map_err(|error| named(error.error))?;
    Ok(header)
}

async fn write(ledger: &dyn Store, cluster: &str, into: &mut (dyn Write + Send)) -> Result<Header, Trouble> {
    let written = dump::export(ledger, cluster, into, &mut Progress::of("exported", "entries").teller()).await;
    written.map_err(|error| match error {
        ExportError::Damaged(_) => Trouble::Negative(error.to_string()),
        ExportError::Port(flyball_core::ports::PortError::Unusable(what)) => Trouble::Negative(what),
        _ => unusable(error),
    })
}

fn told(header: &Header) -> String {
    format!("{} entries, {} to {}, of {}", entries(header), header.first, header.last, header.ledger)
}

fn entries(header: &Header) -> u64 {
    (header.last.0 + 1).saturating_sub(header.first.0)
}

pub(in crate::client) async fn import(args: Import) -> Result<Answer, Trouble> {
    let mut file = opened(&args.file)?;
    // First all of it: lines that are damaged change nothing.
    let mut lines = Lines::begin(BufReader::new(&file)).map_err(|it| damage(&args.file, &it))?;
    let header = lines.header().clone();
    let of = entries(&header);
    let mut progress = Progress::of("checked", "entries");
    let mut count = 0;
    while lines.entry().map_err(|it| damage(&args.file, &it))?.is_some() {
        count += 1;
        progress.tell(count, of);
    }
    if header.cluster != args.kept.cluster {
        return Err(Trouble::Negative(format!(
            "the lines are of the cluster `{}`, and the ledger is of `{}`: name the same --cluster",
            header.cluster, args.kept.cluster
        )));
    }
    let place = place(&args.kept).await?;
    let origin = format!("import of {}", header.ledger);
    let begun = place.draft(&args.kept.cluster, &origin, header.first).await;
    let mut draft = begun.map_err(|error| match error.downcast_ref::<NotADraft>() {
        Some(NotADraft::Taken(_)) => Trouble::Negative(error.to_string()),
        _ => unusable(format!("{error:#}")),
    })?;
    file.seek(SeekFrom::Start(0)).map_err(|error| unusable(format!("{}: {error}", args.file.display())))?;
    let mut lines = Lines::begin(BufReader::new(&file)).map_err(|it| damage(&args.file, &it))?;
    let next = || lines.entry().map_err(|it| damage(&args.file, &it));
    fill(&mut *draft, next, &header).await?;
    draft.finish().await?;
    let result = format!("{}: imported {}\n", draft.identity(), told(&header));
    let aside = "If an engine has worked on another ledger, it waits for `flyball ledger accept`.\n";
    Ok(Answer { result, ..Answer::default() }.beside(aside))
}

/// What cannot be read twice is kept in a file of its own meanwhile.
fn opened(path: &PathBuf) -> Result<File, Trouble> {
    let named = |error: std::io::Error| unusable(format!("{}: {error}", path.display()));
    if path != Path::new("-") {
        return File::open(path).map_err(named);
    }
    let mut spool = tempfile::tempfile().map_err(named)?;
    std::io::copy(&mut std::io::stdin(), &mut spool).map_err(named)?;
    spool.seek(SeekFrom::Start(0)).map_err(named)?;
    Ok(spool)
}

fn damage(path: &Path, damage: &Damage) -> Trouble {
    let text = format!("{}: {damage}", path.display());
    match damage {
        Damage::Line { .. } => Trouble::Negative(text),
        Damage::Io { .. } => Trouble::Unusable(text),
    }
}

/// Keeps what follows the draft's last entry.
async fn fill(
    draft: &mut dyn Draft,
    mut next: impl FnMut() -> Result<Option<Stored>, Trouble>,
    header: &Header,
) -> Result<(), Trouble> {
    let of = entries(header);
    let mut progress = Progress::of("imported", "entries");
    let reached = match draft.reached() {
        Revision(0) => None,
        there if there > header.last => {
            return Err(Trouble::Negative(format!("the unfinished ledger has entry {there} already")));
        }
        there => Some(draft.entry(there).await?),
    };
    let mut batch = Vec::new();
    let mut count = 0;
    while let Some(stored) = next()? {
        count += 1;
        if begun(reached.as_ref(), &stored)? {
            continue;
        }
        batch.push(stored);
        if batch.len() == BATCH {
            draft.put(std::mem::take(&mut batch)).await?;
            progress.tell(count, of);
        }
    }
    draft.put(batch).await?;
    progress.tell(of, of);
    Ok(())
}

/// Whether the draft has the entry already. It has to be the same one.
fn begun(reached: Option<&Entry>, stored: &Stored) -> Result<bool, Trouble> {
    let Some(reached) = reached else { return Ok(false) };
    let entry = &stored.entry;
    if entry.revision == reached.revision && entry.sum != reached.sum {
        return Err(Trouble::Negative(format!("entry {} of the unfinished ledger is another one", entry.revision)));
    }
    Ok(entry.revision <= reached.revision)
}
