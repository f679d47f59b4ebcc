//! A message as it came to a signal as meant: the target resolved, the times known.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_core::id::SignalId;
use flyball_core::ports::Message;
use flyball_core::signal::{Anomaly, AnomalyKind, RankedCause, Rca, Signal, SignalKind, TraceContext};
use flyball_core::workload::{Workload, WorkloadKind};
use flyball_signals::v1::{self, Body};
use flyball_signals::{Brief, Kind, Refusal, RefusalReason};
use jiff::{SignedDuration, Timestamp};

/// A publisher's clock may be this far ahead of the stream's; more counts as the stream's time.
const AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// What the conversion needs to know of the place that it happens in.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// Namespace of signals that name none.
    pub namespace: Arc<str>,
    /// Services that are not named like their workload.
    pub aliases: BTreeMap<String, Workload>,
}

impl Reader {
    /// Reads a message.
    ///
    /// # Errors
    /// Why it cannot be used, with the field that is wrong.
    pub fn read(&self, message: &Message) -> Result<Signal, Refusal> {
        let sent = flyball_signals::Message {
            subject: message.subject.as_deref(),
            kind: message.kind.as_deref().and_then(Kind::from_token),
            cluster: Some(&self.cluster),
            namespace: Some(&self.namespace),
            headers: &message.headers,
            body: &message.body,
        };
        if let Some(usual) = flyball_signals::brief(&sent).and_then(|it| self.usual(it, message)) {
            return Ok(usual);
        }
        let parsed = flyball_signals::parse(&sent)?;
        let namespace = parsed.namespace.as_deref().unwrap_or(&self.namespace);
        let kind = match parsed.workload_kind.as_deref() {
            None => WorkloadKind::Deployment,
            Some(kind) => kind.parse().map_err(|error| Refusal {
                reason: RefusalReason::UnknownKind,
                field: Some("metadata.kind".into()),
                detail: format!("{error}"),
            })?,
        };
        let target = |service: &str| self.target(kind, namespace, service);
        let id = SignalId(parsed.id.as_str().into());
        let trace =
            parsed.traceparent.as_deref().and_then(TraceContext::parse).unwrap_or_else(|| TraceContext::derive(&id));
        let observed_at = observed(message, parsed.time);
        Ok(Signal {
            subject: target(parsed.body.target_name()),
            service: parsed.body.target_name().into(),
            pod: parsed.pod.as_deref().map(Arc::from),
            window_id: parsed.body.window_id().into(),
            kind: meant(&parsed.body, target),
            id,
            observed_at,
            expires_at: parsed.expires,
            trace,
            sequence: message.sequence,
        })
    }

    /// The usual signal, as `read` would give it; nothing where there is more to say about it.
    fn usual(&self, it: Brief<'_>, message: &Message) -> Option<Signal> {
        let kind = it.workload_kind.as_deref().map_or(Ok(WorkloadKind::Deployment), str::parse).ok()?;
        let id = SignalId(it.id.as_str().into());
        let subject = self.target(kind, it.namespace, &it.service);
        let anomaly = Anomaly { is_anomaly: it.is_anomaly, score: it.score, kind: anomaly_kind(it.anomaly_type) };
        Some(Signal {
            service: if *subject.name == *it.service { subject.name.clone() } else { (&*it.service).into() },
            subject,
            pod: it.pod.as_deref().map(Arc::from),
            window_id: (&*it.window_id).into(),
            kind: SignalKind::Anomaly(anomaly),
            trace: TraceContext::derive(&id),
            id,
            observed_at: observed(message, it.time),
            expires_at: None,
            sequence: message.sequence,
        })
    }

    fn target(&self, kind: WorkloadKind, namespace: &str, service: &str) -> Workload {
        self.aliases.get(service).cloned().unwrap_or_else(|| Workload::new(kind, namespace, service))
    }
}

/// What the publisher says, if its clock is not too far ahead of the stream's.
fn observed(message: &Message, said: Option<Timestamp>) -> Timestamp {
    let latest = message.published_at.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
    said.filter(|at| *at <= latest).unwrap_or(message.published_at)
}

fn anomaly_kind(kind: v1::AnomalyType) -> AnomalyKind {
    match kind {
        v1::AnomalyType::Latency => AnomalyKind::Latency,
        v1::AnomalyType::Error => AnomalyKind::Error,
        v1::AnomalyType::Resource => AnomalyKind::Resource,
        v1::AnomalyType::Other => AnomalyKind::Other,
    }
}

fn meant(body: &Body, target: impl Fn(&str) -> Workload) -> SignalKind {
    match body {
        Body::Anomaly(it) => SignalKind::Anomaly(Anomaly {
            is_anomaly: it.is_anomaly,
            score: it.score,
            kind: anomaly_kind(it.anomaly_type),
        }),
        Body::Rca(it) => SignalKind::Rca(Rca {
            causes: it
                .ranked_causes
                .iter()
                .map(|cause| RankedCause {
                    target: target(&cause.svc),
                    cause: cause.cause.as_str().into(),
                    probability: cause.probability,
                })
                .collect(),
            confidence: it.confidence,
        }),
    }
}
