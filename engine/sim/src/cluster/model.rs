//! The cluster's state: objects, what is due, and what is on its way. It advances when somebody looks, to the time at which
//! they look.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flyball_core::facts::Rollout;
use flyball_core::intent::Execution;
use flyball_core::ports::PortError;
use flyball_core::workload::Workload;
use jiff::{SignedDuration, Timestamp};

use super::faults::Fault;
use super::manifest::Manifest;
use super::object::Object;
use super::request::Request;
use super::rollout::{adopt, reconcile};
use super::wakes::Wakes;
use crate::random::Mint;
use crate::script::Script;
use crate::wake::Bell;
use crate::world::Shared;

/// So long after a change its controller sees it.
const LAG: SignedDuration = SignedDuration::from_millis(10);
/// So often a workload with crashing pods writes its status.
const CHURN: SignedDuration = SignedDuration::from_secs(5);

/// A request that arrives later.
struct Held {
    request: Request,
    /// Somebody waits for its answer.
    awaited: bool,
}

/// The state.
pub(super) struct Model {
    pub(super) shared: Arc<Shared>,
    pub(super) now: Timestamp,
    pub(super) mint: Mint,
    /// The newest resourceVersion of the whole cluster.
    resource_version: u64,
    pub(super) objects: BTreeMap<Workload, Object>,
    /// When a controller looks at a workload again.
    wakes: Wakes,
    held: BTreeMap<(Timestamp, u64), Held>,
    sent: u64,
    answers: BTreeMap<u64, Execution>,
    pub(super) namespaces: BTreeMap<Arc<str>, BTreeMap<String, String>>,
    pub(super) autoscalers: BTreeMap<Workload, String>,
    pub(super) budgets: BTreeMap<Arc<str>, String>,
    pub(super) script: Script<Fault>,
    pub(super) reads: VecDeque<PortError>,
    pub(super) timeout: SignedDuration,
    pub(super) latency: SignedDuration,
    pub(super) churn: Option<SignedDuration>,
    /// How often something of a workload was seen to change.
    moves: BTreeMap<Workload, u64>,
    pub(super) bells: BTreeMap<Workload, Bell>,
    /// What each rollout looked like, from when on, if somebody wants to know.
    pub(super) past: Option<Past>,
}

/// Rollouts as they were, each from its time on; none while there is no such workload.
pub(super) type Past = BTreeMap<Workload, Vec<(Timestamp, Option<Rollout>)>>;

