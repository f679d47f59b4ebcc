//! One function per stage that turns its value into a span. Names and attributes are the contract's: OpenTelemetry's
//! semantic conventions, and of ours `flyball.policy`, `flyball.action`, `flyball.reason` and `flyball.intent`.

use std::time::SystemTime;

use flyball_core::action::ActionRequest;
use flyball_core::deny::{DenyReason, NoAction};
use flyball_core::id::IntentId;
use flyball_core::intent::Execution;
use flyball_core::outcome::Outcome;
use flyball_core::ports::AppendError;
use flyball_core::signal::{Signal, TraceContext};
use flyball_core::workload::{Workload, WorkloadKind};
use opentelemetry::KeyValue;

use super::{Span, SpanKind, Tracer};
use crate::telemetry::labels::Reason;

/// The subject of signals as a pattern: the subjects themselves are as many as namespaces.
const TEMPLATE: &str = "flyball.signal.v1.<kind>.<cluster>.<namespace>";

/// When a stage began and when it was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct During {
    start: SystemTime,
    end: SystemTime,
}

impl During {
    /// From `start` to `end`, as the engine's clock told them.
    pub fn new(start: impl Into<SystemTime>, end: impl Into<SystemTime>) -> Self {
        Self { start: start.into(), end: end.into() }
    }
}

/// What is known of a delivery when its signal has been dealt with.
#[derive(Clone, Copy, Debug)]
pub struct Processed<'a> {
    /// The signal; the span id of its trace is this span's own, from `Tracer::within`.
    pub signal: &'a Signal,
    /// The publisher's context, which this span continues.
    pub publisher: TraceContext,
    /// The subject it came on, and the durable consumer that took it; none over HTTP.
    pub bus: Option<(&'a str, &'a str)>,
    /// Why nothing was done; none if something was.
    pub reason: Option<Reason>,
}

impl Tracer {
    /// The root: from taking a delivery to its acknowledgement.
    pub fn process(&self, at: During, it: &Processed<'_>) {
        self.emit(|| {
            let signal = it.signal;
            let mut attributes = target(&signal.subject);
            attributes.push(KeyValue::new("messaging.operation.type", "process"));
            attributes.push(KeyValue::new("messaging.operation.name", "process"));
            attributes.push(KeyValue::new("messaging.message.id", signal.id.0.clone()));
            if let Some((subject, consumer)) = it.bus {
                attributes.push(KeyValue::new("messaging.system", "nats"));
                attributes.push(KeyValue::new("messaging.destination.template", TEMPLATE));
                attributes.push(KeyValue::new("messaging.destination.name", subject.to_owned()));
                attributes.push(KeyValue::new("messaging.consumer.group.name", consumer.to_owned()));
            }
            attributes.extend(it.reason.map(reason));
            let mut span = internal("process flyball.signal", it.publisher, at, attributes);
            span.id = signal.trace.span_id;
            span.kind = SpanKind::Consumer;
            span
        });
    }

    /// The policies were asked.
    pub fn map(&self, at: During, signal: &Signal, act: Result<&ActionRequest, &NoAction>) {
        self.emit(|| {
            let attributes = match act {
                Ok(request) => asked(request),
                Err(silence) => target(&signal.subject).into_iter().chain([reason((*silence).into())]).collect(),
            };
            internal("map", signal.trace, at, attributes)
        });
    }

    /// The guardrails were asked. `objections`: none for a pass. One reason is shown; the ledger has them all.
    pub fn judge(&self, at: During, request: &ActionRequest, objections: &[DenyReason]) {
        self.emit(|| {
            let mut attributes = asked(request);
            if !objections.is_empty() {
                attributes.push(reason(Reason::deciding(objections)));
            }
            internal("judge", request.evidence.trace, at, attributes)
        });
    }

    /// The admission was appended, or was not.
    pub fn record(&self, at: During, request: &ActionRequest, intent: IntentId, error: Option<&AppendError>) {
        self.emit(|| {
            let mut span = internal("record", request.evidence.trace, at, promised(request, intent));
            if let Some(error) = error {
                let word = match error {
                    AppendError::Lost => "Lost",
                    AppendError::Unknown(_) => "Unknown",
                    AppendError::Refused(_) => "Refused",
                };
                fail(&mut span, word, error.to_string());
            }
            span
        });
    }

