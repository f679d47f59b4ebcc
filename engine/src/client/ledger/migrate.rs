//! `flyball ledger migrate`: an engine that runs moves its ledger itself; without one, the command does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flyball_core::ports::{Anchor, PortError, Replicas};

use super::{anchor, place, server, unusable};
use crate::anchor::{Quarantine, head_at, trusted};
use crate::cli::ledger::{Migrate, NATS};
use crate::client::api::Api;
use crate::client::progress::Progress;
use crate::client::{Answer, Trouble};
use crate::clock::TokioClock;
use crate::config::LedgerPlace;
use crate::ledger::migration::{agrees, carry_snapshot, catch_up, origin, remark};
use crate::ledger::stored::{Draft, Store};
use crate::migration::start;
use crate::replicas::JetStreamReplicas;
use crate::view::migration::{Migration, NewMigration, Step};
use crate::wire::Place;

/// Between two looks at how far an engine is.
const LOOK: Duration = Duration::from_millis(200);
/// A living replica beats once a second.
const BEATS: Duration = Duration::from_millis(2_500);

pub(in crate::client) async fn migrate(args: Migrate) -> Result<Answer, Trouble> {
    let path = |text: &str| std::path::absolute(text.strip_prefix("file:").unwrap_or(text)).map_err(unusable);
    let to = if args.to == NATS { LedgerPlace::Nats } else { LedgerPlace::File(path(&args.to)?) };
    let from = if args.at.kept.ledger == NATS { None } else { Some(path(&args.at.kept.ledger)?) };
    if from.is_some() && to != LedgerPlace::Nats {
        return Err(unusable("a ledger in a file moves to NATS only: --to nats"));
    }
    let api = Api::new(&args.connection)?;
    match api.migration().await {
        Ok(_) => by_the_engine(&api, &args, &to, from).await,
        Err(Trouble::Unreachable { .. }) => alone(&args, &to, from).await,
        Err(trouble) => Err(trouble),
    }
}

async fn by_the_engine(api: &Api, args: &Migrate, to: &LedgerPlace, from: Option<PathBuf>) -> Result<Answer, Trouble> {
    let text = |path: &Path| path.display().to_string();
    let wanted = NewMigration {
        from: from.as_deref().map(text),
        to: match to {
            LedgerPlace::Nats => NATS.to_owned(),
            LedgerPlace::File(path) => text(path),
        },
        cluster: args.at.kept.cluster.clone(),
        by: args.by.clone(),
    };
    let mut told = api.migrate(&wanted).await?;
    let mut progress = Progress::of("copied", "entries");
    loop {
        match told.step {
            Step::Done => return Ok(Answer::of(&told, args.output, moved)),
            Step::Failed | Step::None => {
                let why = told.detail.as_deref().unwrap_or("the engine was started anew meanwhile");
                return Err(unusable(format!("{why}; the same command goes on")));
            }
            Step::Copying | Step::Switching | Step::Finishing => {}
        }
        progress.tell(told.copied, told.of);
        tokio::time::sleep(LOOK).await;
        told = api.migration().await?;
    }
}

fn moved(migration: &Migration) -> String {
    let to = migration.to.as_deref().unwrap_or_default();
    let held = migration.held_ms.map(|it| format!("; appends waited for {it} ms")).unwrap_or_default();
    let detail = migration.detail.as_deref().unwrap_or_default();
    format!("moved to {to}{held}; {detail}\n")
}

async fn alone(args: &Migrate, to: &LedgerPlace, from: Option<PathBuf>) -> Result<Answer, Trouble> {
    if from.is_none() && *to == LedgerPlace::Nats {
        let address = &args.connection.server;
        return Err(unusable(format!(
            "no engine answers at {address}; to move without one, name the file: --ledger FILE"
        )));
    }
    let cluster = &*args.at.kept.cluster;
    let clock: Arc<dyn flyball_core::ports::Clock> = Arc::new(TokioClock::real());
    let found = place(&args.at.kept).await?;
    let (target, file) = match to {
        LedgerPlace::Nats => (Place::Stream(server(&args.at.kept).await?), from.as_deref()),
        LedgerPlace::File(path) => (Place::File(path), Some(&**path)),
    };
    let anchor = anchor(&args.at, file).await?;
    let source = found.read(cluster, &clock).await.map_err(|error| unusable(format!("{error:#}")))?;
    let source = source.ok_or_else(|| Trouble::Negative("there is no ledger".to_owned()))?;
    if let (Place::Stream(client), None) = (&found, source.moved()) {
        nobody_lives(client, cluster).await?;
    }
    let begun = target.draft(cluster, &origin(&*source), source.oldest().await?).await;
    let mut draft = begun.map_err(|error| match source.moved() {
        Some(there) => Trouble::Negative(format!("the ledger was moved to {there} already; {}", start(to))),
        None => unusable(format!("{error:#}")),
    })?;
    let last = carry(&*source, &mut *draft, &*anchor).await?;
    carry_snapshot(&*source, &*draft.ledger(clock).await?).await;
    let told = Migration {
        step: Step::Done,
        to: Some(draft.place()),
        copied: last,
        of: last,
        held_ms: None,
        detail: Some(start(to)),
    };
    Ok(Answer::of(&told, args.output, moved))
}

/// All steps, in an order in which each can be the last one of a process.
async fn carry(source: &dyn Store, draft: &mut dyn Draft, anchor: &dyn Anchor) -> Result<u64, Trouble> {
    if source.moved().is_none() {
        trusted(anchor, source).await.map_err(|error| match error {
            Quarantine::Distrust(_) => Trouble::Negative(error.to_string()),
            Quarantine::Port(_) => unusable(error),
        })?;
    }
    agrees(source, draft).await.map_err(refused)?;
    catch_up(source, draft, &mut Progress::of("copied", "entries").teller()).await.map_err(refused)?;
    let last = source.close(&draft.place()).await?;
    catch_up(source, draft, &mut |_, _| ()).await.map_err(refused)?;
    let head = head_at(source, last).await.map_err(halfway)?;
    remark(anchor, &source.identity(), &draft.identity(), head).await.map_err(halfway)?;
    draft.finish().await.map_err(halfway)?;
    Ok(last.0)
}

/// The old ledger is closed, and the new one is not open yet.
fn halfway(error: PortError) -> Trouble {
    unusable(format!("{error}; nobody starts on either ledger before the same command has gone on"))
}

fn refused(error: PortError) -> Trouble {
    match error {
        PortError::Unusable(what) => Trouble::Negative(what),
        error => error.into(),
    }
}

/// Closing a ledger under an engine would stop it: it is asked to do that itself.
async fn nobody_lives(client: &async_nats::Client, cluster: &str) -> Result<(), Trouble> {
    let others = JetStreamReplicas::connect(client.clone(), cluster).await?;
    match tokio::time::timeout(BEATS, others.hear()).await {
        Err(_) => Ok(()),
        Ok(beat) => Err(unusable(format!(
            "replica {} is alive: name its address (--server), so that it moves the ledger itself, or stop it",
            beat.replica
        ))),
    }
}
