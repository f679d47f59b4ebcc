//! The schemas in the repository are the ones the types make, and every good example follows them.

mod support;

use std::{env, fs, path::PathBuf};

use flyball_signals::{Kind, schema};
use serde_json::Value;

#[test]
fn the_schema_files_are_fresh() {
    for kind in Kind::ALL {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas").join(schema::file_name(kind));
        let fresh = schema::of(kind);
        if env::var_os("FLYBALL_BLESS").is_some() {
            fs::write(&path, format!("{fresh:#}\n")).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        let stored: Value = serde_json::from_str(&stored).unwrap_or_default();
        let hint = "run FLYBALL_BLESS=1 cargo test -p flyball-signals --test schemas";
        assert!(stored == fresh, "{} is stale: {hint}", path.display());
    }
}

#[test]
fn every_good_example_follows_its_schema() {
    for (name, _) in support::files("") {
        let sent = support::example(&name);
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        let signal = if body.get("specversion").is_some() { &body["data"] } else { &body };
        let validator = jsonschema::validator_for(&schema::of(sent.kind.unwrap())).unwrap();
        let faults: Vec<String> = validator.iter_errors(signal).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{name}: {faults:?}");
    }
}

#[test]
fn what_is_written_follows_the_schema_and_reads_back() {
    for (name, _) in support::files("") {
        let sent = support::example(&name);
        let parsed = sent.parse().unwrap();
        let written = serde_json::to_value(&parsed.body).unwrap();
        assert!(jsonschema::is_valid(&schema::of(sent.kind.unwrap()), &written), "{name}: {written}");
        let again = support::Sent { body: written.to_string().into_bytes(), headers: Vec::new(), ..sent };
        assert_eq!(again.parse().unwrap().body, parsed.body, "{name}");
    }
}

#[test]
fn what_the_schema_refuses_is_refused() {
    let validators = Kind::ALL.map(|kind| jsonschema::validator_for(&schema::of(kind)).unwrap());
    for (name, text) in support::files("bad") {
        let value: Value = serde_json::from_str(&text).unwrap();
        let Some(body) = value.get("body").filter(|_| !name.starts_with("ce-")) else { continue };
        let reason = value["expect"]["reason"].as_str().unwrap();
        let kind = usize::from(name.starts_with("rca-"));
        let seen = ["wrong-type", "missing-field", "out-of-range", "bad-name"].contains(&reason);
        // The two things the schema leaves to the reader: what a text means as a time, and how large a time may be.
        if seen && !name.starts_with("ts-range") {
            assert!(!validators[kind].is_valid(body), "{name} follows the schema");
        }
    }
}
