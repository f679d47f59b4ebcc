//! What no lint can hold: lengths, dependency lists, open ends.

use std::fs;
use std::path::{Path, PathBuf};

/// The bars of `docs/architecture.md`.
const LONGEST_FILE: usize = 500;
const LONG_FILE: usize = 300;
const SHARE_OF_LONG_FILES: f64 = 0.10;
const LONGEST_FUNCTION: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("engine/ lies in the root").to_owned()
}

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(at: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(at).expect("a readable folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    assert!(found.len() > 50, "the walk found too little");
    found
}

/// The part above the first `#[cfg(test)]`.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn is_test(path: &Path) -> bool {
    path.components().any(|it| it.as_os_str() == "tests")
}

#[test]
fn files_are_short() {
    let files = sources();
    let lines = |text: &str| text.lines().count();
    let production: Vec<_> = files.iter().filter(|(path, _)| !is_test(path)).collect();
    let over: Vec<_> =
        files.iter().filter(|(_, text)| lines(text) > LONGEST_FILE).map(|(path, text)| (path, lines(text))).collect();
    assert!(over.is_empty(), "over {LONGEST_FILE} lines: {over:#?}");
    let long: Vec<_> =
        production.iter().filter(|(_, text)| lines(text) > LONG_FILE).map(|(path, text)| (path, lines(text))).collect();
    #[allow(clippy::cast_precision_loss)]
    let share = long.len() as f64 / production.len() as f64;
    assert!(share <= SHARE_OF_LONG_FILES, "{share:.2} of the files are over {LONG_FILE} lines: {long:#?}");
}

#[test]
fn functions_fit_a_screen() {
    let mut over = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let mut begun: Option<(usize, usize, &str)> = None;
        for (number, line) in production(text).lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let opens = (code.contains("fn ") && !code.starts_with("//")) && code.ends_with('{');
            match begun {
                None if opens => begun = Some((number, indent, code)),
                Some((first, depth, name)) if indent == depth && code.starts_with('}') => {
                    if number - first + 1 > LONGEST_FUNCTION {
                        over.push(format!("{}:{} {name}", path.display(), first + 1));
                    }
                    begun = None;
                }
                _ => {}
            }
        }
    }
    assert!(over.is_empty(), "over {LONGEST_FUNCTION} lines: {over:#?}");
}

#[test]
fn nothing_is_left_open() {
    // Put together here, so that this file does not find itself.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["X", "XX"].concat()];
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            assert!(
                !words.iter().any(|word| line.contains(word.as_str())),
                "{}:{}: {line}",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn tests_neither_sleep_nor_are_ignored() {
    let banned = [["#[ign", "ore"].concat(), ["thread::sl", "eep"].concat()];
    for (path, text) in sources().iter().filter(|(path, _)| is_test(path)) {
        assert!(!banned.iter().any(|it| text.contains(it.as_str())), "{}", path.display());
    }
}

fn dependencies(manifest: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(manifest)).expect("a manifest");
    let section = text.split("[dependencies]").nth(1).expect("a dependency section");
    let names = section.lines().skip(1).take_while(|line| !line.starts_with('['));
    names
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Who may know what: an addition here is a page in `docs/decisions`.
#[test]
fn core_and_sim_know_what_they_may_know() {
    let core = [
        "cel",
        "chrono",
        "cronexpr",
        "jiff",
        "regex",
        "ring",
        "schemars",
        "serde",
        "serde-saphyr",
        "serde_json",
        "thiserror",
        "uuid",
    ];
    assert_eq!(dependencies("engine/core/Cargo.toml"), core);
    assert_eq!(dependencies("engine/sim/Cargo.toml"), ["flyball-core", "jiff", "serde_json"]);
}

#[test]
fn every_reason_is_documented() {
    let page = fs::read_to_string(root().join("docs/reasons.md")).expect("docs/reasons.md");
    for (reason, text) in flyball_core::deny::DenyReason::DOCS {
        assert!(
            page.contains(&format!("`{reason}`")) || page.contains(&format!("## {reason}")),
            "{reason} is not in docs/reasons.md"
        );
        assert!(text.trim().len() > 40, "{reason} says too little");
    }
}
