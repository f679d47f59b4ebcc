//! One seed, one clock, three ports, and the history of what happened.

use std::sync::{Arc, Mutex};

use flyball_core::id::IntentId;
use flyball_core::ports::{Clock, Ports};
use flyball_core::workload::Workload;
use jiff::Timestamp;
use serde_json::Value;

use crate::anchor::MemoryAnchor;
use crate::cluster::SimCluster;
use crate::ledger::MemoryLedger;
use crate::replicas::Air;
use crate::signals::MemorySignals;
use crate::wake::lock;

/// What a request of the engine's was, and what it met.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Which attempt of its intent.
    pub number: u32,
    /// It is a fence against that attempt, not the attempt itself.
    pub fences: bool,
    /// The body of the patch.
    pub body: Value,
    /// Name and uid of the pod to evict.
    pub evict: Option<(Arc<str>, Arc<str>)>,
    /// The object just before; none if there was none.
    pub found: Option<Found>,
}

/// An object as a request found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `spec`.
    pub spec: Value,
    /// Whose stamp it bore.
    pub stamp: Option<IntentId>,
}

/// A request that reached the cluster and asked to change something: what tests judge by.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// When it arrived.
    pub at: Timestamp,
    /// Whose it was; none for somebody else's.
    pub intent: Option<IntentId>,
    /// What it was about.
    pub target: Workload,
    /// What it asked for, in a few words.
    pub summary: String,
    /// Whether it changed anything. A repeat that is answered with 200 and changes nothing did not.
    pub accepted: bool,
    /// What the server answered, whether or not the answer arrived.
    pub answer: String,
    /// The request itself; none for somebody else's.
    pub sent: Option<Sent>,
}

/// What the three ports share.
pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) clock: Arc<dyn Clock>,
    effects: Mutex<Vec<Effect>>,
}

impl Shared {
    pub(crate) fn record(&self, effect: Effect) {
        lock(&self.effects).push(effect);
    }
}

/// A world of its own: bus, ledger and cluster in memory.
pub struct World {
    shared: Arc<Shared>,
    /// The workloads.
    pub cluster: Arc<SimCluster>,
    /// The memory.
    pub ledger: Arc<MemoryLedger>,
    /// The bus.
    pub signals: Arc<MemorySignals>,
    /// What carries the replicas' signs of life.
    pub air: Arc<Air>,
    /// What keeps the high-water mark.
    pub anchor: Arc<MemoryAnchor>,
}

impl World {
    /// An empty world. All chance comes from `seed`, all time from `clock`.
    pub fn new(seed: u64, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Shared { seed, clock, effects: Mutex::default() });
        Self {
            cluster: Arc::new(SimCluster::new(shared.clone())),
            ledger: Arc::new(MemoryLedger::new(&shared)),
            signals: Arc::new(MemorySignals::new(&shared)),
            air: Arc::default(),
            anchor: Arc::default(),
            shared,
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The three ports and the clock, as the engine takes them. Several engines may share one world.
    pub fn ports(&self) -> Ports {
        Ports {
            signals: self.signals.clone(),
            ledger: self.ledger.clone(),
            cluster: self.cluster.clone(),
            replicas: Arc::new(self.air.listen(self.shared.clock.clone())),
            anchor: self.anchor.clone(),
            clock: self.shared.clock.clone(),
        }
    }

    /// Every request that reached the cluster and asked to change something, in order.
    pub fn effects(&self) -> Vec<Effect> {
        lock(&self.shared.effects).clone()
    }
}
