//! The mark in the ConfigMap `flyball-<cluster>` of the engine's own namespace: in etcd, apart from NATS, so that what loses
//! the one does not lose the other.

use std::collections::BTreeMap;
use std::time::Duration;

use flyball_core::id::Revision;
use flyball_core::mark::Mark;
use flyball_core::ports::{Anchor, Answer, PortError};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::{Client, Error};

/// Keys of its data.
const LEDGER: &str = "ledger";
const NEWEST: &str = "newest";
/// One call takes milliseconds; an API server that elects a leader, some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The mark in a ConfigMap.
pub struct ConfigMapAnchor {
    maps: Api<ConfigMap>,
    /// Which ConfigMap where, for messages.
    place: String,
    name: String,
}

impl ConfigMapAnchor {
    /// The mark of `cluster`, in the client's own namespace: the pod's, or that of the kubeconfig's context. `server` is the
    /// API server's address, for messages.
    pub fn new(client: Client, server: &str, cluster: &str) -> Self {
        let name = format!("flyball-{cluster}");
        let place = format!("{server}: ConfigMap {name} in namespace {}", client.default_namespace());
        Self { maps: Api::default_namespaced(client), place, name }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failed> {
        let place = &self.place;
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Error::Api(status))) if status.code == 409 => Err(Failed::Moved),
            Ok(Err(Error::Api(status))) if status.code == 403 => {
                Err(Failed::Port(PortError::Forbidden(format!("{place}: {}", status.message))))
            }
            Ok(Err(error)) => Err(Failed::Port(PortError::Unavailable(format!("{place}: {error}")))),
            Err(_) => Err(Failed::Port(PortError::Unavailable(format!("{place}: no answer within {PATIENCE:?}")))),
        }
    }

    async fn find(&self) -> Result<Option<ConfigMap>, PortError> {
        match self.call(self.maps.get_opt(&self.name)).await {
            Ok(found) => Ok(found),
            Err(Failed::Moved) => Err(PortError::Unavailable("a read was answered with a conflict".to_owned())),
            Err(Failed::Port(error)) => Err(error),
        }
    }

    fn mark(&self, map: &ConfigMap) -> Result<Option<Mark>, PortError> {
        let data = map.data.as_ref();
        let text = |key: &str| data.and_then(|it| it.get(key));
        match (text(LEDGER), text(NEWEST).map(|it| it.parse())) {
            (None, None) => Ok(None),
            (Some(ledger), Some(Ok(newest))) => {
                Ok(Some(Mark { ledger: ledger.as_str().into(), newest: Revision(newest) }))
            }
            _ => Err(PortError::Unavailable(format!("{} holds no high-water mark that can be read", self.place))),
        }
    }

    async fn put(&self, before: Option<Mark>, mark: Mark) -> Result<bool, PortError> {
        let found = self.find().await?;
        let known = found.as_ref().map(|it| self.mark(it)).transpose()?.flatten();
        if known != before {
            return Ok(false);
        }
        let exists = found.is_some();
        // It bears the resourceVersion that was read: whoever writes in between makes this one a conflict.
        let mut map = found.unwrap_or_default();
        map.metadata.name = Some(self.name.clone());
        let data = [(LEDGER.to_owned(), mark.ledger.to_string()), (NEWEST.to_owned(), mark.newest.to_string())];
        map.data.get_or_insert_with(BTreeMap::new).extend(data);
        let options = PostParams { field_manager: Some("flyball".to_owned()), ..PostParams::default() };
        let written = if exists {
            self.call(self.maps.replace(&self.name, &options, &map)).await
        } else {
            self.call(self.maps.create(&options, &map)).await
        };
        match written {
            Ok(_) => Ok(true),
            Err(Failed::Moved) => Ok(false),
            Err(Failed::Port(error)) => Err(error),
        }
    }
}

enum Failed {
    /// Somebody else wrote first.
    Moved,
    Port(PortError),
}

impl Anchor for ConfigMapAnchor {
    fn read(&self) -> Answer<'_, Result<Option<Mark>, PortError>> {
        Box::pin(async { self.find().await?.as_ref().map(|it| self.mark(it)).transpose().map(Option::flatten) })
    }

    fn write(&self, before: Option<Mark>, mark: Mark) -> Answer<'_, Result<bool, PortError>> {
        Box::pin(self.put(before, mark))
    }
}
