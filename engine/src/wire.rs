//! Which port is the embedded one and which the real one. The only place where all of them meet.

mod embedded;
mod ledger;
mod publisher;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use backon::{ExponentialBuilder, Retryable};
use flyball_core::ports::{Anchor, Clock, Cluster, Ports, Replicas, Signals};
use tempfile::TempDir;

use crate::anchor::FileAnchor;
use crate::cluster::{KubeCluster, Observer, Options as KubeOptions};
use crate::config::{Config, LedgerPlace};
use crate::intake::{Inbox, JetStreamSignals};
use crate::ledger::Switch;
use crate::migration::Migrator;
use crate::publish::Publish;
use crate::ready::Readiness;
use crate::replicas::{self, Alone, JetStreamReplicas};
use crate::telemetry::Telemetry;

pub(crate) use ledger::{Place, is_in_use};

pub use embedded::{SHOP, Simulated};
pub use publisher::NatsPublisher;

/// Waits between attempts to reach a server at start: it may come up later than we do.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The burst over the rate of API calls.
const TWICE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// The ports, and what has to live as long as they do.
pub struct Wired {
    /// The ports.
    pub ports: Ports,
    /// The way onto the bus for HTTP.
    pub publish: Arc<dyn Publish>,
    /// The real cluster, if it is one: its watches are the application's task.
    pub kube: Option<Arc<KubeCluster>>,
    /// How the ledger moves.
    pub migrator: Arc<Migrator>,
    /// What each port is, for people.
    pub described: Vec<String>,
    /// Files that go with the process.
    pub temporary: Option<TempDir>,
}

/// Real ports, as `run` has them.
///
/// # Errors
/// What is missing in the configuration. A server that cannot be reached is waited for.
pub async fn real(
    config: &Config,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    told: &Readiness,
) -> Result<Wired> {
    let url = config
        .nats
        .as_deref()
        .context("`run` needs a NATS server: --nats nats://HOST:4222, or FLYBALL_NATS (`flyball dev` needs none)")?;
    let nats = patiently(told, "NATS", || async {
        crate::nats::connect(url, "flyball").await.map_err(|error| anyhow!(error))
    })
    .await?;
    let kube = connect_kube(config, telemetry.clone()).await?;
    let anchor: Arc<dyn Anchor> = Arc::new(kube.anchor(&config.cluster));
    let place = Place::of(config, nats.clone());
    let ledger = patiently(told, "the ledger", || ledger::open(&place, &config.cluster, &clock, &*anchor, told));
    let bus = async {
        let signals = patiently(told, "the signals", || async {
            Ok(JetStreamSignals::connect(nats.clone(), &config.cluster, &config.streams, telemetry.clone()).await?)
        })
        .await?;
        // A file has one process, whatever else is on the bus.
        let replicas: Arc<dyn Replicas> = match config.ledger {
            Some(LedgerPlace::File(_)) => Arc::<Alone>::default(),
            _ => Arc::new(patiently(told, "the replicas", || others(config, nats.clone())).await?),
        };
        Ok((signals, replicas))
    };
    // Neither needs the other, and each asks one question after the other: on a long link that is what a start takes.
    let (ledger, (signals, replicas)) = tokio::try_join!(ledger, bus)?;
    let ledger = Arc::new(Switch::new(ledger));
    let replicas = Arc::new(replicas::Switch::new(replicas));
    let kept = config.ledger.clone().unwrap_or(LedgerPlace::Nats);
    let migrator = Migrator::new(kept, Some(nats.clone()), config.cluster.clone(), ledger.clone(), replicas.clone());
    let publish = NatsPublisher::new(nats, config.cluster.clone(), config.namespace.clone());
    let cluster = Arc::new(kube);
    let described = vec![
        format!("signals {url}"),
        format!("ledger {}", describe_ledger(config)),
        format!("cluster {}", cluster.url()),
    ];
    let ports = Ports { signals: Arc::new(signals), ledger, cluster: cluster.clone(), replicas, anchor, clock };
    Ok(Wired {
        ports,
        publish: Arc::new(publish),
        kube: Some(cluster),
        migrator: Arc::new(migrator),
        described,
        temporary: None,
    })
}

