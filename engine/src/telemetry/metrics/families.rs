//! The series behind the methods: names, help texts, labels and buckets, exactly as the contract lists them.

use std::fmt;
use std::sync::Arc;

use flyball_core::action::ActionKind;
use flyball_core::signal::TraceContext;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::telemetry::labels::{ActionStatus, Decision, DropReason, Kind, Reason, SignalResult, Verified};

/// Microseconds for a signal that memory denies, milliseconds with a read of the target.
const DECISION: [f64; 12] = [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0];
/// From a fresh signal to one past the default `maxSignalAge` of ten minutes.
const AGE: [f64; 12] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
/// A group commit on a good disk takes 0.1 ms, a replicated one some milliseconds.
const APPEND: [f64; 11] = [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 2.5];
/// The bounds that SmartOps dashboards query, with finer ones below and the longest verification above.
const LOOP: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0];
/// Likewise for an action with its verification.
const ACTION: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
/// Likewise for one API call.
const CALL: [f64; 11] = [1e-3, 2.5e-3, 5e-3, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

/// A trace id as an exemplar's label. It becomes text only when somebody scrapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceId(u128);

impl EncodeLabelValue for TraceId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        use fmt::Write;
        write!(encoder, "{:032x}", self.0)
    }
}

#[derive(Clone, Debug, EncodeLabelSet)]
pub(super) struct TraceLabel {
    trace_id: TraceId,
}

