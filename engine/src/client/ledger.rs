//! `flyball ledger`: what is there, and that it is the right one.

mod lines;
mod migrate;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use flyball_core::mark::Mark;
use flyball_core::ports::{Anchor, AppendError, Clock, PortError, Write};
use flyball_core::record::{Acceptance, Record, Topic};
use serde::Serialize;

use super::progress::Progress;
use super::{Answer, Trouble};
use crate::anchor::FileAnchor;
use crate::cli::ledger::{Accept, At, Kept, NATS, Verify};
use crate::clock::TokioClock;
use crate::cluster::{KubeCluster, Options};
use crate::ledger::stored::Store;
use crate::ledger::{FileLedger, OpenError, Report, inspect};
use crate::wire::{Place, is_in_use};

pub(super) use lines::{export, import};
pub(super) use migrate::migrate;

/// The ledger and the mark that were named.
struct Found<'a> {
    place: Place<'a>,
    cluster: &'a str,
    clock: Arc<dyn Clock>,
    anchor: Arc<dyn Anchor>,
}

fn unusable(error: impl std::fmt::Display) -> Trouble {
    Trouble::Unusable(error.to_string())
}

/// The file or the server that was named.
async fn place(kept: &Kept) -> Result<Place<'_>, Trouble> {
    let file = Path::new(kept.ledger.strip_prefix("file:").unwrap_or(&kept.ledger));
    if kept.ledger != NATS {
        return Ok(Place::File(file));
    }
    Ok(Place::Stream(server(kept).await?))
}

/// The server that was named.
async fn server(kept: &Kept) -> Result<async_nats::Client, Trouble> {
    let url = kept.nats.as_deref();
    let url = url.ok_or_else(|| unusable("the ledger in NATS needs a server: --nats URL, or FLYBALL_NATS"))?;
    let connected = crate::nats::connect(url, "flyball-cli").await;
    let unreachable =
        |error: crate::nats::ConnectError| Trouble::Unreachable { address: error.address, detail: error.reason };
    connected.map_err(unreachable)
}

async fn at(at: &At) -> Result<Found<'_>, Trouble> {
    let place = place(&at.kept).await?;
    let file = match place {
        Place::File(path) => Some(path),
        Place::Stream(_) => None,
    };
    let anchor = anchor(at, file).await?;
    Ok(Found { place, cluster: &at.kept.cluster, clock: Arc::new(TokioClock::real()), anchor })
}

/// Where the high-water mark is; `file` is the ledger's, where it is one.
async fn anchor(at: &At, file: Option<&Path>) -> Result<Arc<dyn Anchor>, Trouble> {
    if at.mark_beside {
        let path = file.ok_or_else(|| unusable("--mark-beside is for a ledger in a file"))?;
        return Ok(Arc::new(FileAnchor::beside(path)));
    }
    let options = Options { kubeconfig: at.kubeconfig.clone(), ..Options::default() };
    Ok(Arc::new(KubeCluster::connect(options).await.map_err(unusable)?.anchor(&at.kept.cluster)))
}

/// What `accept` did.
#[derive(Serialize)]
struct Accepted {
    ledger: Arc<str>,
    newest: u64,
    before: Option<Mark>,
}

pub(super) async fn accept(args: Accept) -> Result<Answer, Trouble> {
    let found = at(&args.at).await?;
    let ledger = make(&found).await.map_err(|error| unusable(format!("{error:#}")))?;
    let mut before = found.anchor.read().await.map_err(unusable)?;
    let acceptance = Acceptance { by: args.by, reason: args.reason, marked: before.clone() };
    let record = Record::Accepted(acceptance);
    let written = ledger.append(Write { topic: Topic::Note, expect: None, record }).await;
    let head = written.map_err(|error: AppendError| unusable(error))?;
    let mark = Mark { ledger: ledger.identity(), newest: head };
    while !found.anchor.write(before.clone(), mark.clone()).await.map_err(unusable)? {
        before = found.anchor.read().await.map_err(unusable)?;
    }
    let accepted = Accepted { ledger: mark.ledger, newest: mark.newest.revision.0, before };
    Ok(Answer::of(&accepted, args.output, |it| format!("{} accepted at entry {}\n", it.ledger, it.newest)))
}

/// An engine in quarantine has the file open for a moment each second.
async fn make(found: &Found<'_>) -> anyhow::Result<Arc<dyn Store>> {
    let open = || found.place.make(found.cluster, &found.clock);
    let patience = ConstantBuilder::default().with_delay(Duration::from_millis(200)).with_max_times(15);
    open.retry(patience).when(is_in_use).await
}

pub(super) async fn verify(args: Verify) -> Result<Answer, Trouble> {
    let found = at(&args.at).await?;
    let mark = found.anchor.read().await.map_err(unusable)?;
    let (ledger, trouble) = match find(&found).await {
        Ok(ledger) => (ledger, None),
        Err(error) => match error.downcast_ref::<OpenError>() {
            Some(OpenError::NotALedger { .. }) => (None, Some(error.to_string())),
            _ => return Err(unusable(format!("{error:#}"))),
        },
    };
    let report = match (ledger, trouble) {
        (Some(ledger), _) => {
            inspect(&*ledger, mark.as_ref(), &mut Progress::of("read", "entries").teller()).await.map_err(unusable)?
        }
        (None, trouble) => Report::unread(trouble.unwrap_or_else(|| "there is no ledger".to_owned())),
    };
    let negative = !report.wrong.is_empty();
    Ok(Answer { negative, ..Answer::of(&report, args.output, Report::text) })
}

async fn find(found: &Found<'_>) -> anyhow::Result<Option<Arc<dyn Store>>> {
    // A file is left as it is, to the byte: what redb would repair on the way is repaired in memory.
    if let Place::File(path) = found.place
        && path.exists()
    {
        let ledger = FileLedger::open_unwritten(path, found.clock.clone())?;
        return match ledger.moved() {
            Some(to) => Err(OpenError::Moved { path: path.to_owned(), to }.into()),
            None => Ok(Some(Arc::new(ledger))),
        };
    }
    found.place.find(found.cluster, &found.clock).await
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        Self::Unusable(error.to_string())
    }
}
