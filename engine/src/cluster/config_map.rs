//! The mark in the ConfigMap `flyball-<cluster>` of the engine's own namespace: in etcd, apart from NATS, so that what loses
//! the one does not lose the other. Its calls go through the one door, as all others do.

use std::sync::Arc;

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::mark::Mark;
use flyball_core::ports::{Anchor, Answer, PortError};
use serde_json::{Value, json};

use super::path::Place;
use super::throttle::Door;

/// Keys of its data.
const LEDGER: &str = "ledger";
const NEWEST: &str = "newest";
const SUM: &str = "sum";

/// The mark in a ConfigMap.
pub struct ConfigMapAnchor {
    door: Arc<Door>,
    namespace: String,
    name: String,
}

impl ConfigMapAnchor {
    /// The mark of `cluster`, in the client's own namespace: the pod's, or that of the kubeconfig's context.
    pub(super) fn new(door: Arc<Door>, namespace: &str, cluster: &str) -> Self {
        Self { door, namespace: namespace.to_owned(), name: format!("flyball-{cluster}") }
    }

    fn place(&self) -> Place<'_> {
        Place::config_maps(&self.namespace)
    }

    /// Names the server and the ConfigMap.
    fn told(&self, error: PortError) -> PortError {
        let place = format!("{}: ConfigMap {} in namespace {}", self.door.url(), self.name, self.namespace);
        match error {
            PortError::Unavailable(why) => PortError::Unavailable(format!("{place}: {why}")),
            PortError::Forbidden(why) => PortError::Forbidden(format!("{place}: {why}")),
            PortError::Unusable(why) => PortError::Unusable(format!("{place}: {why}")),
        }
    }

    async fn find(&self) -> Result<Option<Value>, PortError> {
        self.door.get(self.place(), &self.name).await
    }

    async fn put(&self, before: Option<Mark>, mark: Mark) -> Result<bool, PortError> {
        let found = self.find().await?;
        if found.as_ref().map(read).transpose()?.flatten() != before {
            return Ok(false);
        }
        let said =
            json!({LEDGER: &*mark.ledger, NEWEST: mark.newest.revision.to_string(), SUM: mark.newest.sum.to_string()});
        let exists = found.is_some();
        let written = if let Some(mut map) = found {
            // It bears the resourceVersion that was read: whoever writes in between makes this one a conflict.
            match map.get_mut("data").and_then(Value::as_object_mut) {
                Some(data) => data.extend(said.as_object().cloned().unwrap_or_default()),
                None => map["data"] = said,
            }
            self.door.replace(self.place(), &self.name, &map).await
        } else {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": self.name, "namespace": self.namespace}, "data": said,
            });
            self.door.create(self.place(), &map).await
        };
        let reply = written.map_err(|silent| PortError::Unavailable(silent.detail))?;
        match (reply.status, exists) {
            // Written, made or removed by somebody else since it was read.
            (409, _) | (404, true) => Ok(false),
            (404, false) => Err(PortError::Unavailable(reply.message())),
            _ => reply.read().map(|_| true),
        }
    }
}

fn read(map: &Value) -> Result<Option<Mark>, PortError> {
    let text = |key: &str| map["data"][key].as_str();
    match (text(LEDGER), text(NEWEST).map(str::parse), text(SUM).map(str::parse)) {
        (None, None, None) => Ok(None),
        (Some(ledger), Some(Ok(newest)), Some(Ok(sum))) => {
            Ok(Some(Mark { ledger: ledger.into(), newest: Head { revision: Revision(newest), sum } }))
        }
        _ => Err(PortError::Unavailable("it holds no high-water mark that can be read".to_owned())),
    }
}

impl Anchor for ConfigMapAnchor {
    fn read(&self) -> Answer<'_, Result<Option<Mark>, PortError>> {
        Box::pin(async {
            let found = self.find().await.and_then(|found| found.as_ref().map(read).transpose());
            found.map(Option::flatten).map_err(|error| self.told(error))
        })
    }

    fn write(&self, before: Option<Mark>, mark: Mark) -> Answer<'_, Result<bool, PortError>> {
        Box::pin(async { self.put(before, mark).await.map_err(|error| self.told(error)) })
    }
}
