//! The metrics of the contract, by stage: each method takes what the engine has at hand and knows which series it moves.

mod families;
mod tests;

use std::time::Duration;

use flyball_core::action::ActionKind;
use flyball_core::deny::DenyReason;
use flyball_core::signal::TraceContext;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

pub use self::families::Drops;
use self::families::{ApiCall, Block, Ended, Families, OfAction, Outcomes, Place, TraceLabel};
use super::labels::{ActionStatus, Decision, Kind, Names, Reason, SignalResult, Verified};

/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric of the engine. Shared behind an `Arc`; each call is a lookup and an atomic add.
///
/// The plural methods take a count: a fold of suppressed signals is counted in one call, not once per signal. A trace is
/// handed over only where it is kept: an exemplar that leads to no trace is worse than none.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    all: Families,
    namespaces: Names<1>,
    workloads: Names<2>,
}

impl Metrics {
    /// Registers every metric. `version` and `commit` become `flyball_build_info`.
    pub fn new(version: &str, commit: &str) -> Self {
        let mut registry = Registry::default();
        let all = Families::register(&mut registry, version, commit);
        Self { registry, all, namespaces: Names::default(), workloads: Names::default() }
    }

    /// The page that Prometheus scrapes, as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut page = String::with_capacity(32 * 1024);
        text::encode(&mut page, &self.registry).expect("a String takes all that is written to it");
        page
    }

    /// One signal and what became of it.
    pub fn signal(&self, kind: Kind, result: SignalResult) {
        self.signals(kind, result, 1);
    }

    /// `count` signals and what became of them.
    pub fn signals(&self, kind: Kind, result: SignalResult, count: u64) {
        self.all.signals[kind as usize][result as usize].inc_by(count);
    }

    /// One verdict on a signal or call. The reason is `Reason::ALLOWED` for what may act.
    pub fn decided(&self, kind: Kind, decision: Decision, reason: Reason) {
        self.decisions(kind, decision, reason, 1);
    }

    /// The same verdict on `count` signals.
    pub fn decisions(&self, kind: Kind, decision: Decision, reason: Reason, count: u64) {
        self.all.outcomes.get_or_create(&Outcomes { kind, decision, reason }).inc_by(count);
    }

    /// A guardrail stood against an action. One that was the cooldown is a cooldown skip, too.
    pub fn blocked(&self, action: ActionKind, reason: &DenyReason) {
        self.blocks(action, reason, 1);
    }

    /// The same guardrail stood against `count` requests.
    pub fn blocks(&self, action: ActionKind, reason: &DenyReason, count: u64) {
        let label = Block { r#type: action.as_str(), reason: reason.into() };
        self.all.blocks.get_or_create(&label).inc_by(count);
        if matches!(reason, DenyReason::CooldownActive { .. }) {
            self.cooldown_skips(action, count);
        }
    }

    /// The cooldown stood against `count` requests. `blocks` calls it; call it alone only where nothing is blocked.
    pub fn cooldown_skips(&self, action: ActionKind, count: u64) {
        self.all.cooldown_skips.get_or_create(&OfAction::of(action)).inc_by(count);
    }

    /// A change is sent again.
    pub fn retried(&self, action: ActionKind) {
        self.all.retries.get_or_create(&OfAction::of(action)).inc();
    }

    /// An action ended; `took` counts from its admission to its outcome.
    pub fn acted(
        &self,
        action: ActionKind,
        status: ActionStatus,
        verification_status: Verified,
        took: Duration,
        trace: Option<&TraceContext>,
    ) {
        self.all.actions.get_or_create(&Ended { r#type: action.as_str(), status, verification_status }).inc();
        let duration = self.all.action_seconds.get_or_create(&OfAction::of(action));
        duration.observe(took.as_secs_f64(), exemplar(trace), None);
    }

    /// The loop closed: `took` counts from the signal's arrival to the outcome of what it led to.
    pub fn loop_seconds(&self, took: Duration, trace: Option<&TraceContext>) {
        self.all.loop_seconds.observe(took.as_secs_f64(), exemplar(trace), None);
    }

    /// How long it took from a delivery to its verdict.
    pub fn decision_seconds(&self, took: Duration, trace: Option<&TraceContext>) {
        self.all.decision_seconds.observe(took.as_secs_f64(), exemplar(trace), None);
    }

    /// How old a signal was when it was decided.
    pub fn signal_age(&self, age: Duration, trace: Option<&TraceContext>) {
        self.all.signal_age.observe(age.as_secs_f64(), exemplar(trace), None);
    }

    /// How long an append took until it was durable.
    pub fn ledger_append(&self, took: Duration, trace: Option<&TraceContext>) {
        self.all.ledger_append.observe(took.as_secs_f64(), exemplar(trace), None);
    }

    /// Deliveries between intake and verdict.
    pub fn queue_depth(&self, deliveries: usize) {
        self.all.queue_depth.set(count(deliveries));
    }

    /// Intents that are not closed.
    pub fn intents_open(&self, intents: usize) {
        self.all.intents_open.set(count(intents));
    }

    /// Whether the breaker is open.
    pub fn breaker_open(&self, open: bool) {
        self.all.breaker_open.set(i64::from(open));
    }

    /// Pauses in force.
    pub fn pauses_active(&self, pauses: usize) {
        self.all.pauses_active.set(count(pauses));
    }

    /// Policies that act no more because their actions did not help.
    pub fn policies_demoted(&self, policies: usize) {
        self.all.policies_demoted.set(count(policies));
    }

    /// A set of policies was refused.
    pub fn policy_load_error(&self) {
        self.all.policy_load_errors.inc();
    }

    /// A policy's condition could not be evaluated, so it did not match.
    pub fn expression_failed(&self) {
        self.all.expression_errors.inc();
    }

    /// One call of the Kubernetes API. `verb` as RBAC says it (`get`, `list`, `watch`, `patch`, `create`), `resource` the
    /// lower-case plural; `namespace` is empty for calls across all.
    pub fn api_call(&self, verb: &'static str, resource: &'static str, namespace: &str, took: Duration, error: bool) {
        let [namespace] = self.namespaces.or_other([namespace]);
        let label = ApiCall { verb, resource, namespace };
        self.all.api_calls.get_or_create(&label).inc();
        self.all.api_seconds.get_or_create(&label).observe(took.as_secs_f64());
        if error {
            self.all.api_errors.get_or_create(&label).inc();
        }
    }

    /// A change landed on a workload. A rollback and an undo are patches; an eviction changes no workload and has no
    /// series of its own.
    pub fn k8s_action(&self, action: ActionKind, namespace: &str, deployment: &str) {
        let family = match action {
            ActionKind::Scale => &self.all.scales,
            ActionKind::Restart => &self.all.restarts,
            ActionKind::Patch | ActionKind::Rollback | ActionKind::Undo => &self.all.patches,
            ActionKind::DeletePod | ActionKind::Escalate => return,
        };
        let [namespace, deployment] = self.workloads.or_other([namespace, deployment]);
        family.get_or_create(&Place { namespace, deployment }).inc();
    }

    /// Replicas of a workload as last seen. Beyond the cap nothing is shown: the numbers of two workloads under one label
    /// would overwrite each other.
    pub fn deployment_replicas(&self, namespace: &str, deployment: &str, desired: i32, ready: i32) {
        let Some([namespace, deployment]) = self.workloads.admit([namespace, deployment]) else { return };
        let place = Place { namespace, deployment };
        self.all.desired.get_or_create(&place).set(i64::from(desired));
        self.all.ready.get_or_create(&place).set(i64::from(ready));
    }

    /// The workload is gone: its replicas are no longer shown.
    pub fn deployment_gone(&self, namespace: &str, deployment: &str) {
        let place = Place { namespace: namespace.into(), deployment: deployment.into() };
        self.all.desired.remove(&place);
        self.all.ready.remove(&place);
    }

    /// Counts the spans that never reach the collector.
    pub fn drops(&self) -> Drops {
        self.all.drops.clone()
    }
}

fn exemplar(trace: Option<&TraceContext>) -> Option<TraceLabel> {
    trace.map(TraceLabel::of)
}

fn count(things: usize) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}
