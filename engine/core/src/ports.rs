//! The doors to the outside: what the engine needs of a bus, a ledger, a cluster and a clock. Each has an embedded twin
//! and a real one, and one contract test for both.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::action::ActionRequest;
use crate::chain::Head;
use crate::expr::TargetView;
use crate::facts::{Sighting, Snapshot};
use crate::id::Revision;
use crate::intent::{Attempt, Execution, Fence};
use crate::mark::Mark;
use crate::record::{Entry, Record, Topic};
pub use crate::shelf::{Checkpoint, Shelf};
use crate::workload::Workload;

/// An asynchronous answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Time: real, or virtual in tests and the demo.
pub trait Clock: Send + Sync {
    /// The local wall clock.
    fn now(&self) -> Timestamp;
    /// Time since some fixed start, never backwards.
    fn monotonic(&self) -> SignedDuration;
    /// Waits.
    fn sleep(&self, duration: SignedDuration) -> Answer<'static, ()>;
}

/// A message as it came: nothing is parsed yet, so that what is refused is kept as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Subject, or nothing over HTTP.
    pub subject: Option<String>,
    /// `anomaly` or `rca` where the way it came says so.
    pub kind: Option<String>,
    /// Headers in their original case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Sequence in its stream; 0 for none.
    pub sequence: u64,
    /// When the stream stored it.
    pub published_at: Timestamp,
}

/// A message that waits for its acknowledgement.
pub trait Receipted: Send {
    /// Done with: never deliver again. `durable`: wait until the bus has confirmed it.
    fn acknowledge(self: Box<Self>, durable: bool) -> Answer<'static, ()>;
    /// The same without a wait for the bus, one of many: what cannot be done at once is returned, to be waited for.
    fn settle(self: Box<Self>) -> Option<Answer<'static, ()>> {
        Some(self.acknowledge(false))
    }
    /// Cannot be used: keep it with the dead letters, then acknowledge.
    fn refuse(self: Box<Self>, reason: &str, detail: &str) -> Answer<'static, Result<(), PortError>>;
}

/// A delivery.
pub struct Delivery {
    /// What came.
    pub message: Message,
    /// How to settle it.
    pub receipt: Box<dyn Receipted>,
}

/// Where signals come from.
pub trait Signals: Send + Sync {
    /// The next deliveries, at least one; `None` when there will be no more.
    fn next(&self) -> Answer<'_, Option<Vec<Delivery>>>;
    /// Returns when what was acknowledged is with the bus, as far as that can be said.
    fn told(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// Whether the bus can be reached.
    fn ready(&self) -> Answer<'_, Result<(), PortError>>;
}

/// Something to append.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Where it belongs.
    pub topic: Topic,
    /// The newest entry of the topic that the writer knows of; the default for an empty topic. Every topic but `Note` is
    /// compared, without exception.
    pub expect: Option<Head>,
    /// What it says.
    pub record: Record,
}

/// Why an append was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended first: look again.
    #[error("the ledger moved on")]
    Lost,
    /// No answer: it may have landed, or land later. Only a fence settles it.
    #[error("the ledger did not answer: {0}")]
    Unknown(String),
    /// The ledger refuses to be written.
    #[error("the ledger refuses: {0}")]
    Refused(String),
}

/// A door did not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// It cannot be reached, or did not answer in time.
    #[error("{0}")]
    Unavailable(String),
    /// It does not let us.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// What is there cannot be used, and waiting changes nothing: it was damaged, lost, or is not what it has to be.
    #[error("{0}")]
    Unusable(String),
}

/// The only memory.
pub trait Ledger: Send + Sync {
    /// Appends one entry, durably: its place and sum.
    fn append(&self, write: Write) -> Answer<'_, Result<Head, AppendError>>;
    /// The entries after `revision`, in order, and then those to come. Each was found to be what its sum says.
    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>>;
    /// The newest revision.
    fn newest(&self) -> Answer<'_, Result<Revision, PortError>>;
    /// Where it keeps checkpoints; none for a ledger that never grows old.
    fn shelf(&self) -> Option<&dyn Shelf> {
        None
    }
    /// Which ledger it is: one that was removed and made again is another.
    fn identity(&self) -> Arc<str>;
    /// Whether it is the ledger of that identity, or goes on from it: one that was moved has every entry of the other.
    fn goes_on_from(&self, identity: &Arc<str>) -> bool {
        self.identity() == *identity
    }
}

/// Keeps the high-water mark, apart from the ledger.
pub trait Anchor: Send + Sync {
    /// The mark; none before the first.
    fn read(&self) -> Answer<'_, Result<Option<Mark>, PortError>>;
    /// Puts `mark` in the place of `before`. False: something else is there by now.
    fn write(&self, before: Option<Mark>, mark: Mark) -> Answer<'_, Result<bool, PortError>>;
}

/// Entries as they are appended, by whomever.
pub trait Tail: Send {
    /// The next entry. An error means that entries may be missing: follow again.
    fn next(&mut self) -> Answer<'_, Result<Entry, PortError>>;
}

/// The workloads.
pub trait Cluster: Send + Sync {
    /// A fresh read of a request's target, and of what the action needs to know of it.
    fn snapshot<'a>(&'a self, request: &'a ActionRequest) -> Answer<'a, Result<Option<Snapshot>, PortError>>;
    /// What is known of a target without reading it: none if nothing is.
    fn view(&self, target: &Workload) -> Option<TargetView>;
    /// Sends one change, once.
    fn execute(&self, attempt: Attempt) -> Answer<'_, Execution>;
    /// Sends one fence, once. `Applied`: what it fences off can no longer land. `Conflict`: the target has moved.
    fn fence(&self, fence: Fence) -> Answer<'_, Execution>;
    /// A fresh read of a target's rollout. `evicted`: uid of the pod that was evicted.
    fn sight<'a>(
        &'a self,
        target: &'a Workload,
        evicted: Option<(&'a str, &'a str)>,
    ) -> Answer<'a, Result<Option<Sighting>, PortError>>;
    /// Returns when the target may have changed: a hint, never the truth. It may never return.
    fn changed<'a>(&'a self, target: &'a Workload) -> Answer<'a, ()>;
    /// Whether the cluster can be read.
    fn ready(&self) -> Answer<'_, Result<(), PortError>>;
}

/// A replica's sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The replica's stable name.
    pub replica: Arc<str>,
    /// Its process: a later process of the same name sorts after it.
    pub process: Arc<str>,
    /// Counts the beats of the process, from 1.
    pub number: u64,
}

/// The replicas that share a ledger. Beats only save work: correctness never depends on them.
pub trait Replicas: Send + Sync {
    /// Says that we live. An answer means that the bus keeps what it is given.
    fn beat(&self, beat: Beat) -> Answer<'_, Result<(), PortError>>;
    /// The next beat of anybody, our own among them, roughly in the order in which they were made.
    fn hear(&self) -> Answer<'_, Beat>;
}

/// The ports and the clock, as wired.
#[derive(Clone)]
pub struct Ports {
    /// Signals in.
    pub signals: Arc<dyn Signals>,
    /// Memory.
    pub ledger: Arc<dyn Ledger>,
    /// Hands.
    pub cluster: Arc<dyn Cluster>,
    /// The others.
    pub replicas: Arc<dyn Replicas>,
    /// How far the ledger has come, kept apart from it.
    pub anchor: Arc<dyn Anchor>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}
