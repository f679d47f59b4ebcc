//! The whole engine on one screen: `decide` takes a signal to its end or to an intent, `drive` takes an intent to its end.
//! Neither has recovery code: what is found on the ledger is driven like what was just written.

mod at_once;
mod by_hand;
mod drive;
mod read_back;
mod undo;
mod watch;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use at_once::{Asking, Further, known};
pub use by_hand::{NotTaken, Word};
use flyball_core::action::ActionRequest;
use flyball_core::deny::NoAction;
use flyball_core::guardrail::{Admitted, Cleared, Objections, Verdict, forbidden, judge, screen, tell, unreadable};
use flyball_core::history::History;
use flyball_core::id::IntentId;
use flyball_core::policy::PolicySet;
use flyball_core::ports::{Clock, Cluster, PortError};
use flyball_core::record::{Deferral, Record, Sighted, WaitKey};
use flyball_core::signal::Signal;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
pub use watch::POLL;

use crate::admit::{Admittance, Admitter};
use crate::ledger::Book;
use crate::replicas::Peers;
use crate::telemetry::Telemetry;

/// Requests that may wait at once. A room fuller than this would be judged for so long that its signals expire in it.
pub const ROOM: usize = 1_000;

/// Sightings in one entry: some 400 bytes each, so an entry stays below a message's 1 MiB.
pub(crate) const SIGHTINGS: usize = 500;

/// What decides and drives.
pub struct Engine {
    /// The ledger.
    pub book: Arc<Book>,
    /// The line in which admissions are written.
    pub admitter: Admitter,
    /// The hands.
    pub cluster: Arc<dyn Cluster>,
    /// Time to wait by.
    pub clock: Arc<dyn Clock>,
    /// The policies in force.
    pub policies: ArcSwap<PolicySet>,
    /// Why a newer set is not in force.
    pub refused: ArcSwapOption<String>,
    /// What is told to the outside.
    pub telemetry: Telemetry,
    /// The cluster's name.
    pub cluster_name: Arc<str>,
    /// The drivers: each owned here and awaited at the end.
    pub drivers: TaskTracker,
    /// Set once: finish the step you are in, then stop.
    pub stopping: CancellationToken,
    /// The other replicas, as far as they were heard.
    pub peers: Mutex<Peers>,
    /// What this process drives.
    pub driving: Mutex<BTreeSet<IntentId>>,
    /// Signals that this process has taken up and not decided yet.
    pub undecided: AtomicUsize,
}

/// Stops the process if the task that owns it panics.
pub(crate) struct OnPanic(pub(crate) CancellationToken);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("A task panicked; the process stops, and what is open resumes from the ledger");
            self.0.cancel();
        }
    }
}

/// What became of a signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing asks for anything.
    Nothing(NoAction),
    /// A guardrail denied it.
    Denied(Objections),
    /// It joined a request that waits already, with what that one waits for.
    Joined(Objections),
    /// It waits.
    Deferred(Objections),
    /// It is an intent.
    Recorded(IntentId),
    /// The same delivery again: its end is on the ledger already.
    Known,
}

/// A decision with what shadow policies made of the signal, and when each stage ended.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What became of it.
    pub decision: Decision,
    /// What was asked, where the decision does not hold it.
    request: Option<ActionRequest>,
    /// What shadow policies would have asked, and what would have denied it.
    pub shadows: Vec<Objections>,
    /// What policies want to be absent, and this signal is: to be noted.
    pub heard: Vec<Sighted>,
    /// When each stage ended, by the local clock.
    pub times: Times,
}

/// The ends of the stages.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The signal was taken up.
    pub began: Timestamp,
    /// The policies were asked.
    pub mapped: Timestamp,
    /// The guardrails were asked.
    pub judged: Timestamp,
    /// The ledger has it.
    pub recorded: Timestamp,
}

impl Decided {
    /// One that asks for nothing.
    #[cfg(test)]
    pub(crate) fn nothing(decision: Decision) -> Self {
        let times = Times::at(Timestamp::UNIX_EPOCH);
        Self { decision, request: None, shadows: Vec::new(), heard: Vec::new(), times }
    }

    /// What was asked, if anything.
    pub fn request(&self) -> Option<&ActionRequest> {
        match &self.decision {
            Decision::Denied(it) | Decision::Joined(it) | Decision::Deferred(it) => Some(&it.request),
            Decision::Nothing(_) | Decision::Recorded(_) | Decision::Known => self.request.as_ref(),
        }
    }
}

impl Times {
    /// One that is over as soon as it began.
    fn at(began: Timestamp) -> Self {
        Self { began, mapped: began, judged: began, recorded: began }
    }

    /// All that memory was asked for was told by then.
    pub fn ended(&mut self, at: Timestamp) {
        (self.mapped, self.judged, self.recorded) = (at, at, at);
    }
}

