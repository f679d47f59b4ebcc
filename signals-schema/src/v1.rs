//! The bodies of signals, version 1, as they are written: camelCase, unknown fields ignored. [`parse`](crate::parse()) checks what a type
//! cannot say: ranges, names, and that there is a target.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor},
};
use serde_json::Value;

pub use crate::moment::{Moment, TsRange};
use crate::{
    object::{nullable, objects},
    subject::Kind,
};

/// The name of a workload or a pod, for the schemas: a DNS subdomain, as [`names::is_subdomain`](crate::names::is_subdomain) reads it.
const WORKLOAD: &str = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$";
/// The same, where an empty text counts as absent.
const WORKLOAD_OR_EMPTY: &str = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)?$";

/// A deviation of one service within one window, or the end of one: `isAnomaly: false` clears and never acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = crate::schema::example(include_str!("../examples/anomaly.json")))]
pub struct Anomaly {
    /// The detector's name for the window. With cluster, namespace, workload kind, service, type and `isAnomaly` it makes the
    /// signal's identity; empty where the detector has no windows.
    pub window_id: String,
    /// The workload, or an alias of it.
    #[schemars(length(min = 1, max = 253), regex(pattern = WORKLOAD))]
    pub service: String,
    /// Whether the service deviates. `false` says that the symptom is gone.
    pub is_anomaly: bool,
    /// How strongly the service deviates: finite, at least 0; the detector's scale, usually up to 1.
    #[schemars(range(min = 0.0))]
    pub score: f64,
    /// What deviates.
    #[serde(rename = "type")]
    pub anomaly_type: AnomalyType,
    /// The detector's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// The stretch of time the window covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts_range: Option<TsRange>,
    /// Where the workload is, and anything else.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<Metadata>")]
    pub metadata: Metadata,
}

/// The ranked causes of what went wrong within one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = crate::schema::example(include_str!("../examples/rca.json")))]
pub struct Rca {
    /// The analysis' name for the window; see `windowId` of an anomaly.
    pub window_id: String,
    /// The workload the symptom was seen on, or an alias of it. Needed where the top cause names no `svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = WORKLOAD_OR_EMPTY))]
    pub service: Option<String>,
    /// The causes, the most probable first.
    #[serde(deserialize_with = "objects")]
    pub ranked_causes: Vec<RankedCause>,
    /// How sure the analysis is of its ranking, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
    /// The analysis in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// The analysis' version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// Where the workload is, and anything else.
    #[serde(default, deserialize_with = "nullable")]
    #[schemars(with = "Option<Metadata>")]
    pub metadata: Metadata,
}

/// One cause and how probable it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RankedCause {
    /// The workload at fault, or an alias of it; empty where it is the signal's `service`.
    #[schemars(length(max = 253), regex(pattern = WORKLOAD_OR_EMPTY))]
    pub svc: String,
    /// What is wrong with it, as policies name it: `memory_leak`.
    pub cause: String,
    /// How probable it is, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: f64,
}

/// What deviates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnomalyType {
    /// Answers take longer.
    Latency,
    /// More answers are errors.
    Error,
    /// A resource runs short: memory, processor, connections.
    Resource,
    /// Anything else.
    Other,
}

/// Where the workload is. An empty text counts as absent; whatever else a publisher adds is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Metadata {
    /// The namespace; not needed where the subject names it, and the same where both do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$"))]
    pub namespace: Option<String>,
    /// The workload's kind, Deployment unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^([A-Za-z][A-Za-z0-9]*)?$"))]
    pub kind: Option<String>,
    /// The one pod that is at fault, which a `deletePod` acts on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = WORKLOAD_OR_EMPTY))]
    pub pod: Option<String>,
    /// Everything else, as it was sent.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A signal of either kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// A deviation, or its end.
    Anomaly(Anomaly),
    /// Ranked causes.
    Rca(Rca),
}

impl Rca {
    /// The most probable cause, the first of equals; `None` where no cause is given.
    pub fn top_cause(&self) -> Option<&RankedCause> {
        self.ranked_causes.iter().reduce(|top, cause| if cause.probability > top.probability { cause } else { top })
    }
}

impl AnomalyType {
    /// All types.
    pub const ALL: [Self; 4] = [Self::Latency, Self::Error, Self::Resource, Self::Other];

    /// The type as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Error => "error",
            Self::Resource => "resource",
            Self::Other => "other",
        }
    }
}

impl Body {
    /// Which kind of signal this is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Anomaly(_) => Kind::Anomaly,
            Self::Rca(_) => Kind::Rca,
        }
    }

    /// The publisher's window; empty where it has none.
    pub fn window_id(&self) -> &str {
        match self {
            Self::Anomaly(anomaly) => &anomaly.window_id,
            Self::Rca(rca) => &rca.window_id,
        }
    }

    /// What the signal is about unless a policy picks one of the causes: `service`, else the top cause's `svc`. Empty for neither,
    /// which a parsed signal never is.
    pub fn target_name(&self) -> &str {
        match self {
            Self::Anomaly(anomaly) => &anomaly.service,
            Self::Rca(rca) => match rca.service.as_deref() {
                Some(service) if !service.is_empty() => service,
                _ => rca.top_cause().map_or("", |cause| &cause.svc),
            },
        }
    }

    /// Where the workload is, as the body says.
    pub const fn metadata(&self) -> &Metadata {
        match self {
            Self::Anomaly(anomaly) => &anomaly.metadata,
            Self::Rca(rca) => &rca.metadata,
        }
    }
}

impl<'de> Deserialize<'de> for AnomalyType {
    /// By hand: a derived reader would also take `{"latency": null}`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = AnomalyType;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AnomalyType, E> {
                const NAMES: &[&str] = &["latency", "error", "resource", "other"];
                let found = AnomalyType::ALL.into_iter().find(|kind| kind.as_str() == text);
                found.ok_or_else(|| E::unknown_variant(text, NAMES))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    /// By hand: a derived reader would buffer every value for the sake of `rest`, and would let a name come twice.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut metadata = Metadata::default();
                let (mut namespace, mut kind, mut pod) = (None, None, None);
                while let Some(key) = map.next_key::<String>()? {
                    let (slot, name) = match key.as_str() {
                        "namespace" => (&mut namespace, "namespace"),
                        "kind" => (&mut kind, "kind"),
                        "pod" => (&mut pod, "pod"),
                        _ => {
                            metadata.rest.insert(key, map.next_value()?);
                            continue;
                        }
                    };
                    if slot.replace(map.next_value::<Option<String>>()?).is_some() {
                        return Err(A::Error::duplicate_field(name));
                    }
                }
                let stated = |slot: Option<Option<String>>| slot.flatten().filter(|text| !text.is_empty());
                (metadata.namespace, metadata.kind, metadata.pod) = (stated(namespace), stated(kind), stated(pod));
                Ok(metadata)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
