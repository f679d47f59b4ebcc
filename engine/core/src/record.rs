//! The ledger's entries: all that is remembered. Everything else is a fold over them.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, ActionRequest};
use crate::chain::{Head, Sum};
use crate::deny::{DenyReason, NoAction};
use crate::id::{IntentId, Revision, SignalId};
use crate::intent::{Event, Writer};
use crate::mark::Mark;
use crate::plan::Change;
use crate::ports::AppendError;
use crate::signal::TraceContext;
use crate::wire;
use crate::workload::Workload;

/// Where an entry belongs. Compares are per topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    /// All that decides what may be admitted: one compare-and-append line for all replicas.
    Admit,
    /// What happens to one intent after its admission.
    Intent(IntentId),
    /// What decides nothing alone.
    Note,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&wire::topic_text(*self))
    }
}

/// One entry, with the place and time that the ledger gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its position.
    pub revision: Revision,
    /// The ledger's time.
    pub at: Timestamp,
    /// Where it belongs.
    pub topic: Topic,
    /// The sum of the topic's entry before it; none for the first, and for a note.
    pub prev: Sum,
    /// Its own sum.
    pub sum: Sum,
    /// What it says.
    pub record: Record,
}

impl Entry {
    /// An entry that follows `before` in its topic, with its sum.
    ///
    /// # Errors
    /// The record cannot be written as JSON.
    pub fn sealed(
        revision: Revision,
        at: Timestamp,
        topic: Topic,
        before: Option<Head>,
        record: Record,
    ) -> Result<Self, AppendError> {
        let prev = before.map_or(Sum::NONE, |it| it.sum);
        let sum = wire::seal(topic, prev, None, &record)?.sum;
        Ok(Self { revision, at, topic, prev, sum, record })
    }

    /// Its place and sum: what the topic's next entry has to expect.
    pub fn head(&self) -> Head {
        Head { revision: self.revision, sum: self.sum }
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Admissions that passed the guardrails together. Topic `Admit`.
    Admitted(Vec<Admission>),
    /// A request that waits. Topic `Admit`.
    Deferred(Deferral),
    /// A request that waited and was denied in the end. Topic `Admit`.
    Released(Release),
    /// The stop button. Topic `Admit`, so that no intent can follow it.
    Paused(Pause),
    /// Released again. Topic `Admit`.
    Resumed(Resume),
    /// A policy has failed too often in a row and acts no more. Topic `Admit`, so that no action of its own can follow it; said
    /// again as a `Note` when everything older is removed.
    Demoted(Demoted),
    /// A demoted policy may act again. Topic `Admit`.
    Trusted(Trusted),
    /// What happened to an intent. Topic `Intent`.
    Happened(Event),
    /// Signals that led to nothing, folded. Topic `Note`.
    Folded(Vec<Folded>),
    /// A signal about a target with an open intent. Topic `Note`.
    Symptom(Symptom),
    /// Signals that policies count, or look for beside others. Topic `Admit`: what is decided on them comes after it.
    Sighted(Vec<Sighted>),
    /// A process began with this set of policies, or loaded a new one. Topic `Note`.
    Started(Started),
    /// Entries are about to be removed because nobody needs them any more. Topic `Note`. A ledger that begins later than
    /// its newest note of this kind says has lost entries in another way.
    Purged {
        /// The oldest entry that stays.
        before: Revision,
    },
    /// An operator said that this ledger is the right one. Topic `Note`.
    Accepted(Acceptance),
    /// Blocks a position of a compared topic: whatever was sent there and had no answer can no longer land.
    Fence,
}

/// One admission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    /// The intent's id.
    pub id: IntentId,
    /// What was asked.
    pub request: ActionRequest,
    /// What will be sent.
    pub change: Change,
    /// Replicas that it adds, for the limit on growth.
    pub adds: u32,
    /// Who drives it.
    pub writer: Writer,
}

/// One waiter per target and policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WaitKey {
    /// The target.
    pub target: Workload,
    /// The policy's name.
    pub policy: Arc<str>,
}

