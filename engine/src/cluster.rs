//! The real cluster behind the core's port: kube-apiserver, read fresh for every decision and written to once per attempt.
//! It decides nothing. What it cannot read it says so, and what it is not sure of it calls unknown.

mod config_map;
mod error;
mod execute;
mod managers;
mod path;
mod pod;
mod revisions;
mod rollout;
mod snapshot;
mod throttle;
mod watch;
mod watched;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flyball_core::action::ActionRequest;
use flyball_core::expr::TargetView;
use flyball_core::facts::{Sighting, Snapshot};
use flyball_core::intent::{Attempt, Execution, Fence};
use flyball_core::lint::rights::Right;
use flyball_core::ports::{Answer, Cluster, PortError};
use flyball_core::workload::Workload;
use http::HeaderValue;
use http::header::USER_AGENT;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::sync::broadcast::error::RecvError;

pub use config_map::ConfigMapAnchor;
pub use error::ConnectError;
use throttle::Door;
use watched::Watched;

/// Who we are in `managedFields`.
const FIELD_MANAGER: &str = "flyball";
/// A connection on which nothing was read for so long is dead. Longer than a watch lives, so that it only ends what hangs;
/// our other calls have a timeout of their own.
const SILENCE: Duration = Duration::from_secs(65);

/// Hears of every call to the API server.
pub trait Observer: Send + Sync {
    /// A call is over. `outcome`: the HTTP status, or in a word why there was none.
    fn call(
        &self,
        verb: &'static str,
        resource: &'static str,
        namespace: &str,
        outcome: Result<u16, &str>,
        started: SystemTime,
        elapsed: Duration,
    );
}

impl Observer for () {
    fn call(&self, _: &'static str, _: &'static str, _: &str, _: Result<u16, &str>, _: SystemTime, _: Duration) {}
}

/// How to reach the cluster, and how much of it to use.
#[derive(Clone)]
pub struct Options {
    /// A kubeconfig file. Without one: `KUBECONFIG`, `~/.kube/config`, then the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig other than its current one.
    pub context: Option<String>,
    /// Hears of every call.
    pub observer: Arc<dyn Observer>,
    /// Calls per second in the long run. The API server is everybody's: with many targets failing at once, this is the
    /// share of it that we may take for making things better.
    pub rate: NonZeroU32,
    /// Calls at once, before `rate` begins to count.
    pub burst: NonZeroU32,
}

impl Default for Options {
    fn default() -> Self {
        let count = |n| NonZeroU32::new(n).expect("not zero");
        Self { kubeconfig: None, context: None, observer: Arc::new(()), rate: count(50), burst: count(100) }
    }
}

/// A cluster reached through its API server.
pub struct KubeCluster {
    door: Arc<Door>,
    client: Client,
    observer: Arc<dyn Observer>,
    watched: Arc<Watched>,
}

impl KubeCluster {
    /// Prepares to speak to the cluster. No request is made: whether it answers is told by `ready`. Has to run inside the
    /// runtime that will make the calls.
    ///
    /// # Errors
    /// The configuration cannot be read or used.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        let mut config = configuration(&options).await?;
        // A retry hidden in the client would send a change again minutes later, behind the ledger's back.
        config.default_retry = false;
        config.read_timeout = Some(SILENCE);
        // Otherwise the time that a pooled connection was idle counts, too.
        config.reset_reader_on_write = true;
        let name = HeaderValue::from_static(concat!("flyball/", env!("CARGO_PKG_VERSION")));
        config.headers.push((USER_AGENT, name));
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config)
            .map_err(|source| ConnectError::Client { url: url.clone(), source: Box::new(source) })?;
        Ok(Self {
            door: Arc::new(Door::new(client.clone(), url, options.observer.clone(), options.rate, options.burst)),
            client,
            observer: options.observer,
            watched: Arc::new(Watched::default()),
        })
    }

    /// The high-water mark of `cluster`'s ledger, kept in our own namespace.
    pub fn anchor(&self, cluster: &str) -> ConfigMapAnchor {
        ConfigMapAnchor::new(self.door.clone(), self.client.default_namespace(), cluster)
    }

    /// Whether the API server lets us do something in all namespaces.
    ///
    /// # Errors
    /// It does not answer, or not to this question.
    pub async fn may(&self, right: &Right) -> Result<bool, PortError> {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
        let attributes = ResourceAttributes {
            group: Some(right.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()).filter(|it| !it.is_empty()),
            verb: Some(right.verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| PortError::Unavailable(error.to_string()))?;
        Ok(answer.status.is_some_and(|it| it.allowed))
    }

    /// The address of the API server.
    pub fn url(&self) -> &str {
        self.door.url()
    }

    /// Follows all workloads for as long as it is polled. Without it nothing is ever ready and no snapshot succeeds.
    pub fn watches(&self) -> impl Future<Output = ()> + Send + use<> {
        watch::follow_all(self.client.clone(), self.watched.clone(), self.observer.clone())
    }

    /// Every workload known from the watches, with the pods it wants and the pods it has available. For gauges: it may
    /// be seconds old.
    pub fn health(&self) -> Vec<(Workload, i32, i32)> {
        self.watched.health()
    }
}

async fn configuration(options: &Options) -> Result<Config, ConnectError> {
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    match (&options.kubeconfig, &options.context) {
        (Some(path), _) => {
            let bad = |source| ConnectError::Kubeconfig { place: path.display().to_string(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(bad)?;
            Config::from_custom_kubeconfig(file, &chosen).await.map_err(bad)
        }
        (None, Some(context)) => Config::from_kubeconfig(&chosen).await.map_err(|source| ConnectError::Kubeconfig {
            place: format!("context {context}"),
            source: Box::new(source),
        }),
        (None, None) => Config::infer().await.map_err(|source| ConnectError::Nowhere(Box::new(source))),
    }
}

impl Cluster for KubeCluster {
    fn snapshot<'a>(&'a self, request: &'a ActionRequest) -> Answer<'a, Result<Option<Snapshot>, PortError>> {
        Box::pin(snapshot::take(&self.door, &self.watched, request))
    }

    fn view(&self, target: &Workload) -> Option<TargetView> {
        self.watched.view(target)
    }

    fn execute(&self, attempt: Attempt) -> Answer<'_, Execution> {
        Box::pin(async move { execute::send(&self.door, &attempt).await })
    }

    fn fence(&self, fence: Fence) -> Answer<'_, Execution> {
        Box::pin(async move { execute::fence(&self.door, &fence).await })
    }

    fn sight<'a>(
        &'a self,
        target: &'a Workload,
        evicted: Option<(&'a str, &'a str)>,
    ) -> Answer<'a, Result<Option<Sighting>, PortError>> {
        Box::pin(snapshot::sight(&self.door, target, evicted))
    }

    fn changed<'a>(&'a self, target: &'a Workload) -> Answer<'a, ()> {
        // Subscribed now and not when first polled: what happens in between is not missed.
        let mut events = self.watched.subscribe();
        Box::pin(async move {
            loop {
                match events.recv().await {
                    Ok(one) if one != *target => {}
                    // Too many events to keep: the target's may be among the lost ones.
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        })
    }

    fn ready(&self) -> Answer<'_, Result<(), PortError>> {
        Box::pin(async {
            self.door.version().await?;
            self.watched.ready()
        })
    }
}
