//! What each stage of the pipeline tells: one function a stage turns its value into metrics and spans.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use flyball_core::action::{ActionKind, ActionRequest};
use flyball_core::deny::DenyReason;
use flyball_core::guardrail::breaker_is_open;
use flyball_core::intent::{Execution, Intent};
use flyball_core::outcome::Outcome;
use flyball_core::record::Release;
use flyball_core::signal::{Signal, TraceContext};
use flyball_core::workload::Workload;
use jiff::Timestamp;

use super::Telemetry;
use super::labels::{Decision as Made, Kind, Reason, SignalResult};
use super::trace::{During, Processed};
use crate::cluster::Observer;
use crate::intake;
use crate::pipeline::{Decided, Decision, Engine};

tokio::task_local! {
    /// The send that API calls of this task belong to.
    static SENDING: (TraceContext, Workload);
}

/// The way that a signal came on.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The publisher's trace.
    pub publisher: TraceContext,
    /// Subject and durable consumer; none over HTTP.
    pub bus: Option<(&'a str, &'a str)>,
}

/// Signals by their end: a storm has few, and each is counted once for many.
#[derive(Debug, Default)]
pub struct Tally(Vec<(End, Vec<DenyReason>, u64)>);

/// How a signal ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    kind: Kind,
    result: SignalResult,
    made: Made,
    reason: Reason,
    /// The action that guardrails stood against.
    blocked: Option<ActionKind>,
}

impl Tally {
    fn add(&mut self, end: End, reasons: &[DenyReason]) {
        let same = |it: &DenyReason, other: &DenyReason| it.place() == other.place();
        let known = self.0.iter_mut().find(|(known, of, _)| {
            *known == end && of.len() == reasons.len() && of.iter().zip(reasons).all(|(it, other)| same(it, other))
        });
        match known {
            Some((.., count)) => *count += 1,
            None => self.0.push((end, reasons.to_vec(), 1)),
        }
    }
}

impl Telemetry {
    /// A message went to the dead letters.
    pub fn refused(&self, kind: Option<&str>) {
        self.metrics.signal(kind.map_or(Kind::Unknown, Kind::of), SignalResult::Refused);
    }

    /// A signal has been decided. What is counted goes to `tally`, and is told by `counted`.
    pub fn decided(&self, signal: &Signal, decided: &Decided, way: Way<'_>, now: Timestamp, tally: &mut Tally) {
        let (kind, times) = (Kind::from(&signal.kind), decided.times);
        let (result, made, reasons) = made(&decided.decision);
        let reason = match &decided.decision {
            Decision::Nothing(why) => Reason::from(*why),
            _ => Reason::deciding(reasons),
        };
        let keep =
            made == Made::Allow || made == Made::Defer || self.tracer.keep(&signal.trace, &signal.subject, reason);
        let exemplar = Some(&signal.trace).filter(|_| keep && self.tracer.is_on());
        self.metrics.decision_seconds(between(times.began, times.recorded), exemplar);
        self.metrics.signal_age(between(signal.observed_at, now), exemplar);
        let blocked = decided.request().filter(|_| made == Made::Deny).map(|it| it.action.kind());
        tally.add(End { kind, result, made, reason, blocked }, reasons);
        for it in &decided.shadows {
            self.metrics.decided(kind, Made::Shadow, Reason::deciding(&it.reasons));
        }
        if keep {
            let why = Some(reason).filter(|_| made != Made::Allow);
            self.spans(
                signal,
                decided,
                reasons,
                &Processed { signal, publisher: way.publisher, bus: way.bus, reason: why },
            );
        }
    }

    /// Tells how many signals came to which end.
    pub fn counted(&self, tally: Tally) {
        for (End { kind, result, made, reason, blocked }, reasons, count) in tally.0 {
            self.metrics.signals(kind, result, count);
            self.metrics.decisions(kind, made, reason, count);
            for it in blocked.iter().flat_map(|action| reasons.iter().map(move |it| (*action, it))) {
                self.metrics.blocks(it.0, it.1, count);
            }
        }
    }

    fn spans(&self, signal: &Signal, decided: &Decided, reasons: &[DenyReason], processed: &Processed<'_>) {
        let times = decided.times;
        self.tracer.process(During::new(times.began, times.recorded), processed);
        let act = match (&decided.decision, decided.request()) {
            (Decision::Nothing(why), _) => Err(why),
            (_, Some(request)) => Ok(request),
            (_, None) => return,
        };
        self.tracer.map(During::new(times.began, times.mapped), signal, act);
        let Some(request) = decided.request() else { return };
        self.tracer.judge(During::new(times.mapped, times.judged), request, reasons);
        if let Decision::Recorded(id) = decided.decision {
            self.tracer.record(During::new(times.judged, times.recorded), request, id, None);
        }
    }

