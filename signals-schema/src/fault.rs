//! Reads a value, and when that fails says which field was at fault. The second look happens only for what is refused, so that a good
//! signal is read in one pass.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Error;
use serde_path_to_error::{Path, Segment};

use crate::refusal::{Refusal, RefusalReason};

/// Reads `text` as a `T`; `at` is the path of `text` within the body, empty for the body itself.
pub(crate) fn read<'de, T: Deserialize<'de>>(text: &'de str, at: &str) -> Result<T, Refusal> {
    serde_json::from_str(text).map_err(|error| locate::<T>(text, at, error))
}

fn locate<'de, T: Deserialize<'de>>(text: &'de str, at: &str, first: Error) -> Refusal {
    if text.trim_ascii().is_empty() {
        return Refusal::at(RefusalReason::NotJson, at, "the body is empty");
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let (path, error) = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => (dotted(at, error.path()), error.into_inner()),
        Ok(_) => (at.to_owned(), first), // what follows the value is at fault
    };
    if let Err(syntax) = serde_json::from_str::<IgnoredAny>(text) {
        return Refusal::at(RefusalReason::NotJson, path, format!("not JSON: {syntax}"));
    }
    explain(path, &error)
}

/// Turns an error of the reader into ours. Its kinds are told apart by the words `serde` fixes for them (`serde::de::Error`).
fn explain(path: String, error: &Error) -> Refusal {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let named = message.split('`').nth(1).unwrap_or_default();
    if message.starts_with("missing field") {
        Refusal::at(RefusalReason::MissingField, join(path, named), "is required and missing")
    } else if message.starts_with("duplicate field") {
        Refusal::at(RefusalReason::DuplicateField, join(path, named), "is there twice")
    } else if message.starts_with("number out of range") {
        Refusal::at(RefusalReason::OutOfRange, path, "the number is too large to be read")
    } else if message.starts_with("unknown variant") || message.starts_with("invalid value") {
        Refusal::at(RefusalReason::OutOfRange, path, expectation(message))
    } else {
        Refusal::at(RefusalReason::WrongType, path, expectation(message))
    }
}

/// `invalid type: string "0.9", expected f64` as `expected a number, found a string`.
fn expectation(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let found = found.strip_prefix("unknown variant ").unwrap_or(found);
    let (class, found) = found.split_once(": ").unwrap_or(("", found));
    let found = match found.split(' ').next().unwrap_or_default() {
        _ if class != "invalid type" => found,
        "null" => "null",
        "boolean" => "a boolean",
        "integer" | "floating" => "a number",
        "string" => "a string",
        "map" => "an object",
        "sequence" => "an array",
        _ => found,
    };
    let expected = match expected {
        "f64" => "a number",
        "a sequence" => "an array",
        other => other,
    };
    format!("expected {expected}, found {found}")
}

fn dotted(at: &str, path: &Path) -> String {
    path.iter().fold(at.to_owned(), |path, segment| match segment {
        Segment::Seq { index } => format!("{path}[{index}]"),
        Segment::Map { key } => join(path, key),
        Segment::Enum { .. } | Segment::Unknown => path,
    })
}

/// The path of `name` within the object at `path`.
pub(crate) fn join(path: String, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
