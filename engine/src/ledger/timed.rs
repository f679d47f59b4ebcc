//! A ledger whose appends are measured, for whoever is on call: a store that grows slow is seen before it stands still.

use std::sync::Arc;

use flyball_core::chain::Head;
use flyball_core::id::Revision;
use flyball_core::ports::{Answer, AppendError, Clock, Ledger, PortError, Shelf, Tail, Write};
use flyball_core::record::Record;
use flyball_core::signal::TraceContext;

use crate::telemetry::Telemetry;

/// Another ledger, and how long its appends took until they were durable.
pub(crate) struct Timed {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
}

impl Timed {
    /// Measures the appends to `ledger`.
    pub(crate) fn new(ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>, telemetry: Telemetry) -> Self {
        Self { ledger, clock, telemetry }
    }
}

impl Ledger for Timed {
    fn append(&self, write: Write) -> Answer<'_, Result<Head, AppendError>> {
        Box::pin(async move {
            let trace = traced(&write.record).filter(|_| self.telemetry.tracer.is_on());
            let begun = self.clock.monotonic();
            let appended = self.ledger.append(write).await;
            if appended.is_ok() {
                let took = (self.clock.monotonic() - begun).unsigned_abs();
                self.telemetry.metrics.ledger_append(took, trace.as_ref());
            }
            appended
        })
    }

    fn follow(&self, after: Revision) -> Answer<'_, Result<Box<dyn Tail>, PortError>> {
        self.ledger.follow(after)
    }

    fn newest(&self) -> Answer<'_, Result<Revision, PortError>> {
        self.ledger.newest()
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        self.ledger.shelf()
    }

    fn identity(&self) -> Arc<str> {
        self.ledger.identity()
    }

    fn goes_on_from(&self, identity: &Arc<str>) -> bool {
        self.ledger.goes_on_from(identity)
    }
}

/// The trace that an entry belongs to, where it is certain to be kept: of what acts, and of what waits.
fn traced(record: &Record) -> Option<TraceContext> {
    let request = match record {
        Record::Admitted(admissions) => &admissions.first()?.request,
        Record::Deferred(deferral) => &deferral.request,
        _ => return None,
    };
    Some(request.evidence.trace)
}
