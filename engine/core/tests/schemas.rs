//! The schemas of policy files: those in the repository are the ones that the types make, and what is shipped follows them.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "the core does no IO; this reads and writes what is in the repository")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use flyball_core::policy::{guardrails_schema, load, policy_schema};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_schema_files_are_fresh() {
    for (name, fresh) in [("policy", policy_schema()), ("guardrails", guardrails_schema())] {
        let path = root().join(format!("policies/schemas/{name}.v1alpha1.json"));
        if env::var_os("FLYBALL_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!("{fresh:#}\n")).unwrap();
        }
        let stored: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
        assert!(
            stored == fresh,
            "{} is stale: run FLYBALL_BLESS=1 cargo test -p flyball-core --test schemas",
            path.display()
        );
    }
}

fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root().join("policies")).unwrap() {
        let Ok(files) = fs::read_dir(folder.unwrap().path()) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.extension().is_some_and(|it| it == "yaml") && !name.contains(".flyball-test.") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn what_is_shipped_follows_the_schema() {
    let validator = jsonschema::validator_for(&policy_schema()).unwrap();
    let documents = documents();
    assert!(documents.len() >= 5);
    for (path, text) in documents {
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let faults: Vec<String> =
            validator.iter_errors(&value).map(|fault| format!("{} {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{}: {faults:?}", path.display());
    }
}

/// What the schema refuses the reader refuses: an editor never marks what would be taken.
#[test]
fn what_the_schema_refuses_is_refused() {
    let validator = jsonschema::validator_for(&policy_schema()).unwrap();
    let whole = &policy_schema()["examples"][0];
    assert!(validator.is_valid(whole));
    load(&[("whole".to_owned(), whole.to_string())]).unwrap();
    for (place, value) in [
        ("/spec/mode", "on".into()),
        ("/spec/action", serde_json::json!({})),
        ("/spec/action", serde_json::json!({"restart": {}, "rollback": {}})),
        ("/spec/match/signal", "metric".into()),
        ("/spec/match/causes", "leak".into()),
        ("/spec/guardrails/cooldown", 5.into()),
        ("/spec/verify/onFailure", "retry".into()),
        ("/metadata/name", "Not a name".into()),
        ("/kind", "Policy".into()),
        ("/spec/extra", 1.into()),
    ] {
        let mut bad = whole.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value;
        assert!(!validator.is_valid(&bad), "{place} follows the schema");
        assert!(load(&[("bad".to_owned(), bad.to_string())]).is_err(), "{place} is read");
    }
}
