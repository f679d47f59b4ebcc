//! The simulated shop of `dev` and `demo`.

use std::sync::Arc;

use flyball_core::ports::{Clock, Cluster};
use flyball_core::workload::{Workload, WorkloadKind};
use flyball_sim::{Manifest, World};
use serde_json::json;

/// Namespace of the simulated workloads.
pub const SHOP: &str = "shop";
/// Its workloads, and how many pods each has.
const WORKLOADS: [(&str, i32); 8] = [
    ("cart", 3),
    ("checkout", 2),
    ("payments", 2),
    ("search", 2),
    ("recommendations", 4),
    ("catalog", 3),
    ("frontend", 3),
    ("mail", 1),
];
/// Fixed, so that the demo tells the same story each time.
const SEED: u64 = 1788;

/// A simulated cluster with a shop in it.
pub struct Simulated(World);

impl Simulated {
    /// Opens the shop.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let world = World::new(SEED, clock);
        for (name, replicas) in WORKLOADS {
            world.cluster.put(&Manifest::deployment(SHOP, name).replicas(replicas));
        }
        Self(world)
    }

    /// The port.
    pub fn cluster(&self) -> Arc<dyn Cluster> {
        self.0.cluster.clone()
    }

    /// Somebody releases an image, as `kubectl set image` would.
    pub fn release(&self, name: &str, image: &str) {
        let containers = json!([{"name": name, "image": image}]);
        let target = Workload::new(WorkloadKind::Deployment, SHOP, name);
        self.0.cluster.edit(&target, &json!({"spec": {"template": {"spec": {"containers": containers}}}}));
    }

    /// Accepted effects of ours on a workload so far.
    pub fn effects(&self, target: &Workload) -> usize {
        self.0.effects().iter().filter(|it| it.accepted && it.intent.is_some() && it.target == *target).count()
    }
}
