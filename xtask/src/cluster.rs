//! A cluster to play with: `cargo xtask cluster`.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use flyball_devcluster::workloads::{namespace, wait_ready};
use flyball_devcluster::{Cluster, NatsServer, Options, SHARED_CLUSTER, Workload};

/// The shop: a name and a number of replicas each. As many as let three be under remediation at once (`maxUnavailable`).
const SHOP: [(&str, u32); 8] = [
    ("cart", 3),
    ("checkout", 2),
    ("payments", 2),
    ("search", 2),
    ("recommendations", 2),
    ("catalog", 2),
    ("frontend", 2),
    ("mail", 1),
];

/// Soon enough for a person to see a hung rollout be reported.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(30);

/// Runs until a signal ends the process. No handler: the cluster's guardian cleans up after every kind of end.
pub(crate) fn run() -> Result<ExitCode> {
    let nats = NatsServer::start()?;
    let cluster = Cluster::start(&Options::default())?;
    open_shop(&cluster)?;
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("export NATS_URL={}", nats.url());
    println!("export {SHARED_CLUSTER}={}", cluster.folder().display());
    println!("{HINTS}");
    loop {
        thread::park();
    }
}

fn open_shop(cluster: &Cluster) -> Result<()> {
    let api = cluster.api();
    api.create(&namespace("shop"))?;
    let workloads = SHOP
        .map(|(name, replicas)| Workload::new("shop", name).replicas(replicas).progress_deadline(PROGRESS_DEADLINE));
    for workload in &workloads {
        api.create(&workload.deployment())?;
    }
    for workload in &workloads {
        wait_ready(api, &workload.path("deployments"), Duration::from_secs(60))?;
    }
    Ok(())
}

const HINTS: &str = r#"
# Paste the lines above into another terminal. Then, for example:
#   flyball run --nats $NATS_URL --kubeconfig $KUBECONFIG --policies policies/
#   flyball signal send --rca memory_leak --service cart --namespace shop
#   kubectl -n shop get deployments,pods
# A bad release, and its healing:
#   kubectl -n shop patch deployment checkout -p '{"spec":{"template":{"metadata":{"annotations":{"test.flyball.dev/pod":"crash"}}}}}'
#   kubectl -n shop rollout undo deployment checkout
# Other fates of pods: oom, image-pull, never-ready, slow.
# Tests use this cluster while FLYBALL_TEST_CLUSTER is set:
#   cargo test --workspace
# Ctrl-C ends it and leaves nothing."#;
