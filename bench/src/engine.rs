//! The engine, in a process of its own: the bus, the ledger and the traces are real, the workloads are simulated, so that what is
//! measured is deciding and not an API server.

use std::sync::Arc;

use anyhow::{Context, Result};
use flyball::app::{App, Settings};
use flyball::clock::TokioClock;
use flyball::intake::{JetStreamSignals, Reader};
use flyball::ledger::{JetStreamLedger, JetStreamOptions, Pace, Retention, upkeep};
use flyball::policies::PolicyFiles;
use flyball::ready::Readiness;
use flyball::replicas::JetStreamReplicas;
use flyball::telemetry::Telemetry;
use flyball::telemetry::logs::{self, Format, Logs};
use flyball_core::ports::Ports;
use flyball_sim::{Manifest, MemoryAnchor, World};
use tokio::signal::unix::{SignalKind, signal};

use crate::load::{self, CLUSTER, WORKLOADS};

/// The simulated workloads' seed: the same in every round.
const SEED: u64 = 1788;

/// What it is given.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// NATS server
    #[arg(long)]
    nats: String,
    /// Policies
    #[arg(long)]
    policies: std::path::PathBuf,
}

/// Runs until SIGTERM.
pub(crate) fn run(args: Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> Result<()> {
    let lookup = |name: &str| std::env::var(name).ok();
    logs::init(&Logs::read(Format::Text, false, lookup))?;
    let telemetry = Telemetry::start(env!("CARGO_PKG_VERSION"), "bench", lookup)?;
    let mut stop = signal(SignalKind::terminate())?;
    let clock = Arc::new(TokioClock::real());
    let (policies, _) = PolicyFiles::at(&args.policies).load()?;
    let world = World::new(SEED, clock.clone());
    for workload in 0..WORKLOADS {
        world.cluster.put(&Manifest::deployment(&load::namespace(workload), &load::name(workload)).replicas(2));
    }
    let nats = flyball::nats::connect(&args.nats, "flyball").await?;
    let ledger = JetStreamLedger::connect(nats.clone(), CLUSTER, JetStreamOptions::default()).await?;
    let replicas = JetStreamReplicas::connect(nats.clone(), CLUSTER).await?;
    let signals = JetStreamSignals::connect(nats, CLUSTER, &[], Arc::new(())).await?;
    let ports = Ports {
        signals: Arc::new(signals),
        ledger: Arc::new(ledger),
        cluster: world.cluster.clone(),
        replicas: Arc::new(replicas),
        anchor: Arc::<MemoryAnchor>::default(),
        clock,
    };
    let reader =
        Reader { cluster: CLUSTER.into(), namespace: "default".into(), aliases: std::collections::BTreeMap::new() };
    let process = uuid::Uuid::now_v7().to_string().into();
    let settings = Settings { replica: "bench".into(), process, reader, policies };
    let told = Readiness::of(&["ledger"]);
    let mut app = App::start(ports, settings, telemetry, &told).await.context("starting the engine")?;
    let (book, clock, stopping) = (app.engine.book.clone(), app.engine.clock.clone(), app.engine.stopping.clone());
    app.spawn("upkeep", upkeep(book, clock, Pace::default(), Retention::default(), stopping));
    tracing::info!("Engine runs");
    app.run(async {
        stop.recv().await;
    })
    .await
}