    /// One send. `inside` is what `Tracer::within` gave for it, so that the API calls made meanwhile hang below.
    pub fn execute(
        &self,
        at: During,
        inside: &TraceContext,
        request: &ActionRequest,
        intent: IntentId,
        execution: &Execution,
    ) {
        self.emit(|| {
            let mut span = internal("execute", request.evidence.trace, at, promised(request, intent));
            span.id = inside.span_id;
            match execution {
                Execution::Applied(_) => {}
                Execution::Conflict(detail) => fail(&mut span, "Conflict", detail.clone()),
                Execution::Unknown(detail) => fail(&mut span, "Unknown", detail.clone()),
                Execution::Rejected(why) => {
                    span.attributes.push(reason(why.into()));
                    fail(&mut span, why.label(), format!("the API server refuses it: {}", why.label()));
                }
            }
            span
        });
    }

    /// One call of the Kubernetes API below `inside`. `answer`: the status, or why there was none.
    pub fn call(
        &self,
        at: During,
        inside: &TraceContext,
        method: &'static str,
        on: &Workload,
        answer: Result<u16, &str>,
    ) {
        self.emit(|| {
            let mut attributes = target(on);
            attributes.push(KeyValue::new("http.request.method", method));
            let mut span = internal("", *inside, at, attributes);
            span.name = format!("{method} {}", on.kind.plural()).into();
            span.kind = SpanKind::Client;
            match answer {
                Ok(status) => {
                    span.attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
                    if status >= 400 {
                        span.attributes.push(KeyValue::new("error.type", status.to_string()));
                        span.error = Some(format!("status {status}"));
                    }
                }
                Err(detail) => fail(&mut span, "NoAnswer", detail.to_owned()),
            }
            span
        });
    }

    /// The rollout was watched to its end. The reason is the outcome's word.
    pub fn verify(&self, at: During, request: &ActionRequest, intent: IntentId, outcome: Outcome, detail: &str) {
        self.emit(|| {
            let mut attributes = promised(request, intent);
            attributes.push(KeyValue::new("flyball.reason", outcome.label()));
            let mut span = internal("verify", request.evidence.trace, at, attributes);
            if !outcome.is_success() {
                fail(&mut span, outcome.label(), detail.to_owned());
            }
            span
        });
    }
}

fn internal(name: &'static str, trace: TraceContext, at: During, attributes: Vec<KeyValue>) -> Span {
    let During { start, end } = at;
    let (id, kind) = (Tracer::new_id(), SpanKind::Internal);
    Span { name: name.into(), trace, id, kind, start, end, attributes, error: None }
}

fn fail(span: &mut Span, word: &'static str, detail: String) {
    span.attributes.push(KeyValue::new("error.type", word));
    span.error = Some(detail);
}

fn reason(reason: Reason) -> KeyValue {
    KeyValue::new("flyball.reason", reason.as_str())
}

/// Room for what every stage adds, so that a span is one allocation.
const ATTRIBUTES: usize = 10;

fn target(workload: &Workload) -> Vec<KeyValue> {
    let key = match workload.kind {
        WorkloadKind::Deployment => "k8s.deployment.name",
        WorkloadKind::StatefulSet => "k8s.statefulset.name",
        WorkloadKind::DaemonSet => "k8s.daemonset.name",
    };
    let mut attributes = Vec::with_capacity(ATTRIBUTES);
    attributes.push(KeyValue::new("k8s.namespace.name", workload.namespace.clone()));
    attributes.push(KeyValue::new(key, workload.name.clone()));
    attributes
}

fn asked(request: &ActionRequest) -> Vec<KeyValue> {
    let mut attributes = target(&request.target);
    attributes.push(KeyValue::new("flyball.policy", request.policy.name.clone()));
    attributes.push(KeyValue::new("flyball.action", request.action.kind().as_str()));
    attributes
}

fn promised(request: &ActionRequest, intent: IntentId) -> Vec<KeyValue> {
    let mut attributes = asked(request);
    attributes.push(KeyValue::new("flyball.intent", intent.to_string()));
    attributes
}
