//! `flyball run` and `flyball dev`: configuration, telemetry, ports, engine, API; then until somebody says stop.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ArgMatches;
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Settings};
use crate::clock::TokioClock;
use crate::cluster::KubeCluster;
use crate::config::{Config, LogFormat, RunArgs};
use crate::http::{self, Api, Auth};
use crate::intake::Reader;
use crate::ledger::{Pace, upkeep};
use crate::pipeline::Engine;
use crate::policies::{self, Fingerprint, PolicyFiles};
use crate::ready::Readiness;
use crate::telemetry::Telemetry;
use crate::telemetry::logs::{self, Format, Logs};
use crate::wire::{self, SHOP, Simulated, Wired};

/// Which column of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Real servers.
    Run,
    /// Embedded, unless said otherwise.
    Dev,
}

/// Runs until SIGTERM or Ctrl-C.
///
/// # Errors
/// What is wrong with the configuration or the policies, or which part failed.
pub async fn run(mode: Mode, args: &RunArgs, matches: &ArgMatches) -> Result<()> {
    let began = Instant::now();
    let config = Config::load(args, matches, if mode == Mode::Dev { SHOP } else { "default" })?;
    if args.print_config {
        print!("{}", config.describe());
        return Ok(());
    }
    let format = if config.log_format == LogFormat::Json { Format::Json } else { Format::Text };
    let filter = Some(config.log.clone()).filter(|_| args.log.is_some() || config.log != "info");
    let lookup = |name: &str| if name == "FLYBALL_LOG" { filter.clone() } else { std::env::var(name).ok() };
    logs::init(&Logs::read(format, std::io::stderr().is_terminal(), lookup))?;
    let (policies, seen) = match (&config.policies, mode) {
        (Some(path), _) => PolicyFiles::at(path).load()?,
        (None, Mode::Dev) => (crate::demo::shipped()?, Fingerprint::default()),
        (None, Mode::Run) => anyhow::bail!("`run` needs policies: --policies FILE or DIRECTORY, or FLYBALL_POLICIES"),
    };
    let auth =
        Auth::check(config.listen, config.api_token_file.as_deref(), config.no_auth).map_err(anyhow::Error::msg)?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("listening on {}", config.listen))?;
    let commit = option_env!("FLYBALL_COMMIT").unwrap_or("unknown");
    let telemetry = Telemetry::start(env!("CARGO_PKG_VERSION"), commit, |name| std::env::var(name).ok())?;
    let mut stop = Stop::new()?;
    let _too_large = signal(SignalKind::from_raw(FILE_TOO_LARGE)).context("listening for SIGXFSZ")?;
    let clock = Arc::new(TokioClock::real());
    // Whoever asks while we wait for a server, or for a ledger that is trusted, is answered.
    let told = Arc::new(Readiness::of(&["ledger"]));
    let (listener, early) = twice(listener)?;
    let started = CancellationToken::new();
    let waiting = tokio::spawn(http::serve(early, http::starting(told.clone()), started.clone()));
    let wired = tokio::select! {
        wired = wire(mode, &config, clock, &telemetry, &told) => wired?,
        () = stop.asked() => return Ok(()),
    };
    let count = policies.policies().len();
    let mut app = tokio::select! {
        app = start(&config, policies, wired.0, telemetry, (auth, listener), &told) => app?,
        () = stop.asked() => return Ok(()),
    };
    started.cancel();
    waiting.await?;
    if let Some(path) = &config.policies {
        app.spawn("policies", policies::follow(PolicyFiles::at(path), seen, app.engine.clone()));
    }
    tracing::info!(policies = count, "Listens on http://{} after {:.0?}", config.listen, began.elapsed());
    app.run(stop.asked()).await
}

/// The same socket for two servers, one after the other: no connection is refused in between.
fn twice(listener: TcpListener) -> Result<(TcpListener, TcpListener)> {
    let listener = listener.into_std().context("taking the socket")?;
    let other = listener.try_clone().context("sharing the socket")?;
    Ok((TcpListener::from_std(listener)?, TcpListener::from_std(other)?))
}

async fn wire(
    mode: Mode,
    config: &Config,
    clock: Arc<TokioClock>,
    telemetry: &Telemetry,
    told: &Readiness,
) -> Result<(Wired, Option<Simulated>)> {
    let telemetry = Arc::new(telemetry.clone());
    match mode {
        Mode::Run => Ok((Box::pin(wire::real(config, clock, telemetry, told)).await?, None)),
        Mode::Dev => wire::mixed(config, clock, telemetry, told).await,
    }
}

async fn start(
    config: &Config,
    policies: flyball_core::policy::PolicySet,
    wired: Wired,
    telemetry: Telemetry,
    (auth, listener): (Auth, TcpListener),
    told: &Readiness,
) -> Result<App> {
    for port in &wired.described {
        tracing::info!("Uses {port}");
    }
    let aliases = config.services.clone();
    let reader = Reader { cluster: config.cluster.clone(), namespace: config.namespace.clone(), aliases };
    let process = uuid::Uuid::now_v7().to_string().into();
    let settings = Settings { replica: config.replica.clone(), process, reader: reader.clone(), policies };
    let metrics = telemetry.clone();
    let migrator = Some((wired.migrator, wired.ports.anchor.clone()));
    let mut app = App::start(wired.ports, settings, telemetry, told).await?;
    let engine = &app.engine;
    let (book, clock, stopping) = (engine.book.clone(), engine.clock.clone(), engine.stopping.clone());
    let keeping = upkeep(book, clock, Pace::default(), config.ledger_keep, stopping);
    app.spawn("upkeep", keeping);
    if let Some(kube) = wired.kube {
        let (stopping, watches) = (app.engine.stopping.clone(), kube.watches());
        app.spawn("watches", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = watches => {}
            }
        });
        app.spawn("replicas", observe_replicas(kube, app.engine.clone()));
    }
    let api = Api {
        engine: app.engine.clone(),
        reader,
        publish: wired.publish,
        recent: app.recent.clone(),
        readiness: app.readiness.clone(),
        migrator,
        metrics: Arc::new(move || metrics.metrics.encode()),
        auth,
    };
    let stopping = app.engine.stopping.clone();
    // The folder goes when the server does.
    let temporary = wired.temporary;
    app.spawn("http", async move {
        http::serve(listener, http::router(api), stopping).await;
        drop(temporary);
    });
    Ok(app)
}

/// How often the gauges of replicas are brought up to date: as often as anybody scrapes.
const GAUGES: SignedDuration = SignedDuration::from_secs(10);

/// Keeps the gauges of the Deployments that we have acted on; all of a cluster's would be as many series.
async fn observe_replicas(kube: Arc<KubeCluster>, engine: Arc<Engine>) {
    loop {
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = engine.clock.sleep(GAUGES) => {}
        }
        let acted: BTreeSet<Workload> = engine.book.history().intents().map(|it| it.request().target.clone()).collect();
        for (workload, desired, available) in kube.health() {
            if workload.kind == WorkloadKind::Deployment && acted.contains(&workload) {
                engine.telemetry.metrics.deployment_replicas(&workload.namespace, &workload.name, desired, available);
            }
        }
    }
}

/// SIGXFSZ, which has no name in tokio. Whoever listens for it gets an error from a write beyond a limit of the file size;
/// who does not is killed by it.
const FILE_TOO_LARGE: i32 = 25;

/// SIGTERM or Ctrl-C.
struct Stop(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Stop {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals of the operating system");
        Ok(Self(listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?))
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
        tracing::info!("Stops: what is open resumes from the ledger");
    }
}
