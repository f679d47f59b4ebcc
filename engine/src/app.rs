//! Start in order, stop in reverse. Every task is owned here, named and awaited; if one ends early the process ends.

use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use arc_swap::{ArcSwap, ArcSwapOption};
use flyball_core::intent::Writer;
use flyball_core::policy::PolicySet;
use flyball_core::ports::{AppendError, Ports, Signals};
use flyball_core::record::{Record, Started};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admit::Admitter;
use crate::anchor::{self, Keeper};
use crate::intake::{Intake, Reader};
use crate::ledger::{Book, Timed};
use crate::notes::Notes;
use crate::pipeline::Engine;
use crate::ready::Readiness;
use crate::recent::Recent;
use crate::replicas::{self, Peers};
use crate::telemetry::Telemetry;
use crate::waiting;

/// How often each part is asked whether it is ready, while all are and while one is not: a start takes a fraction of a second.
const PROBE: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(2), SignedDuration::from_millis(100));
/// A local clock further from the ledger's time than this would shorten or stretch what people see; the replica says so.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// How long a stop may take: an effect on its way has a timeout of 10 s.
const GRACE: Duration = Duration::from_secs(20);
/// How long the last word about the ledger may take: without it, only what was lost within a minute goes unnoticed.
const REMEMBER: Duration = Duration::from_secs(3);

/// How long the last acknowledgements may take: what is not told comes again, and is recognised.
const TELL: Duration = Duration::from_secs(3);

/// What has to be known to start.
pub struct Settings {
    /// This replica's stable name.
    pub replica: Arc<str>,
    /// A name that no other process has, and that sorts after those of earlier processes: a UUIDv7.
    pub process: Arc<str>,
    /// How messages become signals; names the cluster.
    pub reader: Reader,
    /// The policies.
    pub policies: PolicySet,
}