impl Model {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            now: shared.clock.now(),
            mint: Mint::new(shared.seed),
            script: Script::new(shared.seed, "cluster"),
            shared,
            // As on a real cluster the first object is not the first write.
            resource_version: 1_000,
            objects: BTreeMap::new(),
            wakes: Wakes::default(),
            held: BTreeMap::new(),
            sent: 0,
            answers: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            autoscalers: BTreeMap::new(),
            budgets: BTreeMap::new(),
            reads: VecDeque::new(),
            timeout: SignedDuration::from_secs(5),
            latency: SignedDuration::ZERO,
            churn: Some(CHURN),
            moves: BTreeMap::new(),
            bells: BTreeMap::new(),
            past: None,
        }
    }

    /// Lets everything happen that is due by `now`, each at its own time.
    pub(super) fn advance(&mut self, now: Timestamp) {
        loop {
            let wake = self.wakes.first().filter(|at| *at <= now);
            let held = self.held.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= now);
            match (wake, held) {
                (Some(at), held) if held.is_none_or(|it| at <= it) => {
                    self.now = self.now.max(at);
                    if let Some(target) = self.wakes.pop() {
                        self.look(&target);
                    }
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    if let Some(((_, id), held)) = self.held.pop_first() {
                        let answer = self.apply(held.request);
                        if held.awaited {
                            self.answers.insert(id, answer);
                        }
                    }
                }
                _ => break,
            }
        }
        self.now = self.now.max(now);
    }

    /// A controller looks at a workload, and writes its status where that has changed.
    pub(super) fn look(&mut self, target: &Workload) {
        let now = self.now;
        let Some(object) = self.objects.get_mut(target) else { return };
        let (status, annotations) = (object.status.clone(), object.annotations.clone());
        let mut next = reconcile(object, &mut self.mint, now);
        let mut wrote = object.status != status || object.annotations != annotations;
        let crashing = object.pods.iter().any(|it| it.crashing);
        match self.churn.filter(|_| crashing) {
            None => object.churn_at = None,
            Some(period) => {
                wrote |= object.churn_at.is_some_and(|at| at <= now);
                let due = object.churn_at.filter(|at| *at > now).unwrap_or(now + period);
                object.churn_at = Some(due);
                next = Some(next.map_or(due, |it| it.min(due)));
            }
        }
        if wrote {
            self.status_written(target);
        }
        if let Some(next) = next {
            self.wakes.add(target, next);
        }
    }

    /// The controller wrote the status.
    fn status_written(&mut self, target: &Workload) {
        if self.churn.is_some() {
            self.bump(target);
        }
        self.moved(target);
    }

    /// A write: the object gets the next resourceVersion.
    pub(super) fn bump(&mut self, target: &Workload) {
        self.resource_version += 1;
        if let Some(object) = self.objects.get_mut(target) {
            object.resource_version = self.resource_version;
        }
    }

    /// Tells who watches the workload.
    pub(super) fn moved(&mut self, target: &Workload) {
        *self.moves.entry(target.clone()).or_default() += 1;
        if let Some(past) = &mut self.past {
            let rollout = self.objects.get(target).map(Object::rollout);
            past.entry(target.clone()).or_default().push((self.now, rollout));
        }
        if let Some(mut bell) = self.bells.remove(target) {
            bell.ring();
        }
    }

    /// Somebody wrote to the object, or to its pods: its controller will look.
    pub(super) fn written(&mut self, target: &Workload) {
        self.bump(target);
        self.moved(target);
        self.wake(target);
    }

    /// The controller of a workload will look.
    pub(super) fn wake(&mut self, target: &Workload) {
        self.wakes.add(target, self.now + LAG);
    }

    /// How often something of a workload was seen to change, and when the next change is due.
    pub(super) fn moves(&self, target: &Workload) -> (u64, Option<Timestamp>) {
        let wake = self.wakes.of(target);
        let held = self.held.iter().find(|(_, it)| it.request.target == *target).map(|((at, _), _)| *at);
        (self.moves.get(target).copied().unwrap_or(0), wake.into_iter().chain(held).min())
    }

    /// Keeps a request back. Its number fetches the answer, if somebody waits for it.
    pub(super) fn hold(&mut self, request: Request, delay: SignedDuration, awaited: bool) -> u64 {
        self.sent += 1;
        let at = self.now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        // Who watches the target has to learn of the time at which it arrives.
        if let Some(mut bell) = self.bells.remove(&request.target) {
            bell.ring();
        }
        self.held.insert((at, self.sent), Held { request, awaited });
        self.sent
    }

    /// The answer to a request that was kept back.
    pub(super) fn answer(&mut self, sent: u64) -> Option<Execution> {
        self.answers.remove(&sent)
    }

    /// Puts a workload in place of whatever has its name, with all its pods ready that can be.
    pub(super) fn put(&mut self, manifest: &Manifest) {
        let (target, now) = (manifest.target.clone(), self.now);
        self.remove(&target);
        let mut object = Object::new(manifest.clone(), self.mint.uid(), now);
        for template in &manifest.history {
            object.spec["template"] = template.clone();
            adopt(&mut object, &mut self.mint, now);
        }
        object.spec = manifest.spec.clone();
        reconcile(&mut object, &mut self.mint, now);
        // A StatefulSet or DaemonSet fills up in one go here, and a Deployment anyway: what remains is to wait.
        for pod in &mut object.pods {
            if pod.ready_at.take().is_some() {
                pod.ready = true;
            }
        }
        self.objects.insert(target.clone(), object);
        self.bump(&target);
        self.moved(&target);
        self.look(&target);
    }

    /// Removes a workload with its pods. Whether it was there.
    pub(super) fn remove(&mut self, target: &Workload) -> bool {
        let there = self.objects.remove(target).is_some();
        if there {
            self.wakes.forget(target);
            self.resource_version += 1;
            self.moved(target);
        }
        there
    }
}
