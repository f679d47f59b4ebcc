//! Signals as they were recorded: a line of JSON for each, as it lay in its stream.

use std::borrow::Cow;
use std::collections::BTreeMap;

use flyball_core::ports::Message;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One line. `data` is the body, as it is, where that is JSON; anything else is kept as a text in `text`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded<'a> {
    /// Sequence in its stream.
    pub sequence: u64,
    /// When the stream stored it.
    pub time: Timestamp,
    /// Its subject.
    #[serde(borrow)]
    pub subject: Cow<'a, str>,
    /// Its kind, where the stream and not the subject says it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'a, str>>,
    /// Its headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its body.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
    /// Its body, where that is no JSON.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
}

impl<'a> Recorded<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// It is none.
    pub fn read(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// The message as the engine got it.
    pub fn message(&self) -> Message {
        let body = self.data.map(RawValue::get).or(self.text.as_deref()).unwrap_or_default();
        Message {
            subject: Some(self.subject.to_string()),
            kind: self.kind.as_deref().map(str::to_owned),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            body: body.as_bytes().to_vec(),
            sequence: self.sequence,
            published_at: self.time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Recorded;

    #[test]
    fn a_line_is_the_message_that_it_was() {
        let line = br#"{"sequence":7,"time":"2026-01-01T00:00:00Z","subject":"s.a","headers":{"traceparent":"x"},"data":{"a": 1.0}}"#;
        let message = Recorded::read(line).unwrap().message();
        assert_eq!((message.body.as_slice(), message.sequence), (br#"{"a": 1.0}"#.as_slice(), 7));
        assert_eq!(message.headers, [("traceparent".to_owned(), "x".to_owned())]);
        let poison = br#"{"sequence":8,"time":"2026-01-01T00:00:00Z","subject":"s.a","text":"not json"}"#;
        assert_eq!(Recorded::read(poison).unwrap().message().body, b"not json");
        assert!(Recorded::read(b"{}").is_err());
    }
}
