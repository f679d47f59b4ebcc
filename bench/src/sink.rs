//! A collector of our own: it takes spans over OTLP and counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// What has come.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Counts>);

#[derive(Default)]
struct Counts {
    spans: AtomicU64,
    records: AtomicU64,
}

impl Sink {
    /// Listens on loopback; the endpoint for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) async fn listen() -> Result<(String, Self)> {
        async fn take(State(Sink(counts)): State<Sink>, body: Bytes) -> Vec<u8> {
            if let Ok(request) = ExportTraceServiceRequest::decode(body) {
                let spans = request.resource_spans.into_iter().flat_map(|it| it.scope_spans).flat_map(|it| it.spans);
                for span in spans {
                    counts.spans.fetch_add(1, Ordering::Relaxed);
                    if span.name == "record" {
                        counts.records.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            Vec::new()
        }
        let sink = Self::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(sink.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((format!("http://{address}"), sink))
    }

    /// Spans so far, and how many of them say that an admission was recorded; both begin anew.
    pub(crate) fn take(&self) -> (u64, u64) {
        (self.0.spans.swap(0, Ordering::Relaxed), self.0.records.swap(0, Ordering::Relaxed))
    }
}
