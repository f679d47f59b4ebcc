//! Moves the ledger under a running engine: copies it while it is written, stops the append line for a moment, closes the old
//! ledger for good, and goes on with the new one. The order is that of `docs/decisions/0018`: after a kill at any point,
//! `flyball ledger migrate` goes on from there.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use flyball_core::ports::{Anchor, PortError};
use jiff::SignedDuration;
use tokio::time::timeout;

use crate::anchor::head_at;
use crate::config::LedgerPlace;
use crate::ledger::Switch;
use crate::ledger::migration::{agrees, carry_snapshot, catch_up, origin, remark};
use crate::ledger::stored::{Draft, Store};
use crate::pipeline::Engine;
use crate::replicas::{self, JetStreamReplicas};
use crate::view::migration::{Migration, NewMigration, Step};
use crate::wire::Place;

/// The line is stopped when no more entries than this are left to copy: some milliseconds of work.
const CLOSE: u64 = 200;
/// How long the line may be waited for, and how long it may stand then: less than a second together.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(600));
/// Between two attempts at something that did not work.
const AGAIN: SignedDuration = SignedDuration::from_millis(500);
/// Attempts at stopping the line before the move is given up: a minute of trouble.
const ATTEMPTS: u32 = 60;

/// What a move needs of the process.
pub struct Migrator {
    kept: Mutex<LedgerPlace>,
    nats: Option<async_nats::Client>,
    cluster: Arc<str>,
    ledger: Arc<Switch>,
    replicas: Arc<replicas::Switch>,
    told: Mutex<Migration>,
}

/// Why a move was not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// The request cannot be used.
    #[error("{1}")]
    Unusable(&'static str, String),
    /// Not now.
    #[error("{0}")]
    Conflict(String),
}

impl Migrator {
    /// A process whose ledger is kept at `kept`.
    pub fn new(
        kept: LedgerPlace,
        nats: Option<async_nats::Client>,
        cluster: Arc<str>,
        ledger: Arc<Switch>,
        replicas: Arc<replicas::Switch>,
    ) -> Self {
        Self { kept: Mutex::new(kept), nats, cluster, ledger, replicas, told: Mutex::default() }
    }

    /// How far it is.
    pub fn told(&self) -> Migration {
        self.tell().clone()
    }

    fn tell(&self) -> MutexGuard<'_, Migration> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, LedgerPlace> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to move; the engine owns the task. Asking again for what is under way is no fault.
    ///
    /// # Errors
    /// Why not.
    pub fn begin(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        anchor: Arc<dyn Anchor>,
        asked: &NewMigration,
    ) -> Result<(), NotBegun> {
        let to = &*asked.to;
        let place = self.checked(engine, asked)?;
        {
            let mut told = self.tell();
            let under_way = matches!(told.step, Step::Copying | Step::Switching | Step::Finishing);
            if under_way && told.to.as_deref() == Some(to) {
                return Ok(());
            }
            if under_way {
                return Err(NotBegun::Conflict(format!(
                    "the ledger moves to {} already",
                    told.to.as_deref().unwrap_or("")
                )));
            }
            *told = Migration { step: Step::Copying, to: Some(to.to_owned()), ..Migration::default() };
        }
        let (this, engine) = (self.clone(), engine.clone());
        engine.clone().drivers.spawn(async move {
            let stopping = engine.stopping.clone();
            let moved = tokio::select! {
                biased;
                moved = this.migrate(&engine, &*anchor, place) => moved,
                () = stopping.cancelled() => Err(anyhow!("the engine was stopped")),
            };
            this.ended(moved);
        });
        Ok(())
    }

    fn ended(&self, moved: Result<String>) {
        let mut told = self.tell();
        match moved {
            Ok(start) => {
                told.step = Step::Done;
                told.detail = Some(start);
            }
            Err(error) => {
                tracing::error!("The ledger was not moved: {error:#}");
                told.step = Step::Failed;
                told.detail = Some(format!("{error:#}"));
            }
        }
    }

