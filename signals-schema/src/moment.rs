//! Points in time as publishers write them: RFC 3339 text, epoch seconds or epoch milliseconds. One type, so that the same instant
//! in another form is the same signal.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, IgnoredAny, SeqAccess, Unexpected, Visitor},
};

/// A number at least this large counts milliseconds, a smaller one seconds: as seconds it would be the year 5138, as milliseconds
/// it is March 1973.
const MILLISECONDS_FROM: f64 = 1e11;
/// Far beyond the last representable instant in milliseconds, and small enough to count microseconds in an `i64`.
const LAST: f64 = 1e15;

/// An instant, to the microsecond where it was written as a number. Written back as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Timestamp);

/// The stretch of time a window covers, `[start, end]`. The end is when the signal was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TsRange {
    /// The beginning of the window.
    pub start: Moment,
    /// The end of the window.
    pub end: Moment,
}

impl Moment {
    /// The instant `number` seconds or milliseconds after the epoch; `None` outside of the years -9999 to 9999.
    pub fn from_epoch(number: f64) -> Option<Self> {
        let per_unit = if number.abs() >= MILLISECONDS_FROM { 1e3 } else { 1e6 };
        if number.is_nan() || number.abs() > LAST {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 1e18 after the check above, and rounded")]
        let microseconds = (number * per_unit).round() as i64;
        Timestamp::from_microsecond(microseconds).ok().map(Self)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MomentVisitor)
    }
}

struct MomentVisitor;

impl Visitor<'_> for MomentVisitor {
    type Value = Moment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time with an offset, epoch seconds or epoch milliseconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
        text.parse().map(Moment).map_err(|_| E::invalid_type(Unexpected::Other("text that is none"), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Moment, E> {
        Moment::from_epoch(number).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53; beyond it the number is refused")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Moment, E> {
        self.visit_f64(number as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53; beyond it the number is refused")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Moment, E> {
        self.visit_f64(number as f64)
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An instant: RFC 3339 text with an offset, or a number that counts seconds since 1970, or milliseconds from 1e11 on.",
            "examples": ["2026-03-01T12:00:00Z", 1_772_366_400, 1_772_366_400_000_u64],
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]
        })
    }
}

impl Serialize for TsRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.start, self.end].serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TsRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TsRangeVisitor)
    }
}

struct TsRangeVisitor;

impl<'de> Visitor<'de> for TsRangeVisitor {
    type Value = TsRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of a start and an end")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TsRange, A::Error> {
        let start = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let end = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => Err(A::Error::invalid_length(3, &self)),
            None => Ok(TsRange { start, end }),
        }
    }
}

impl JsonSchema for TsRange {
    fn schema_name() -> Cow<'static, str> {
        "TsRange".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let moment = generator.subschema_for::<Moment>();
        json_schema!({
            "description": "The stretch of time the window covers, `[start, end]`. The end is when the signal was observed.",
            "type": "array",
            "items": moment,
            "minItems": 2,
            "maxItems": 2
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_instant_is_the_same_instant() {
        let noon: Timestamp = "2026-03-01T12:00:00.25Z".parse().unwrap();
        for text in
            ["\"2026-03-01T12:00:00.25Z\"", "\"2026-03-01T13:00:00.250+01:00\"", "1772366400.25", "1772366400250"]
        {
            assert_eq!(serde_json::from_str::<Moment>(text).unwrap().0, noon, "{text}");
        }
        assert_eq!(serde_json::from_str::<Moment>("0").unwrap().0, Timestamp::UNIX_EPOCH);
        assert_eq!(serde_json::from_str::<Moment>("-1").unwrap().to_string(), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "\"2026-03-01T12:00:00\"",
            "\"noon\"",
            "\"\"",
            "1e300",
            "-1e15",
            "18446744073709551615",
            "null",
            "true",
            "{}",
        ] {
            assert!(serde_json::from_str::<Moment>(text).is_err(), "{text}");
        }
        for text in ["[]", "[1]", "[1,2,3]", "1", "{\"start\":1,\"end\":2}"] {
            assert!(serde_json::from_str::<TsRange>(text).is_err(), "{text}");
        }
    }
}
