#![cfg(test)]

use std::collections::HashSet;
use std::time::Duration;

use flyball_core::workload::WorkloadKind;
use opentelemetry::Value;

use super::queue::{BATCH, Queue};
use super::*;
use crate::telemetry::fixture::{at, moved, request, signal};
use crate::telemetry::labels::DropReason;
use crate::telemetry::metrics::{Drops, Metrics};

fn tracer(capacity: usize) -> (Tracer, Arc<Queue>, Drops) {
    let drops = Metrics::new("0", "0").drops();
    let queue = Arc::new(Queue::new(capacity, drops.clone()));
    (Tracer::to(queue.clone()), queue, drops)
}

fn taken(queue: &Queue) -> Vec<Span> {
    queue.next(Duration::ZERO).unwrap()
}

fn span() -> Span {
    let trace = TraceContext { trace_id: 1, span_id: 0, sampled: true };
    let (start, end) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
    let id = Tracer::new_id();
    Span { name: "map".into(), trace, id, kind: SpanKind::Internal, start, end, attributes: Vec::new(), error: None }
}

#[test]
fn without_a_collector_no_span_is_even_built() {
    let (tracer, signal) = (Tracer::off(), signal());
    tracer.emit(|| panic!("built for nobody"));
    assert!(!tracer.keep(&signal.trace, &signal.subject, Reason::ALLOWED));
    assert_eq!(tracer.within(&signal.trace), signal.trace);
    assert_eq!(size_of::<Tracer>(), size_of::<usize>());
}

#[test]
fn ids_are_never_zero_and_do_not_repeat() {
    let ids: HashSet<u64> = (0..10_000).map(|_| Tracer::new_id()).collect();
    assert_eq!(ids.len(), 10_000);
    assert!(!ids.contains(&0));
}

#[test]
fn the_first_denial_of_a_target_and_reason_is_kept_then_one_in_many() {
    let (tracer, ..) = tracer(10);
    let (cart, db) = (Workload::new(WorkloadKind::Deployment, "shop", "cart"), "shop/sts/db".parse().unwrap());
    let (cooldown, silence) = (Reason::ALLOWED, Reason::from(flyball_core::deny::NoAction::ShadowOnly));
    let unlucky = TraceContext { trace_id: 0xff01, span_id: 0, sampled: true };
    assert!(tracer.keep(&unlucky, &cart, cooldown));
    assert!(!tracer.keep(&unlucky, &cart, cooldown));
    assert!(tracer.keep(&unlucky, &db, cooldown));
    assert!(tracer.keep(&unlucky, &cart, silence));

    let kept = |sampled| {
        let ids = (0..DENIALS_PER_TRACE * 8).map(|n| (n << 8) | 1);
        ids.filter(|&trace_id| tracer.keep(&TraceContext { trace_id, span_id: 0, sampled }, &cart, cooldown)).count()
    };
    assert_eq!((kept(true), kept(false)), (8, 0));
}

#[test]
fn a_filter_that_fills_up_begins_anew() {
    let (tracer, ..) = tracer(10);
    let never = TraceContext { trace_id: 0xff01, span_id: 0, sampled: false };
    let keep = |n: usize| {
        let target = Workload::new(WorkloadKind::Deployment, "shop", &format!("w{n}"));
        tracer.keep(&never, &target, Reason::ALLOWED)
    };
    // Whatever has gone by, at least half of the newcomers are seen.
    assert!((0..200_000).filter(|n| keep(*n)).count() > 100_000);
}

#[test]
fn a_full_queue_drops_and_counts_and_a_closed_one_too() {
    let (tracer, queue, drops) = tracer(2);
    for _ in 0..5 {
        tracer.span(span());
    }
    assert_eq!(drops.count(DropReason::QueueFull), 3);
    assert_eq!(taken(&queue).len(), 2);
    tracer.span(span());
    assert!(!queue.close(Duration::ZERO), "nobody exports");
    tracer.span(span());
    assert_eq!(drops.count(DropReason::Closed), 2);
    assert!(queue.next(Duration::ZERO).is_none());
}