/// A running engine.
pub struct App {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Which part is not ready.
    pub readiness: Arc<Readiness>,
    /// The newest signals.
    pub recent: Arc<Recent>,
    signals: Arc<dyn Signals>,
    keeper: Arc<Keeper>,
    tasks: JoinSet<(&'static str, String)>,
    tail: JoinSet<(&'static str, String)>,
}

impl App {
    /// Folds the ledger, takes up what is open, and begins to listen. `told` hears what it waits for meanwhile.
    ///
    /// # Errors
    /// The ledger cannot be read, or is not the one that its high-water mark says.
    pub async fn start(ports: Ports, settings: Settings, telemetry: Telemetry, told: &Readiness) -> Result<Self> {
        let timed = Timed::new(ports.ledger.clone(), ports.clock.clone(), telemetry.clone());
        let (book, tail) = Book::open(Arc::new(timed), ports.clock.clone()).await?;
        // Once more, now that it was read: on one that has forgotten, nothing speaks against acting. What it loses from here on
        // the fold knows.
        anchor::trusted(&*ports.anchor, &*ports.ledger).await?;
        let writer = Writer { replica: settings.replica.clone(), process: settings.process, epoch: 0 };
        let digest = settings.policies.digest.clone();
        let cluster = settings.reader.cluster.clone();
        let engine = Arc::new(Engine {
            admitter: Admitter::new(book.clone(), cluster.clone(), writer.clone()),
            book: book.clone(),
            cluster: ports.cluster.clone(),
            clock: ports.clock.clone(),
            policies: ArcSwap::from_pointee(settings.policies),
            refused: ArcSwapOption::empty(),
            telemetry,
            cluster_name: cluster,
            drivers: TaskTracker::new(),
            stopping: CancellationToken::new(),
            peers: Mutex::new(Peers::new(writer)),
            driving: Mutex::default(),
            undecided: AtomicUsize::default(),
        });
        let (notes, writing) = Notes::open(book.clone(), ports.clock.clone());
        let mut app = Self {
            engine: engine.clone(),
            readiness: Arc::new(Readiness::of(&["ledger", "cluster", "signals", "policies", "clock", "heartbeat"])),
            recent: Arc::default(),
            signals: ports.signals.clone(),
            keeper: Arc::new(Keeper::new(ports.clone(), book.clone())),
            tasks: JoinSet::new(),
            tail: JoinSet::new(),
        };
        app.tail.spawn(async move { ("ledger", tail.await.to_string()) });
        // Its time is fresh, so the ledger's time is, whatever lay before it.
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let started = Started { replica: settings.replica.clone(), policies: digest, version };
        let identity = ports.ledger.identity();
        let untaken = |error: &AppendError| {
            told.set("ledger", Err(format!("{identity} cannot be written: {error}")));
        };
        tokio::select! {
            biased;
            why = book.halted() => bail!("ledger: {why}"),
            () = book.note_telling(Record::Started(started), untaken) => {}
        }
        let keeper = app.keeper.clone();
        app.tail.spawn(async move { ("ledger", keeper.keep().await) });
        app.readiness.set("policies", Ok(()));
        // What an earlier process of ours left open is taken up at once.
        for id in replicas::left_open(&engine) {
            engine.start(id);
        }
        app.spawn("heartbeat", replicas::beat(engine.clone(), ports.replicas.clone(), app.readiness.clone()));
        let listening = replicas::attend(engine.clone(), ports.replicas.clone());
        app.tasks.spawn(async move { ("replicas", listening.await) });
        app.spawn("notes", writing);
        app.spawn("waiting room", waiting::attend(engine.clone()));
        let intake = Intake::new(engine.clone(), settings.reader, notes, app.recent.clone());
        app.spawn("intake", intake.run(ports.signals.clone()));
        let (probed, readiness) = (ports.clone(), app.readiness.clone());
        app.spawn("readiness", probe(probed, engine, readiness));
        Ok(app)
    }

    /// Adds a task that lives as long as the process.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            (name, "ended".to_owned())
        });
    }

    /// Runs until `until`, or until a task ends that should not.
    ///
    /// # Errors
    /// Which task ended, and why.
    pub async fn run(mut self, until: impl Future<Output = ()>) -> Result<()> {
        let stopping = self.engine.stopping.clone();
        let ended = tokio::select! {
            biased;
            () = until => None,
            () = stopping.cancelled() => Some(Ok(("driver", "panicked".to_owned()))),
            Some(ended) = self.tasks.join_next() => Some(ended),
            Some(ended) = self.tail.join_next() => Some(ended),
        };
        self.stop().await;
        match ended {
            None => Ok(()),
            Some(Ok((name, why))) => bail!("{name}: {why}"),
            Some(Err(error)) => bail!("a task failed: {error}"),
        }
    }

    /// Stops intake, lets every driver reach its next entry, writes what is folded, and returns.
    pub async fn stop(mut self) {
        self.engine.stopping.cancel();
        let finish = async {
            // Who starts drivers ends first, so that none is started that nobody waits for.
            while self.tasks.join_next().await.is_some() {}
            self.engine.drivers.close();
            self.engine.drivers.wait().await;
            if tokio::time::timeout(TELL, self.signals.told()).await.is_err() {
                tracing::info!(
                    "The bus did not take the last acknowledgements; what they are for comes again elsewhere"
                );
            }
        };
        tokio::select! {
            biased;
            // There is nothing to wait for: what is open cannot be written about.
            _ = self.engine.book.halted() => {}
            done = tokio::time::timeout(GRACE, finish) => {
                if done.is_err() {
                    tracing::warn!("Stopping took too long; what is open resumes from the ledger");
                }
            }
        }
        self.tasks.shutdown().await;
        let remembering = self.keeper.remember();
        if !matches!(tokio::time::timeout(REMEMBER, remembering).await, Ok(Ok(()))) {
            tracing::warn!("The high-water mark was not raised at the end");
        }
        self.tail.shutdown().await;
        self.engine.telemetry.shutdown().await;
    }
}

async fn probe(ports: Ports, engine: Arc<Engine>, readiness: Arc<Readiness>) {
    let mut wait = SignedDuration::ZERO;
    loop {
        tokio::select! {
            biased;
            () = engine.stopping.cancelled() => return,
            () = engine.clock.sleep(wait) => {}
        }
        let (signals, cluster, ledger) =
            tokio::join!(ports.signals.ready(), ports.cluster.ready(), ports.ledger.newest());
        let skew = Timestamp::duration_since(ports.clock.now(), engine.book.now()).abs();
        let clock =
            if skew > MAX_SKEW { Err(format!("the local clock is {skew:#} from the ledger's time")) } else { Ok(()) };
        let writable = || {
            let named = |why| format!("{} cannot be written: {why}", engine.book.identity());
            engine.book.writable().map_err(named)
        };
        let states = [
            ("signals", signals.map_err(|error| error.to_string())),
            ("cluster", cluster.map_err(|error| error.to_string())),
            ("ledger", ledger.map_err(|error| error.to_string()).and_then(|_| writable())),
            ("clock", clock),
        ];
        let before = readiness.is_ready();
        for (part, state) in states {
            let told = state.clone().err();
            if readiness.set(part, state)
                && let Some(error) = told
            {
                tracing::warn!(part, error, "Not ready");
            }
        }
        wait = if readiness.is_ready() { PROBE.0 } else { PROBE.1 };
        if readiness.is_ready() && !before {
            tracing::info!("Ready");
        }
        engine.telemetry.gauges(&engine);
    }
}
