//! Spans out, over OTLP, configured by the standard `OTEL_` variables.
//!
//! Read here: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER` (`none` switches off), `OTEL_EXPORTER_OTLP_ENDPOINT` and
//! `…_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_PROTOCOL` and `…_TRACES_PROTOCOL` (`grpc` or `http/protobuf`, which is the
//! default), `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_SCHEDULE_DELAY`. The exporter itself reads
//! `OTEL_EXPORTER_OTLP_{HEADERS,TIMEOUT,COMPRESSION,INSECURE}` and their `…_TRACES_…` forms from the environment.
//! `OTEL_TRACES_SAMPLER` is ignored: what acts is always traced, and the rest is sampled by target and reason.

mod settings;
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::executor::block_on;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind as OtelKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as Export, SpanLinks};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

pub use self::settings::{BadSetting, Protocol, Settings};
use super::metrics::Drops;
use super::trace::queue::{CAPACITY, Queue};
use super::trace::{Span, SpanKind, Tracer};

/// How long stopping may take: Kubernetes gives a pod thirty seconds, and the ledger comes first.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The exporter refuses what it was told.
    #[error("building the OTLP exporter: {0}")]
    Build(#[from] ExporterBuildError),
    /// gRPC lives on an async runtime.
    #[error("building the OTLP exporter: protocol grpc needs a tokio runtime")]
    NoRuntime,
    /// No thread for it.
    #[error("starting the OTLP exporter: {0}")]
    Thread(#[from] io::Error),
    /// The thread ended before it said anything.
    #[error("starting the OTLP exporter: its thread ended early")]
    Ended,
}

/// The running exporter. Dropping it leaves its thread to end with the process; `shutdown` is the orderly way.
#[derive(Debug)]
pub struct Exporter {
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
}

/// Starts exporting. Waits until the exporter is built, some milliseconds.
pub fn start(settings: &Settings, drops: Drops) -> Result<(Tracer, Exporter), OtlpError> {
    let queue = Arc::new(Queue::new(CAPACITY, drops));
    // gRPC's connection is a task of the caller's runtime. The HTTP client blocks, and panics where a runtime is entered:
    // it is made, used and dropped on a plain thread.
    let runtime = match settings.protocol {
        Protocol::Grpc => Some(Handle::try_current().map_err(|_| OtlpError::NoRuntime)?),
        Protocol::Http => None,
    };
    let (built, answer) = sync_channel(1);
    let body = {
        let (queue, settings) = (queue.clone(), settings.clone());
        move || run(&settings, runtime, &queue, &built)
    };
    let thread = thread::Builder::new().name("otlp".into()).spawn(body)?;
    answer.recv().map_err(|_| OtlpError::Ended)??;
    Ok((Tracer::to(queue.clone()), Exporter { queue, thread }))
}

fn run(
    settings: &Settings,
    runtime: Option<Handle>,
    queue: &Queue,
    built: &SyncSender<Result<(), ExporterBuildError>>,
) {
    let _entered = runtime.as_ref().map(Handle::enter);
    // Nobody listens only if `start` has been given up.
    match build(settings) {
        Ok(exporter) => {
            let _ = built.send(Ok(()));
            export(&exporter, queue, settings.delay);
        }
        Err(error) => {
            let _ = built.send(Err(error));
        }
    }
}

fn build(settings: &Settings) -> Result<SpanExporter, ExporterBuildError> {
    let builder = SpanExporter::builder();
    let mut exporter = match settings.protocol {
        Protocol::Grpc => builder.with_tonic().with_endpoint(&settings.endpoint).build()?,
        Protocol::Http => {
            let binary = opentelemetry_otlp::Protocol::HttpBinary;
            builder.with_http().with_protocol(binary).with_endpoint(&settings.endpoint).build()?
        }
    };
    let resource = Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector));
    let resource = resource.with_attributes(settings.resource.iter().cloned()).build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

/// Exports until the queue is closed and empty. Failures are said once, not once a batch: a collector may be away for long.
fn export(exporter: &impl Export, queue: &Queue, delay: Duration) {
    let scope = InstrumentationScope::builder("flyball").with_version(env!("CARGO_PKG_VERSION")).build();
    let mut failing = false;
    while let Some(batch) = queue.next(delay) {
        let count = batch.len();
        if count > 0 {
            let spans = batch.into_iter().map(|span| data(span, &scope)).collect();
            match block_on(exporter.export(spans)) {
                Ok(()) if failing => tracing::info!("The OTLP collector takes spans again"),
                Ok(()) => {}
                Err(error) => {
                    queue.lost(count);
                    if !failing {
                        tracing::warn!(%error, spans = count, "The OTLP collector does not take spans; they are dropped");
                    }
                    failing = true;
                    queue.done();
                    continue;
                }
            }
            failing = false;
        }
        queue.done();
    }
    queue.stopped();
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let consumes = span.kind == SpanKind::Consumer;
    let mut links = SpanLinks::default();
    if consumes && span.trace.span_id != 0 {
        // The convention for messages is a link; the parent besides makes it one trace.
        links.links.push(Link::new(context(&span, span.trace.span_id, true), Vec::new(), 0));
    }
    SpanData {
        span_context: context(&span, span.id, false),
        parent_span_id: SpanId::from_bytes(span.trace.span_id.to_be_bytes()),
        parent_span_is_remote: consumes,
        span_kind: match span.kind {
            SpanKind::Consumer => OtelKind::Consumer,
            SpanKind::Internal => OtelKind::Internal,
            SpanKind::Client => OtelKind::Client,
        },
        name: span.name,
        start_time: span.start,
        // A clock that was set back between the two must not make a span of negative length.
        end_time: span.end.max(span.start),
        attributes: span.attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn context(span: &Span, id: u64, remote: bool) -> SpanContext {
    // All that gets here was decided to be kept, whatever the publisher's flag said.
    let trace = TraceId::from_bytes(span.trace.trace_id.to_be_bytes());
    SpanContext::new(trace, SpanId::from_bytes(id.to_be_bytes()), TraceFlags::SAMPLED, remote, TraceState::default())
}

impl Exporter {
    /// Waits until every span so far has been offered to the collector, at most five seconds; false if it took longer.
    pub async fn flush(&self) -> bool {
        let queue = self.queue.clone();
        spawn_blocking(move || queue.flush(SHUTDOWN)).await.unwrap_or(false)
    }

    /// Takes no more spans, offers the rest to the collector and ends the thread; at most five seconds. False if that was
    /// not enough: then the rest is counted as dropped.
    pub async fn shutdown(self) -> bool {
        let Self { queue, thread } = self;
        let stopped = spawn_blocking(move || queue.close(SHUTDOWN) && thread.join().is_ok()).await.unwrap_or(false);
        if !stopped {
            tracing::warn!("Some spans were not exported: the OTLP collector did not take them in time");
        }
        stopped
    }
}

/// The attributes that every resource of ours has, before those of the environment.
fn ours() -> [KeyValue; 2] {
    [KeyValue::new("service.name", "flyball"), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))]
}