    fn checked(&self, engine: &Engine, asked: &NewMigration) -> Result<LedgerPlace, NotBegun> {
        if asked.cluster != *self.cluster {
            return Err(NotBegun::Unusable("cluster", format!("this engine is of the cluster `{}`", self.cluster)));
        }
        if let Some(from) = &asked.from {
            let mine = match &*self.kept() {
                LedgerPlace::File(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
                LedgerPlace::Nats => "nats".into(),
            };
            if mine != Path::new(from) {
                let what = format!("the ledger of this engine is kept in {}", mine.display());
                return Err(NotBegun::Unusable("from", what));
            }
        }
        let place = match &*asked.to {
            "nats" => LedgerPlace::Nats,
            path => LedgerPlace::File(path.into()),
        };
        match (&place, &*self.kept()) {
            (LedgerPlace::Nats, LedgerPlace::Nats) => {
                return Err(NotBegun::Conflict("the ledger is kept in NATS already".to_owned()));
            }
            (LedgerPlace::File(_), LedgerPlace::File(path)) => {
                let path = path.display();
                return Err(NotBegun::Conflict(format!(
                    "the ledger is kept in the file {path}: it moves to NATS only"
                )));
            }
            _ => {}
        }
        match &place {
            LedgerPlace::Nats if self.nats.is_none() => {
                Err(NotBegun::Unusable("to", "this engine has no NATS server: start it with --nats".to_owned()))
            }
            LedgerPlace::File(path) if !path.is_absolute() => {
                Err(NotBegun::Unusable("to", "a file is named by its absolute path".to_owned()))
            }
            LedgerPlace::File(_) if !engine.peers().is_alone() => Err(NotBegun::Conflict(
                "a file has one process, and other replicas are heard, or may be: stop them, and ask again in some seconds"
                    .to_owned(),
            )),
            _ => Ok(place),
        }
    }

    /// Moves. What to do from now on.
    async fn migrate(&self, engine: &Engine, anchor: &dyn Anchor, to: LedgerPlace) -> Result<String> {
        let source = self.ledger.current();
        let place = match (&to, &self.nats) {
            (LedgerPlace::File(path), _) => Place::File(path),
            (LedgerPlace::Nats, Some(nats)) => Place::Stream(nats.clone()),
            (LedgerPlace::Nats, None) => return Err(anyhow!("there is no NATS server")),
        };
        let _whole = engine.book.no_purge().await;
        let mut draft = place.draft(&self.cluster, &origin(&*source), source.oldest().await?).await?;
        agrees(&*source, &*draft).await?;
        tracing::warn!(to = draft.place(), "The ledger is being moved");
        self.copy(&*source, &mut *draft).await?;
        // From here on until it has moved: raised, it would be compared with the wrong ledger.
        let marking = engine.book.no_marking().await;
        // Whoever raised it may have waited for a silent API server, and the ledger has grown.
        self.copy(&*source, &mut *draft).await?;
        let held = self.switch(engine, &source, &mut *draft).await?;
        self.tell().held_ms = Some(u64::try_from(held.as_millis()).unwrap_or(u64::MAX));
        self.tell().step = Step::Finishing;
        *self.kept() = to.clone();
        tracing::warn!(to = draft.place(), ?held, "Works on the new ledger");
        self.listen(engine, &to).await;
        let last = head_at(&*source, source.newest().await?).await?;
        let (before, after) = (source.identity(), draft.identity());
        persist(engine, || remark(anchor, &before, &after, last)).await?;
        drop(marking);
        persist(engine, || draft.finish()).await?;
        carry_snapshot(&*source, &*self.ledger.current()).await;
        Ok(start(&to))
    }

    /// Copies until hardly anything is left.
    async fn copy(&self, source: &dyn Store, draft: &mut dyn Draft) -> Result<(), PortError> {
        loop {
            let mut tell = |copied, of| {
                let mut told = self.tell();
                (told.copied, told.of) = (copied, of);
            };
            catch_up(source, draft, &mut tell).await?;
            if source.newest().await?.0 <= draft.reached().0 + CLOSE {
                return Ok(());
            }
        }
    }

    /// Stops the line, closes the old ledger, copies the rest and goes on with the new one. For how long nothing could be
    /// appended. An attempt that takes too long lets the line go first: appends to a closed ledger are refused, and
    /// whoever makes them tries again.
    async fn switch(&self, engine: &Engine, source: &Arc<dyn Store>, draft: &mut dyn Draft) -> Result<Duration> {
        let mut why = "appends have had no answer".to_owned();
        for _ in 0..ATTEMPTS {
            self.tell().step = Step::Switching;
            let begun = Instant::now();
            if let Some(held) = self.ledger.hold(PATIENCE.0).await {
                let steps = async {
                    source.close(&draft.place()).await?;
                    catch_up(&**source, draft, &mut |_, _| ()).await?;
                    draft.ledger(engine.clock.clone()).await
                };
                match timeout(PATIENCE.1, steps).await {
                    Ok(Ok(next)) => {
                        held.exchange(next);
                        return Ok(begun.elapsed());
                    }
                    Ok(Err(PortError::Unusable(what))) => return Err(anyhow!(what)),
                    Ok(Err(error)) => why = error.to_string(),
                    Err(_) => why = format!("closing the old ledger took longer than {:?}", PATIENCE.1),
                }
            }
            tracing::warn!(why, "The ledger is not moved yet; trying again");
            engine.clock.sleep(AGAIN).await;
        }
        Err(anyhow!("the old ledger could not be closed: {why}"))
    }

    /// A ledger in NATS may have other replicas: they have to hear of us.
    async fn listen(&self, engine: &Engine, to: &LedgerPlace) {
        let (LedgerPlace::Nats, Some(nats)) = (to, &self.nats) else { return };
        loop {
            match JetStreamReplicas::connect(nats.clone(), &self.cluster).await {
                Ok(others) => return self.replicas.exchange(Arc::new(others)),
                Err(error) => tracing::warn!(%error, "Cannot reach the other replicas; trying again"),
            }
            engine.clock.sleep(AGAIN).await;
        }
    }
}

/// Repeats what only waits for somebody to answer.
async fn persist<F: Future<Output = Result<(), PortError>>>(
    engine: &Engine,
    mut work: impl FnMut() -> F,
) -> Result<()> {
    loop {
        match work().await {
            Ok(()) => return Ok(()),
            Err(PortError::Unusable(why)) => return Err(anyhow!(why)),
            Err(error) => tracing::warn!(%error, "The move of the ledger is not finished; trying again"),
        }
        engine.clock.sleep(AGAIN).await;
    }
}

/// How to start from now on.
pub fn start(to: &LedgerPlace) -> String {
    let place = match to {
        LedgerPlace::Nats => Path::new("nats"),
        LedgerPlace::File(path) => path,
    };
    format!("start the engine with --ledger {} from now on", place.display())
}