impl WaitKey {
    /// The key that `request` waits under.
    pub fn of(request: &ActionRequest) -> Self {
        Self { target: request.target.clone(), policy: request.policy.name.clone() }
    }
}

/// A request that waits, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deferral {
    /// What was asked.
    pub request: ActionRequest,
    /// What has to pass.
    pub objections: Vec<DenyReason>,
}

/// The end of waiting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Who waited.
    pub key: WaitKey,
    /// What was asked.
    pub request: ActionRequest,
    /// Why it was denied.
    pub reasons: Vec<DenyReason>,
}

/// What a pause stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PauseScope {
    /// Everything.
    All,
    /// One namespace.
    Namespace(Arc<str>),
    /// One workload.
    Target(Workload),
}

impl PauseScope {
    /// Whether it covers `target`.
    pub fn covers(&self, target: &Workload) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => *namespace == target.namespace,
            Self::Target(one) => one == target,
        }
    }
}

impl fmt::Display for PauseScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
            Self::Target(target) => write!(f, "{target}"),
        }
    }
}

/// The stop button, pressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Its id.
    pub id: Arc<str>,
    /// What it stops.
    pub scope: PauseScope,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Until when; none until it is released.
    pub until: Option<Timestamp>,
}

/// The stop button, released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The pause's id.
    pub id: Arc<str>,
    /// Who.
    pub by: String,
}

/// A policy that is taken for one in shadow, whatever its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demoted {
    /// Its name.
    pub policy: Arc<str>,
    /// Failed verifications in a row.
    pub failures: u32,
    /// The last of them.
    pub last: IntentId,
    /// When that ended.
    pub since: Timestamp,
}

/// A person's word for a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// Its name.
    pub policy: Arc<str>,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What became of a signal that led to no intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verdict {
    /// A guardrail denied it.
    Denied(Vec<DenyReason>),
    /// It joined a request that waits already.
    Joined(Vec<DenyReason>),
    /// A shadow policy would have acted; the reasons that would have denied it, if any.
    Shadow(Vec<DenyReason>),
    /// Nothing asked for anything.
    NoAction(NoAction),
}

/// Signals with the same target, policy and verdict: one note for all of a flush.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Folded {
    /// The target, or what the signal was about.
    pub target: Workload,
    /// The policy, where one asked.
    pub policy: Option<Arc<str>>,
    /// The action, where one was asked for.
    pub action: Option<ActionKind>,
    /// What became of them: the newest one's numbers.
    pub verdict: Verdict,
    /// How many.
    pub count: u64,
    /// Their sequences in the signal stream, as ranges: a redelivery is not counted twice.
    pub sequences: Vec<(u64, u64)>,
    /// The first of them.
    pub signal: SignalId,
    /// When the newest was observed.
    pub observed_at: Timestamp,
    /// The first one's trace.
    pub trace: TraceContext,
    /// What the first said.
    pub summary: Arc<str>,
}

/// A signal about a target with an open intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptom {
    /// The target.
    pub target: Workload,
    /// When it was observed.
    pub observed_at: Timestamp,
    /// It clears.
    pub cleared: bool,
}

/// Something that a policy looks for about a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sought {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Which of the things that it looks for.
    pub part: Part,
    /// Digest of the words that look for it: what was seen under others counts no more.
    pub rule: Arc<str>,
    /// About what.
    pub target: Workload,
}

/// The things that a policy looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// The signals that it acts on, where it counts them (`occurrences`).
    Itself,
    /// The one at this place of `all`.
    Beside(u8),
    /// What has to be absent.
    Absent,
}

/// One was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighted {
    /// What.
    pub sought: Sought,
    /// The signal.
    pub signal: SignalId,
    /// When it was observed.
    pub observed_at: Timestamp,
    /// So many of them are remembered.
    pub keep: u32,
    /// They belong together within this.
    pub within: SignedDuration,
}

/// The end of a quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The high-water mark that it did not agree with.
    pub marked: Option<Mark>,
}

/// A process began, or loaded other policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Who.
    pub replica: Arc<str>,
    /// Digest of its policies.
    pub policies: Arc<str>,
    /// The build.
    pub version: String,
}
