//! The JSON Schemas of the bodies (draft 2020-12), generated from the types. `schemas/` holds them as files, and a test keeps those fresh.

use serde_json::Value;

use crate::{subject::Kind, v1};

/// The schema of a body of that kind: a whole document, with its `$id`, descriptions and an example.
///
/// It says what a publisher should send. What only a reader can tell is left to [`parse`](crate::parse()): that an rca names a target in
/// one of two places, which texts are a time, and that a subject and a body agree.
pub fn of(kind: Kind) -> Value {
    let schema = match kind {
        Kind::Anomaly => schemars::schema_for!(v1::Anomaly),
        Kind::Rca => schemars::schema_for!(v1::Rca),
    };
    let mut schema = schema.to_value();
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("$id".to_owned(), Value::from(format!("https://flyball.dev/schemas/{}", file_name(kind))));
    }
    schema
}

/// The name of the schema's file: `anomaly.v1.schema.json`.
pub fn file_name(kind: Kind) -> String {
    format!("{kind}.v1.schema.json")
}

/// An example of the repository, for the schema; a test reads every one of them.
pub(crate) fn example(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