/// Embedded ports, each of which the configuration may swap for the real one, as `dev` has them.
///
/// # Errors
/// A named server cannot be reached, or a file cannot be opened.
pub async fn mixed(
    config: &Config,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    told: &Readiness,
) -> Result<(Wired, Option<Simulated>)> {
    let temporary = TempDir::with_prefix("flyball-").context("making a temporary folder")?;
    let nats = match &config.nats {
        Some(url) => Some(crate::nats::connect(url, "flyball").await?),
        None => None,
    };
    let mut described = Vec::new();
    let (signals, publish): (Arc<dyn Signals>, Arc<dyn Publish>) = if let Some(nats) = &nats {
        described.push(format!("signals {}", config.nats.as_deref().unwrap_or_default()));
        let signals =
            JetStreamSignals::connect(nats.clone(), &config.cluster, &config.streams, telemetry.clone()).await?;
        let publish = NatsPublisher::new(nats.clone(), config.cluster.clone(), config.namespace.clone());
        (Arc::new(signals), Arc::new(publish))
    } else {
        let inbox = Arc::new(Inbox::open(&beside(config, temporary.path(), "signals.redb"), clock.clone())?);
        described.push("signals in process, fed over HTTP".into());
        (inbox.clone(), inbox)
    };
    let replicas: Arc<dyn Replicas> = match (&config.ledger, &nats) {
        (Some(LedgerPlace::Nats), Some(nats)) => Arc::new(others(config, nats.clone()).await?),
        _ => Arc::<Alone>::default(),
    };
    let (cluster, kube, simulated): (Arc<dyn Cluster>, _, _) = if config.kubeconfig.is_some() {
        let kube = Arc::new(connect_kube(config, telemetry.clone()).await?);
        described.push(format!("cluster {}", kube.url()));
        (kube.clone(), Some(kube), None)
    } else {
        let simulated = Simulated::new(clock.clone());
        described.push("cluster simulated, namespace shop".into());
        (simulated.cluster(), None, Some(simulated))
    };
    let temporary_ledger = temporary.path().join("ledger.redb");
    let place = match (&config.ledger, nats.clone()) {
        (Some(LedgerPlace::Nats), None) => return Err(anyhow!("--ledger nats needs --nats")),
        (Some(LedgerPlace::Nats), Some(nats)) => Place::Stream(nats),
        (Some(LedgerPlace::File(path)), _) => Place::File(path),
        (None, _) => Place::File(&temporary_ledger),
    };
    let anchor: Arc<dyn Anchor> = match (&kube, &place) {
        (Some(kube), _) => Arc::new(kube.anchor(&config.cluster)),
        (None, Place::File(path)) => Arc::new(FileAnchor::beside(path)),
        // There is nowhere to keep it that a server's loss would spare.
        (None, Place::Stream(_)) => {
            tracing::warn!(
                "The ledger's high-water mark is kept in memory: without --kubeconfig there is nowhere to keep it, and a ledger \
                 that is lost between two starts is not noticed"
            );
            Arc::<flyball_sim::MemoryAnchor>::default()
        }
    };
    let ledger = ledger::open(&place, &config.cluster, &clock, &*anchor, told).await?;
    described.push(format!(
        "ledger {}",
        config.ledger.as_ref().map_or("a file that goes with the process".into(), |_| describe_ledger(config))
    ));
    let ledger = Arc::new(Switch::new(ledger));
    let replicas = Arc::new(replicas::Switch::new(replicas));
    let kept = config.ledger.clone().unwrap_or(LedgerPlace::File(temporary_ledger.clone()));
    let migrator = Migrator::new(kept, nats, config.cluster.clone(), ledger.clone(), replicas.clone());
    let ports = Ports { signals, ledger, cluster, replicas, anchor, clock };
    let migrator = Arc::new(migrator);
    Ok((Wired { ports, publish, kube, migrator, described, temporary: Some(temporary) }, simulated))
}

/// Signals lie beside a ledger that is kept.
fn beside(config: &Config, temporary: &Path, name: &str) -> std::path::PathBuf {
    match &config.ledger {
        Some(LedgerPlace::File(path)) => path.with_extension(name),
        _ => temporary.join(name),
    }
}

fn describe_ledger(config: &Config) -> String {
    match &config.ledger {
        Some(LedgerPlace::File(path)) => path.display().to_string(),
        _ => format!("stream FLYBALL_LEDGER_{}", config.cluster),
    }
}

async fn connect_kube(config: &Config, observer: Arc<dyn Observer>) -> Result<KubeCluster> {
    let rate = config.kube_qps;
    // Twice the rate at once: a snapshot alone is three calls side by side.
    let burst = rate.saturating_mul(TWICE);
    let options = KubeOptions { kubeconfig: config.kubeconfig.clone(), context: None, rate, burst, observer };
    Ok(KubeCluster::connect(options).await?)
}

async fn others(config: &Config, nats: async_nats::Client) -> Result<JetStreamReplicas> {
    Ok(JetStreamReplicas::connect(nats, &config.cluster).await?)
}

/// Repeats until it works, and says in `readiness` what it waits for: nothing is lost by trying to connect again. Fails with
/// what waiting does not change.
async fn patiently<T, F: Future<Output = Result<T>>>(
    readiness: &Readiness,
    what: &str,
    attempt: impl FnMut() -> F,
) -> Result<T> {
    let policy =
        ExponentialBuilder::default().with_min_delay(RETRY.0).with_max_delay(RETRY.1).with_jitter().without_max_times();
    let told = |error: &anyhow::Error, wait: Duration| {
        tracing::warn!("Cannot reach {what}: {error:#}; trying again in {wait:.1?}");
        readiness.set("ledger", Err(format!("waiting for {what}: {error:#}")));
    };
    let passing = |error: &anyhow::Error| !ledger::is_permanent(error);
    attempt.retry(policy).when(passing).notify(told).await.with_context(|| format!("{what} cannot be used"))
}