impl TraceLabel {
    pub(super) fn of(trace: &TraceContext) -> Self {
        Self { trace_id: TraceId(trace.trace_id) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Came {
    kind: Kind,
    result: SignalResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcomes {
    pub(super) kind: Kind,
    pub(super) decision: Decision,
    pub(super) reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Block {
    pub(super) r#type: &'static str,
    pub(super) reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ended {
    pub(super) r#type: &'static str,
    pub(super) status: ActionStatus,
    pub(super) verification_status: Verified,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfAction {
    r#type: &'static str,
}

impl OfAction {
    pub(super) fn of(action: ActionKind) -> Self {
        Self { r#type: action.as_str() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ApiCall {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    pub(super) namespace: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Place {
    pub(super) namespace: Arc<str>,
    pub(super) deployment: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dropped {
    reason: DropReason,
}

type Traced = HistogramWithExemplars<TraceLabel>;

fn traced(buckets: &[f64]) -> Traced {
    HistogramWithExemplars::new(buckets.iter().copied())
}

/// Counts spans that never reach the collector; handed to the tracer.
#[derive(Clone, Debug)]
pub struct Drops([Counter; 3]);

impl Drops {
    /// `count` spans are lost.
    pub fn add(&self, reason: DropReason, count: u64) {
        self.0[reason as usize].inc_by(count);
    }

    /// How many are lost for that reason so far.
    pub fn count(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].get()
    }
}

/// Every series.
#[derive(Debug)]
pub(super) struct Families {
    /// By kind and result, resolved once: this one moves with every single signal.
    pub(super) signals: [[Counter; SignalResult::ALL.len()]; Kind::ALL.len()],
    pub(super) actions: Family<Ended, Counter>,
    pub(super) retries: Family<OfAction, Counter>,
    pub(super) loop_seconds: Traced,
    pub(super) action_seconds: Family<OfAction, Traced, fn() -> Traced>,
    pub(super) queue_depth: Gauge,
    pub(super) blocks: Family<Block, Counter>,
    pub(super) cooldown_skips: Family<OfAction, Counter>,
    pub(super) outcomes: Family<Outcomes, Counter>,
    pub(super) api_calls: Family<ApiCall, Counter>,
    pub(super) api_errors: Family<ApiCall, Counter>,
    pub(super) api_seconds: Family<ApiCall, Histogram, fn() -> Histogram>,
    pub(super) scales: Family<Place, Counter>,
    pub(super) restarts: Family<Place, Counter>,
    pub(super) patches: Family<Place, Counter>,
    pub(super) desired: Family<Place, Gauge>,
    pub(super) ready: Family<Place, Gauge>,
    pub(super) decision_seconds: Traced,
    pub(super) signal_age: Traced,
    pub(super) ledger_append: Traced,
    pub(super) intents_open: Gauge,
    pub(super) breaker_open: Gauge,
    pub(super) pauses_active: Gauge,
    pub(super) policies_demoted: Gauge,
    pub(super) policy_load_errors: Counter,
    pub(super) expression_errors: Counter,
    pub(super) drops: Drops,
}

impl Families {
    /// The registry adds `_total` to counters and `_info` to infos, and a full stop to help texts.
    pub(super) fn register(to: &mut Registry, version: &str, commit: &str) -> Self {
        let signals = Family::<Came, Counter>::default();
        let dropped = Family::<Dropped, Counter>::default();
        let all = Self {
            signals: std::array::from_fn(|kind| {
                std::array::from_fn(|result| {
                    signals.get_or_create_owned(&Came { kind: Kind::ALL[kind], result: SignalResult::ALL[result] })
                })
            }),
            actions: Family::default(),
            retries: Family::default(),
            loop_seconds: traced(&LOOP),
            action_seconds: Family::new_with_constructor(|| traced(&ACTION)),
            queue_depth: Gauge::default(),
            blocks: Family::default(),
            cooldown_skips: Family::default(),
            outcomes: Family::default(),
            api_calls: Family::default(),
            api_errors: Family::default(),
            api_seconds: Family::new_with_constructor(|| Histogram::new(CALL)),
            scales: Family::default(),
            restarts: Family::default(),
            patches: Family::default(),
            desired: Family::default(),
            ready: Family::default(),
            decision_seconds: traced(&DECISION),
            signal_age: traced(&AGE),
            ledger_append: traced(&APPEND),
            intents_open: Gauge::default(),
            breaker_open: Gauge::default(),
            pauses_active: Gauge::default(),
            policies_demoted: Gauge::default(),
            policy_load_errors: Counter::default(),
            expression_errors: Counter::default(),
            drops: Drops(std::array::from_fn(|n| dropped.get_or_create_owned(&Dropped { reason: DropReason::ALL[n] }))),
        };
        let build = vec![("version".to_owned(), version.to_owned()), ("commit".to_owned(), commit.to_owned())];
        to.register("flyball_build", "The build that runs", Info::new(build));
        to.register("flyball_spans_dropped", "Spans that never reached the collector", dropped);
        to.register("orchestrator_closed_loop_signals", "Signals and what became of them", signals);
        all.register_loop(to);
        all.register_kubernetes(to);
        all.register_engine(to);
        all
    }

    fn register_loop(&self, to: &mut Registry) {
        to.register("orchestrator_closed_loop_actions", "Actions that ended", self.actions.clone());
        to.register("orchestrator_closed_loop_retries", "Changes sent again", self.retries.clone());
        let help = "From a signal's arrival to the outcome of what it led to";
        to.register("orchestrator_closed_loop_duration_seconds", help, self.loop_seconds.clone());
        let help = "From an action's admission to its outcome";
        to.register("orchestrator_closed_loop_action_duration_seconds", help, self.action_seconds.clone());
        let help = "Deliveries between intake and verdict";
        to.register("orchestrator_closed_loop_queue_depth", help, self.queue_depth.clone());
        let help = "Requests that a guardrail denied";
        to.register("orchestrator_closed_loop_guardrail_blocks", help, self.blocks.clone());
        let help = "Requests that the cooldown denied";
        to.register("orchestrator_closed_loop_cooldown_skips", help, self.cooldown_skips.clone());
        to.register("orchestrator_closed_loop_policy_outcomes", "Verdicts, by reason", self.outcomes.clone());
    }

    fn register_kubernetes(&self, to: &mut Registry) {
        to.register("smartops_k8s_api_calls", "Calls of the Kubernetes API", self.api_calls.clone());
        to.register("smartops_k8s_api_errors", "Failed calls of the Kubernetes API", self.api_errors.clone());
        to.register("smartops_k8s_api_latency_seconds", "Time of one call", self.api_seconds.clone());
        to.register("smartops_k8s_scale", "Workloads scaled", self.scales.clone());
        to.register("smartops_k8s_restart", "Workloads restarted", self.restarts.clone());
        to.register("smartops_k8s_patch", "Workloads patched", self.patches.clone());
        let help = "Replicas wanted, as last seen";
        to.register("smartops_k8s_deployment_desired_replicas", help, self.desired.clone());
        let help = "Replicas ready, as last seen";
        to.register("smartops_k8s_deployment_ready_replicas", help, self.ready.clone());
    }

    fn register_engine(&self, to: &mut Registry) {
        to.register("flyball_decision_seconds", "From a delivery to its verdict", self.decision_seconds.clone());
        to.register("flyball_signal_age_seconds", "Age of a signal when it was decided", self.signal_age.clone());
        to.register("flyball_ledger_append_seconds", "Time until an append is durable", self.ledger_append.clone());
        to.register("flyball_intents_open", "Intents that are not closed", self.intents_open.clone());
        to.register("flyball_breaker_open", "1 while the breaker is open", self.breaker_open.clone());
        to.register("flyball_pauses_active", "Pauses in force", self.pauses_active.clone());
        let help = "Policies in shadow because their last actions all failed their verification";
        to.register("flyball_policies_demoted", help, self.policies_demoted.clone());
        let help = "Sets of policies that were refused";
        to.register("flyball_policy_load_errors", help, self.policy_load_errors.clone());
        let help = "Conditions of policies that could not be evaluated, and so did not match";
        to.register("flyball_policy_expression_errors", help, self.expression_errors.clone());
    }
}
