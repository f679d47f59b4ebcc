//! What a set would have done, counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_core::action::{ActionKind, ActionRequest};
use flyball_core::deny::DenyReason;
use flyball_core::expr::Unevaluated;
use flyball_core::intent::{Intent, Stage};
use flyball_core::signal::Signal;
use flyball_core::workload::Workload;
use flyball_sim::{Decided, Witness};
use jiff::Timestamp;

/// Of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ran: u64,
    pub(super) waited: u64,
    pub(super) shadow: u64,
    pub(super) denied: BTreeMap<&'static str, u64>,
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    pub(super) unevaluated: u64,
    pub(super) targets: BTreeMap<Workload, u64>,
}

/// One action: what tells two sets apart.
pub(super) type Act = (Timestamp, Arc<str>, ActionKind, Workload);

/// Of a whole set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) policies: BTreeMap<Arc<str>, Counts>,
    pub(super) silent: BTreeMap<&'static str, u64>,
    pub(super) acts: Vec<Act>,
}

impl Tally {
    fn of(&mut self, policy: &Arc<str>) -> &mut Counts {
        if !self.policies.contains_key(policy) {
            self.policies.insert(policy.clone(), Counts::default());
        }
        self.policies.get_mut(policy).expect("it was put there")
    }

    fn deny(&mut self, policy: &Arc<str>, reasons: &[DenyReason]) {
        let first = reasons.first().map_or("denied", DenyReason::label);
        *self.of(policy).denied.entry(first).or_default() += 1;
    }

    fn act(&mut self, at: Timestamp, request: &ActionRequest) {
        if request.undoes().is_some() {
            return;
        }
        let counts = self.of(&request.policy.name);
        counts.ran += 1;
        *counts.targets.entry(request.target.clone()).or_default() += 1;
        self.acts.push((at, request.policy.name.clone(), request.action.kind(), request.target.clone()));
    }

    pub(super) fn ran(&self) -> u64 {
        self.policies.values().map(|it| it.ran).sum()
    }

    pub(super) fn denied(&self) -> u64 {
        self.policies.values().flat_map(|it| it.denied.values()).sum()
    }
}

impl Witness for Tally {
    fn decided(&mut self, at: Timestamp, _: &Signal, what: Decided<'_>) {
        match what {
            Decided::Nothing(why) => *self.silent.entry(why.label()).or_default() += 1,
            Decided::Denied(it) => self.deny(&it.request.policy.name, &it.reasons),
            Decided::Deferred(it) => self.of(&it.request.policy.name).waited += 1,
            Decided::Joined(request) => self.of(&request.policy.name).waited += 1,
            Decided::Admitted(_, request) => self.act(at, request),
        }
    }

    fn shadow(&mut self, _: Timestamp, _: &Signal, request: &ActionRequest, reasons: &[DenyReason]) {
        if reasons.is_empty() {
            self.of(&request.policy.name).shadow += 1;
        }
    }

    fn unevaluated(&mut self, _: Timestamp, _: &Signal, policy: &str, _: &Unevaluated) {
        self.of(&policy.into()).unevaluated += 1;
    }

    fn released(&mut self, at: Timestamp, request: &ActionRequest, what: Decided<'_>) {
        match what {
            Decided::Admitted(_, request) => self.act(at, request),
            Decided::Denied(it) => self.deny(&request.policy.name, &it.reasons),
            _ => {}
        }
    }

    fn closed(&mut self, _: Timestamp, intent: &Intent) {
        if let Stage::Closed { outcome, .. } = intent.stage() {
            *self.of(&intent.request().policy.name).outcomes.entry(outcome.label()).or_default() += 1;
        }
    }
}