    /// A request waited in vain.
    pub fn released(&self, release: &Release) {
        let kind = Kind::of(&release.request.evidence.kind);
        self.metrics.decided(kind, Made::Deny, Reason::deciding(&release.reasons));
        for it in &release.reasons {
            self.metrics.blocked(release.request.action.kind(), it);
        }
    }

    /// A waiting request became an intent: the trace goes on where it stopped.
    pub fn admitted_later(
        &self,
        request: &ActionRequest,
        id: flyball_core::id::IntentId,
        began: Timestamp,
        now: Timestamp,
    ) {
        self.metrics.decided(Kind::of(&request.evidence.kind), Made::Allow, Reason::ALLOWED);
        self.tracer.record(During::new(began, now), request, id, None);
    }

    /// Sends, with the API calls as children of the `execute` span.
    pub async fn executing(&self, intent: &Intent, number: u32, send: impl Future<Output = Execution>) -> Execution {
        let request = intent.request();
        let inside = self.tracer.within(&request.evidence.trace);
        let began = SystemTime::now();
        let execution = SENDING.scope((inside, request.target.clone()), send).await;
        self.tracer.execute(During::new(began, SystemTime::now()), &inside, request, intent.id(), &execution);
        if number > 1 {
            self.metrics.retried(request.action.kind());
        }
        if matches!(execution, Execution::Applied(_)) {
            self.metrics.k8s_action(request.action.kind(), &request.target.namespace, &request.target.name);
        }
        execution
    }

    /// Verification has come to a verdict.
    pub fn verified(&self, intent: &Intent, outcome: Outcome, detail: &str, began: Timestamp, ended: Timestamp) {
        self.tracer.verify(During::new(began, ended), intent.request(), intent.id(), outcome, detail);
    }

    /// An intent is closed.
    pub fn ended(&self, intent: &Intent, outcome: Outcome, now: Timestamp) {
        let (request, took) = (intent.request(), between(intent.admitted_at(), now));
        let trace = Some(&request.evidence.trace).filter(|_| self.tracer.is_on());
        self.metrics.acted(request.action.kind(), outcome.into(), outcome.into(), took, trace);
        self.metrics.loop_seconds(between(request.evidence.observed_at, now), trace);
    }

    /// What is counted by looking.
    pub fn gauges(&self, engine: &Engine) {
        let now = engine.book.now();
        let history = engine.book.history();
        self.metrics.intents_open(history.open_count());
        self.metrics.pauses_active(history.pauses(now).count());
        self.metrics.queue_depth(engine.undecided.load(Ordering::Relaxed));
        self.metrics.policies_demoted(history.demoted().count());
        self.metrics.breaker_open(breaker_is_open(&history, &engine.policies.load().guardrails, now));
    }
}

fn made(decision: &Decision) -> (SignalResult, Made, &[DenyReason]) {
    match decision {
        Decision::Nothing(flyball_core::deny::NoAction::ShadowOnly) => (SignalResult::Shadow, Made::NoAction, &[]),
        Decision::Nothing(_) => (SignalResult::NoAction, Made::NoAction, &[]),
        Decision::Denied(it) if it.reasons.iter().any(|it| matches!(it, DenyReason::DuplicateSignal { .. })) => {
            (SignalResult::Duplicate, Made::Deny, &it.reasons)
        }
        Decision::Denied(it) => (SignalResult::Denied, Made::Deny, &it.reasons),
        Decision::Joined(it) | Decision::Deferred(it) => (SignalResult::Deferred, Made::Defer, &it.reasons),
        Decision::Recorded(_) => (SignalResult::Accepted, Made::Allow, &[]),
        Decision::Known => (SignalResult::Duplicate, Made::NoAction, &[]),
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

impl Observer for Telemetry {
    fn call(
        &self,
        verb: &'static str,
        resource: &'static str,
        namespace: &str,
        outcome: Result<u16, &str>,
        started: SystemTime,
        elapsed: Duration,
    ) {
        let failed = !matches!(outcome, Ok(status) if status < 400);
        self.metrics.api_call(verb, resource, namespace, elapsed, failed);
        // Outside of a send there is no span to hang it under.
        let _ = SENDING.try_with(|(inside, target)| {
            self.tracer.call(During::new(started, started + elapsed), inside, method(verb), target, outcome);
        });
    }
}

/// The HTTP method of a Kubernetes verb.
fn method(verb: &str) -> &'static str {
    match verb {
        "get" | "list" | "watch" => "GET",
        "patch" => "PATCH",
        "delete" => "DELETE",
        _ => "POST",
    }
}

impl intake::Observer for Telemetry {
    fn put_aside(&self, kind: Option<&str>) {
        self.refused(kind);
    }
}
