//! The way to the ledger: found, or made when there is none and never was one. One that does not agree with its high-water
//! mark is waited for, and nothing is done meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use flyball_core::id::Revision;
use flyball_core::mark::{Distrust, Mark};
use flyball_core::ports::{Anchor, Clock, PortError};

use crate::anchor::{self, Quarantine};
use crate::config::{Config, LedgerPlace};
use crate::ledger::stored::{Draft, Store};
use crate::ledger::{FileDraft, FileLedger, JetStreamLedger, JetStreamOptions, OpenError, StreamDraft};
use crate::ready::Readiness;

/// How often a ledger in quarantine is looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// Where a ledger is.
pub(crate) enum Place<'a> {
    /// In a stream of this server.
    Stream(async_nats::Client),
    /// In this file.
    File(&'a Path),
}

impl<'a> Place<'a> {
    /// What the configuration says; `nats` where it says nothing else.
    pub(super) fn of(config: &'a Config, nats: async_nats::Client) -> Self {
        match &config.ledger {
            Some(LedgerPlace::File(path)) => Self::File(path),
            _ => Self::Stream(nats),
        }
    }

    /// The ledger there; none when there is none.
    pub(crate) async fn find(&self, cluster: &str, clock: &Arc<dyn Clock>) -> Result<Option<Arc<dyn Store>>> {
        Ok(match self {
            Self::Stream(nats) => {
                let found = JetStreamLedger::find(nats.clone(), cluster, JetStreamOptions::default()).await?;
                found.map(|it| Arc::new(it) as Arc<dyn Store>)
            }
            Self::File(path) if path.exists() => Some(Arc::new(FileLedger::open(path, clock.clone())?)),
            Self::File(_) => None,
        })
    }

    /// The ledger there to be read, even where it was moved away; none when there is none.
    pub(crate) async fn read(&self, cluster: &str, clock: &Arc<dyn Clock>) -> Result<Option<Arc<dyn Store>>> {
        Ok(match self {
            Self::Stream(nats) => {
                let found = JetStreamLedger::reading(nats.clone(), cluster, JetStreamOptions::default()).await?;
                found.map(|it| Arc::new(it) as Arc<dyn Store>)
            }
            Self::File(path) if path.exists() => Some(Arc::new(FileLedger::reading(path, clock.clone())?)),
            Self::File(_) => None,
        })
    }

    /// A ledger there that is to be filled from `first` on: a new one, or one that was begun for the same `origin`.
    pub(crate) async fn draft(&self, cluster: &str, origin: &str, first: Revision) -> Result<Box<dyn Draft>> {
        Ok(match self {
            Self::Stream(nats) => {
                let options = JetStreamOptions::default();
                Box::new(StreamDraft::begin(nats.clone(), cluster, options, origin, first).await?)
            }
            Self::File(path) => Box::new(FileDraft::begin(path, origin)?),
        })
    }

    /// The ledger there, made when there is none.
    pub(crate) async fn make(&self, cluster: &str, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Stream(nats) => {
                Arc::new(JetStreamLedger::connect(nats.clone(), cluster, JetStreamOptions::default()).await?)
            }
            Self::File(path) => Arc::new(FileLedger::open(path, clock.clone())?),
        })
    }
}

/// Opens the ledger. Returns when it agrees with its mark; until then `told` says why not.
///
/// # Errors
/// It cannot be reached, or can never be used as it is.
pub(super) async fn open(
    place: &Place<'_>,
    cluster: &str,
    clock: &Arc<dyn Clock>,
    anchor: &dyn Anchor,
    told: &Readiness,
) -> Result<Arc<dyn Store>> {
    let mut quarantined = false;
    loop {
        let why = match anchor.read().await {
            Err(error) => Quarantine::Port(error),
            Ok(mark) => match agreed(place, cluster, clock, mark).await {
                Ok(Ok(ledger)) => return Ok(ledger),
                Ok(Err(quarantine)) => quarantine,
                // Whoever mends it has the file open for a moment.
                Err(error) if quarantined && is_in_use(&error) => {
                    Quarantine::Port(PortError::Unavailable(format!("{error:#}")))
                }
                Err(error) => return Err(error),
            },
        };
        quarantined = true;
        if told.set("ledger", Err(why.to_string())) {
            tracing::error!("In quarantine: {why}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn agreed(
    place: &Place<'_>,
    cluster: &str,
    clock: &Arc<dyn Clock>,
    mark: Option<Mark>,
) -> Result<Result<Arc<dyn Store>, Quarantine>> {
    let found = place.find(cluster, clock).await?;
    Ok(match (mark, found) {
        (None, Some(ledger)) => Ok(ledger),
        (None, None) => Ok(place.make(cluster, clock).await?),
        (Some(marked), None) => Err(Distrust::Missing { marked }.into()),
        (Some(mark), Some(ledger)) => match anchor::agrees(&mark, &*ledger).await {
            Err(Quarantine::Port(error)) => return Err(error.into()),
            told => told.map(|()| ledger),
        },
    })
}

/// Whether another process has the file.
pub(crate) fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::InUse(_)))
}

/// Whether waiting changes nothing about `error`.
pub(super) fn is_permanent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<OpenError>().is_some()
        || matches!(error.downcast_ref::<PortError>(), Some(PortError::Unusable(_)))
}
