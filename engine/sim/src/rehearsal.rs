//! What policies would do with signals: the real `propose`, `screen`, `judge`, `plan` and `verify`, on a simulated cluster and in virtual
//! time, without a bus, a ledger or a runtime. One thread, so that a million signals take seconds; what `policy test` and `policy
//! backtest` run on.

mod drive;
mod due;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flyball_core::action::ActionRequest;
use flyball_core::chain::Sum;
use flyball_core::deny::{DenyReason, NoAction};
use flyball_core::expr::Unevaluated;
use flyball_core::guardrail::{Objections, Verdict, judge, screen, screen_shadow, tell};
use flyball_core::history::History;
use flyball_core::id::{IntentId, Revision};
use flyball_core::intent::{Intent, Writer};
use flyball_core::mapper::{Proposal, propose};
use flyball_core::policy::PolicySet;
use flyball_core::record::{Admission, Deferral, Entry, Record, Release, Symptom, Topic, WaitKey};
use flyball_core::signal::{Signal, SignalKind};
use flyball_core::workload::Workload;
use jiff::{SignedDuration, Timestamp};

use self::due::Due;
use crate::clock::ManualClock;
use crate::cluster::{Manifest, SimCluster};
use crate::world::World;

/// The cluster that intents are named after.
const CLUSTER: &str = "rehearsal";

/// A target whose symptoms are asked for is looked at no more often than this because of them, as the engine does.
const SYMPTOMS: SignedDuration = SignedDuration::from_secs(1);

