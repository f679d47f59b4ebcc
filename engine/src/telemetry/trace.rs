//! Spans without a span API: a stage that is over is one value with its ids, its parent and its times, made only once it is
//! known that somebody will look at it. Nothing is opened, nothing is carried through the pipeline but a `TraceContext`.
//!
//! What acts is always traced; what does not asks `Tracer::keep` first.

pub(super) mod queue;
mod stages;
mod tests;

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use flyball_core::signal::TraceContext;
use flyball_core::workload::Workload;
use opentelemetry::KeyValue;

use self::queue::Queue;
pub use self::stages::{During, Processed};
use super::labels::Reason;

/// Of denials that are not the first of their kind, one in so many is traced.
pub const DENIALS_PER_TRACE: u128 = 1024;

/// Which side of a call a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Took a message from a bus.
    Consumer,
    /// Work inside the engine.
    Internal,
    /// Called another server.
    Client,
}

/// A stage that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its name, one of few.
    pub name: Cow<'static, str>,
    /// Its trace and its parent's id; a parent of 0 makes it a root.
    pub trace: TraceContext,
    /// Its own id, from `Tracer::new_id`.
    pub id: u64,
    /// Which side of a call.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it was over.
    pub end: SystemTime,
    /// What is known of it, under OpenTelemetry's names where there are any.
    pub attributes: Vec<KeyValue>,
    /// What went wrong. A denial is not an error.
    pub error: Option<String>,
}

/// Where spans go. Without an OTLP endpoint there is nowhere to go: then every call is one branch.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Live>>);

#[derive(Debug)]
struct Live {
    queue: Arc<Queue>,
    seen: Seen,
}

impl Tracer {
    /// Traces nothing.
    pub fn off() -> Self {
        Self(None)
    }

    pub(super) fn to(queue: Arc<Queue>) -> Self {
        Self(Some(Arc::new(Live { queue, seen: Seen::default() })))
    }

    /// Whether spans go anywhere.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands one span over. It never waits: beyond the queue's capacity spans are dropped and counted.
    pub fn span(&self, span: Span) {
        if let Some(live) = &self.0 {
            live.queue.push(span);
        }
    }

    /// Hands over the span that `make` builds; without a collector `make` is not called.
    pub fn emit(&self, make: impl FnOnce() -> Span) {
        if let Some(live) = &self.0 {
            live.queue.push(make());
        }
    }

    /// A random id, never 0. Ids of one process do not repeat.
    pub fn new_id() -> u64 {
        // SplitMix64: a counter through a bijection costs two nanoseconds, and an id has to be unique, not secret. Processes
        // differ by where they start: `RandomState` draws its keys from the operating system.
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one("span ids")));
        loop {
            let mut id = NEXT.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
            id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            id ^= id >> 31;
            if id != 0 {
                return id;
            }
        }
    }

    /// The context in which the children of a new span below `parent` live: the same trace, a new span id. The signal's
    /// own is made before anything else and kept in the ledger, so that a resumed intent continues under the same root.
    /// Without a collector it is `parent` itself: the publisher's span stays the one that others see.
    pub fn within(&self, parent: &TraceContext) -> TraceContext {
        let span_id = if self.is_on() { Self::new_id() } else { parent.span_id };
        TraceContext { span_id, ..*parent }
    }

    /// Whether to trace a signal that leads to nothing: the first of each target and reason, then one in
    /// `DENIALS_PER_TRACE` of those that their publisher samples. The same answer for all spans of a trace comes from
    /// asking once. What acts is not asked about: it is always traced.
    pub fn keep(&self, trace: &TraceContext, target: &Workload, reason: Reason) -> bool {
        let Some(live) = &self.0 else { return false };
        // A derived trace id has its lowest bit set; the bits above the lowest byte are random in every id.
        let sampled = trace.sampled && (trace.trace_id >> 8).is_multiple_of(DENIALS_PER_TRACE);
        live.seen.first(target, reason) || sampled
    }
}

/// Bits of the filter behind `Seen`: 8 KiB, room for some tens of thousands of targets and reasons.
const SEEN_BITS: usize = 1 << 16;

/// Which targets were denied for which reasons already: a filter of bits, since a storm asks it for every signal. A
/// collision costs the first trace of a denial, never a wrong one.
#[derive(Debug)]
struct Seen {
    hasher: RandomState,
    bits: Box<[AtomicU64]>,
    set: AtomicUsize,
}

impl Default for Seen {
    fn default() -> Self {
        let bits = (0..SEEN_BITS / 64).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::new(), bits, set: AtomicUsize::new(0) }
    }
}

impl Seen {
    fn first(&self, target: &Workload, reason: Reason) -> bool {
        let hash = self.hasher.hash_one((target, reason));
        // The six bits that pick the bit are not among those that pick the word.
        let (word, mask) = (&self.bits[(hash >> 6) as usize % self.bits.len()], 1 << (hash & 63));
        // Reading first keeps the line shared: in a storm nearly every bit is set already.
        if word.load(Relaxed) & mask != 0 || word.fetch_or(mask, Relaxed) & mask != 0 {
            return false;
        }
        // Half full, every second newcomer would go unseen: then all begin anew.
        if self.set.fetch_add(1, Relaxed) + 1 >= SEEN_BITS / 2 {
            self.bits.iter().for_each(|word| word.store(0, Relaxed));
            self.set.store(0, Relaxed);
        }
        true
    }
}
