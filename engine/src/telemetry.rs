//! What the engine tells of itself: metrics to scrape, traces over OTLP, logs on stderr. One function per stage turns its
//! value into labels and attributes, here and nowhere else; it decides nothing and reads no environment of its own.

pub(crate) mod fixture;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod otlp;
mod stages;
pub mod trace;

use std::sync::{Arc, Mutex, PoisonError};

pub use self::stages::{Tally, Way};

use self::metrics::Metrics;
use self::otlp::{BadSetting, Exporter, OtlpError, Settings};
use self::trace::Tracer;

/// Metrics and traces of one process. Logs are set up earlier, by `logs::init`, so that everything after can log.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Traces.
    pub tracer: Tracer,
    exporter: Arc<Mutex<Option<Exporter>>>,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A variable says something that means nothing.
    #[error("reading the OpenTelemetry settings: {0}")]
    Setting(#[from] BadSetting),
    /// Spans cannot be exported.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
}

impl Telemetry {
    /// Starts it. `lookup` gives the standard `OTEL_` variables; `version` and `commit` name the build. Without an OTLP
    /// endpoint traces are off, which is said once.
    ///
    /// # Assumptions
    /// The TLS provider is installed, and for the protocol `grpc` a runtime runs.
    pub fn start(version: &str, commit: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, TelemetryError> {
        let metrics = Arc::new(Metrics::new(version, commit));
        let Some(settings) = Settings::read(lookup)? else {
            tracing::info!("Traces are off: set OTEL_EXPORTER_OTLP_ENDPOINT to have them");
            return Ok(Self { metrics, tracer: Tracer::off(), exporter: Arc::default() });
        };
        let (tracer, exporter) = otlp::start(&settings, metrics.drops())?;
        tracing::info!(endpoint = settings.endpoint, "Traces are on");
        Ok(Self { metrics, tracer, exporter: Arc::new(Mutex::new(Some(exporter))) })
    }

    /// Metrics that nobody scrapes and no traces: for the demo and scenarios.
    pub fn disabled() -> Self {
        Self { metrics: Arc::new(Metrics::new("", "")), tracer: Tracer::off(), exporter: Arc::default() }
    }

    /// Hands the last spans over, for at most five seconds. To be called when nothing makes spans any more.
    pub async fn shutdown(&self) {
        let exporter = self.exporter.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(exporter) = exporter {
            exporter.shutdown().await;
        }
    }
}