/// What became of a signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided<'a> {
    /// Nothing asked for anything.
    Nothing(NoAction),
    /// Something objects.
    Denied(&'a Objections),
    /// What objects passes by itself: it waits.
    Deferred(&'a Objections),
    /// It joined a request that waits.
    Joined(&'a ActionRequest),
    /// It is an intent.
    Admitted(IntentId, &'a ActionRequest),
}

/// Hears what happens.
pub trait Witness {
    /// A signal was decided.
    fn decided(&mut self, at: Timestamp, signal: &Signal, what: Decided<'_>);
    /// A shadow policy would have asked for something; what would have denied it, if anything.
    fn shadow(&mut self, at: Timestamp, signal: &Signal, request: &ActionRequest, reasons: &[DenyReason]);
    /// A policy's condition could not be evaluated.
    fn unevaluated(&mut self, at: Timestamp, signal: &Signal, policy: &str, why: &Unevaluated);
    /// A request that waited was admitted, or denied after all.
    fn released(&mut self, at: Timestamp, request: &ActionRequest, what: Decided<'_>);
    /// An intent has ended.
    fn closed(&mut self, at: Timestamp, intent: &Intent);
}

/// The rehearsal.
pub struct Rehearsal {
    policies: Arc<PolicySet>,
    world: World,
    clock: ManualClock,
    start: Timestamp,
    now: Timestamp,
    history: History,
    revision: u64,
    writer: Writer,
    /// When each open intent is looked at again.
    due: Due,
    /// When somebody who waits for his time is asked again.
    held: BTreeSet<Timestamp>,
    /// Since when its rollout was seen complete.
    complete: BTreeMap<IntentId, Timestamp>,
    /// Unknown workloads are taken to be there, healthy and of three pods.
    adopts: bool,
}

impl Rehearsal {
    /// On an empty cluster at a moment. `adopts`: a workload that nobody put there is healthy and has three pods.
    pub fn new(policies: Arc<PolicySet>, start: Timestamp, adopts: bool) -> Self {
        let clock = ManualClock::starting_at(start);
        let world = World::new(1, Arc::new(clock.clone()));
        let writer = Writer { replica: CLUSTER.into(), process: "1".into(), epoch: 0 };
        Self {
            policies,
            world,
            clock,
            start,
            now: start,
            history: History::default(),
            revision: 0,
            writer,
            due: Due::default(),
            held: BTreeSet::new(),
            complete: BTreeMap::new(),
            adopts,
        }
    }

    /// The cluster, to put workloads there.
    pub fn cluster(&self) -> &SimCluster {
        &self.world.cluster
    }

    /// What is remembered.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Writes an entry that people write, such as a pause.
    pub fn write(&mut self, topic: Topic, record: Record) {
        self.append(topic, record);
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass until `at`: what is due by then happens, each at its own time.
    pub fn until(&mut self, at: Timestamp, witness: &mut impl Witness) {
        loop {
            let held = self.held.first().copied().filter(|it| *it <= at);
            if let Some((due, id)) = self.due.pop(held.unwrap_or(at)) {
                self.pass(due);
                self.drive(id, witness);
            } else if let Some(held) = held {
                self.held.remove(&held);
                self.pass(held);
                self.attend(witness);
            } else {
                break;
            }
        }
        self.pass(at);
    }

    fn pass(&mut self, at: Timestamp) {
        if at > self.now {
            self.now = at;
            self.clock.advance(at.duration_since(self.start) - self.clock.passed());
        }
    }

    /// A signal arrives at `at`.
    pub fn signal(&mut self, at: Timestamp, signal: &Signal, witness: &mut impl Witness) {
        self.until(at, witness);
        let policies = self.policies.clone();
        let mut proposal = self.propose(&policies, signal);
        if !proposal.unseen.is_empty() {
            self.append(Topic::Admit, Record::Sighted(std::mem::take(&mut proposal.unseen)));
            proposal = self.propose(&policies, signal);
        }
        if !proposal.heard.is_empty() {
            self.append(Topic::Note, Record::Sighted(std::mem::take(&mut proposal.heard)));
        }
        for (policy, why) in &proposal.unevaluated {
            witness.unevaluated(self.now, signal, policy, why);
        }
        for request in &proposal.shadows {
            self.shadow(signal, request, witness);
        }
        let target = proposal.act.as_ref().map_or(&signal.subject, |it| &it.target).clone();
        match proposal.act {
            Err(why) => witness.decided(self.now, signal, Decided::Nothing(why)),
            Ok(request) => self.ask(signal, request, witness),
        }
        self.symptom(signal, &target);
    }

    fn propose(&self, policies: &PolicySet, signal: &Signal) -> Proposal {
        let (cluster, adopts) = (&self.world.cluster, self.adopts);
        propose(policies, signal, |target| Self::known(cluster, target, adopts), &self.history, self.now)
    }

    fn known(cluster: &SimCluster, target: &Workload, adopts: bool) -> Option<flyball_core::expr::TargetView> {
        use flyball_core::ports::Cluster;
        if adopts && cluster.view(target).is_none() {
            cluster.put(&Manifest::new(target));
        }
        cluster.view(target)
    }

    fn shadow(&mut self, signal: &Signal, request: &ActionRequest, witness: &mut impl Witness) {
        let reasons = screen_shadow(request, &self.history, &self.policies.guardrails, self.now);
        witness.shadow(self.now, signal, request, &reasons);
        if reasons.is_empty() {
            self.append(Topic::Note, Record::Folded(vec![drive::shadowed(signal, request)]));
        }
    }

    fn ask(&mut self, signal: &Signal, request: ActionRequest, witness: &mut impl Witness) {
        if self.history.waiter(&WaitKey::of(&request)).is_some() {
            let denied =
                matches!(screen(request.clone(), &self.history, &self.policies.guardrails, self.now), Verdict::Deny(_));
            if !denied {
                self.append(Topic::Note, Record::Folded(vec![drive::joined(signal, &request)]));
                return witness.decided(self.now, signal, Decided::Joined(&request));
            }
        }
        match self.consider(request) {
            Verdict::Pass((id, request)) => {
                witness.decided(self.now, signal, Decided::Admitted(id, &request));
                self.drive(id, witness);
            }
            Verdict::Defer(objections) => {
                witness.decided(self.now, signal, Decided::Deferred(&objections));
                let Objections { request, reasons } = objections;
                self.held.extend(request.hold.map(|it| it.until));
                self.append(Topic::Admit, Record::Deferred(Deferral { request, objections: reasons }));
            }
            Verdict::Deny(objections) => witness.decided(self.now, signal, Decided::Denied(&objections)),
        }
    }

    /// Both looks and the admission.
    fn consider(&mut self, request: ActionRequest) -> Verdict<(IntentId, ActionRequest)> {
        let policies = self.policies.clone();
        let rules = &policies.guardrails;
        let cleared = match screen(request, &self.history, rules, self.now) {
            Verdict::Pass(cleared) => cleared,
            Verdict::Defer(it) => return Verdict::Defer(it),
            Verdict::Deny(it) => return Verdict::Deny(it),
        };
        let judged = if let Some(admitted) = tell(&cleared) {
            Verdict::Pass(admitted)
        } else {
            if self.adopts {
                Self::known(&self.world.cluster, &cleared.request().target, true);
            }
            let seen = self.world.cluster.seen(cleared.request());
            judge(cleared, CLUSTER, seen.as_ref(), &self.history, rules, self.now)
        };
        match judged {
            Verdict::Defer(it) => Verdict::Defer(it),
            Verdict::Deny(it) => Verdict::Deny(it),
            Verdict::Pass(admitted) => {
                let request = admitted.request().clone();
                let id = request.id(CLUSTER);
                if self.history.knows(id) {
                    let reasons = vec![DenyReason::DuplicateSignal { intent: id }];
                    return Verdict::Deny(Objections { request, reasons });
                }
                let admission = Admission {
                    id,
                    request: request.clone(),
                    change: admitted.change().clone(),
                    adds: admitted.adds(),
                    writer: self.writer.clone(),
                };
                self.append(Topic::Admit, Record::Admitted(vec![admission]));
                Verdict::Pass((id, request))
            }
        }
    }

    /// Asks those who wait once more, the most urgent first: something has ended.
    fn attend(&mut self, witness: &mut impl Witness) {
        let mut waiting: Vec<(WaitKey, ActionRequest)> =
            self.history.waiting().map(|(key, it)| (key.clone(), it.deferral.request.clone())).collect();
        waiting.sort_by_key(|(_, it)| std::cmp::Reverse(it.priority));
        for (key, request) in waiting {
            match self.consider(request) {
                Verdict::Pass((id, request)) => {
                    witness.released(self.now, &request, Decided::Admitted(id, &request));
                    self.drive(id, witness);
                }
                Verdict::Defer(_) => {}
                Verdict::Deny(objections) => {
                    witness.released(self.now, &objections.request, Decided::Denied(&objections));
                    let Objections { request, reasons } = objections;
                    self.append(Topic::Admit, Record::Released(Release { key: key.clone(), request, reasons }));
                    let next = self.history.waiter(&key).and_then(|it| it.deferral.request.hold);
                    self.held.extend(next.map(|it| it.until));
                }
            }
        }
    }

    fn symptom(&mut self, signal: &Signal, target: &Workload) {
        if !self.history.awaits_symptoms(target) {
            return;
        }
        let cleared = matches!(&signal.kind, SignalKind::Anomaly(it) if !it.is_anomaly);
        let symptom = Symptom { target: target.clone(), observed_at: signal.observed_at, cleared };
        self.append(Topic::Note, Record::Symptom(symptom));
        for id in self.history.open_on(target) {
            let asks = self.history.intent(id).is_some_and(|it| it.request().verify.recovered.is_some());
            if asks {
                self.due.no_later(id, self.now, SYMPTOMS);
            }
        }
    }

    fn append(&mut self, topic: Topic, record: Record) {
        self.revision += 1;
        let before = match topic {
            Topic::Admit => Some(self.history.admit_head()),
            Topic::Intent(id) => self.history.intent(id).map(Intent::head),
            Topic::Note => None,
        };
        let before = before.filter(|it| it.revision != Revision::default());
        // Nobody reads this entry but the fold beside: its place links it as well as its words would.
        let sum = Sum::of(&[&self.revision.to_be_bytes()]);
        let prev = before.map_or(Sum::NONE, |it| it.sum);
        let entry = Entry { revision: Revision(self.revision), at: self.now, topic, prev, sum, record };
        self.history.apply(&entry).expect("what the core decides can follow what was");
    }
}
