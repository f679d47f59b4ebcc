//! The library of policies as people use it: whole folders, through the binary.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The folder of each policy, in the order of their names. The schemas are nobody's.
fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(library()).unwrap().map(|it| it.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|it| it.is_dir() && name(it) != "schemas").collect();
    found.sort();
    found
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Exit code, stdout, stderr.
fn flyball(args: &[&str], path: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_flyball"))
        .args(args)
        .arg(path)
        .env_remove("CI")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The policy of a folder as if somebody had let it act, alone in a folder of its own.
fn enforced(folder: &Path, into: &Path) {
    let text = fs::read_to_string(folder.join("policy.yaml")).unwrap();
    let text = text.replace("mode: shadow", "mode: enforce").replace("mode: disabled", "mode: enforce");
    assert!(text.contains("\n  mode: enforce"), "{} has another mode", name(folder));
    fs::create_dir_all(into).unwrap();
    fs::write(into.join("policy.yaml"), text).unwrap();
}

#[test]
fn every_case_of_the_library_holds() {
    let (code, out, err) = flyball(&["policy", "test", "--require-tests"], &library());
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains(" 0 failed"), "{err}");
}

#[test]
fn the_library_has_nothing_that_is_hardly_meant() {
    let (code, out, err) = flyball(&["policy", "lint", "--strict"], &library());
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains(": 0 errors, 0 warnings, "), "{err}");
}

/// What is shipped in shadow is to be let act one day: then nobody hides another. The disabled ones are templates, and stay so.
#[test]
fn it_has_nothing_of_the_kind_when_all_of_it_enforces() {
    let all = TempDir::new().unwrap();
    fs::copy(library().join("guardrails.yaml"), all.path().join("guardrails.yaml")).unwrap();
    for folder in folders() {
        if !fs::read_to_string(folder.join("policy.yaml")).unwrap().contains("mode: disabled") {
            enforced(&folder, &all.path().join(name(&folder)));
        }
    }
    let (code, out, err) = flyball(&["policy", "lint", "--strict"], all.path());
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn every_folder_has_its_four_files() {
    let folders = folders();
    assert!(folders.len() >= 12, "only {} policies", folders.len());
    let table = fs::read_to_string(library().join("README.md")).unwrap();
    for folder in folders {
        let name = name(&folder);
        let read =
            |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_else(|_| panic!("{name} has no {file}"));
        let policy = read("policy.yaml");
        assert!(policy.contains(&format!("\n  name: {name}\n")), "the policy in {name} has another name");
        for key in ["title", "category", "severity", "description"] {
            assert!(policy.contains(&format!("\n    flyball.dev/{key}: ")), "{name} says no {key}");
        }
        assert!(read("README.md").contains("Do not use it"), "{name} does not say when not to use it");
        let cases = read(&format!("{name}.flyball-test.yaml")).matches("\n  - name: ").count();
        assert!(cases >= 3, "{name} has only {cases} cases");
        read("signal.json");
        assert!(table.contains(&format!("[{name}]({name}/)")), "{name} is not in the table");
    }
}

#[test]
fn every_sample_signal_is_one_that_its_policy_acts_on() {
    for folder in folders() {
        let (name, alone) = (name(&folder), TempDir::new().unwrap());
        enforced(&folder, alone.path());
        let signal = folder.join("signal.json");
        let args = ["policy", "match", "-f", signal.to_str().unwrap(), "--expect", &name, "--policies"];
        let (code, out, err) = flyball(&args, alone.path());
        let policy = fs::read_to_string(folder.join("policy.yaml")).unwrap();
        // One signal alone is not enough for a policy that counts.
        let counts = policy.contains("\n    occurrences: ");
        assert_eq!((code, out.contains("no action: Uncorrelated")), (i32::from(counts), counts), "{name}: {out}{err}");
        let (code, _, err) = flyball(&["signal", "validate"], &signal);
        assert_eq!(code, 0, "{name}: {err}");
    }
}

/// A template does nothing as it is shipped, so its cases cannot show what it is for.
#[test]
fn the_template_acts_once_somebody_takes_it_into_use() {
    let alone = TempDir::new().unwrap();
    enforced(&library().join("raise-memory-on-oom"), alone.path());
    let cases = "
apiVersion: flyball.dev/v1alpha1
kind: PolicyTest
cases:
  - name: a workload that is killed for memory gets more, once
    signals: [{at: 0s, rca: oom_killed, service: app, namespace: shop, repeat: {times: 1, every: 30m}}]
    expect:
      - {at: 0s, result: permitted, policy: raise-memory-on-oom, action: patch, target: shop/app}
      - {at: 1m, outcome: RolledOut}
      - {at: 30m, result: denied, reason: CooldownActive}
  - name: an analysis that is not sure changes nothing
    signals: [{at: 0s, rca: oom_killed, service: app, namespace: shop, confidence: 0.7}]
    expect: [{at: 0s, result: denied, reason: ConfidenceTooLow}]
";
    fs::write(alone.path().join("app.flyball-test.yaml"), cases).unwrap();
    let (code, out, err) = flyball(&["policy", "test"], alone.path());
    assert_eq!(code, 0, "{out}{err}");
}
