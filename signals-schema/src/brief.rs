//! The usual signal, read without a copy: a plain anomaly on a subject of ours, without headers. Anything else, and anything that is
//! not as it should be, is left to [`parse`](crate::parse()), which says why. What is read here, `parse` reads alike: a test holds the
//! two together.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::identity::{DEFAULT_WORKLOAD_KIND, Identity, Place};
use crate::names;
use crate::object::Object;
use crate::parse::Message;
use crate::shape::Shape;
use crate::subject::Kind;
use crate::v1::{AnomalyType, TsRange};

const SUBJECT: &str = "flyball.signal.v1.anomaly.";

/// An anomaly as it is meant, in the words of its message.
#[derive(Debug)]
pub struct Brief<'a> {
    /// The subject's namespace.
    pub namespace: &'a str,
    /// `metadata.kind`; `None` means a Deployment.
    pub workload_kind: Option<Cow<'a, str>>,
    /// `metadata.pod`.
    pub pod: Option<Cow<'a, str>>,
    /// `service`.
    pub service: Cow<'a, str>,
    /// `windowId`, never empty here.
    pub window_id: Cow<'a, str>,
    /// `isAnomaly`.
    pub is_anomaly: bool,
    /// `score`.
    pub score: f64,
    /// `type`.
    pub anomaly_type: AnomalyType,
    /// What makes a second message the same signal.
    pub id: Identity,
    /// The end of `tsRange`.
    pub time: Option<Timestamp>,
}

/// Reads the usual signal; nothing for any other message.
pub fn brief<'a>(message: &Message<'a>) -> Option<Brief<'a>> {
    let (cluster, namespace) = message.subject?.strip_prefix(SUBJECT)?.split_once('.')?;
    let usual = message.headers.is_empty() && matches!(message.kind, None | Some(Kind::Anomaly));
    if !usual || message.cluster != Some(cluster) || !names::is_label(cluster) || !names::is_label(namespace) {
        return None;
    }
    let shape = Shape::of(message.body).ok().filter(|shape| !shape.enveloped)?;
    let Object(body) = serde_json::from_str::<Object<Anomaly<'_>>>(shape.text).ok()?;
    let Anomaly { window_id: Text(window_id), service: Text(service), score, metadata, .. } = body;
    let metadata = metadata.unwrap_or_default();
    let agrees = metadata.namespace.is_none_or(|it| it == namespace);
    let named = !service.is_empty()
        && names::is_subdomain(&service)
        && metadata.kind.as_deref().is_none_or(names::is_object_kind)
        && metadata.pod.as_deref().is_none_or(names::is_subdomain);
    if window_id.is_empty() || !agrees || !named || !score.is_finite() || score < 0.0 {
        return None;
    }
    let workload_kind = metadata.kind.as_deref().unwrap_or(DEFAULT_WORKLOAD_KIND);
    let place = Place { kind: Kind::Anomaly, cluster, namespace, workload_kind };
    let said = (body.anomaly_type.as_str(), if body.is_anomaly { "true" } else { "false" });
    Some(Brief {
        id: Identity::of_window_named(&place, &service, &window_id, said),
        namespace,
        workload_kind: metadata.kind,
        pod: metadata.pod,
        service,
        window_id,
        is_anomaly: body.is_anomaly,
        score,
        anomaly_type: body.anomaly_type,
        time: body.ts_range.map(|range| range.end.0),
    })
}

/// The fields of [`v1::Anomaly`](crate::v1::Anomaly).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Anomaly<'a> {
    #[serde(borrow)]
    window_id: Text<'a>,
    #[serde(borrow)]
    service: Text<'a>,
    is_anomaly: bool,
    score: f64,
    #[serde(rename = "type")]
    anomaly_type: AnomalyType,
    #[serde(borrow, default, rename = "modelVersion")]
    _model_version: Option<Text<'a>>,
    #[serde(default)]
    ts_range: Option<TsRange>,
    #[serde(borrow, default)]
    metadata: Option<Metadata<'a>>,
}

/// A text, borrowed where it was written without escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

/// Where the workload is. What else a publisher adds is read as JSON, and not kept.
#[derive(Default)]
struct Metadata<'a> {
    namespace: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    pod: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Metadata<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Metadata<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata<'de>, A::Error> {
                let (mut namespace, mut kind, mut pod) = (None, None, None);
                while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
                    let (slot, name) = match &*key {
                        "namespace" => (&mut namespace, "namespace"),
                        "kind" => (&mut kind, "kind"),
                        "pod" => (&mut pod, "pod"),
                        _ => {
                            map.next_value::<Discarded>()?;
                            continue;
                        }
                    };
                    if slot.replace(map.next_value::<Option<Text<'de>>>()?).is_some() {
                        return Err(A::Error::duplicate_field(name));
                    }
                }
                let stated =
                    |slot: Option<Option<Text<'de>>>| slot.flatten().map(|it| it.0).filter(|it| !it.is_empty());
                Ok(Metadata { namespace: stated(namespace), kind: stated(kind), pod: stated(pod) })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Any value that `serde_json::Value` would take, and nothing of it.
struct Discarded;

impl<'de> Deserialize<'de> for Discarded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Discarded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any valid JSON value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_str<E>(self, _: &str) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_unit<E>(self) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Discarded, A::Error> {
                while seq.next_element::<Discarded>()?.is_some() {}
                Ok(Discarded)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Discarded, A::Error> {
                while map.next_key::<Text<'de>>()?.is_some() {
                    map.next_value::<Discarded>()?;
                }
                Ok(Discarded)
            }
        }
        deserializer.deserialize_any(Anything)
    }
}
