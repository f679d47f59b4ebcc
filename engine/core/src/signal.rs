//! A signal as the engine means it: checked, its target resolved, its times known. The wire form is `flyball-signals`.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::SignalId;
use crate::workload::Workload;

/// Something a detector said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Identity: the same signal published twice has the same.
    pub id: SignalId,
    /// What was said.
    pub kind: SignalKind,
    /// What it is about, unless an rca policy picks one of the causes.
    pub subject: Workload,
    /// The service as the publisher named it (before aliases).
    pub service: Arc<str>,
    /// The pod that a `deletePod` action would evict.
    pub pod: Option<Arc<str>>,
    /// The publisher's window, shown to people.
    pub window_id: Arc<str>,
    /// When the detector saw it; at most the time it reached the stream plus 5 s.
    pub observed_at: Timestamp,
    /// CloudEvents `expirytime`.
    pub expires_at: Option<Timestamp>,
    /// The publisher's trace, or one derived from the id.
    pub trace: TraceContext,
    /// Sequence in the stream that it came from, 0 where there is none.
    pub sequence: u64,
}

/// What a detector said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SignalKind {
    /// A metric left its normal range, or came back (`is_anomaly: false`).
    Anomaly(Anomaly),
    /// Somebody worked out why.
    Rca(Rca),
}

impl SignalKind {
    /// `anomaly` or `rca`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Anomaly(_) => "anomaly",
            Self::Rca(_) => "rca",
        }
    }
}

/// An anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// False clears: it never acts, it tells verification that the symptom is gone.
    pub is_anomaly: bool,
    /// How anomalous, as the detector scales it.
    pub score: f64,
    /// Which symptom.
    pub kind: AnomalyKind,
}

/// The symptoms that detectors tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnomalyKind {
    /// Too slow.
    Latency,
    /// Too many errors.
    Error,
    /// Too much of a resource.
    Resource,
    /// Anything else.
    Other,
}

impl AnomalyKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Error => "error",
            Self::Resource => "resource",
            Self::Other => "other",
        }
    }
}

/// A root-cause analysis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rca {
    /// Causes, most probable first as published.
    pub causes: Vec<RankedCause>,
    /// How sure the analysis is of itself, 0 to 1.
    pub confidence: f64,
}

/// One candidate cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedCause {
    /// The workload that it names.
    pub target: Workload,
    /// The cause's word, such as `memory_leak`.
    pub cause: Arc<str>,
    /// 0 to 1.
    pub probability: f64,
}

/// W3C trace context: which trace a signal belongs to, and under which span ours hang.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// Trace id.
    #[serde(with = "hex128")]
    pub trace_id: u128,
    /// The span that ours are children of; 0 for none.
    pub span_id: u64,
    /// The publisher's sampled flag.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent` header (version 00 and later ones with the same first fields).
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, sampled })
    }

    /// The trace of a signal whose publisher sent none: derived from the id, so that anybody can compute it.
    pub fn derive(id: &SignalId) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, id.0.as_bytes());
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&hash.as_ref()[..16]);
        Self { trace_id: u128::from_be_bytes(bytes) | 1, span_id: 0, sampled: true }
    }

    /// The trace id as 32 hex digits.
    pub fn trace_hex(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

mod hex128 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{id:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_survives_the_round_trip_and_nonsense_is_refused() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(header).unwrap().to_string(), header);
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (bad, why) in [
            (String::new(), "nothing"),
            (format!("ff-{trace}-{span}-01"), "the version that is none"),
            (format!("0-{trace}-{span}-01"), "a short version"),
            (format!("00-{}-{span}-01", &trace[1..]), "a short trace"),
            (format!("00-{trace}-{}-01", &span[1..]), "a short span"),
            (format!("00-{trace}-{span}-1"), "short flags"),
            (format!("00-{}-{span}-01", "z".repeat(32)), "a trace that is no number"),
            (format!("00-{trace}-{span}-zz"), "flags that are no number"),
            (format!("00-{}-{span}-01", "0".repeat(32)), "no trace"),
            (format!("00-{trace}-{}-01", "0".repeat(16)), "no span"),
        ] {
            assert_eq!(TraceContext::parse(&bad), None, "{why}: {bad}");
        }
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true)] {
            let parsed = TraceContext::parse(&format!(" 01-{trace}-{span}-{flags}-later ")).unwrap();
            assert_eq!((parsed.trace_hex().as_str(), parsed.sampled), (trace, sampled), "{flags}");
        }
    }

    #[test]
    fn a_trace_is_kept_as_hexadecimal_digits() {
        let trace = TraceContext { trace_id: 0xab, span_id: 7, sampled: true };
        let kept = serde_json::to_value(trace).unwrap();
        assert_eq!(kept["trace_id"], "000000000000000000000000000000ab");
        assert_eq!(serde_json::from_value::<TraceContext>(kept).unwrap(), trace);
        assert!(serde_json::from_str::<TraceContext>(r#"{"trace_id": "x", "span_id": 0, "sampled": false}"#).is_err());
    }

    #[test]
    fn a_signal_without_a_trace_gets_the_same_one_each_time() {
        let id = SignalId("w:1".into());
        assert_eq!(TraceContext::derive(&id), TraceContext::derive(&id));
        // A trace is never zero: its last bit is set, whether the digest has it or not.
        for (id, trace) in [("w:1", "39475d0b9e2b1467a0e115c0d3c13df1"), ("w:3", "a32cfce870ec2cb33a257d31e9cb7501")] {
            let derived = TraceContext::derive(&SignalId(id.into()));
            assert_eq!((derived.trace_hex().as_str(), derived.span_id, derived.sampled), (trace, 0, true), "{id}");
        }
    }
}