impl Engine {
    /// Takes a signal to its end, or to an intent on the ledger.
    pub async fn decide(self: &Arc<Self>, signal: &Signal) -> Decided {
        let began = self.clock.now();
        let policies = self.policies.load_full();
        let (asking, mapped) = loop {
            let looked = self.decide_at_once(signal, &self.book.history(), &policies, (began, self.book.now()));
            let mapped = self.clock.now();
            match looked {
                Ok(mut decided) => {
                    decided.times.ended(mapped);
                    return decided;
                }
                Err(Further::See(unseen)) => self.see(&unseen).await,
                Err(Further::Ask(asking)) => break (*asking, mapped),
            }
        };
        let Asking { request, shadows, heard, unevaluated } = asking;
        self.unevaluated(signal, &unevaluated);
        let (admittance, judged) = self.consider(request.clone(), &policies).await;
        let decision = match admittance {
            Admittance::Recorded(id) => {
                self.tell(id);
                self.start(id);
                Decision::Recorded(id)
            }
            // While it was considered here, another replica that had the same delivery took it to its end.
            Admittance::Denied(it) | Admittance::Deferred(it) if known(&self.book.history(), &it.request) => {
                Decision::Known
            }
            Admittance::Denied(objections) => Decision::Denied(objections),
            Admittance::Deferred(objections) => self.defer(objections).await,
        };
        let times = Times { began, mapped, judged, recorded: self.clock.now() };
        Decided { decision, request: Some(request), shadows, heard, times }
    }

    /// Writes down what was seen, unless another replica has meanwhile.
    async fn see(&self, unseen: &[Sighted]) {
        for part in unseen.chunks(SIGHTINGS) {
            let lacking = |it: &History| {
                let new: Vec<Sighted> = part.iter().filter(|one| it.lacks(one)).cloned().collect();
                (!new.is_empty()).then_some(Record::Sighted(new))
            };
            self.admitter.write(lacking).await;
        }
    }

    /// Both looks and the ledger: the way of every request, be it of a signal, of a waiter or of an undo. Also tells when
    /// it was judged.
    pub(crate) async fn consider(&self, request: ActionRequest, policies: &Arc<PolicySet>) -> (Admittance, Timestamp) {
        let verdict = screen(request, &self.book.history(), &policies.guardrails, self.book.now());
        let verdict = match verdict {
            Verdict::Pass(cleared) => self.inspect(cleared, policies).await,
            Verdict::Defer(objections) => Verdict::Defer(objections),
            Verdict::Deny(objections) => Verdict::Deny(objections),
        };
        let judged = self.clock.now();
        let admittance = match verdict {
            Verdict::Pass(admitted) => self.admitter.admit(admitted, policies.clone()).await,
            Verdict::Defer(objections) => Admittance::Deferred(objections),
            Verdict::Deny(objections) => Admittance::Denied(objections),
        };
        (admittance, judged)
    }

    /// The second look: a fresh read of the target.
    async fn inspect(&self, cleared: Cleared, policies: &PolicySet) -> Verdict<Admitted> {
        if let Some(admitted) = tell(&cleared) {
            return Verdict::Pass(admitted);
        }
        match self.cluster.snapshot(cleared.request()).await {
            Ok(seen) => {
                let (history, rules, now) = (self.book.history(), &policies.guardrails, self.book.now());
                judge(cleared, &self.cluster_name, seen.as_ref(), &history, rules, now)
            }
            Err(PortError::Forbidden(detail)) => forbidden(cleared, detail),
            Err(PortError::Unavailable(detail) | PortError::Unusable(detail)) => unreadable(cleared, detail),
        }
    }

    async fn defer(&self, objections: Objections) -> Decision {
        let Objections { request, reasons } = &objections;
        let key = WaitKey::of(request);
        let deferral = Deferral { request: request.clone(), objections: reasons.clone() };
        // Asked of the fold that the entry is compared with: the room is the same for all replicas.
        // Steps wait beside them: there are no more than there are actions.
        let signals = |it: &History| it.waiting().filter(|(_, it)| it.deferral.request.step == 0).count();
        let has_room = |it: &History| it.waiter(&key).is_none() && signals(it) < ROOM;
        let wrote = self.admitter.write(|it| has_room(it).then(|| Record::Deferred(deferral.clone()))).await;
        // Somebody else may have come to wait first, here or on another replica: then this signal joins.
        let ours = |it: &ActionRequest| it.cause == request.cause && it.evidence.sequence == request.evidence.sequence;
        let waits = self.book.history().waiter(&key).map(|it| ours(&it.deferral.request));
        match waits {
            Some(false) if !wrote => Decision::Joined(objections),
            None if !wrote => Decision::Denied(objections),
            _ => Decision::Deferred(objections),
        }
    }

    /// Says in the log what is about to be done.
    pub(crate) fn tell(&self, id: IntentId) {
        let history = self.book.history();
        let Some(intent) = history.intent(id) else { return };
        let (request, trace_id) = (intent.request(), intent.request().evidence.trace.trace_hex());
        let (policy, target, change) = (&request.policy.name, &request.target, intent.change().edit.summary());
        tracing::info!(intent = %id, %policy, %target, change, trace_id, "Acts");
    }

    /// Starts to drive an intent, unless it is being driven already.
    pub fn start(self: &Arc<Self>, id: IntentId) {
        if !lock(&self.driving).insert(id) {
            return;
        }
        // An intent that nobody drives would keep its slot and its target: better to stop, and to take it up again.
        let (engine, alarm) = (self.clone(), OnPanic(self.stopping.clone()));
        self.drivers.spawn(async move {
            let _alarm = alarm;
            engine.clone().drive(id).await;
            lock(&engine.driving).remove(&id);
        });
    }

    /// The other replicas, as far as they were heard. Held for a moment only, never over an await.
    pub fn peers(&self) -> MutexGuard<'_, Peers> {
        lock(&self.peers)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
