//! The rows of the fault matrix that end within seconds. All of them: `cargo xtask faults`.
#![allow(missing_docs, reason = "tests say what they are by their names")]

use flyball_proof::faults::{Ended, Pace, rows, run_rows};

/// Rows at once: most of a row is waiting.
const JOBS: usize = 6;

#[test]
fn the_quick_rows_of_the_fault_matrix() {
    let quick = rows().into_iter().filter(|it| it.pace == Pace::Quick).collect();
    let failed: Vec<Ended> = run_rows(quick, JOBS).into_iter().filter(|it| it.failure.is_some()).collect();
    let told: Vec<String> = failed
        .iter()
        .map(|it| format!("row {} {}: {}", it.row.number, it.row.name, it.failure.as_deref().unwrap_or_default()))
        .collect();
    assert!(failed.is_empty(), "{}", told.join("\n\n"));
}

#[test]
fn every_row_has_a_name_of_its_own() {
    let mut names: Vec<&str> = rows().iter().map(|it| it.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}
