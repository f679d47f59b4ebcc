//! One signal, and the request that it leads to, for the tests of this module.
#![cfg(test)]

use flyball_core::action::{Action, ActionRequest, Cause, Evidence, PolicyRef, VerifySpec};
use flyball_core::id::{IntentId, SignalId};
use flyball_core::limits::PolicyLimits;
use flyball_core::signal::{Rca, Signal, SignalKind, TraceContext};
use flyball_core::workload::{Workload, WorkloadKind};
use jiff::Timestamp;

use super::trace::During;

/// What the publisher sent.
pub(crate) const PUBLISHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub(crate) fn at(start: i64, end: i64) -> During {
    let second = |n| Timestamp::from_second(1_800_000_000 + n).unwrap();
    During::new(second(start), second(end))
}

/// A signal whose trace is the publisher's.
pub(crate) fn signal() -> Signal {
    Signal {
        id: SignalId("w:1".into()),
        kind: SignalKind::Rca(Rca { causes: Vec::new(), confidence: 0.9 }),
        subject: Workload::new(WorkloadKind::Deployment, "shop", "cart"),
        service: "cart".into(),
        pod: None,
        window_id: "w".into(),
        observed_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        trace: TraceContext::parse(PUBLISHER).unwrap(),
        sequence: 1,
    }
}

pub(crate) fn request_of(signal: &Signal) -> ActionRequest {
    ActionRequest {
        policy: PolicyRef { name: "restart-leaking".into(), digest: "d".into() },
        target: signal.subject.clone(),
        action: Action::Restart,
        cause: Cause::Signal(signal.id.clone()),
        step: 0,
        then: Vec::new(),
        hold: None,
        priority: 0,
        limits: PolicyLimits::default(),
        verify: VerifySpec::default(),
        evidence: Evidence {
            kind: "rca".into(),
            summary: "memory leak".into(),
            confidence: Some(0.9),
            observed_at: signal.observed_at,
            expires_at: None,
            trace: signal.trace,
            sequence: signal.sequence,
            signal: None,
        },
    }
}

pub(crate) fn request() -> ActionRequest {
    request_of(&signal())
}

pub(crate) fn intent() -> IntentId {
    request().id("prod")
}

/// Stages that ended badly, one span each.
pub(crate) mod moved {
    use flyball_core::deny::DenyReason;
    use flyball_core::intent::Execution;
    use flyball_core::outcome::Outcome;
    use flyball_core::ports::AppendError;

    use super::{at, intent, request};
    use crate::telemetry::trace::Tracer;

    pub(in crate::telemetry) fn rejected(tracer: &Tracer) {
        let (request, why) = (request(), DenyReason::Forbidden { detail: "no".into() });
        let inside = tracer.within(&request.evidence.trace);
        tracer.execute(at(0, 1), &inside, &request, intent(), &Execution::Rejected(why));
    }

    pub(in crate::telemetry) fn lost(tracer: &Tracer) {
        tracer.record(at(0, 1), &request(), intent(), Some(&AppendError::Lost));
    }

    pub(in crate::telemetry) fn timed_out(tracer: &Tracer) {
        tracer.verify(at(0, 1), &request(), intent(), Outcome::TimedOut, "1 of 3 pods updated");
    }

    pub(in crate::telemetry) fn denied(tracer: &Tracer) {
        tracer.judge(at(0, 1), &request(), &[DenyReason::ApprovalRequired]);
    }
}
