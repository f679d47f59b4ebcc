//! An entry as it is stored, the same in a file and in a stream: the topic as a text, the record as JSON with a version.

use flyball_core::ports::AppendError;
use flyball_core::record::{Record, Topic};
use serde::{Deserialize, Serialize};

/// The version of the records that this build writes. It reads this one and no other: an entry of another version is an
/// error that names it, because skipping it would fold a history that never was.
const VERSION: u32 = 1;

const ADMIT: &str = "admit";
const NOTE: &str = "note";
const INTENT: &str = "intent.";

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    record: &'a Record,
}

#[derive(Deserialize)]
struct Stamp {
    v: u32,
}

#[derive(Deserialize)]
struct Body {
    record: Record,
}

/// A topic as a text: a subject's end, and a file's key.
pub(super) fn topic_text(topic: Topic) -> String {
    match topic {
        Topic::Admit => ADMIT.to_owned(),
        Topic::Note => NOTE.to_owned(),
        Topic::Intent(id) => format!("{INTENT}{id}"),
    }
}

/// The topic of a text made by [`topic_text`].
pub(super) fn topic(text: &str) -> Option<Topic> {
    match text {
        ADMIT => Some(Topic::Admit),
        NOTE => Some(Topic::Note),
        other => other.strip_prefix(INTENT)?.parse().ok().map(Topic::Intent),
    }
}

/// `{"v":1,"record":…}`.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, AppendError> {
    let body = Written { v: VERSION, record };
    serde_json::to_vec(&body).map_err(|error| AppendError::Refused(format!("the record is not JSON: {error}")))
}

/// Reads what [`encode`] wrote, or says why it cannot.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, String> {
    let Stamp { v } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if v != VERSION {
        return Err(format!("it has version {v}, and this build reads version {VERSION}"));
    }
    let body: Body = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(body.record)
}
