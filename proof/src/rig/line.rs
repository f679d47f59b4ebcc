//! A replica behind proxies of its own.

use std::sync::Arc;

use super::{Replica, Rig, Wires};
use crate::proxy::{ApiProxy, NatsProxy};

/// The two wires of one replica. They outlive its processes, so that what one left behind still arrives.
pub struct Line {
    /// To NATS.
    pub nats: NatsProxy,
    /// To the API server.
    pub api: ApiProxy,
}

impl Rig {
    /// Adds a replica, not started yet, that reaches both servers through proxies of its own.
    ///
    /// # Panics
    /// There are no proxies to be had, or NATS is not on this machine.
    pub fn add_proxied(&mut self, name: &str) -> (Arc<Replica>, Line) {
        let port = self.nats_url.rsplit(':').next().and_then(|it| it.parse().ok()).expect("NATS has a port");
        let nats = NatsProxy::to(port).expect("a proxy of NATS");
        let api = ApiProxy::to(&self.kubeconfig).expect("a proxy of the API server");
        let kubeconfig = self.folder().join(format!("kubeconfig-{name}"));
        api.write_kubeconfig(&kubeconfig).expect("a kubeconfig for the proxy");
        let replica = self.add_through(name, &Wires { nats_url: nats.url(), kubeconfig });
        (replica, Line { nats, api })
    }
}
