//! Somebody who watches the workloads all the time. The audit log says what the API server answered; a request whose sender dies is
//! answered with an error there (504, the request was cancelled) and may have been stored all the same. What was stored, a watch shows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flyball_core::facts::STAMP_INTENT;
use flyball_core::id::IntentId;
use flyball_devcluster::wait_until;
use futures::TryStreamExt;
use kube::api::{Api, DynamicObject, ListParams, PartialObjectMeta, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use tokio::task::JoinHandle;

use crate::rig::{Rig, SOON};

/// The server ends a watch after so long, and the next begins where it ended: nothing is left out.
const WATCH_SECONDS: u32 = 240;

/// What the watch has shown so far.
#[derive(Debug, Default)]
struct Shown {
    version: u64,
    stamps: BTreeSet<IntentId>,
}

/// A watch of the Deployments of a rig's namespace.
pub(super) struct Witness {
    shown: Arc<Mutex<Shown>>,
    task: JoinHandle<Result<()>>,
}

impl Witness {
    /// Watches from now on.
    pub(super) fn of(rig: &Rig) -> Result<Self> {
        let shown = Arc::<Mutex<Shown>>::default();
        let kubeconfig = Kubeconfig::read_from(&rig.kubeconfig)?;
        let namespace = rig.namespace.clone();
        let told = shown.clone();
        let task = rig.runtime.spawn(async move {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            watch(Client::try_from(config)?, &namespace, &told).await
        });
        Ok(Self { shown, task })
    }

    /// The intents whose stamps were seen, up to now: waits until the watch has shown the newest change that there is.
    pub(super) fn stamps(self, rig: &Rig) -> Result<BTreeSet<IntentId>> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments", rig.namespace);
        let list = rig.cluster.api().get(&path)?.ok()?;
        let items = list["items"].as_array().context("a list of Deployments")?;
        let version =
            |it: &serde_json::Value| it["metadata"]["resourceVersion"].as_str().and_then(|it| it.parse().ok());
        let newest: u64 = items.iter().filter_map(version).max().unwrap_or(0);
        wait_until("the watch to show the newest change", SOON, || {
            let seen = self.shown.lock().unwrap_or_else(PoisonError::into_inner).version;
            if self.task.is_finished() {
                bail!("the watch has ended");
            }
            anyhow::ensure!(seen >= newest, "shown up to {seen} of {newest}");
            Ok(())
        })?;
        self.task.abort();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut shown.stamps))
    }
}

async fn watch(client: Client, namespace: &str, shown: &Mutex<Shown>) -> Result<()> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
    let list = api.list_metadata(&ListParams::default()).await.context("listing the Deployments")?;
    let mut version = list.metadata.resource_version.context("a list without a version")?;
    list.items.iter().for_each(|it| note(it, shown));
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    loop {
        let mut events = std::pin::pin!(api.watch_metadata(&params, &version).await.context("watching")?);
        while let Some(event) = events.try_next().await.context("watching")? {
            match event {
                WatchEvent::Added(it) | WatchEvent::Modified(it) | WatchEvent::Deleted(it) => {
                    note(&it, shown);
                    version = it.metadata.resource_version.context("an object without a version")?;
                }
                WatchEvent::Bookmark(it) => version = it.metadata.resource_version,
                // Nothing may be left out, so there is no way on from here.
                WatchEvent::Error(error) => bail!("the watch was ended: {error:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn note(it: &PartialObjectMeta<DynamicObject>, shown: &Mutex<Shown>) {
    let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    let version = it.metadata.resource_version.as_ref().and_then(|it| it.parse().ok()).unwrap_or(0);
    shown.version = shown.version.max(version);
    let stamp = it.metadata.annotations.as_ref().and_then(|it| it.get(STAMP_INTENT));
    shown.stamps.extend(stamp.and_then(|it| it.parse::<IntentId>().ok()));
}
