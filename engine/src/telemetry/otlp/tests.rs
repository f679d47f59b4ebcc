#![cfg(test)]

use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use flyball_core::intent::{Execution, Receipt};
use flyball_core::outcome::Outcome;
use flyball_core::signal::TraceContext;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span as Wire;
use prost::Message;
use tokio::io::AsyncReadExt;

use super::*;
use crate::telemetry::fixture::{PUBLISHER, at, intent, request_of, signal};
use crate::telemetry::labels::DropReason;
use crate::telemetry::trace::Processed;
use crate::telemetry::{Telemetry, TelemetryError};

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A collector on a port of its own: keeps what it gets and answers `status`.
async fn collector(status: StatusCode) -> (String, Received) {
    // The HTTP client asks for a TLS provider even where it speaks plain text; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let received = Received::default();
    let keep = move |State(received): State<Received>, body: Bytes| async move {
        received.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        status
    };
    let router = Router::new().route("/v1/traces", post(keep)).with_state(received.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    (address, received)
}

fn started(endpoint: &str) -> Telemetry {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_RESOURCE_ATTRIBUTES", "team=night")];
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Telemetry::start("0.1.0", "deadbeef", find).unwrap()
}

/// What the pipeline does for a signal that acts.
fn acted(tracer: &Tracer) {
    let mut signal = signal();
    let publisher = signal.trace;
    signal.trace = tracer.within(&publisher);
    let request = request_of(&signal);
    tracer.map(at(0, 1), &signal, Ok(&request));
    tracer.judge(at(1, 2), &request, &[]);
    tracer.record(at(2, 3), &request, intent(), None);
    let bus = Some(("flyball.signal.v1.rca.prod.shop", "flyball-prod"));
    tracer.process(at(0, 3), &Processed { signal: &signal, publisher, bus, reason: None });
    let inside = tracer.within(&request.evidence.trace);
    tracer.call(at(3, 4), &inside, "PATCH", &request.target, Ok(200));
    let receipt = Receipt { generation: 2, resource_version: "9".into() };
    tracer.execute(at(3, 4), &inside, &request, intent(), &Execution::Applied(receipt));
    tracer.verify(at(4, 9), &request, intent(), Outcome::Recovered, "the signal cleared");
}

fn spans(received: &Received) -> Vec<Wire> {
    let requests = received.lock().unwrap();
    requests
        .iter()
        .flat_map(|it| &it.resource_spans)
        .flat_map(|it| &it.scope_spans)
        .flat_map(|it| it.spans.clone())
        .collect()
}

#[tokio::test]
async fn one_signal_is_one_trace_below_the_publisher_s_span() {
    let (endpoint, received) = collector(StatusCode::OK).await;
    let telemetry = started(&endpoint);
    acted(&telemetry.tracer);
    telemetry.shutdown().await;

    let publisher = TraceContext::parse(PUBLISHER).unwrap();
    let spans = spans(&received);
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"));
    assert!(spans.iter().all(|span| span.trace_id == publisher.trace_id.to_be_bytes()));
    let root = named("process flyball.signal");
    assert_eq!(root.parent_span_id, publisher.span_id.to_be_bytes());
    assert_eq!(root.links[0].span_id, root.parent_span_id);
    for stage in ["map", "judge", "record", "execute", "verify"] {
        assert_eq!(named(stage).parent_span_id, root.span_id, "{stage}");
    }
    let call = named("PATCH deployments");
    assert_eq!(call.parent_span_id, named("execute").span_id);
    assert_eq!((root.kind, call.kind, named("map").kind), (5, 3, 1), "consumer, client, internal");
    assert_eq!(spans.len(), 7);
    let mut ids: Vec<_> = spans.iter().map(|span| &span.span_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 7);
    let verify = named("verify");
    assert_eq!(verify.end_time_unix_nano - verify.start_time_unix_nano, 5_000_000_000);
}

#[tokio::test]
async fn the_resource_names_the_service() {
    let (endpoint, received) = collector(StatusCode::OK).await;
    let telemetry = started(&endpoint);
    acted(&telemetry.tracer);
    let exporter = telemetry.exporter.lock().unwrap().take().unwrap();
    assert!(exporter.flush().await);
    let said = format!("{:?}", received.lock().unwrap()[0].resource_spans[0].resource);
    for word in ["service.name", "flyball", "team", "night", "telemetry.sdk.language", "rust"] {
        assert!(said.contains(&format!("\"{word}\"")), "{word} in {said}");
    }
}

#[tokio::test]
async fn spans_that_the_collector_refuses_are_counted() {
    let (endpoint, _) = collector(StatusCode::BAD_REQUEST).await;
    let telemetry = started(&endpoint);
    acted(&telemetry.tracer);
    let metrics = telemetry.metrics.clone();
    telemetry.shutdown().await;
    assert_eq!(metrics.drops().count(DropReason::ExportFailed), 7);
    assert!(metrics.encode().contains(r#"flyball_spans_dropped_total{reason="export_failed"} 7"#));
}

#[tokio::test]
async fn without_an_endpoint_traces_are_off() {
    let telemetry = Telemetry::start("0", "0", |_| None).unwrap();
    assert!(!telemetry.tracer.is_on());
    acted(&telemetry.tracer);
    telemetry.shutdown().await;
}

fn over_grpc(endpoint: &str) -> Result<Telemetry, TelemetryError> {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ];
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Telemetry::start("0.1.0", "deadbeef", find)
}

#[test]
fn grpc_needs_a_runtime_and_says_so() {
    let error = over_grpc("http://127.0.0.1:1").unwrap_err();
    assert!(error.to_string().contains("needs a tokio runtime"), "{error}");
}

#[tokio::test]
async fn grpc_speaks_http_2_from_the_exporter_s_own_thread() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let telemetry = over_grpc(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    acted(&telemetry.tracer);
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}
