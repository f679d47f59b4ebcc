//! An entry as every ledger stores it: the topic as a text, and beside it
//! `{"v":1,"prev":"…","sum":"…","at":"…","record":…}`. The sum is over the topic, `prev`, `at` and the exact bytes of
//! `record`, so that an entry that was edited, or moved to another topic, is not read as if it were whole.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chain::Sum;
use crate::ports::AppendError;
use crate::record::{Record, Topic};

/// The version of the records that this build writes. It reads this one and no other: an entry of another version is an
/// error that names it, because skipping it would fold a history that never was.
pub const VERSION: u32 = 1;

const ADMIT: &str = "admit";
const NOTE: &str = "note";
const INTENT: &str = "intent.";

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    prev: Sum,
    sum: Sum,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    record: &'a RawValue,
}

#[derive(Deserialize)]
struct Stamp {
    v: u32,
}

#[derive(Deserialize)]
struct Body<'a> {
    v: u32,
    prev: Sum,
    sum: Sum,
    #[serde(default)]
    at: Option<Timestamp>,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// An entry ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// What is stored.
    pub body: Vec<u8>,
    /// Its sum.
    pub sum: Sum,
}

/// An entry as it was stored, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The sum of the topic's entry before it.
    pub prev: Sum,
    /// Its own sum.
    pub sum: Sum,
    /// The ledger's time, where the store does not keep it itself.
    pub at: Option<Timestamp>,
    /// What it says.
    pub record: Record,
}

/// A topic as a text: a subject's end, and a file's key.
pub fn topic_text(topic: Topic) -> String {
    match topic {
        Topic::Admit => ADMIT.to_owned(),
        Topic::Note => NOTE.to_owned(),
        Topic::Intent(id) => format!("{INTENT}{id}"),
    }
}

/// The topic of a text made by [`topic_text`].
pub fn topic(text: &str) -> Option<Topic> {
    match text {
        ADMIT => Some(Topic::Admit),
        NOTE => Some(Topic::Note),
        other => other.strip_prefix(INTENT)?.parse().ok().map(Topic::Intent),
    }
}

fn sum(topic: Topic, prev: Sum, at: Option<Timestamp>, record: &str) -> Sum {
    let at = at.map(|it| it.to_string()).unwrap_or_default();
    Sum::of(&[topic_text(topic).as_bytes(), prev.to_string().as_bytes(), at.as_bytes(), record.as_bytes()])
}

/// Makes the stored form. `prev` is the sum of the topic's newest entry; a note has none. `at` is the entry's time where
/// the store gives it no time of its own that can be trusted: a file, or an entry that was brought from another ledger.
///
/// # Errors
/// The record cannot be written as JSON.
pub fn seal(topic: Topic, prev: Sum, at: Option<Timestamp>, record: &Record) -> Result<Sealed, AppendError> {
    let refused = |error: serde_json::Error| AppendError::Refused(format!("the record is not JSON: {error}"));
    let record = serde_json::value::to_raw_value(record).map_err(refused)?;
    let sum = sum(topic, prev, at, record.get());
    let written = Written { v: VERSION, prev, sum, at, record: &record };
    Ok(Sealed { body: serde_json::to_vec(&written).map_err(refused)?, sum })
}

/// Reads what [`seal`] made, or says why it cannot.
///
/// # Errors
/// It has another version, is no entry, or is not what its sum says.
pub fn open(topic: Topic, bytes: &[u8]) -> Result<Opened, String> {
    let body: Body<'_> = match serde_json::from_slice(bytes) {
        Ok(body) => body,
        Err(error) => {
            let Stamp { v } = serde_json::from_slice(bytes).map_err(|_| error.to_string())?;
            return Err(if v == VERSION { error.to_string() } else { other_version(v) });
        }
    };
    if body.v != VERSION {
        return Err(other_version(body.v));
    }
    let found = sum(topic, body.prev, body.at, body.record.get());
    if found != body.sum {
        return Err(format!("it was changed: its sum is {found}, and it says {}", body.sum));
    }
    let record = serde_json::from_str(body.record.get()).map_err(|error| error.to_string())?;
    Ok(Opened { prev: body.prev, sum: body.sum, at: body.at, record })
}

/// The time that an entry bears, without looking at the rest of it.
pub fn stamp(bytes: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Time {
        at: Option<Timestamp>,
    }
    serde_json::from_slice::<Time>(bytes).ok()?.at
}

fn other_version(v: u32) -> String {
    format!("it has version {v}, and this build reads version {VERSION}")
}
