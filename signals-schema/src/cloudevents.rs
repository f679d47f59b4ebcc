//! CloudEvents 1.0 around a signal: binary (`ce-…` headers, the body is the data) and structured (the whole event in the body).
//!
//! Rules from the CloudEvents core specification 1.0.2, its JSON format, and its HTTP and NATS bindings, which ask for
//! percent-encoded headers.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    fault,
    object::Object,
    refusal::{Refusal, RefusalReason},
    shape::Shape,
    subject::{self, Kind},
};

/// The one `specversion` that is read.
pub const SPEC_VERSION: &str = "1.0";
/// The media type of a structured event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";
const FAMILY: &str = "application/cloudevents";
const TYPES: &str = "dev.flyball.signal.";
const VERSION: &str = "v1";
const PREFIX: &str = "ce-";
/// The path of the data within a structured event.
const DATA: &str = "data";

/// The type of an event that carries a signal of that kind: `dev.flyball.signal.anomaly.v1`.
pub fn event_type(kind: Kind) -> String {
    format!("{TYPES}{kind}.{VERSION}")
}

/// The first header of that name, in whatever case it was written.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// What the envelope says of a signal.
#[derive(Debug)]
pub(crate) struct Attributes {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// The name `type` goes by in this form: `type` or `ce-type`.
    pub(crate) type_field: String,
    pub(crate) time: Option<Timestamp>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    pub(crate) correlation: Option<String>,
}

/// A message taken out of its envelope, if it was in one.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) attributes: Option<Attributes>,
    /// The signal itself.
    pub(crate) data: &'a str,
    /// The path of the signal within the message, empty where it is the whole body.
    pub(crate) at: &'static str,
}

/// Opens the envelope. A structured event is known by its media type or by a `specversion` at the top level, a binary one by its
/// headers; anything else is plain.
pub(crate) fn open<'a>(headers: &[(String, String)], shape: Shape<'a>) -> Result<Opened<'a>, Refusal> {
    let media_type = header(headers, "content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == MEDIA_TYPE {
        return structured(shape.text);
    }
    if media_type.starts_with(FAMILY) {
        let detail = format!("only {MEDIA_TYPE} is read, one event a message; found `{media_type}`");
        return Err(Refusal::at(RefusalReason::WrongType, "content-type", detail));
    }
    if ["ce-specversion", "ce-id", "ce-source", "ce-type"].iter().any(|name| header(headers, name).is_some()) {
        return Ok(Opened { attributes: Some(binary(headers)?), data: shape.text, at: "" });
    }
    if shape.enveloped {
        return structured(shape.text);
    }
    Ok(Opened { attributes: None, data: shape.text, at: "" })
}

/// The attributes as they were written. `data_base64` is not read: a signal is JSON.
#[derive(Default, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    specversion: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expirytime: Option<Cow<'a, str>>,
    #[serde(borrow)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tracestate: Option<Cow<'a, str>>,
    #[serde(borrow)]
    correlationid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

fn structured(text: &str) -> Result<Opened<'_>, Refusal> {
    let Object(written) = fault::read::<Object<Written<'_>>>(text, "")?;
    let data = written.data;
    let attributes = written.check("")?;
    let data = data.ok_or_else(|| missing(DATA))?.get();
    Ok(Opened { attributes: Some(attributes), data, at: DATA })
}

fn binary(headers: &[(String, String)]) -> Result<Attributes, Refusal> {
    let mut written = Written::default();
    for (name, slot) in [
        ("ce-specversion", &mut written.specversion),
        ("ce-type", &mut written.event_type),
        ("ce-source", &mut written.source),
        ("ce-id", &mut written.id),
        ("ce-time", &mut written.time),
        ("ce-expirytime", &mut written.expirytime),
        ("ce-traceparent", &mut written.traceparent),
        ("ce-tracestate", &mut written.tracestate),
        ("ce-correlationid", &mut written.correlationid),
    ] {
        *slot = header(headers, name).map(|value| decode(name, value)).transpose()?;
    }
    written.check(PREFIX)
}