#[test]
fn spans_come_in_batches() {
    let (tracer, queue, _) = tracer(BATCH * 3);
    for _ in 0..=BATCH {
        tracer.span(span());
    }
    assert_eq!((taken(&queue).len(), taken(&queue).len()), (BATCH, 1));
}

#[test]
fn a_flush_waits_for_all_that_came_before() {
    let (tracer, queue, _) = tracer(BATCH * 3);
    for _ in 0..BATCH * 2 {
        tracer.span(span());
    }
    let exporter = {
        let queue = queue.clone();
        std::thread::spawn(move || {
            let mut count = 0;
            while let Some(batch) = queue.next(Duration::from_secs(60)) {
                count += batch.len();
                queue.done();
            }
            queue.stopped();
            count
        })
    };
    let enough = Duration::from_secs(10);
    assert!(queue.flush(enough) && queue.close(enough));
    assert_eq!(exporter.join().unwrap(), BATCH * 2);
    assert!(!queue.flush(Duration::ZERO), "nobody flushes any more");
}

#[test]
fn each_stage_says_what_it_knows_in_open_telemetry_s_words() {
    let (tracer, queue, _) = tracer(100);
    let (signal, request) = (signal(), request());
    let bus = Some(("flyball.signal.v1.rca.prod.shop", "flyball-prod"));
    let silence = Some(flyball_core::deny::NoAction::NoPolicyMatched.into());
    let publisher = TraceContext { span_id: 7, ..signal.trace };
    tracer.process(at(0, 9), &Processed { signal: &signal, publisher, bus, reason: silence });
    tracer.judge(at(1, 2), &request, &[flyball_core::deny::DenyReason::ApprovalRejected]);
    tracer.call(at(3, 4), &signal.trace, "PATCH", &request.target, Ok(409));
    tracer.call(at(3, 4), &signal.trace, "GET", &"shop/ds/agent".parse().unwrap(), Err("connection reset"));
    let spans = taken(&queue);
    let shown: Vec<String> = spans.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "process flyball.signal Consumer k8s.namespace.name=shop k8s.deployment.name=cart \
         messaging.operation.type=process messaging.operation.name=process messaging.message.id=w:1 \
         messaging.system=nats messaging.destination.template=flyball.signal.v1.<kind>.<cluster>.<namespace> \
         messaging.destination.name=flyball.signal.v1.rca.prod.shop messaging.consumer.group.name=flyball-prod \
         flyball.reason=NoPolicyMatched",
            "judge Internal k8s.namespace.name=shop k8s.deployment.name=cart flyball.policy=restart-leaking \
         flyball.action=restart flyball.reason=ApprovalRejected",
            "PATCH deployments Client k8s.namespace.name=shop k8s.deployment.name=cart http.request.method=PATCH \
         http.response.status_code=409 error.type=409 (status 409)",
            "GET daemonsets Client k8s.namespace.name=shop k8s.daemonset.name=agent http.request.method=GET \
         error.type=NoAnswer (connection reset)",
        ]
    );
    assert_eq!((spans[0].id, spans[0].trace.span_id), (signal.trace.span_id, 7));
    assert_eq!(spans[1].trace, request.evidence.trace);
}

#[test]
fn what_fails_is_an_error_and_a_denial_is_not() {
    let (tracer, queue, _) = tracer(100);
    for (spans, error) in [
        (moved::rejected as fn(&Tracer), Some("the API server refuses it: Forbidden")),
        (moved::lost, Some("the ledger moved on")),
        (moved::timed_out, Some("1 of 3 pods updated")),
        (moved::denied, None),
    ] {
        spans(&tracer);
        assert_eq!(taken(&queue)[0].error.as_deref(), error);
    }
}

fn shown(span: &Span) -> String {
    let value = |value: &Value| value.as_str().into_owned();
    let attributes = span.attributes.iter().map(|it| format!(" {}={}", it.key, value(&it.value)));
    let error = span.error.iter().map(|error| format!(" ({error})"));
    let head = format!("{} {:?}", span.name, span.kind);
    std::iter::once(head).chain(attributes).chain(error).collect()
}