impl Written<'_> {
    /// The attributes as they are meant. `prefix` is what their names begin with in this form.
    fn check(self, prefix: &str) -> Result<Attributes, Refusal> {
        let name = |attribute: &str| format!("{prefix}{attribute}");
        let given = |attribute: &str, value: Option<Cow<'_, str>>| match value {
            Some(value) if !value.is_empty() => Ok(value.into_owned()),
            _ => Err(missing(&name(attribute))),
        };
        let version = given("specversion", self.specversion)?;
        if version != SPEC_VERSION {
            let detail = format!("expected `{SPEC_VERSION}`, found `{version}`");
            return Err(Refusal::at(RefusalReason::UnknownVersion, name("specversion"), detail));
        }
        let moment = |attribute: &str, value: Option<Cow<'_, str>>| match value {
            Some(text) => text.parse().map(Some).map_err(|_| {
                let detail = "expected an RFC 3339 time with an offset, found text that is none";
                Refusal::at(RefusalReason::WrongType, name(attribute), detail)
            }),
            None => Ok(None),
        };
        Ok(Attributes {
            kind: kind_of(&given("type", self.event_type)?, &name("type"))?,
            type_field: name("type"),
            source: given("source", self.source)?,
            id: given("id", self.id)?,
            time: moment("time", self.time)?,
            expires: moment("expirytime", self.expirytime)?,
            traceparent: self.traceparent.map(Cow::into_owned),
            tracestate: self.tracestate.map(Cow::into_owned),
            correlation: self.correlationid.map(Cow::into_owned).filter(|text| !text.is_empty()),
        })
    }
}

fn kind_of(event_type: &str, field: &str) -> Result<Kind, Refusal> {
    let tokens = event_type.strip_prefix(TYPES).and_then(|rest| rest.split_once('.'));
    let unknown = |reason| {
        let detail = format!("expected `{TYPES}anomaly.{VERSION}` or `{TYPES}rca.{VERSION}`, found `{event_type}`");
        Refusal::at(reason, field, detail)
    };
    match tokens.map(|(kind, version)| (Kind::from_token(kind), version)) {
        Some((Some(kind), VERSION)) => Ok(kind),
        Some((Some(_), version)) if subject::is_version(version) => Err(unknown(RefusalReason::UnknownVersion)),
        _ => Err(unknown(RefusalReason::UnknownKind)),
    }
}

fn missing(field: &str) -> Refusal {
    Refusal::at(RefusalReason::MissingField, field, "is required and missing")
}

/// A header's value as it was meant: quotes taken off, percent-encoding undone once. A `%` that encodes nothing is itself.
fn decode<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, Refusal> {
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if quoted.is_none() && !value.contains('%') {
        return Ok(Cow::Borrowed(value));
    }
    let mut rest = quoted.unwrap_or(value).as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        let (next, byte) = match (first, tail) {
            (b'\\', [escaped, tail @ ..]) if quoted.is_some() => (tail, *escaped),
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (tail, hex_digit(*high) * 16 + hex_digit(*low))
            }
            _ => (tail, *first),
        };
        bytes.push(byte);
        rest = next;
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| Refusal::at(RefusalReason::InvalidUtf8, name, "is not UTF-8 once its percent-encoding is undone"))
}

/// The value of an ASCII hex digit.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        letter => (letter | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_decoded_once() {
        let check = |value: &str, expected: &str| assert_eq!(decode("ce-id", value).unwrap(), expected, "{value}");
        check("plain", "plain");
        check("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀");
        check("%2541", "%41");
        check("100%", "100%");
        check("%zz%4", "%zz%4");
        check("\"quo\\\"ted%20\"", "quo\"ted ");
        check("\"", "\"");
        assert_eq!(decode("ce-id", "%ff").unwrap_err().reason, RefusalReason::InvalidUtf8);
    }

    #[test]
    fn types_name_a_kind_and_a_version() {
        assert_eq!(kind_of(&event_type(Kind::Rca), "type"), Ok(Kind::Rca));
        let check = |text: &str, reason| assert_eq!(kind_of(text, "type").unwrap_err().reason, reason, "{text}");
        check("dev.flyball.signal.anomaly.v2", RefusalReason::UnknownVersion);
        check("dev.flyball.signal.anomaly.v1.more", RefusalReason::UnknownKind);
        check("dev.flyball.signal.anomaly", RefusalReason::UnknownKind);
        check("dev.flyball.signal.trace.v1", RefusalReason::UnknownKind);
        check("com.example.alert", RefusalReason::UnknownKind);
    }
}
